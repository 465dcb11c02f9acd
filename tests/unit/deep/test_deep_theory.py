"""Mean-field theory against closed forms, published values and sampled nets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab import deep
from chainlab.autodiff import diagnosis
from chainlab.deep.theory import _Integrals
from chainlab.errors import UsageError


def test_closed_forms_of_relu():
    assert deep.critical_sigma_w("relu") == pytest.approx(2**0.5, rel=1e-6)  # He et al.
    found = deep.mean_field("relu", 1.0, 0.5)  # q = q / 2 + 1 / 4
    assert found.variance == pytest.approx(0.5, rel=1e-5)
    assert found.slope == pytest.approx(0.5, rel=1e-9)
    assert found.gradient_scale == pytest.approx(1 / np.log(2), rel=1e-6)
    assert deep.mean_field("relu", 1.6).variance == np.inf
    arc_cosine = _Integrals("relu").product(1.0, 0.3, slopes=False)
    angle = np.arccos(0.3)
    assert arc_cosine == pytest.approx((np.sin(angle) + (np.pi - angle) * 0.3) / (2 * np.pi), rel=1e-4)


def test_published_values_of_tanh():
    """Schoenholz et al.: at sigma_b^2 = 0.05 the transition is at sigma_w^2 = 1.76; without bias at 1."""
    line = deep.order_to_chaos_line("tanh", np.array([0.0, 0.05**0.5]))
    assert line[0] == pytest.approx(1.0, abs=1e-3)
    assert line[1] ** 2 == pytest.approx(1.76, abs=0.02)
    phases = [deep.mean_field("tanh", s, 0.05**0.5).phase for s in (1.0, float(line[1]), 2.0)]
    assert phases == ["ordered", "critical", "chaotic"]


@pytest.mark.slow
def test_a_sampled_net_follows_the_theory():
    """Variance, correlation and gradient of a wide random net, at the fixed points of the theory."""
    sigma_w, sigma_b, width, depth = 2.0, 0.3, 1000, 40
    theory = deep.mean_field("tanh", sigma_w, sigma_b)
    keys = jax.random.split(jax.random.key(0), 3)
    start = jax.random.normal(keys[0], (2, width))

    def layer(h, key):
        one, two = jax.random.split(key)
        weight = sigma_w / width**0.5 * jax.random.normal(one, (width, width))
        h = jnp.tanh(h) @ weight + sigma_b * jax.random.normal(two, (1, width))
        return h, None

    def run(h):
        return jax.lax.scan(layer, h, jax.random.split(keys[1], depth))[0]

    h, vjp = jax.jit(lambda x: jax.vjp(run, x))(start)
    assert jnp.mean(h**2) == pytest.approx(theory.variance, rel=0.05)
    assert jnp.mean(h[0] * h[1]) / theory.variance == pytest.approx(theory.correlation, abs=0.06)
    adjoint = jax.random.normal(keys[2], (2, width))
    growth = jnp.log(jnp.sum(vjp(adjoint)[0] ** 2) / jnp.sum(adjoint**2)) / depth
    assert growth == pytest.approx(np.log(theory.slope), rel=0.15)
    assert theory.gradient_scale == pytest.approx(1 / np.log(theory.slope))


@pytest.mark.parametrize("orthogonal", [False, True])
@pytest.mark.slow
def test_isometry_against_the_singular_values_of_a_net(orthogonal):
    width, depth, sigma_w = 300, 8, 1.0
    theory = deep.isometry("tanh", sigma_w, 0.05, depth=depth, orthogonal=orthogonal)
    branch = deep.mlp_branch(width, activation="tanh", sigma_w=sigma_w, sigma_b=0.05, orthogonal=orthogonal)
    chain = deep.chain(branch, depth)
    variance = deep.mean_field("tanh", sigma_w, 0.05).variance
    x = jnp.tanh(variance**0.5 * jax.random.normal(jax.random.key(1), (width,)))
    params = chain.init(jax.random.key(0))
    values = diagnosis.jacobian_singular_values(lambda x: chain.apply(params, x[None])[0], x)
    assert jnp.mean(values**2) == pytest.approx(theory.mean, rel=0.1)
    assert jnp.var(values**2) == pytest.approx(theory.variance, rel=0.35, abs=1e-3)


def test_bad_input():
    with pytest.raises(UsageError, match="unknown activation 'tan'"):
        deep.mean_field("tan", 1.0)
    with pytest.raises(UsageError, match="negative"):
        deep.mean_field("tanh", -1.0)
