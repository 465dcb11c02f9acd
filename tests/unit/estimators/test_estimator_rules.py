"""Laws of the gradient rules: one signature, jit, vmap and scan, right gradients, clear errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import chainlab
from chainlab.autodiff import (
    Sampling,
    backprop,
    compare,
    differences,
    evolution,
    forward,
    parameter_shift,
    score_function,
    spsa,
    straight_through,
    surrogate,
)
from chainlab.errors import UsageError

PARAMS = {"a": jnp.array([0.3, -0.6]), "b": jnp.array(0.9)}
BATCH = jnp.array([1.0, 2.0])


def angles(params, batch, key):
    value = jnp.sum(jnp.sin(params["a"]) * batch) * jnp.cos(params["b"])
    return value, {"twice": 2 * value}


GAUSSIAN = Sampling(
    lambda p, b, key: p["a"] + jax.random.normal(key, (2,)),
    lambda p, b, z: jnp.sum(z**2 * b) + p["b"] ** 2,
    log_prob=lambda p, b, z: -0.5 * jnp.sum((z - p["a"]) ** 2),
    relax=lambda p, b, key: p["a"],
)

EXACT = {
    "backprop": backprop,
    "forward": forward(),
    "parameter_shift": parameter_shift(),
    "differences": differences(1e-2),
}
RANDOM = {"forward 64": forward(64), "spsa": spsa(64, 1e-2), "evolution": evolution(128, 1e-2)}
SAMPLING = {"score_function": score_function(8), "straight_through": straight_through, "surrogate": surrogate}
RULES = {
    **{name: (rule, angles) for name, rule in {**EXACT, **RANDOM}.items()},
    **{name: (rule, GAUSSIAN) for name, rule in SAMPLING.items()},
}


@pytest.mark.parametrize("name", RULES)
def test_one_signature_under_jit_vmap_and_scan(name, key):
    rule, objective = RULES[name]
    gradient = rule(objective)
    keys = jax.random.split(key, 2)

    @jax.jit
    def all_ways(keys):
        mapped = jax.vmap(lambda k: gradient(PARAMS, BATCH, k)[1])(keys)
        scanned = jax.lax.scan(lambda c, k: (c, gradient(PARAMS, BATCH, k)[1]), None, keys)[1]
        return gradient(PARAMS, BATCH, keys[0]), mapped, scanned

    ((value, metrics), grads), mapped, scanned = all_ways(keys)
    assert value.shape == ()
    assert metrics.keys() == objective(PARAMS, BATCH, key)[1].keys()
    assert jax.tree.map(jnp.shape, grads) == jax.tree.map(jnp.shape, PARAMS)
    assert jax.tree.map(lambda g: g.dtype, grads) == jax.tree.map(lambda p: p.dtype, PARAMS)
    for each in (mapped, scanned):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b, rtol=2e-3, atol=2e-3), each, grads)


@pytest.mark.parametrize("name", EXACT)
def test_exact_rules_give_the_gradient(name, key):
    want = jax.grad(lambda p: angles(p, BATCH, key)[0])(PARAMS)
    got = EXACT[name](angles)(PARAMS, BATCH, key)[1]
    jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, rtol=1e-3, atol=1e-4), got, want)


@pytest.mark.slow
@pytest.mark.parametrize("name", RANDOM)
def test_random_rules_are_unbiased(name):
    estimator = lambda key, p: RANDOM[name](angles)(p, BATCH, key)[1]  # noqa: E731
    report = chainlab.check(lambda p: angles(p, BATCH, None)[0], PARAMS, estimator=estimator, draws=200_000)
    assert report.ok, report


@pytest.mark.slow
def test_compare_ranks_the_rules(key):
    result = compare(angles, PARAMS, BATCH, {**EXACT, "spsa": spsa(1)}, key=key, samples=16)
    rows = {row["rule"]: row for row in result.to_rows()}
    assert rows["backprop"]["bias"] < 1e-6
    assert rows["forward"]["variance"] < 1e-10
    assert rows["spsa"]["variance"] > 0.1
    assert rows["spsa"]["cosine"] < 0.99 < rows["differences"]["cosine"]
    counts = {name: row["evaluations"] for name, row in rows.items()}
    assert counts["spsa"] == pytest.approx(3, abs=0.5)  # two and the value
    assert counts["differences"] == pytest.approx(7, abs=0.5)  # two a parameter and the value
    assert 1.5 < counts["backprop"] < 4
    assert "spsa" in str(result)
    assert len(result.plot().axes) == 2


@pytest.mark.slow
def test_compare_of_a_sampling_objective_needs_the_expectation(key):
    exact = lambda p, b, key: (jnp.sum(b * (p["a"] ** 2 + 1)) + p["b"] ** 2, {})  # noqa: E731
    with pytest.raises(UsageError, match="exact="):
        compare(GAUSSIAN, PARAMS, BATCH, [backprop], key=key)
    rules = [backprop, score_function(4), score_function(4, baseline=False)]
    rows = compare(GAUSSIAN, PARAMS, BATCH, rules, key=key, exact=exact, samples=400).to_rows()
    assert [row["rule"] for row in rows] == ["backprop", "score_function", "score_function 2"]
    assert all(row["bias"] < 5 * row["bias_error"] for row in rows)
    assert rows[0]["variance"] < rows[1]["variance"] < rows[2]["variance"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: score_function(1), "samples >= 2"),
        (lambda: score_function(2)(angles), "Sampling"),
        (lambda: surrogate(Sampling(GAUSSIAN.sample, GAUSSIAN.cost)), "relax="),
        (lambda: evolution(3), "even"),
        (lambda: spsa(0), "directions"),
        (lambda: differences(0.0), "step"),
        (lambda: forward(0), "directions"),
        (lambda: parameter_shift(2 * np.pi), "multiple of pi"),
        (lambda: compare(angles, PARAMS, BATCH, [], key=jax.random.key(0)), "at least one rule"),
        (lambda: compare(angles, PARAMS, BATCH, [backprop], key=jax.random.key(0), samples=1), "samples"),
    ],
)
def test_bad_arguments_are_told_what_to_do(call, words):
    with pytest.raises(UsageError, match=words):
        call()
