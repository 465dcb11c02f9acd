"""The experiment end to end: a text, a run, its panels, and generation from the run's folder."""

import json

import jax
import numpy as np
import pytest
from click.testing import CliRunner

from chainlab.cli.generate import command, pieces
from chainlab.errors import UsageError
from chainlab.lab.config import load
from chainlab.lab.run import start
from chainlab.transformer import digit_sequences, fixed_batches, text_source

pytestmark = pytest.mark.usefixtures("standard_promotion")  # optax counts in integers

TEXT = "the quick brown fox jumps over the lazy dog; été\n" * 60
TINY = """
experiment: transformer
seeds: 2
data: {source: SOURCE, evaluation_batches: 2}
model: {layers: 2, heads: 2, dim: 16, context: 16, pattern: [global, linear], experts: {count: 2, active: 1}}
optimizer: {name: adamw, learning_rate: 1e-2, warmup: 2, steps: 20}
batch_size: 8
run: {steps: 20, log_every: 10}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    (folder / "fox.txt").write_text(TEXT)
    (folder / "tiny.yaml").write_text(TINY.replace("SOURCE", str(folder / "fox.txt")))
    with jax.numpy_dtype_promotion("standard"):
        return start(load(folder / "tiny.yaml"), root=folder, quiet=True, command=["test"])


@pytest.mark.slow
def test_a_run_learns_and_generation_continues_its_text(run):
    rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    losses = [np.mean(row["metrics"]["cross_entropy"]) for row in rows if row["split"] == "train"]
    assert losses[-1] < 0.9 * np.log(len(set(TEXT)))
    assert losses[-1] < losses[0]
    arguments = [str(run.folder), "--prompt", "the ", "--tokens", "30", "--json", "--member", "1"]
    first, again = (CliRunner().invoke(command, arguments, catch_exceptions=False) for _ in range(2))
    assert first.exit_code == 0
    answer = json.loads(first.stdout)
    assert len(answer["text"]) == 30
    assert set(answer["text"]) <= set(TEXT)
    assert first.stdout == again.stdout
    streamed = CliRunner().invoke(command, [str(run.folder), "--prompt", "the ", "--tokens", "30", "--member", "1"])
    assert streamed.stdout == "the " + answer["text"] + "\n"


@pytest.mark.slow
def test_bad_requests_say_what_was_wanted(run):
    cases = {
        ("--prompt", "QUICK"): "'Q' is not one of its",
        ("--member", "2"): "2 seeds, counted from 0: there is no member 2",
        ("--prompt", ""): "at least one token",
    }
    for arguments, message in cases.items():
        result = CliRunner().invoke(command, [str(run.folder), *arguments])
        assert message in str(result.exception)
    result = CliRunner().invoke(command, [str(run.folder.parent)])
    assert "is not a run folder" in str(result.exception)


@pytest.mark.slow
def test_panels_show_attention_gradient_and_a_sample(run):
    task = load(run.folder / "config.yaml").task()
    attention, gradient, sample = task.panels(task.init(jax.random.key(0)), run.folder)
    assert len(attention.figure.axes) == 2  # two heads of the one softmax layer
    assert [row["layer"] for row in gradient.rows] == [0, 1]
    assert all(0 < row["experts"] <= 2 for row in gradient.rows)
    assert len(sample.rows[0]["text"]) == 216


def test_pieces_wait_for_the_last_byte_of_a_character():
    class Bytes:
        def decode(self, tokens):
            return bytes(tokens.tolist()).decode(errors="replace")

    assert list(pieces(Bytes(), iter("aé€".encode()))) == ["a", "é", "€"]
    assert list(pieces(Bytes(), iter(b"\xe2"))) == ["\N{REPLACEMENT CHARACTER}"]


def test_text_is_split_as_nanogpt_does_and_held_out_text_is_not_trained_on(tmp_path):
    file = tmp_path / "numbers.txt"
    file.write_text("".join(chr(256 + i) for i in range(1000)))
    data, text = text_source(str(file), length=10, batch_size=4, evaluation_batches=30)
    assert len(text.train) == 900
    assert data.splits["validation"]["x"].shape == (30, 4, 10)
    assert data.splits["validation"]["x"].min() >= 900
    np.testing.assert_array_equal(data.splits["validation_20"]["y"], data.splits["validation"]["y"][:20])
    held, _ = text_source(str(file), length=10, held_out=0.1, evaluation_batches=30)
    seen = held.splits["validation"]
    assert seen["x"].min() >= 810
    assert seen["y"].max() < 900
    assert len(held.arrays) == 810
    batch = held.batch(jax.random.key(0), 3)
    np.testing.assert_array_equal(batch["y"], batch["x"] + 1)


def test_a_text_shorter_than_a_context_is_refused():
    with pytest.raises(UsageError, match="poem: the validation text holds 5 tokens, wanted at least 11"):
        fixed_batches(np.arange(5), 2, 3, 10, name="poem: the validation text")


def test_byte_pairs_are_learned_and_reversible(tmp_path):
    pytest.importorskip("tokenizers")
    file = tmp_path / "fox.txt"
    file.write_text(TEXT)
    _, text = text_source(str(file), tokens="bpe", vocabulary=300, length=8, evaluation_batches=1)
    tokens = text.encode("the lazy été")
    assert text.decode(tokens) == "the lazy été"
    assert len(tokens) < 8
    assert 256 < len(text.vocabulary) <= 300


@pytest.mark.slow
def test_digits_are_grey_levels_then_a_label():
    data = digit_sequences(5)
    batch = data.batch(jax.random.key(0), 0)
    assert batch["x"].shape == batch["y"].shape == (5, 64)
    assert batch["x"].max() <= 16
    assert np.all((batch["y"][:, -1] >= 17) & (batch["y"][:, -1] <= 26))
    assert data.splits["test"]["x"].shape == (6, 60, 64)


def test_packaged_configs_are_valid():
    from chainlab.lab.config.locate import names

    found = [name for name in names() if name.startswith("transformer/")]
    assert {"transformer/digits", "transformer/shakespeare", "transformer/shakespeare_fast"} <= set(found)
    for name in found:
        assert load(name).experiment.name == "transformer"
