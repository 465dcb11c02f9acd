"""Every memory plan computes the same chain; budgets hold as XLA plans them; bad chains are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab import deep
from chainlab.deep.budget import temporary_mebibytes
from chainlab.errors import UsageError

WIDTH, BATCH = 16, 32


def branch(p, h):
    return p["scale"] * jnp.tanh(h @ p["weight"] + jnp.broadcast_to(p["bias"], h.shape))


def layer(p, h):
    return h + branch(p, h)


def setup(depth, dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(0), 3)
    params = {
        "weight": jax.random.normal(keys[0], (depth, WIDTH, WIDTH), dtype) / WIDTH**0.5,
        "bias": 0.1 * jax.random.normal(keys[1], (depth, WIDTH), dtype),
        "scale": jnp.full(depth, depth**-0.5, dtype),
    }
    return params, jax.random.normal(keys[2], (BATCH, WIDTH), dtype)


def value_and_grad(memory, function=layer):
    def loss(params, x):
        y = deep.deep(function, params, x, memory=memory)
        return sum(jnp.mean(jnp.square(leaf)) for leaf in jax.tree.leaves(y))

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))


def assert_close(got, want, rtol):
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol * float(jnp.max(jnp.abs(other))))


@pytest.mark.parametrize("memory", ["sqrt", "budget: 0.5 MiB"])
def test_recomputing_changes_no_gradient(memory):
    params, x = setup(101)  # a prime: the last group is shorter
    want = value_and_grad("store")(params, x)
    assert_close(value_and_grad(memory)(params, x), want, 1e-6)


def test_the_chain_is_a_loop_over_its_layers():
    params, x = setup(7)
    h = x
    for index in range(7):
        h = layer(jax.tree.map(lambda p, i=index: p[i], params), h)
    np.testing.assert_allclose(deep.deep(layer, params, x), h, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_reversible_gradient_is_that_of_the_stored_streams(x64):
    params, x = setup(50, jnp.float64)
    pair = (x, 2 * x)

    def loss(function):
        return lambda p, a, b: sum(jnp.sum(jnp.sin(y)) for y in function(p, (a, b)))

    reversible = loss(lambda p, pair: deep.deep(branch, p, pair, memory="reversible"))
    stored = loss(lambda p, pair: deep.streams(branch, p, pair))
    got = jax.jit(jax.grad(reversible, (0, 1, 2)))(params, *pair)
    want = jax.jit(jax.grad(stored, (0, 1, 2)))(params, *pair)
    assert_close(got, want, 1e-10)
    step = 1e-6  # and finite differences of one coordinate of each
    for name in params:
        index = (3,) + (1,) * (params[name].ndim - 1)
        moved = [{**params, name: params[name].at[index].add(s)} for s in (step, -step)]
        slope = (reversible(moved[0], *pair) - reversible(moved[1], *pair)) / (2 * step)
        np.testing.assert_allclose(got[0][name][index], slope, rtol=1e-6)


@pytest.mark.slow
def test_memory_as_xla_plans_it():
    """Reversible does not grow with depth, sqrt grows like it, and a budget is kept by fewest recomputations."""
    figures = {}
    for depth in (64, 1024):
        params, x = jax.eval_shape(lambda depth=depth: setup(depth))
        for memory in ("store", "sqrt", "reversible"):
            function = branch if memory == "reversible" else layer
            analysis = value_and_grad(memory, function).lower(params, x).compile().memory_analysis()
            figures[memory, depth] = analysis.temp_size_in_bytes
    assert figures["reversible", 1024] < 1.1 * figures["reversible", 64]
    assert figures["sqrt", 1024] < 6 * figures["sqrt", 64]
    assert figures["store", 1024] > 12 * figures["store", 64]

    previous = 0
    for budget in (8.0, 0.4, 0.25):
        plan = deep.plan(layer, params, x, budget)
        assert plan.mebibytes <= budget
        assert previous <= plan.extra_forwards <= 2
        np.testing.assert_allclose(plan.mebibytes, temporary_mebibytes(layer, params, x, plan.groups))
        previous = plan.extra_forwards
    assert previous >= 1


def test_depth_costs_no_compile_time():
    """The program of 2,000 layers has as many equations as that of 20."""
    sizes = []
    for depth in (20, 2000):
        params, x = jax.eval_shape(lambda depth=depth: setup(depth))
        jaxpr = jax.make_jaxpr(lambda p, h: deep.deep(layer, p, h))(params, x)
        sizes.append(len(str(jaxpr).splitlines()))
    assert sizes[0] == sizes[1]


def test_a_pytree_may_flow_through_a_chain():
    params, x = setup(9)
    pair = {"h": x, "count": jnp.zeros(())}
    for memory in ("store", "sqrt"):
        y = deep.deep(lambda p, s: {"h": layer(p, s["h"]), "count": s["count"] + 1}, params, pair, memory=memory)
        assert y["count"] == 9


def test_bad_chains_say_wanted_and_got():
    params, x = setup(10)
    with pytest.raises(UsageError, match=r"wanted float32\[32, 16\], got float32\[32, 8\]"):
        deep.deep(lambda p, h: h[:, :8], params, x)
    with pytest.raises(UsageError, match=r"\['bias'\] \[9, 16\]"):
        deep.deep(layer, {**params, "bias": params["bias"][:9]}, x)
    with pytest.raises(UsageError, match="no leaves"):
        deep.deep(layer, {}, x)
    with pytest.raises(UsageError, match="got 'budget: 3'"):
        deep.deep(layer, params, x, memory="budget: 3")
    with pytest.raises(UsageError, match=r"budget of 0.001 MiB was wanted, but this chain needs at least 0\.\d\d MiB"):
        deep.deep(layer, params, x, memory="budget: 0.001 MiB")
    with pytest.raises(UsageError, match=r"two streams.*got 3"):
        deep.deep(branch, params, (x, x, x), memory="reversible")
