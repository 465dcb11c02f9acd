"""One loss curve, from one device and from eight under every mesh."""

import jax
import numpy as np
import pytest
from chainlab.experiments.mlp import MlpConfig, NetworkConfig, mlp
from chainlab.experiments.transformer import TransformerConfig, transformer

from chainlab.lab.loop import build
from chainlab.lab.sharded import lay_out, shard
from chainlab.optim.config import OptimizerConfig
from chainlab.parallel import MeshConfig
from chainlab.transformer import Architecture, Experts, Optimization

pytestmark = pytest.mark.usefixtures("standard_promotion")
STEPS = 50


@pytest.fixture(scope="module")
def curve():
    """The losses of a task, of one device when there is no mesh; those are kept."""
    tasks = {}

    def losses(name, mesh):
        task = tasks.setdefault(name, TASKS[name]())
        if mesh is None:
            loop = build(task, [0], STEPS)
            return np.asarray(loop.steps(loop.start(), 0, STEPS, task.data.arrays)[1]["loss"])
        layout = lay_out(task, MeshConfig(**mesh))
        with layout.use():
            loop = build(shard(task, layout), [0], STEPS)
            arrays = jax.device_put(task.data.arrays, layout.whole)
            return np.asarray(loop.steps(loop.start(), 0, STEPS, arrays)[1]["loss"])

    kept = {}
    return lambda name, mesh=None: losses(name, mesh) if mesh else kept.setdefault(name, losses(name, None))


def small_mlp():
    optimizer = OptimizerConfig(name="adamw", learning_rate=1e-3)
    return mlp(MlpConfig(model=NetworkConfig(hidden=(64,)), batch_size=64, optimizer=optimizer))


def small_transformer(**changes):
    shape = {"layers": 4, "heads": 4, "dim": 32, "context": 64, "execution": "scan", **changes}
    steps = Optimization(name="adamw", learning_rate=1e-3, warmup=5, steps=100)
    return transformer(TransformerConfig(model=Architecture(**shape), optimizer=steps, batch_size=16))


TASKS = {
    "mlp": small_mlp,
    "transformer": small_transformer,
    "experts": lambda: small_transformer(layers=2, experts=Experts(count=4, active=2)),
}
MESHES = [
    ("mlp", {"data": 2, "fsdp": 2, "tensor": 2}),
    ("mlp", {"pipeline": 4, "sequence": 2}),
    ("transformer", {"fsdp": 8}),
    ("transformer", {"fsdp": 2, "pipeline": 2, "sequence": 2}),
    ("transformer", {"tensor": 4}),
    ("transformer", {"sequence": 8}),
    ("transformer", {"pipeline": 4}),
    ("transformer", {"data": 2, "pipeline": 2, "tensor": 2, "schedule": "1f1b"}),
    ("experts", {"fsdp": 2, "expert": 4}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "mesh"), MESHES)
def test_the_losses_do_not_depend_on_the_mesh(curve, name, mesh):
    want, got = curve(name), curve(name, mesh)
    assert want[-1] < 0.8 * want[0]
    np.testing.assert_allclose(got, want, rtol=1e-5)
