import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab import data
from chainlab.errors import CheckpointError, NonFiniteError, UsageError
from chainlab.lab import Task, checkpoint
from chainlab.lab.config.envelope import RunConfig
from chainlab.lab.record import Record, create_folder
from chainlab.lab.runner import Runner
from chainlab.lab.signals import Interruption

pytestmark = pytest.mark.usefixtures("standard_promotion")

SETTINGS = RunConfig(steps=60, log_every=7, eval_every=20, checkpoint_every=15, monitor="validation/loss", mode="min")


def lines(record):
    rows = [json.loads(line) for line in record.metrics.read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def run(task, record, settings=SETTINGS, seeds=(0,), **options):
    runner = Runner(task, settings, seeds, record, config_hash="hash")
    if record.checkpoints():
        runner.restore()
    return runner.run(**options)


@pytest.fixture(scope="module")
def whole(task, tmp_path_factory, standard_promotion):
    record = Record(create_folder(tmp_path_factory.mktemp("runs"), "test", "0123456789abcdef"))
    return run(task, record), record


@pytest.mark.parametrize("stops", [(1,), (6, 7, 8), (15, 20, 59), (33,)])
def test_resumed_run_equals_the_whole_run(task, record, whole, stops):
    outcome, reference = whole
    for stop in stops:
        assert run(task, record, until=stop).status == "stopped"
    resumed = run(task, record)
    assert resumed.status == "done"
    assert checkpoint.fingerprint(resumed.replica) == checkpoint.fingerprint(outcome.replica)
    assert checkpoint.fingerprint(resumed.best) == checkpoint.fingerprint(outcome.best)
    assert lines(record) == lines(reference)
    assert resumed.position.final == outcome.position.final


def test_lines_written_after_the_checkpoint_are_written_once(task, record, whole):
    run(task, record, until=30)
    with open(record.metrics, "a") as file:
        file.write('{"step": 35, "split": "train"}\n{"torn')
    run(task, record)
    assert lines(record) == lines(whole[1])


@pytest.mark.slow
def test_block_length_changes_nothing(task, record, whole):
    outcome = run(task, record, dataclasses.replace(SETTINGS, block=3))
    assert checkpoint.fingerprint(outcome.replica) == checkpoint.fingerprint(whole[0].replica)
    assert lines(record) == lines(whole[1])


@pytest.mark.slow
def test_each_seed_equals_its_single_run(task, tmp_path):
    settings = dataclasses.replace(SETTINGS, patience=2)
    together = run(task, Record(create_folder(tmp_path, "all", "0" * 8)), settings, seeds=(0, 1))
    for index, seed in enumerate((0, 1)):
        alone = run(task, Record(create_folder(tmp_path, "one", "0" * 8)), settings, seeds=(seed,))
        for mine, theirs in zip(
            jax.tree.leaves(alone.replica.state.params), jax.tree.leaves(together.replica.state.params), strict=True
        ):
            np.testing.assert_allclose(mine, theirs[index], atol=1e-5, rtol=0)
        for name, value in alone.position.final.items():
            assert value == pytest.approx(together.position.final[name][index], abs=1e-5)


def test_best_state_is_the_one_whose_metrics_are_reported(task, whole):
    outcome, record = whole
    values = [row["metrics"]["loss"] for row in lines(record) if row["split"] == "validation"]
    assert outcome.position.final["validation/loss"] == min(values)
    split = jax.tree.map(jnp.asarray, task.data.splits["validation"])
    best = float(task.evaluate(outcome.best.state, split)["loss"])
    assert best == pytest.approx(min(values), rel=1e-6)
    stored, meta = checkpoint.load(record.best)
    assert meta["final"] == outcome.position.final
    assert any("params" in name for name in stored)


def drifting(task, improve_until):
    """A task whose monitored metric improves up to a step and then worsens."""

    def evaluate(state, split):
        del split
        step = state.optimizer[0].count.astype(jnp.float32)
        return {"distance": jnp.abs(step - improve_until)}

    return dataclasses.replace(task, evaluate=evaluate)


def test_early_stop_keeps_the_best(task, record):
    settings = RunConfig(steps=1000, eval_every=10, monitor="validation/distance", mode="min", patience=3)
    outcome = run(drifting(task, 20.0), record, settings)
    assert outcome.status == "done"
    assert outcome.position.step == 50
    assert outcome.position.final["validation/distance"] == 0.0
    assert int(outcome.best.state.optimizer[0].count) == 20


def test_step_that_is_not_finite_is_named_with_its_leaf(task, record):
    def step(state, batch, key):
        state, metrics = task.step(state, batch, key)
        bad = state.optimizer[0].count == 41
        layer = state.params["dense1"]
        weight = layer["weight"].at[0, 0].set(jnp.where(bad, jnp.nan, layer["weight"][0, 0]))
        params = state.params | {"dense1": layer | {"weight": weight}}
        return state.replace(params=params), metrics

    with pytest.raises(NonFiniteError) as error:
        run(dataclasses.replace(task, step=step), record)
    assert "step 41: not finite" in str(error.value)
    assert "state.params['dense1']['weight']: 1 values" in str(error.value)
    assert "metrics of step 42: accuracy, loss" in str(error.value) or "metrics of step 42: loss" in str(error.value)


def test_interruption_leaves_a_checkpoint_that_resumes(task, record, whole):
    asked = Interruption()
    asked.signal = 15
    outcome = run(task, record, interruption=asked)
    assert (outcome.status, asked.exit_code) == ("interrupted", 143)
    assert 0 < outcome.position.step < 60
    assert checkpoint.fingerprint(run(task, record).replica) == checkpoint.fingerprint(whole[0].replica)


def test_a_damaged_latest_checkpoint_falls_back_to_the_one_before(task, record, whole):
    settings = dataclasses.replace(SETTINGS, keep=3)
    run(task, record, settings, until=50)
    latest = record.checkpoints()[0]
    latest.write_bytes(latest.read_bytes()[:-10])
    resumed = run(task, record, settings)
    assert checkpoint.fingerprint(resumed.replica) == checkpoint.fingerprint(whole[0].replica)
    assert lines(record) == lines(whole[1])


def test_resume_refuses_what_does_not_belong_together(task, record):
    run(task, record, until=5)
    with pytest.raises(CheckpointError, match="belongs to config hash, not to other"):
        Runner(task, SETTINGS, (0,), record, config_hash="other").restore()


def test_resume_without_a_checkpoint_starts_again(task, record, whole):
    record.metrics.write_text('{"step": 7}\n')
    runner = Runner(task, SETTINGS, (0,), record)
    runner.restore()
    assert checkpoint.fingerprint(runner.run().replica) == checkpoint.fingerprint(whole[0].replica)
    assert lines(record) == lines(whole[1])


def test_resume_refuses_when_every_checkpoint_is_damaged(task, record):
    run(task, record, until=5)
    for path in record.checkpoints():
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"cannot resume: .*not a chainlab checkpoint"):
        Runner(task, SETTINGS, (0,), record, config_hash="hash").restore()


def test_monitor_must_exist(task, record):
    with pytest.raises(UsageError, match="with a split of this task: validation"):
        Runner(task, dataclasses.replace(SETTINGS, monitor="test/loss"), (0,), record)
    with pytest.raises(UsageError, match="evaluation gives validation/accuracy, validation/loss"):
        run(task, record, dataclasses.replace(SETTINGS, monitor="validation/speed"))


def test_a_game_and_a_counter_are_tasks_too(record):
    """Nothing but the four functions is needed: two players, integer state, no parameters, no splits."""

    def step(state, batch, key):
        x, y, count = state
        return (x - 0.1 * y, y + 0.1 * x, count + 1), {"radius": jnp.hypot(x, y)}

    game = Task(
        init=lambda key: (jnp.float32(1), jnp.float32(0), jnp.int32(0)),
        step=step,
        evaluate=lambda state, split: {},
        data=data.sampled(lambda key: ()),
    )
    outcome = run(game, record, RunConfig(steps=10, log_every=5))
    assert int(outcome.replica.state[2]) == 10
    assert [row["step"] for row in lines(record)] == [5, 10]


def test_step_metrics_must_be_scalars(task, record):
    vector = dataclasses.replace(task, step=lambda s, b, k: (s, {"norms": jnp.ones(3)}))
    with pytest.raises(UsageError, match=r"'norms' must be a scalar, got shape \(3,\)"):
        run(vector, record)
