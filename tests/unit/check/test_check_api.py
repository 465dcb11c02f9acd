"""The report, the options, bad input, and what check leaves behind."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import chainlab
from chainlab.autodiff.checking.derivative import float64
from chainlab.autodiff.checking.differences import RATIO, slopes
from chainlab.autodiff.checking.promote import promote, widen
from chainlab.errors import UsageError

X = jnp.array([1.0, 2.0, 3.0])


def rule(primal, backward):
    function = jax.custom_vjp(lambda x: primal(x))
    function.defvjp(lambda x: (primal(x), x), lambda x, ct: (backward(x, ct),))
    return function


def test_check_is_the_function():
    import chainlab.autodiff

    assert callable(chainlab.check)
    assert chainlab.autodiff.check is chainlab.check


def test_settings_are_left_as_they_were():
    before = (jax.config.jax_enable_x64, jax.config.jax_numpy_dtype_promotion, jax.config.jax_debug_nans)
    chainlab.check(lambda x: jnp.sum(jnp.sin(x)), X)
    assert before == (jax.config.jax_enable_x64, jax.config.jax_numpy_dtype_promotion, jax.config.jax_debug_nans)
    assert jnp.ones(1).dtype == jnp.float32


def test_the_report_reads_as_text_and_as_json():
    cube = rule(lambda x: x**3, lambda x, ct: ct * x**2)
    report = chainlab.check(lambda p: jnp.sum(cube(p["a"])), {"a": X, "n": 3})
    data = json.loads(report.to_json())
    assert not report.ok
    assert data["findings"][0]["leaf"] == "p['a']"
    assert data["findings"][0]["kind"] == "missing factor"
    assert "missing factor at p['a'][2]" in str(report)
    assert report.differenced == report.coordinates == 3


def test_a_cotangent_checks_a_vector():
    square = rule(lambda x: x**2, lambda x, ct: ct * x)
    assert chainlab.check(lambda x: (x**2, x[0]), X, cotangent=(jnp.ones(3), jnp.ones(()))).ok
    assert chainlab.check(square, X, cotangent=X).findings[0].kind == "missing factor"


def test_float64_arguments_stay_float64(x64):
    off = rule(jnp.sin, lambda x, ct: ct * jnp.cos(x) * jnp.where(x > 2.5, 1 + 1e-7, 1.0))
    x = jnp.arange(1.0, 4.0)
    assert x.dtype == jnp.float64
    assert chainlab.check(lambda x: jnp.sum(jnp.sin(x)), x).ok
    report = chainlab.check(lambda x: jnp.sum(off(x)), x, rtol=1e-8)
    assert [f.index for f in report.findings] == [(2,)]


@pytest.mark.slow
def test_other_leaves_are_held_fixed():
    def f(p, key, mode):
        noise = jax.random.normal(key, (3,))
        return jnp.sum(p["x"] * noise) * p["n"] if mode == "train" else jnp.zeros(())

    report = chainlab.check(f, {"x": X, "n": 2, "i": jnp.arange(2), "e": jnp.zeros((0, 2))}, jax.random.key(0), "train")
    assert report.ok
    assert report.coordinates == 3


def test_a_dead_coordinate_inside_a_live_leaf():
    report = chainlab.check(lambda x: x[0] ** 2 + jnp.round(3 * x[1]), X[:2] * 0.3)
    assert [(f.kind, f.index) for f in report.findings] == [("dead leaf", (1,))]


def test_a_relu_that_is_off_is_not_dead():
    assert chainlab.check(lambda x: jnp.sum(jax.nn.relu(x)), -X).ok


def test_a_ramp_between_two_flats_is_not_dead():
    assert chainlab.check(lambda x: jnp.sum(jnp.clip(x, 0.0, 1.0)), jnp.array([-2.75, 40.0])).ok


def test_nan_is_traced_into_a_scan_to_its_line():
    def f(x):
        def body(c, r):
            return c + jnp.sqrt(r), None

        return jax.lax.scan(body, jnp.float32(0), x)[0]

    report = chainlab.check(f, jnp.array([1.0, 0.0, 4.0]))
    assert [f.index for f in report.findings] == [(1,)]
    assert "test_check_api.py" in report.findings[0].hint


@pytest.mark.slow
def test_forward_mode_that_disagrees_is_named():
    def f(b):
        a = jnp.array([[3.0, 1.0], [0.0, 2.0]])
        solve = lambda _, b: jnp.linalg.solve(a, b)  # noqa: E731
        x = jax.lax.custom_linear_solve(lambda v: a @ v, b, solve, transpose_solve=solve)
        return x[0] + 3.0 * x[1]

    kinds = {f.kind for f in chainlab.check(f, X[:2]).findings}
    assert "forward mode" in kinds
    assert len(kinds) == 2
    assert chainlab.check(f, X[:2], mode="fwd").ok


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: chainlab.check(lambda x: x, X), "cotangent="),
        (lambda: chainlab.check(lambda x: x, X, cotangent=jnp.ones(2)), "shape"),
        (lambda: chainlab.check(lambda i: jnp.sum(i), jnp.arange(3)), "floating-point"),
        (lambda: chainlab.check(lambda x: jnp.sum(x).astype(jnp.int32), X), "no derivative"),
        (lambda: chainlab.check(lambda z: jnp.sum(z), jax.lax.complex(X, X)), "complex"),
        (lambda: chainlab.check(lambda x: jnp.sum(x), jnp.array([jnp.nan])), "finite"),
        (lambda: chainlab.check(lambda x: jnp.sum(x), X, reference=lambda x: x), "cotangent="),
        (lambda: chainlab.check(lambda x: jnp.sum(x), X, reference=lambda x, y: jnp.sum(x)), "reference="),
        (lambda: chainlab.check(lambda x: jnp.sum(x), X, order=3), "order"),
        (lambda: chainlab.check(lambda x: jnp.sum(x), X, mode="both"), "mode"),
        (lambda: chainlab.check(lambda x: jnp.sum(rule(jnp.sin, lambda x, ct: ct)(x)), X, mode="fwd"), "rev"),
        (
            lambda: chainlab.check(
                lambda x: jax.lax.while_loop(lambda c: c[0] < 9.0, lambda c: 2 * c, x).sum(), X, mode="rev"
            ),
            "fwd",
        ),
    ],
)
def test_bad_input_is_told_what_to_do(call, words):
    with pytest.raises(UsageError, match=words):
        call()


def test_slopes_are_those_of_the_function():
    steps = RATIO ** -np.arange(12.0)
    centre = np.array([np.exp(0.0), 0.0])
    values = [np.stack([np.exp(s * steps), np.abs(s * steps)]) for s in (1, -1)]
    found = slopes(centre, *values, steps, np.full(2, 1e-16))
    assert abs(found.central[0] - 1) < 1e-9
    assert found.error[0] < 1e-8
    np.testing.assert_allclose([found.right[1], found.left[1]], [1, -1], rtol=1e-9)


@pytest.mark.slow
def test_promotion_undoes_casts_and_keeps_draws():
    def f(x):
        y = x.astype(jnp.bfloat16).astype(jnp.float32)
        table = jnp.zeros(3).at[jnp.array([0, 2])].add(y[:2])
        state = jax.lax.scan(lambda c, r: (c * r, None), jnp.float32(1), y)[0]
        noise = jax.random.uniform(jax.random.key(0), (3,))
        return jnp.sum(table + noise) + state + jax.lax.cond(state > 0, jnp.sin, jnp.cos, y[0])

    program = jax.make_jaxpr(f)(X * 0.37)
    with float64():
        got = promote(program)(widen(np.asarray(X * 0.37)))[0]
        noise = np.asarray(jax.random.uniform(jax.random.key(0), (3,), jnp.float32), np.float64)
        x = np.asarray(X * 0.37, np.float64)
        np.testing.assert_allclose(got, x[:2].sum() + noise.sum() + x.prod() + np.sin(x[0]), rtol=1e-14)
