"""`explain` against `jax.grad` and `jax.vjp` on every kind of program."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from derivatives import error, imbalance

import chainlab
from chainlab import nn


@jax.custom_vjp
def spike(x):
    return (x > 0).astype(x.dtype)


spike.defvjp(lambda x: (spike(x), x), lambda x, g: (g / (1 + jnp.abs(x)) ** 2,))


@jax.custom_jvp
def soft(x):
    return jnp.log1p(jnp.exp(x))


soft.defjvp(lambda primals, tangents: (soft(*primals), jax.nn.sigmoid(primals[0]) * tangents[0]))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def pair(x, y, scale):
    return x * y * scale, x + y


pair.defvjp(
    lambda x, y, scale: (pair(x, y, scale), (x, y)),
    lambda scale, saved, g: (g[0] * saved[1] * scale + g[1], g[0] * saved[0] * scale + g[1]),
)


def attention(params, x):
    query, key, value = (x @ params[name] for name in "qkv")
    weights = jax.nn.softmax(query @ key.swapaxes(-1, -2) / 3.0, axis=-1)
    return jnp.mean(jnp.square(weights @ value + x))


def recurrent(params, rows):
    def step(state, row):
        state = jnp.tanh(state @ params["w"] + row @ params["u"])
        return state, jnp.sum(state)

    state, sums = jax.lax.scan(step, jnp.zeros(3, rows.dtype), rows, reverse=True)
    return jnp.sum(jnp.square(state)) + jnp.mean(sums)


def normal(seed, *shape, dtype=jnp.float32):
    return jax.random.normal(jax.random.key(seed), shape, dtype)


def cases(dtype):
    net = nn.mlp([3, 4, 1], activation="gelu", dtype=dtype)
    conv = nn.sequential({"conv": nn.convolution(2, 3, (3, 3), dtype=dtype), "relu": nn.activation("relu")})
    draw = functools.partial(normal, dtype=dtype)
    key = jax.random.key(1)
    x = draw(2, 4, 3)
    weights = {"w": draw(3, 3, 3), "u": draw(4, 2, 3)}
    yield "mlp", lambda p, x: jnp.mean(jnp.square(net.apply(p, x))), (net.init(key), x)
    yield "convolution", lambda p, x: jnp.sum(jnp.square(conv.apply(p, x))), (conv.init(key), draw(5, 1, 4, 4, 2))
    yield "attention", attention, ({n: draw(i, 3, 3) for i, n in enumerate("qkv")}, x)
    yield "scan unrolled", recurrent, (weights, draw(6, 3, 2))
    yield "scan folded", recurrent, (weights, draw(6, 40, 2))
    yield "custom rules", lambda x: jnp.sum(spike(x) * soft(x) + jax.nn.relu(x)), (x,)
    yield "two outputs of a custom rule", lambda x, y: jnp.sum(jnp.stack(pair(x, y, 3.0)) ** 2), (draw(7), draw(8))
    yield "cond", lambda x: jax.lax.cond(x > 0, jnp.sin, lambda x: x * x, x), (-(draw(7) ** 2),)
    yield "switch", lambda x: jax.lax.switch(2, [jnp.sin, jnp.cos, jnp.exp], x), (draw(7),)
    yield (
        "remat, vmap and jit",
        lambda x: jnp.sum(jax.checkpoint(jax.jit(jax.vmap(lambda r: jnp.sin(r) * r.sum())))(x)),
        (x,),
    )
    yield "split", lambda x: jnp.sum(jnp.multiply(*jnp.split(x, 2))), (x,)
    yield "one of two outputs", lambda x: jnp.sum(jnp.split(x, 2)[0]), (x,)
    yield "integers", lambda table, rows: jnp.sum(jnp.square(table[rows])), (x, jnp.array([1, 2, 2]))
    yield "random key", lambda p, key: jnp.sum(nn.dropout(0.5).apply({}, p, key=key) ** 2), (x, key)
    yield "sort", lambda x: jnp.sum(jnp.sort(x, axis=0) * jnp.arange(3, dtype=x.dtype)[None]), (x,)
    yield "stopped", lambda x: jnp.sum(jax.lax.stop_gradient(x) * x + jnp.floor(x)), (x,)
    yield "identity", lambda x: x, (draw(7),)
    yield "unused leaf", lambda tree: tree["a"] * 2, ({"a": draw(7), "b": x},)
    yield "second derivative", lambda x: jnp.sum(jax.grad(lambda x: jnp.sum(jnp.sin(x) ** 2))(x) * x), (x,)


def agree(f, args, tolerance):
    explain = chainlab.explain(f)
    graph = explain(*args)
    value, wanted = jax.value_and_grad(f, argnums=tuple(range(len(args))), allow_int=True)(*args)
    wanted = wanted[0] if len(args) == 1 else wanted
    assert error(graph.value, value) <= tolerance
    assert jax.tree.structure(graph.gradients) == jax.tree.structure(wanted)
    assert error(graph.gradients, wanted) <= tolerance
    assert imbalance(graph) <= tolerance
    return explain, wanted


NAMES = [name for name, *_ in cases(jnp.float32)]
_SLOW = ("convolution", "scan unrolled")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in _SLOW else ()) for n in NAMES])
def test_gradients_equal_jax_grad(name):
    _, f, args = next(case for case in cases(jnp.float32) if case[0] == name)
    agree(f, args, 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_gradients_equal_jax_grad_in_float64_and_compiled(name, x64):
    _, f, args = next(case for case in cases(jnp.float64) if case[0] == name)
    explain, wanted = agree(f, args, 1e-12)
    statistics = jax.jit(explain.statistics)(*args)
    assert error(statistics.gradients, wanted) <= 1e-12


def test_cotangent_of_several_outputs_is_jax_vjp():
    def f(x, y):
        return {"product": x * y, "sum": jnp.sum(x), "index": jnp.argmax(x)}

    x, y = normal(0, 3), normal(1, 3)
    cotangent = {"index": 0, "product": normal(2, 3), "sum": 2.0}
    graph = chainlab.explain(f, cotangent)(x, y)
    _, vjp = jax.vjp(lambda x, y: (x * y, jnp.sum(x)), x, y)
    assert error(graph.gradients, vjp((cotangent["product"], jnp.float32(2.0)))) <= 1e-6
    assert imbalance(graph) <= 1e-6


def test_complex_argument_is_jax_vjp():
    z = jnp.array([1.0 + 2.0j, -0.5 + 0.3j])

    def f(z):
        return jnp.sum(jnp.abs(z * z) + jnp.real(jnp.exp(z)))

    graph = chainlab.explain(f)(z)
    assert error(graph.gradients, jax.grad(f)(z)) <= 1e-6
    assert imbalance(graph) <= 1e-6


@pytest.mark.parametrize("unroll", [3, 32])
def test_while_with_concrete_trip_count_where_jax_grad_refuses(unroll):
    def f(x, factor):
        return jax.lax.while_loop(lambda s: s[1] < 100.0, lambda s: (s[0] + 1, s[1] * factor), (0, x))[1]

    with pytest.raises(ValueError, match="Reverse-mode"):
        jax.grad(f)(1.0, 1.5)
    graph = chainlab.explain(f, unroll=unroll)(1.0, 1.5)
    trips = 12  # 1.5 ** 12 is the first power above 100
    assert float(graph.value) == pytest.approx(1.5**trips, rel=1e-6)
    np.testing.assert_allclose(graph.gradients, (1.5**trips, trips * 1.5 ** (trips - 1)), rtol=1e-6)


def test_folded_loop_has_statistics_of_every_iteration():
    graph = chainlab.explain(lambda x: jax.lax.fori_loop(0, 50, lambda i, x: 1.1 * x, x))(2.0)
    (loop,) = [node for node in graph.nodes if node.iterations]
    np.testing.assert_allclose(loop.iterations["carry 1"], 2.0 * 1.1 ** np.arange(50), rtol=1e-5)
    np.testing.assert_allclose(loop.iterations["adjoint of carry 1"], 1.1 ** np.arange(50, 0, -1.0), rtol=1e-5)


def test_argnums_and_aux_are_those_of_jax_grad():
    def f(x, y, n):
        return jnp.sum(x * y) ** n, {"mean": jnp.mean(x)}

    args = normal(0, 3), normal(1, 3), 2
    for argnums in (0, 1, (1, 0)):
        graph = chainlab.explain(f, argnums=argnums, has_aux=True)(*args)
        wanted, aux = jax.grad(f, argnums=argnums, has_aux=True)(*args)
        assert jax.tree.structure(graph.gradients) == jax.tree.structure(wanted)
        assert error(graph.gradients, wanted) <= 1e-6
        assert error(graph.aux, aux) <= 1e-6


@pytest.mark.parametrize("name", ["mlp", "attention"])
def test_statistics_compile_into_one_program(name):
    _, f, args = next(case for case in cases(jnp.float32) if case[0] == name)
    explain = chainlab.explain(f)
    statistics, graph = jax.jit(explain.statistics)(*args), explain(*args)
    adjoints = {
        node.name: node.adjoint for node in graph.nodes[:-1] if node.active and not isinstance(node.value, tuple)
    }
    assert set(statistics.nodes) == set(adjoints)
    assert len(statistics.arrays) < len(adjoints)
    for node, adjoint in statistics.adjoints.items():
        assert error(adjoint, adjoints[node]) <= 1e-5, node
    edges = [edge for edge in graph.edges if edge.active and edge.target.kind != "output"]
    assert statistics.edges == tuple((edge.source.name, edge.target.name) for edge in edges)
    np.testing.assert_allclose(statistics.contributions, [edge.norm for edge in edges], rtol=1e-5)


def test_public_name_is_the_function():
    import chainlab.autodiff
    import chainlab.autodiff.explanation.explainer

    assert inspect.isfunction(chainlab.explain)
    assert chainlab.autodiff.explain is chainlab.explain
