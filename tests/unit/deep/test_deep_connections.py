"""Laws of every connection and kind of chain, and what each is named for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import chainlab
from chainlab import deep
from chainlab.deep.connection import ADDITIVE
from chainlab.errors import UsageError

DIM = 8
SHAPES = {"mlp": (3, DIM), "convolution": (3, 4, 4, DIM), "transformer": (3, 5, DIM)}


def make(kind, connection, depth=6, **options):
    layers = 2 if connection == "fixup" and kind == "mlp" else 1
    return deep.layer(kind, connection, dim=DIM, depth=depth, branch_layers=layers, sigma_w=1.4, **options)


@pytest.mark.parametrize(
    "connection",
    [pytest.param(c, marks=() if c in ("plain", "rezero", "highway") else pytest.mark.slow) for c in deep.connections],
)
def test_laws_of_connections(connection, key):
    kind = "mlp"
    layer = make(kind, connection)
    chain = deep.chain(layer, 6, memory="sqrt")
    params = chain.init(key)
    x = jax.random.normal(key, SHAPES[kind])
    y = chain.apply(params, x)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    np.testing.assert_allclose(jax.jit(chain.apply)(params, x), y, rtol=1e-5, atol=1e-5)
    gradients = jax.grad(lambda p: jnp.sum(chain.apply(p, x) ** 2))(params)
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(gradients))
    if connection in ("rezero", "fixup"):  # the identity at first
        np.testing.assert_allclose(y, x, atol=1e-6)
    if connection in ADDITIVE:
        one = jax.tree.map(lambda p: p[0], params)
        added = make(kind, connection, residual=False).apply(one, x)
        np.testing.assert_allclose(layer.apply(one, x), x + added, rtol=1e-6, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "connection"),
    [("convolution", "rezero"), ("convolution", "plain"), ("transformer", "deepnorm"), ("transformer", "fixup")],
)
def test_laws_of_kinds(kind, connection, key):
    chain = deep.chain(make(kind, connection, orthogonal=connection == "plain"), 3)
    params = chain.init(key)
    x = jax.random.normal(key, SHAPES[kind])
    y = chain.apply(params, x)
    assert y.shape == x.shape
    stacked = jnp.stack([x, 2 * x])
    np.testing.assert_allclose(jax.vmap(lambda x: chain.apply(params, x))(stacked)[0], y, rtol=1e-4, atol=1e-5)
    gradients = jax.grad(lambda p: jnp.sum(chain.apply(p, x) ** 2))(params)
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(gradients))


@pytest.mark.slow
def test_attention_is_that_of_its_equation(key):
    branch = deep.attention_branch(DIM, 2)
    p, x = branch.init(key), jax.random.normal(key, (3, 5, DIM))
    q, k, v = (jnp.einsum("bsd,de->bse", x, p[n]["weight"]).reshape(3, 5, 2, 4) for n in ("query", "key", "value"))
    scores = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k) / 2, axis=-1)
    want = jnp.einsum("bhqk,bkhd->bqhd", scores, v).reshape(3, 5, DIM) @ p["output"]["weight"]
    np.testing.assert_allclose(branch.apply(p, x), want, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_delta_orthogonal_kernels_keep_norms(key):
    branch = deep.convolution_branch(DIM, activation="identity", sigma_w=1.0, orthogonal=True)
    x = jax.random.normal(key, SHAPES["convolution"])
    y = branch.apply(branch.init(key), x)
    np.testing.assert_allclose(jnp.linalg.norm(y), jnp.linalg.norm(x), rtol=1e-5)


def test_reversible_chain_as_a_model(key):
    chain = deep.chain(make("mlp", "scaled", residual=False), 6, memory="reversible")
    params, x = chain.init(key), jnp.ones(SHAPES["mlp"])
    assert chain.apply(params, x).shape == x.shape


@pytest.mark.slow
def test_diagnose_looks_into_the_groups_of_a_chain(key):
    chain = deep.chain(make("mlp", "plain"), 9, memory="sqrt")
    params, x = chain.init(key), jax.random.normal(key, SHAPES["mlp"])
    found = chainlab.diagnose(lambda p: jnp.sum(chain.apply(p, x) ** 2))(params)
    assert len([name for name in found.names if name.kind == "product"]) == 9


def test_bad_input():
    with pytest.raises(UsageError, match="unknown connection 'skip'"):
        deep.connect(deep.mlp_branch(4), "skip", dim=4, depth=1)
    with pytest.raises(UsageError, match="fixup needs branches of 2 layers"):
        deep.layer("mlp", "fixup", dim=4, depth=2)
    with pytest.raises(UsageError, match="can't be reversible"):
        make("transformer", "rezero", residual=False)
    with pytest.raises(UsageError, match="wants a connection that adds"):
        make("mlp", "highway", residual=False)
    with pytest.raises(UsageError, match="heads must divide dim=8, got 3"):
        deep.attention_branch(8, 3)
