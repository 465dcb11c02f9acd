"""Laws that every model of `chainlab.nn` obeys: one table of models, one test a law."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab import nn
from chainlab.lab import checkpoint

# name: (how to build it in a type, shape of one example, shape of its output)
MODELS = {
    "dense": (lambda t: nn.dense(6, 4, dtype=t), (6,), (4,)),
    "dense without bias": (lambda t: nn.dense(6, 4, bias=False, dtype=t), (6,), (4,)),
    "convolution": (lambda t: nn.convolution(2, 3, (3, 3), dtype=t), (5, 4, 2), (5, 4, 3)),
    "strided convolution": (lambda t: nn.convolution(2, 3, (2, 2), stride=(2, 2), dtype=t), (4, 4, 2), (2, 2, 3)),
    "layer_norm": (lambda t: nn.layer_norm(6, dtype=t), (6,), (6,)),
    "rms_norm": (lambda t: nn.rms_norm(6, dtype=t), (6,), (6,)),
    "group_norm": (lambda t: nn.group_norm(6, 3, dtype=t), (2, 3, 6), (2, 3, 6)),
    "mlp": (lambda t: nn.mlp([6, 5, 4], activation="gelu", dtype=t), (6,), (4,)),
    "residual": (lambda t: nn.residual(nn.dense(6, 6, dtype=t)), (6,), (6,)),
    "dropout": (lambda t: nn.dropout(0.5), (6,), (6,)),
    "gated": (lambda t: nn.gated("silu"), (6,), (3,)),
    **{name: (lambda t, name=name: nn.activation(name), (6,), (6,)) for name in ("gelu", "relu2")},
}
TABLE = pytest.mark.parametrize("name", MODELS)


def setup(name, dtype=jnp.float32, batch=(4,), rng=None):
    """A model, parameters, an input and the shape of one output; parameters from numpy where `rng` is given."""
    build, shape, output = MODELS[name]
    model = build(dtype)
    x = jnp.asarray(np.random.default_rng(1).normal(size=(*batch, *shape)), dtype)
    if rng is None:
        return model, jax.jit(model.init)(jax.random.key(0)), x, output
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return model, jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape), s.dtype), shapes), x, output


@TABLE
def test_shape_for_any_leading_axes(name):
    build, shape, output = MODELS[name]
    model = build(jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(0))
    for batch in ((), (4,), (2, 3), (0,)):
        x = jax.ShapeDtypeStruct((*batch, *shape), jnp.float32)
        assert jax.eval_shape(lambda p, x: model.apply(p, x), params, x).shape == (*batch, *output)


@TABLE
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float64])
def test_keeps_the_type(name, dtype):
    build, shape, _ = MODELS[name]
    with jax.enable_x64(dtype == jnp.float64):
        model = build(dtype)
        params = jax.eval_shape(model.init, jax.random.key(0))
        y = jax.eval_shape(lambda p, x: model.apply(p, x), params, jax.ShapeDtypeStruct((4, *shape), dtype))
    assert y.dtype == dtype
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(params))


@TABLE
def test_jit_equals_eager(name):
    model, params, x, _ = setup(name)
    np.testing.assert_allclose(jax.jit(model.apply)(params, x), model.apply(params, x), rtol=2e-6, atol=2e-6)


@TABLE
def test_batch_and_vmap_equal_a_loop(name):
    model, params, x, _ = setup(name)
    loop = jnp.stack([model.apply(params, row) for row in x])
    np.testing.assert_allclose(model.apply(params, x), loop, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(jax.vmap(lambda row: model.apply(params, row))(x), loop, rtol=2e-6, atol=2e-6)


@TABLE
def test_gradients_are_finite_and_right(name, x64):
    """Against central differences in float64, along one random direction of parameters and input together."""
    model, params, x, _ = setup(name, jnp.float64, rng=np.random.default_rng(0))
    rng = np.random.default_rng(1)
    weights = rng.normal(size=jax.eval_shape(model.apply, params, x).shape)
    value_and_grad = jax.jit(jax.value_and_grad(lambda point: jnp.sum(weights * model.apply(*point))))
    leaves, structure = jax.tree.flatten((params, x))
    direction = [rng.normal(size=leaf.shape) for leaf in leaves]
    at = lambda h: value_and_grad(structure.unflatten([p + h * d for p, d in zip(leaves, direction, strict=True)]))  # noqa: E731
    gradient = jax.tree.leaves(at(0.0)[1])
    assert all(np.all(np.isfinite(leaf)) for leaf in gradient)
    wanted = (at(1e-6)[0] - at(-1e-6)[0]) / 2e-6
    got = sum(np.sum(g * d) for g, d in zip(gradient, direction, strict=True))
    assert float(got) == pytest.approx(float(wanted), rel=1e-6, abs=1e-7)


@TABLE
def test_deterministic_and_key_is_used_only_where_asked(name):
    model, params, x, _ = setup(name)
    np.testing.assert_array_equal(model.apply(params, x), model.apply(params, x))
    again = jax.jit(model.init)(jax.random.key(0))
    assert checkpoint.fingerprint(again) == checkpoint.fingerprint(params)
    first, second = (model.apply(params, x, key=jax.random.key(k)) for k in (0, 1))
    assert np.array_equal(first, second) == (name != "dropout")


@TABLE
def test_save_and_load(name, tmp_path):
    model, params, _, _ = setup(name)
    checkpoint.save(tmp_path / "model.ckpt", params, {})
    restored, _ = checkpoint.restore(tmp_path / "model.ckpt", jax.eval_shape(model.init, jax.random.key(0)))
    assert checkpoint.fingerprint(restored) == checkpoint.fingerprint(params)


def test_embedding_looks_rows_up(key):
    model = nn.embedding(5, 3)
    params = model.init(key)
    np.testing.assert_array_equal(model.apply(params, jnp.array([[1, 4]]))[0, 1], params["table"][4])


@pytest.mark.parametrize("name", nn.activations)
def test_activations_are_smooth_where_they_should_be(name, x64):
    x = jnp.linspace(-2.0, 2.0, 8)  # holds no kink
    f = nn.activations[name]
    wanted = (f(x + 1e-6) - f(x - 1e-6)) / 2e-6
    np.testing.assert_allclose(jax.vmap(jax.grad(lambda v: f(v)))(x), wanted, rtol=1e-6, atol=1e-8)
