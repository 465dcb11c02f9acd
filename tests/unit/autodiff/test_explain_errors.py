"""Bad input: every error says what to do."""

import functools
import itertools

import jax
import jax.experimental
import jax.numpy as jnp
import numpy as np
import pytest

import chainlab
from chainlab.errors import UsageError

x = np.ones(3, np.float32)


def counting(counter=itertools.count()):  # noqa: B008
    return lambda x: jnp.sum(x) * next(counter)


def leaking(held=[]):  # noqa: B006
    def f(x):
        held.append(x * 2.0)
        return jnp.sum(held[0])

    return f


def writing(x):
    jax.experimental.io_callback(print, None, x)
    return jnp.sum(x)


def referring(x):
    reference = jax.new_ref(x)
    reference[...] = x * 2
    return jnp.sum(reference[...])


CASES = [
    ("vector output", lambda: chainlab.explain(jnp.sin)(x), "one real number.*cotangent"),
    ("integer output", lambda: chainlab.explain(lambda x: jnp.argmax(x))(x), "one real number"),
    ("no output", lambda: chainlab.explain(lambda x: None)(x), "one real number, got nothing"),
    ("integer arguments", lambda: chainlab.explain(lambda n: n * n)(3), "floating-point.*2.0 instead of 2"),
    ("no arguments", lambda: chainlab.explain(lambda: 1.0)(), "floating-point"),
    ("cotangent of another shape", lambda: chainlab.explain(jnp.sin, np.ones(2))(x), r"shape \(2,\), wanted \(3,\)"),
    ("cotangent of another structure", lambda: chainlab.explain(jnp.sin, (1.0, 2.0))(x), "2 leaves, the output has 1"),
    ("argnums", lambda: chainlab.explain(jnp.sum, argnums=1)(x), "argnums=1 but there are 1"),
    ("text", lambda: chainlab.explain(lambda x, mode: x)(1.0, "fast"), r"mode is a str.*partial\(f, mode"),
    ("branch on a value", lambda: chainlab.explain(lambda x: x if x > 0 else -x)(1.0), "cannot trace.*jnp.where"),
    ("numpy of a value", lambda: chainlab.explain(lambda x: np.sin(x))(1.0), "cannot trace"),
    ("text output", lambda: chainlab.explain(lambda x: "no")(1.0), "must return arrays"),
    ("callback", lambda: chainlab.explain(writing)(x), "side effect.*io_callback"),
    ("mutable reference", lambda: chainlab.explain(referring)(x), "side effect"),
    ("counter", lambda: chainlab.explain(counting())(x), "not a pure function"),
    ("leak", lambda: chainlab.explain(leaking())(x), "beyond one call"),
    ("inside jit", lambda: jax.jit(lambda x: chainlab.explain(jnp.sum)(x).value)(x), "traced value.*statistics"),
    ("missing aux", lambda: chainlab.explain(jnp.sum, has_aux=True)(x), r"\(output, aux\)"),
    ("negative unroll", lambda: chainlab.explain(jnp.sum, unroll=-1), "unroll must be >= 0"),
    ("no rule", lambda: chainlab.explain(lambda x: jax.pure_callback(np.sin, x, x).sum())(x), "custom_vjp"),
    (
        "while in jit",
        lambda: jax.jit(
            chainlab.explain(lambda x: jax.lax.while_loop(lambda x: x < 9.0, lambda x: x * 2.0, x)).statistics
        )(1.0),
        "trip count",
    ),
    ("unknown node", lambda: chainlab.explain(lambda weight: weight**2)(1.0).paths("weigth"), "did you mean 'weight'"),
    ("node number", lambda: chainlab.explain(lambda x: x**2)(1.0).paths(99), "ids run from 0"),
    ("element", lambda: chainlab.explain(jnp.sum)(x).paths("a", index=(3,)), "no element"),
    ("k", lambda: chainlab.explain(jnp.sum)(x).paths("a", -1), "k must be >= 0"),
]


@pytest.mark.parametrize(("call", "message"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_error_says_what_to_do(call, message):
    with pytest.raises(UsageError, match=f"(?s){message}"):
        call()


def test_printing_is_no_side_effect_that_matters(capfd):
    def f(x):
        jax.debug.print("x = {}", x)
        return x * x

    assert float(chainlab.explain(f)(3.0).gradients) == 6.0


def test_settings_are_bound_with_partial():
    f = lambda x, mode: x * 2 if mode == "double" else x  # noqa: E731
    assert float(chainlab.explain(functools.partial(f, mode="double"))(3.0).gradients) == 2.0
