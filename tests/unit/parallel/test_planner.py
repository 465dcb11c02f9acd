"""The planner: counts against hand calculation, and memory against XLA's own plan."""

import jax
import jax.numpy as jnp
import pytest
from chainlab.experiments.transformer import DataConfig, TransformerConfig, transformer

from chainlab.errors import UsageError
from chainlab.lab.memory import shapes
from chainlab.lab.plan import Hardware, compiled_memory, fill, plan, small_meshes
from chainlab.parallel import MeshConfig, arrange, product_flops, step_traffic
from chainlab.transformer import Architecture, Optimization

pytestmark = pytest.mark.usefixtures("standard_promotion")
TOKENS = DataConfig(source="random", vocabulary=512)


def test_products_are_counted_through_scans_and_derivatives():
    def chain(weights, x):
        return jnp.sum(jax.lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x, weights)[0])

    weights, x = jnp.zeros((5, 4, 4)), jnp.zeros((3, 4))
    assert product_flops(chain, weights, x) == 5 * 2 * 3 * 4 * 4
    assert product_flops(jax.grad(chain, (0, 1)), weights, x) == 3 * 5 * 2 * 3 * 4 * 4
    kernel, image = jnp.zeros((3, 3, 2, 7)), jnp.zeros((1, 8, 8, 2))
    layout = ("NHWC", "HWIO", "NHWC")
    convolve = lambda x: jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)  # noqa: E731
    assert product_flops(convolve, image) == 2 * 8 * 8 * 7 * (3 * 3 * 2)
    branch = lambda x: jax.lax.cond(x[0, 0] > 0, lambda: x @ x.T, lambda: jnp.zeros((3, 3)))  # noqa: E731
    assert product_flops(branch, x) == 2 * 3 * 3 * 4


def test_traffic_is_that_of_ring_collectives():
    leaf = lambda *sizes: jax.ShapeDtypeStruct(sizes, jnp.float32)  # noqa: E731
    params = {"blocks": {"up": {"weight": leaf(2, 8, 32)}, "down": {"weight": leaf(2, 32, 8)}}}
    tokens = {"x": jax.ShapeDtypeStruct((16, 4), jnp.int32), "y": jax.ShapeDtypeStruct((16, 4), jnp.int32)}
    whole = 2 * 2 * 8 * 32 * 4

    def traffic(**sizes):
        config = MeshConfig(**sizes)
        return step_traffic(arrange(config, params, tokens, abstract=True), params, tokens)

    assert traffic(data=4) == {"data": 2 * 3 / 4 * whole}
    assert traffic(fsdp=4) == {"fsdp": 3 * 3 / 4 * whole}
    params["head"] = {"weight": leaf(8, 4)}
    assert traffic(fsdp=4) == {"fsdp": 3 * 3 / 4 * whole + 2 * 3 / 4 * (8 * 4 * 4)}
    del params["head"]
    assert traffic(data=2, tensor=2) == {"data": 2 / 2 * whole / 2, "tensor": 2 * (2 * 2 / 2) * (8 * 4) * 8 * 4}
    assert traffic(pipeline=2, micro_batches=4) == {"pipeline": 2 * 5 / 4 * (16 * 4) * 8 * 4}


def test_a_mesh_is_stretched_to_the_devices():
    assert fill(MeshConfig(data=3, tensor=4, fsdp=2), 1024).sizes["data"] == 128
    with pytest.raises(UsageError, match="has 3 devices, wanted a divisor"):
        fill(MeshConfig(tensor=3), 1024)
    small = small_meshes(MeshConfig(data=64, fsdp=256, tensor=2))
    assert small == [MeshConfig(data=2, fsdp=2, tensor=2), MeshConfig(data=2, fsdp=4, tensor=2)]
    assert small_meshes(MeshConfig(data=4, fsdp=4)) == [MeshConfig(data=2, fsdp=4)]


@pytest.mark.slow
@pytest.mark.parametrize("mesh", [{"data": 8}, {"data": 4, "tensor": 2}, {"fsdp": 8}])
def test_the_planned_memory_is_what_xla_plans(mesh):
    shape = Architecture(layers=8, heads=8, dim=256, context=64, execution="scan", remat="full")
    steps = Optimization(name="adamw", learning_rate=1e-3, warmup=5, steps=100)
    task = transformer(TransformerConfig(model=shape, optimizer=steps, batch_size=128))
    config = MeshConfig(**mesh)
    actual = compiled_memory(task, config, *shapes(task))
    found = plan(task, config, Hardware())
    assert found.state_bytes + found.batch_bytes == pytest.approx(actual["argument"], rel=0.01)
    assert found.total_bytes == pytest.approx(actual["total"], rel=0.1)
    assert found.fits
    assert not plan(task, config, Hardware(memory=1e6)).fits
    tokens = 128 * 64
    assert found.flops == pytest.approx(8 * found.parameters * tokens, rel=0.2)  # forward, again, and backward


@pytest.mark.slow
@pytest.mark.parametrize("remat", ["none", "full"])
def test_a_device_of_fsdp_works_on_its_own_examples_and_one_whole_layer(remat):
    """Neither the activations of the whole batch nor the gathered matrices of every layer are alive."""
    shape = Architecture(layers=4, heads=4, dim=64, context=32, execution="scan", remat=remat)
    task = transformer(TransformerConfig(data=TOKENS, model=shape, batch_size=64))
    temporary = {
        axis: compiled_memory(task, MeshConfig(**{axis: 8}), *shapes(task))["temporary"] for axis in ("data", "fsdp")
    }
    blocks = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes(task)[0].params["blocks"]))
    assert temporary["fsdp"] < temporary["data"] - blocks / 2  # most of the gradients are with the other devices
