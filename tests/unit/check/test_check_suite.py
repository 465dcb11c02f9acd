"""The planted mistakes and the controls: a fast sample, and all of them."""

import pytest
from chainlab.experiments.benchmarks.controls import correct
from chainlab.experiments.benchmarks.gradients_check import caught
from chainlab.experiments.benchmarks.mistakes import planted
from chainlab.experiments.benchmarks.mutations import control, mutant

import chainlab

FAST_MISTAKES = (
    "missing factor 3 (x^3)",
    "one of 30 off by 0.1 %",
    "one of 20,000 off by 1 %",
    "broadcast bias takes the first row",
    "matmul weight gradient transposed",
    "bias behind round",
    "undeclared surrogate spike",
    "nan through where (sqrt)",
    "cancellation in float32",
    "second derivative stopped",
    "wrong only away from the arguments",
    "residual of the neighbour",
    "surrogate of another width",
)
FAST_CONTROLS = (
    "relu at its kink",
    "maximum with ties",
    "cast through bfloat16",
    "surrogate spike with its relaxation",
    "scales from 1e-8 to 1e8",
    "integer and static leaves",
    "while, forward mode",
    "complex input",
)


def run(case):
    import jax

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return chainlab.check(case.f, *case.args, **case.options)


def cases(make, names=None):
    import jax

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        made = make()
    found = [case for case in made if names is None or case.name in names]
    assert names is None or len(found) == len(names)
    return [pytest.param(case, id=case.name) for case in found]


@pytest.mark.parametrize("case", cases(planted, FAST_MISTAKES))
def test_a_planted_mistake_is_found_in_its_place_and_named(case):
    report = run(case)
    assert caught(case, report), report
    assert not case.kinds or any(f.kind in case.kinds for f in report.findings), report


@pytest.mark.parametrize("case", cases(correct, FAST_CONTROLS))
def test_a_correct_derivative_is_left_alone(case):
    report = run(case)
    assert report.ok, report


@pytest.mark.slow
def test_every_planted_mistake_and_every_control():
    missed = [p.values[0].name for p in cases(planted) if not caught(p.values[0], run(p.values[0]))]
    alarms = [p.values[0].name for p in cases(correct) if not run(p.values[0]).ok]
    assert len(missed) <= 0.05 * len(cases(planted)), missed
    assert len(alarms) <= 1, alarms


@pytest.mark.slow
def test_random_mistakes_that_the_checker_was_not_written_beside():
    import jax

    drawn = found = alarms = 0
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for seed in range(1000, 1030):
            made = mutant(seed)
            if made is not None:
                drawn += 1
                found += caught(made[0], run(made[0]), may=made[1])
            alarms += not run(control(seed)).ok
    assert drawn >= 20
    assert found >= 0.95 * drawn
    assert alarms <= 1
