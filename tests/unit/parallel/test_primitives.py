"""Pipelines and ring attention against the plain programs they stand for, with their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from chainlab.errors import UsageError
from chainlab.parallel import MeshConfig, axis_size, one_forward_one_backward, pipeline, ring_attention
from chainlab.parallel.ambient import use
from chainlab.transformer import softmax_attention


def on(**sizes):
    names = tuple(sizes)
    mesh = jax.make_mesh(
        tuple(sizes.values()),
        names,
        axis_types=(AxisType.Auto,) * len(names),
        devices=jax.devices()[: int(np.prod(list(sizes.values())))],
    )
    return use(mesh, MeshConfig(**sizes))


def close(got, want, tolerance=2e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), got, want)


def layer(x, inputs):
    weight, index = inputs
    return x + jnp.tanh(x @ weight) / (1.0 + index.astype(x.dtype))


def last(head, y, targets):
    return jnp.mean((y @ head - targets) ** 2)


@pytest.fixture
def chain(rng):
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    return (draw(4, 6, 6), jnp.arange(4, dtype=jnp.int32)), draw(6, 3), draw(12, 6), draw(12, 3)


def plain(weights, head, x, index, targets):
    y = jax.lax.scan(lambda h, one: (layer(h, one), None), x, (weights, index))[0]
    return last(head, y, targets)


@pytest.mark.parametrize(("stages", "parts"), [(2, 3), pytest.param(4, 6, marks=pytest.mark.slow)])
@pytest.mark.parametrize("schedule", ["1f1b", pytest.param("gpipe", marks=pytest.mark.slow)])
def test_a_pipeline_is_the_chain_and_so_are_its_derivatives(chain, stages, parts, schedule):
    (weights, index), head, x, targets = chain

    def piped(weights, head, x):
        if schedule == "gpipe":
            return last(head, pipeline(layer, (weights, index), x, parts=parts), targets)
        return one_forward_one_backward(layer, last, (weights, index), head, x, targets, parts=parts)

    want = jax.jit(jax.value_and_grad(plain, (0, 1, 2)))(weights, head, x, index, targets)
    with on(pipeline=stages):
        got = jax.jit(jax.value_and_grad(piped, (0, 1, 2)))(weights, head, x)
    close(got, want)


@pytest.mark.slow
def test_one_forward_one_backward_needs_memory_for_stages_and_not_for_micro_batches(rng):
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    weights, index, head = draw(4, 64, 64), jnp.arange(4, dtype=jnp.int32), draw(64, 3)

    def temporary(schedule, parts):
        x, targets = draw(parts * 64, 64), draw(parts * 64, 3)

        def piped(weights):
            if schedule == "gpipe":
                return last(head, pipeline(layer, (weights, index), x, parts=parts), targets)
            return one_forward_one_backward(layer, last, (weights, index), head, x, targets, parts=parts)

        with on(pipeline=2):
            return jax.jit(jax.grad(piped)).lower(weights).compile().memory_analysis().temp_size_in_bytes

    grown = {name: (temporary(name, 32) - temporary(name, 16)) / 16 for name in ("gpipe", "1f1b")}
    assert grown["1f1b"] < 0.6 * grown["gpipe"]  # a micro-batch still has its input, output and cotangent


def test_the_stages_must_divide_the_layers(chain):
    (weights, index), _, x, _ = chain
    with on(pipeline=8), pytest.raises(UsageError, match="8 stages does not divide 4 stacked layers"):
        pipeline(layer, (weights, index), x)


@pytest.mark.parametrize(("window", "heads", "groups"), [(None, 4, 2), pytest.param(5, 2, 2, marks=pytest.mark.slow)])
def test_ring_attention_is_attention(rng, window, heads, groups):
    draw = lambda h: jnp.asarray(rng.normal(size=(2, 16, h, 4)), jnp.float32)  # noqa: E731
    arguments = draw(heads), draw(groups), draw(groups)
    weight = draw(heads)

    def total(attention, *arguments):
        return jnp.sum(weight * attention(*arguments, window=window))

    want = jax.jit(jax.value_and_grad(lambda *a: total(softmax_attention, *a), (0, 1, 2)))(*arguments)
    with on(sequence=4):
        assert axis_size("sequence") == 4
        got = jax.jit(jax.value_and_grad(lambda *a: total(ring_attention, *a), (0, 1, 2)))(*arguments)
    close(got, want)
    assert axis_size("sequence") == 1


def test_a_ring_must_divide_the_sequence():
    x = jnp.zeros((1, 6, 1, 2))
    with on(sequence=4), pytest.raises(UsageError, match="4 devices does not divide a sequence of 6 tokens"):
        ring_attention(x, x, x)
