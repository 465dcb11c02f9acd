import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from chainlab.errors import UsageError
from chainlab.transformer import Architecture, Optimization, language_model, next_token, optimizer
from chainlab.transformer.optimizer import kinds, polar_coefficients, schedule

pytestmark = pytest.mark.usefixtures("standard_promotion")  # optax counts in integers

SHAPE = Architecture(layers=2, heads=2, dim=16, context=8, bias=True, tied=False, mix=2, qk_norm=True)


def test_kinds_of_parameters():
    params = jax.eval_shape(language_model(SHAPE, 5).init, jax.random.key(0))
    found = kinds(params)
    assert found["tokens"]["table"] == found["positions"]["table"] == "embedding"
    assert found["head"]["weight"] == "head"
    block = found["blocks"]["0"]
    assert {leaf["weight"] for leaf in block["attention"].values()} == {"matrix"}
    assert block["mlp"]["up"] == {"bias": "vector", "weight": "matrix"}
    assert block["attention_norm"]["gain"] == block["mlp_mix"]["taps"] == "vector"


def test_schedule_is_nanogpts():
    rate = schedule(Optimization(warmup=100, steps=2000))
    for step in (0, 50, 99, 100, 700, 2000):
        cosine = 0.1 + 0.45 * (1 + np.cos(np.pi * (step - 100) / 1900))
        np.testing.assert_allclose(rate(step), (step + 1) / 101 if step < 100 else cosine, rtol=1e-5)
    with pytest.raises(UsageError, match="warmup must be less than steps=10, got 10"):
        Optimization(warmup=10, steps=10)


def test_polar_iterations_bring_singular_values_near_one(rng):
    x = rng.normal(size=(24, 24))
    x /= np.linalg.norm(x)
    for a, b, c in polar_coefficients(8):
        gram = x @ x.T
        x = a * x + b * gram @ x + c * gram @ gram @ x
    singular = np.linalg.svd(x, compute_uv=False)
    assert np.all(np.abs(singular - 1) < 0.02)


def tree(value):
    """One parameter of each kind, in a model's structure."""
    return {
        "blocks": {"0": {"attention": {"out": {"weight": value((2, 4, 4))}}, "mlp_norm": {"gain": value((2, 4))}}},
        "head": {"weight": value((4, 5))},
        "tokens": {"table": value((5, 4))},
    }


def update_of(config, architecture, rng):
    params, gradient = (tree(lambda s: jnp.asarray(rng.normal(size=s), jnp.float32)) for _ in range(2))
    rule = optimizer(config, architecture)
    return rule.update(gradient, rule.init(params), params)[0], params, gradient


@pytest.mark.slow
def test_adamw_decays_weights_and_tables_only(rng):
    config = Optimization(warmup=0, clip=None)
    update, params, gradient = update_of(config, SHAPE, rng)
    got, slope = (tree["blocks"]["0"]["mlp_norm"]["gain"] for tree in (update, gradient))
    np.testing.assert_allclose(got, -1e-3 * np.sign(slope), rtol=1e-4)
    want = -1e-3 * (np.sign(gradient["head"]["weight"]) + 0.1 * params["head"]["weight"])
    np.testing.assert_allclose(update["head"]["weight"], want, rtol=1e-4)


def test_muon_gives_each_layers_matrix_unit_singular_values(rng):
    config = Optimization(name="muon", warmup=0, clip=None, weight_decay=0.0, iterations=8, embedding_scale=4.0)
    update, _, gradient = update_of(config, SHAPE, rng)
    for matrix in np.asarray(update["blocks"]["0"]["attention"]["out"]["weight"]):
        np.testing.assert_allclose(np.linalg.svd(matrix, compute_uv=False), 0.02, rtol=0.05)
    first = 1e-3 * (1 + 0.9 * 0.1 / (1 - 0.9**2))  # Nesterov's look-ahead in the first step of Adam
    np.testing.assert_allclose(update["tokens"]["table"], -4 * first * np.sign(gradient["tokens"]["table"]), rtol=1e-4)
    np.testing.assert_allclose(update["head"]["weight"], -first * np.sign(gradient["head"]["weight"]), rtol=1e-4)


def test_lion_takes_signs(rng):
    update, _, gradient = update_of(Optimization(name="lion", warmup=0, weight_decay=0.0), SHAPE, rng)
    jax.tree.map(lambda u, g: np.testing.assert_allclose(u, -1e-3 * np.sign(g), rtol=1e-5), update, gradient)


def coordinates(width, base):
    """Root mean square of the change of the last hidden features and logits after a few steps, by width."""
    shape = Architecture(layers=2, heads=4, dim=width, context=16, base_dim=base, attention="full")
    model = language_model(dataclasses.replace(shape, execution="scan"), 32)
    rule = optimizer(Optimization(learning_rate=1e-2, warmup=0, weight_decay=0.0, clip=None), shape)
    objective = next_token(model)
    tokens = jax.random.randint(jax.random.key(7), (8, 17), 0, 32)
    batch = {"x": tokens[:, :-1], "y": tokens[:, 1:]}

    @jax.jit
    def run(key):
        params = start = model.init(key)
        state = rule.init(params)
        for _ in range(3):
            gradient = jax.grad(lambda p: objective(p, batch, None)[0])(params)
            update, state = rule.update(gradient, state, params)
            params = optax.apply_updates(params, update)
        change = model.apply(params, batch["x"]) - model.apply(start, batch["x"])
        return jnp.sqrt(jnp.mean(jnp.square(change)))

    return np.mean([run(jax.random.key(seed)) for seed in range(2)])


@pytest.mark.slow
def test_mup_coordinate_check():
    """Under muP the logits move as much at every width; in the standard parameterisation they move more and more."""
    widths = (32, 256)
    mup = functools.reduce(np.divide, [coordinates(width, 32) for width in widths][::-1])
    standard = functools.reduce(np.divide, [coordinates(width, None) for width in widths][::-1])
    assert 0.6 < mup < 1.6
    assert standard > 2.5
