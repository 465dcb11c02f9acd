from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from chainlab.errors import UsageError
from chainlab.transformer import (
    attend,
    blockwise_attention,
    chunked_linear_attention,
    recurrent_linear_attention,
    rotate,
    softmax_attention,
)
from chainlab.transformer.backend import attention_form, cudnn_attention


def tensors(rng, *shapes, dtype=np.float64):
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


def qkv(rng, length=37, heads=4, groups=2, dim=6, batch=(2,), keys=None, dtype=np.float64):
    key_shape = (*batch, keys or length, groups, dim)
    return tensors(rng, (*batch, length, heads, dim), key_shape, key_shape, dtype=dtype)


def test_softmax_attention_by_hand(rng):
    """One head against numpy, query by query."""
    q, k, v = (np.asarray(x[0, :, 0]) for x in qkv(rng, length=7, heads=1, groups=1, dtype=np.float32))
    got = softmax_attention(*(jnp.asarray(x)[:, None] for x in (q, k, v)), window=3)[:, 0]
    for t in range(7):
        seen = slice(max(0, t - 2), t + 1)
        weights = np.exp(k[seen] @ q[t] / np.sqrt(6))
        np.testing.assert_allclose(got[t], weights @ v[seen] / weights.sum(), rtol=1e-5)


@pytest.mark.parametrize(
    ("length", "tile", "options"),
    [
        (37, 8, {}),
        (40, 8, {"window": 5}),
        (37, 16, {"window": 21}),
        (33, 8, {"causal": False}),
        (29, 64, {"scale": 0.3}),
    ],
)
def test_blockwise_is_softmax_attention_and_so_is_its_derivative(rng, x64, length, tile, options):
    inputs = qkv(rng, length)
    (weight,) = tensors(rng, inputs[0].shape)

    def value_and_gradients(form):
        def f(q, k, v):
            out = form(q, k, v, **options)
            return jnp.sum(weight * out), out

        return jax.jit(jax.value_and_grad(f, (0, 1, 2), has_aux=True))(*inputs)

    (_, wanted), wanted_gradients = value_and_gradients(softmax_attention)
    (_, got), gradients = value_and_gradients(lambda *a, **o: blockwise_attention(*a, tile=tile, **o))
    np.testing.assert_allclose(got, wanted, atol=1e-12)
    for g, w in zip(gradients, wanted_gradients, strict=True):
        np.testing.assert_allclose(g, w, atol=1e-11)


@pytest.mark.slow
def test_blockwise_window_without_causality(rng, x64):
    q, k, v = qkv(rng, 30)
    want = softmax_attention(q, k, v, causal=False, window=4)
    np.testing.assert_allclose(blockwise_attention(q, k, v, causal=False, window=4, tile=8), want, atol=1e-12)


def test_a_query_that_sees_no_key_gets_zero_in_both_forms(rng, x64):
    q, k, v = tensors(rng, (20, 2, 4), (5, 1, 4), (5, 1, 4))  # with a window of 3 queries from 7 on see none

    def gradients(form, **options):
        def f(*a):
            out = form(*a, window=3, **options)
            return jnp.sum(jnp.sin(out)), out

        return jax.jit(jax.grad(f, (0, 1, 2), has_aux=True))(q, k, v)

    wanted, want = gradients(softmax_attention)
    assert np.any(want[6] != 0)
    assert np.all(want[7:] == 0)
    for tile in (4, 16):
        found, got = gradients(blockwise_attention, tile=tile)
        np.testing.assert_allclose(got, want, atol=1e-12)
        jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, atol=1e-12), found, wanted)


def test_blockwise_derivative_against_finite_differences(rng, x64):
    inputs = qkv(rng, 11, heads=2, groups=1, dim=2, batch=())
    check_grads(jax.jit(lambda *a: blockwise_attention(*a, tile=4)), inputs, order=1, modes=["rev"], rtol=1e-6)


@pytest.mark.slow
def test_softmax_attention_has_every_derivative(rng, x64):
    inputs = qkv(rng, 5, heads=2, groups=1, dim=2, batch=())
    check_grads(jax.jit(softmax_attention), inputs, order=2, rtol=1e-5)


def test_blockwise_float32_gradients_are_within_1e5_of_the_full_form(rng):
    inputs = qkv(rng, 160, heads=2, groups=2, dim=16, batch=(), dtype=np.float32)
    grads = [
        jax.jit(jax.grad(lambda *a, form=form: jnp.sum(jnp.sin(form(*a))), (0, 1, 2)))(*inputs)
        for form in (softmax_attention, lambda *a: blockwise_attention(*a, tile=64))
    ]
    for wanted, got in zip(*grads, strict=True):
        assert np.max(np.abs(got - wanted)) <= 1e-5 * np.max(np.abs(wanted))


def temporaries(form, length):
    spec = jax.ShapeDtypeStruct((1, length, 4, 64), jnp.float32)
    gradient = jax.grad(lambda *a: jnp.sum(form(*a)), (0, 1, 2))
    return jax.jit(gradient).lower(spec, spec, spec).compile().memory_analysis().temp_size_in_bytes


@pytest.mark.slow
def test_blockwise_memory_is_linear_and_small():
    """XLA's own plan: at most twice q+k+v+o at 8192 tokens, and 4x the length costs about 4x the memory."""
    long, short = temporaries(blockwise_attention, 8192), temporaries(blockwise_attention, 2048)
    assert long <= 2 * 4 * (8192 * 4 * 64 * 4)
    assert long <= 4.2 * short
    assert temporaries(softmax_attention, 8192) >= 50 * long


@pytest.mark.parametrize(("chunk", "start"), [(5, True), (64, False)])
def test_chunked_linear_attention_is_its_recurrence(rng, x64, chunk, start):
    q, k, v = qkv(rng, 23, groups=4)
    decay = -jnp.abs(tensors(rng, (2, 23, 4))[0])
    memory = tensors(rng, (2, 4, 6, 6))[0] if start else None

    def gradients(form):
        def f(*a):
            out, last = form(*a, memory)
            return jnp.sum(jnp.sin(out)) + jnp.sum(jnp.cos(last)), (out, last)

        return jax.jit(jax.grad(f, (0, 1, 2, 3), has_aux=True))(q, k, v, decay)

    wanted = gradients(recurrent_linear_attention)
    got = gradients(lambda *a: chunked_linear_attention(*a, chunk=chunk))
    jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, atol=1e-10), got, wanted)


@pytest.mark.slow
def test_chunked_linear_attention_survives_strong_decay(rng):
    q, k, v = qkv(rng, 64, groups=4, dtype=np.float32)
    gradient = jax.grad(lambda d: jnp.sum(chunked_linear_attention(q, k, v, d)[0]))(jnp.full((2, 64, 4), -50.0))
    assert np.all(np.isfinite(gradient))


def test_rotated_products_depend_on_the_distance_alone(rng, x64):
    q, k = tensors(rng, (1, 1, 8), (1, 1, 8))

    def at(x, position):
        return rotate(x, jnp.array([position]))[0, 0]

    np.testing.assert_allclose(at(q, 3) @ at(k, 1), at(q, 103) @ at(k, 101), rtol=1e-10)
    assert abs(at(q, 3) @ at(k, 1) - at(q, 3) @ at(k, 2)) > 1e-3
    np.testing.assert_allclose(jnp.linalg.norm(at(q, 50)), jnp.linalg.norm(q), rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("window", [None, 5])
def test_every_form_of_attend_agrees(rng, window):
    q, k, v = qkv(rng, 24, dim=8, dtype=np.float32)
    full, *others = (attend(q, k, v, window=window, form=form) for form in ("full", "blockwise", "fused", "auto"))
    for other in others:
        np.testing.assert_allclose(other, full, atol=2e-6)


def test_cudnn_is_asked_for_where_it_has_a_kernel_alone(monkeypatch):
    """JAX never chooses it by itself; asked for what it does not have, it raises."""
    assert not cudnn_attention(64, jnp.bfloat16)  # on a CPU
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    for capability, head_dim, dtype, there in (
        ("8.0", 64, jnp.bfloat16, True),
        ("12.0", 128, jnp.float16, True),
        ("9.0", 64, jnp.float32, False),
        ("9.0", 20, jnp.bfloat16, False),
        ("9.0", 256, jnp.bfloat16, False),
        ("7.5", 64, jnp.float16, False),
        ("gfx90a", 64, jnp.bfloat16, False),
    ):
        monkeypatch.setattr(jax, "devices", lambda name=capability: [SimpleNamespace(compute_capability=name)])
        assert cudnn_attention(head_dim, dtype) is there
        assert attention_form(1024, head_dim, dtype) == ("fused" if there else "blockwise")


def test_bad_shapes_and_names_say_what_was_wanted(rng):
    q, k, v = qkv(rng, 5, heads=3, groups=2, dtype=np.float32)
    with pytest.raises(UsageError, match="key heads must divide query heads, got 2 and 3"):
        attend(q, k, v)
    with pytest.raises(UsageError, match="unknown form of attention 'fast'"):
        attend(q, q, q, form="fast")
    with pytest.raises(UsageError, match="tile >= 1"):
        blockwise_attention(q, q, q, tile=0)
    with pytest.raises(UsageError, match="chunk >= 1"):
        chunked_linear_attention(q, q, q, q[..., 0], chunk=0)
    with pytest.raises(UsageError, match="even number of features"):
        rotate(q[..., :5], jnp.arange(5))
