"""Laws of every derivative that a shipped experiment names: `explain` is `jax.grad`, and `check` finds it right."""

import functools
from pathlib import Path

import jax
import numpy as np
import pytest
from derivatives import error, imbalance

import chainlab
from chainlab.cli.functions import subjects
from chainlab.errors import MissingDataError
from chainlab.lab.config import load
from chainlab.lab.subjects import check_subject

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("standard_promotion")]

CONFIGS = Path(__file__).parents[2] / "configs"
# Each experiment at a size at which every coordinate can be differenced, in its variants of derivative.
SMALL = {
    "mlp": ("mlp/digits", "model.hidden=[16]", "batch_size=8"),
    "transformer": (
        "transformer/digits",
        "model.layers=1",
        "model.dim=16",
        "model.heads=2",
        "model.hidden=16",
        "batch_size=2",
    ),
    "transformer of experts": (
        "transformer/experts",
        "data.source=digits",
        "model.layers=1",
        "model.dim=16",
        "model.heads=2",
        "model.hidden=16",
        "batch_size=2",
    ),
    "spiking": ("spiking/digits", "model.hidden=[8]", "batch_size=4", "encoder.steps=6"),
    "spiking timing": ("spiking/timing", "model.hidden=[8]", "batch_size=4"),
    "gan": ("gan/ring8", "batch_size=16", "networks.generator=[8]", "networks.critic=[8]", "networks.frequencies=4"),
    "quantum": ("quantum/digits", "batch_size=4"),
    "eigensolver": ("quantum/hydrogen",),
    "barren plateau": ("quantum/barren_plateau",),
    "federated": ("federated/digits", "hidden=[8]"),
    "ego motion": ("ego_motion/comma2k19", "seconds=4"),
    "deep": ("deep/smoke", "chain.depth=5", "chain.width=8"),
    "deep transformer": ("deep/transformer_1000", "chain.depth=3", "batch_size=2"),
    "driving": (
        "driving/smoke",
        "policy.fusion=concatenation",
        "policy.dim=4",
        "policy.hidden=4",
        "batch_size=2",
        "subsets=false",
    ),
    "analytic_policy_gradient": ("driving/analytic_policy_gradient", "worlds=1", "ticks=1", "hidden=4"),
    "parallel": ("parallel/smoke", "hidden=[8]", "batch_size=16"),
    "phase_diagram": ("deep/phase_diagram", "depths=[3,4]", "sigma_w=[1.0,1.5]"),
}
TABLE = pytest.mark.parametrize("name", SMALL)
# A filter's likelihood divides by variances of 1e-6 and less: float32 shows its rounding, float64 agrees to 1e-12.
ROUNDING = {"ego motion": 1e-4}
# Through steering and road the terms of an adjoint nearly cancel: they are compared with the size of the terms.
CANCELLING = {"analytic_policy_gradient"}


@functools.cache
def named(name):
    if name == "eigensolver":
        pytest.skip("JAX keeps a double excitation's constants in one precision: test_problems.py checks it apart")
    config, *overrides = SMALL[name]
    try:
        return subjects(config, overrides)
    except MissingDataError as error:
        pytest.skip(str(error))


def double(tree):
    real = lambda leaf: jax.numpy.issubdtype(leaf.dtype, jax.numpy.floating)  # noqa: E731
    return jax.tree.map(lambda leaf: leaf.astype(np.float64) if real(leaf) else leaf, tree)


def test_every_shipped_experiment_is_in_the_table():
    shipped = {load(str(path)).experiment.reference for path in CONFIGS.glob("[!_]*/*.yaml")}
    assert shipped <= {load(config).experiment.reference for config, *_ in SMALL.values()}


@TABLE
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_explanation_is_the_gradient(name, dtype):
    found, batch, key = named(name)
    with jax.enable_x64(dtype == "float64"):
        tolerance = 1e-12 if dtype == "float64" else ROUNDING.get(name, 1e-6)
        for subject in found.values():
            params, data = (double(t) if dtype == "float64" else t for t in (subject.params, batch))

            def value(params, objective=subject.objective, data=data):
                return objective(params, data, key)[0]

            graph = chainlab.explain(value)(params)
            assert error(graph.gradients, jax.grad(value)(params)) <= tolerance
            assert imbalance(graph, cancelling=name in CANCELLING) <= tolerance


@TABLE
def test_every_derivative_is_right_or_declared(name):
    found, batch, key = named(name)
    for subject in found.values():
        report = check_subject(subject, batch, key)
        assert report.ok, report
