"""Nodes, edges, local derivatives and paths."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import chainlab


def test_sum_of_a_square_and_a_cube():
    graph = chainlab.explain(lambda x, y: x**2 + y**3)(2.0, 3.0)
    assert [float(g) for g in graph.gradients] == [4.0, 27.0]
    assert [float(graph.node(name).adjoint) for name in "xy"] == [4.0, 27.0]


def test_chain_is_the_product_along_its_path():
    graph = chainlab.explain(lambda x: 5.0 * (1.0 * (2.0 * (3.0 * x))))(0.7)
    (path,) = graph.paths("x")
    assert path.factors == (3.0, 2.0, 1.0, 5.0)
    assert path.product == 30.0 == float(graph.gradients)


def lattice(x, y):
    a, b = jnp.sin(x) * y, jnp.exp(y) + x
    c, d = a * b, a / b
    return c * d + jnp.tanh(c) * x


def enumerate_paths(graph, node):
    if node is graph.output:
        return [1.0]
    edges = [edge for edge in graph.outgoing[node.id] if edge.active]
    return [edge.local.value * rest for edge in edges for rest in enumerate_paths(graph, edge.target)]


@pytest.mark.parametrize("leaf", ["x", "y"])
def test_paths_against_enumeration(leaf):
    graph = chainlab.explain(lattice)(0.3, -1.2)
    products = sorted(enumerate_paths(graph, graph.node(leaf)), key=abs, reverse=True)
    paths = graph.paths(leaf, k=4)
    assert paths.count == len(products) > 4
    np.testing.assert_allclose([path.product for path in paths], products[:4], rtol=1e-6)
    gradient = jax.grad(lattice, argnums="xy".index(leaf))(0.3, -1.2)
    assert paths.total == pytest.approx(float(gradient), rel=1e-6)
    assert sum(products) == pytest.approx(float(gradient), rel=1e-6)
    for path in paths:
        assert path.product == pytest.approx(np.prod(path.factors), rel=1e-12)
        assert all(
            edge.source is a and edge.target is b
            for edge, (a, b) in zip(path.edges, itertools.pairwise(path.nodes), strict=True)
        )


def test_number_of_paths_is_exact_beyond_any_enumeration():
    def doubled(x):
        for _ in range(200):
            x = 0.5 * (x + x)
        return x

    paths = chainlab.explain(doubled)(1.0).paths("x", k=3)
    assert paths.count == 2**200
    assert paths.total == 1.0


def test_elements_of_a_small_array_graph():
    matrix = jnp.array([[1.0, 2.0], [0.0, 3.0]])
    f = lambda x: jnp.sum(jnp.square(matrix @ x))  # noqa: E731
    x = jnp.array([0.5, -1.0])
    graph = chainlab.explain(f)(x)
    paths = graph.paths("x")
    assert paths.weighting == "elements"
    assert paths.count == 3  # the zero of the matrix is no path
    np.testing.assert_allclose(paths.total, jax.grad(f)(x), rtol=1e-6)
    one = graph.paths("x", index=(1,))
    assert one.count == 2
    assert sum(path.product for path in one) == pytest.approx(one.total) == pytest.approx(float(jax.grad(f)(x)[1]))
    assert all(path.indices[0] == (1,) for path in one)


def test_gains_rank_the_paths_of_a_large_graph():
    weight = jax.random.normal(jax.random.key(0), (300, 300))
    graph = chainlab.explain(lambda x: jnp.sum(jnp.tanh(weight @ x) * 2.0))(jnp.ones(300))
    paths = graph.paths("x")
    assert paths.weighting == "gains"
    assert paths.count == 1
    (path,) = paths
    assert path.product == pytest.approx(float(jnp.linalg.norm(graph.gradients)), rel=1e-5)
    assert all(edge.gain <= edge.local.sigma * 1.001 for edge in path.edges)


@jax.custom_vjp
def rotate(x):
    return jnp.roll(x, 1) * jnp.arange(1.0, x.shape[0] + 1)


rotate.defvjp(lambda x: (rotate(x), x.shape[0]), lambda n, g: (jnp.roll(g * jnp.arange(1.0, g.shape[0] + 1), -1),))


def operations():
    draw = lambda seed, *shape: jax.random.normal(jax.random.key(seed), shape)  # noqa: E731
    x = draw(0, 6, 5)
    yield "tanh", jnp.tanh, x
    yield "relu", jax.nn.relu, x
    yield "product on the right", lambda x: x @ draw(1, 5, 4), x
    yield "product on the left", lambda x: draw(1, 4, 6) @ x, x
    yield "batched product", lambda x: jnp.einsum("bij,bjk->bik", x, draw(2, 2, 5, 3)), draw(1, 2, 3, 5)
    yield "sum of rows", lambda x: jnp.sum(x, axis=0), x
    yield "repeat", lambda x: jnp.broadcast_to(x[None], (3, 6, 5)), x
    yield "transpose", jnp.transpose, x
    yield "part", lambda x: x[1:4], x
    yield "rows, some twice", lambda x: x[jnp.array([0, 2, 2, 2])], x
    yield "running sum", lambda x: jnp.cumsum(x, axis=0), x
    yield "custom", rotate, draw(3, 20)
    yield "scalar times array", lambda s: s * x, jnp.float32(2.0)
    yield "large running sum", lambda x: jnp.cumsum(x), draw(4, 400)
    yield "large scan", lambda x: jax.lax.scan(lambda c, _: (jnp.sin(c) * 1.1, None), x, None, 40)[0], draw(4, 12)


@pytest.mark.parametrize("name", [name for name, *_ in operations()])
def test_local_derivative_has_the_size_of_the_jacobian(name):
    _, f, x = next(case for case in operations() if case[0] == name)
    graph = chainlab.explain(f, jnp.ones_like(f(x)))(x)
    (edge,) = [edge for edge in graph.outgoing[0] if edge.active]
    target = edge.target
    dense = np.asarray(jax.jacobian(f)(x)).reshape(-1, max(x.size, 1)) if target is graph.nodes[-2] else None
    if dense is None:
        assert name in ("repeat", "rows, some twice", "scalar times array")
        return
    assert edge.local.sigma == pytest.approx(np.linalg.norm(dense, 2), rel=2e-3)
    assert edge.local.norm == pytest.approx(np.linalg.norm(dense), rel=0.1 if edge.local.estimated else 1e-5)
    assert edge.gain <= edge.local.sigma * 1.001


def test_small_jacobian_is_kept_exactly():
    matrix = jnp.arange(6.0).reshape(2, 3)
    graph = chainlab.explain(lambda x: jnp.sum(matrix @ x))(jnp.array([0.3, 2.0, -1.0]))
    (edge,) = graph.outgoing[0]
    assert edge.local.kind == "jacobian"
    np.testing.assert_array_equal(edge.local.value, matrix)


@jax.custom_vjp
def spike(x):
    return (x > 0).astype(x.dtype)


spike.defvjp(lambda x: (spike(x), x), lambda x, g: (g / (1.0 + jnp.abs(x)) ** 2,))


def test_declared_rule_stands_beside_the_true_derivative():
    graph = chainlab.explain(lambda x: 2.0 * spike(x) + jax.nn.softplus(x) + jax.nn.relu(x))(1.0)
    surrogate = graph.node("spike")
    assert surrogate.kind == "custom_vjp"
    (edge,) = graph.incoming[surrogate.id]
    assert edge.local.value == 0.25
    assert edge.forward_local.value == 0.0
    assert edge.deviation == 1.0
    relu = graph.node("relu")
    assert relu.kind == "custom_jvp"
    (edge,) = graph.incoming[relu.id]
    assert edge.forward_local.value == edge.local.value == 1.0
    assert edge.deviation == 0.0


def test_scopes_and_sources_say_where_a_node_comes_from():
    def f(x):
        with jax.named_scope("encoder"):
            x = jnp.sin(x)
        return jax.lax.scan(lambda c, _: (c * x, None), x, None, 2)[0]

    graph = chainlab.explain(f)(1.0)
    assert graph.node("sin").scope == ("encoder",)
    assert "test_explain_graph.py" in graph.node("sin").source
    assert graph.node("mul.2").scope == ("scan", "step 1")


def test_keep_reduces_big_arrays_to_statistics():
    f = lambda x: jnp.sum(jnp.tanh(x) ** 2)  # noqa: E731
    x = jax.random.normal(jax.random.key(0), (100,))
    full, small = chainlab.explain(f)(x), chainlab.explain(f, keep=10)(x)
    assert small.node("tanh").value is None
    assert small.node("tanh").adjoint is None
    for name in ("x", "tanh"):
        assert small.node(name).summary == full.node(name).summary
        assert small.node(name).adjoint_summary == full.node(name).adjoint_summary
    assert [edge.norm for edge in small.edges] == [edge.norm for edge in full.edges]
    assert [edge.local.sigma for edge in small.edges] == [edge.local.sigma for edge in full.edges]
    assert float(small.output.value) == float(full.output.value)
    np.testing.assert_array_equal(small.gradients, full.gradients)
