r"""The Kalman filter and smoother as differentiable scans.

$$x_{t+1} = f(x_t, u_t) + w_t, \quad w_t \sim N(0, Q), \qquad z_t = h(x_t, u_t) + e_t, \quad e_t \sim N(0, R)$$

Functions $f$ and $h$ are linearised by automatic differentiation at the current mean: exact where they are
linear, the extended Kalman filter where they are not. Everything is differentiable in $f$, $h$, $Q$, $R$ and the
prior, so that noise levels and physical constants can be fitted by the gradient of any loss of the estimate.

References:
    Kalman, A new approach to linear filtering and prediction problems, 1960. Rauch, Tung & Striebel, Maximum
    likelihood estimates of linear dynamic systems, 1965. Särkkä, Bayesian Filtering and Smoothing, 2013,
    algorithms 5.4 and 8.1.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

Transition: TypeAlias = Callable[[Array, Any], Array]
"""`f(state, input) -> state`, one step ahead."""

Observation: TypeAlias = Callable[[Array, Any], Array]
"""`h(state, input) -> observation`."""


class Gaussian(NamedTuple):
    """A normal distribution, or one a step.

    Attributes:
        mean: Shape (*time, state).
        covariance: Shape (*time, state, state).
    """

    mean: Float[Array, "*time state"]
    covariance: Float[Array, "*time state state"]


class Filtered(NamedTuple):
    """What the filter knows at every step.

    Attributes:
        posterior: Given the observations up to and including the step.
        predicted: Given those before the step.
        log_likelihood: Of the step's observation given those before it; their sum is that of the sequence.
    """

    posterior: Gaussian
    predicted: Gaussian
    log_likelihood: Float[Array, " time"]


def kalman_filter(
    transition: Transition,
    observation: Observation,
    process_noise: Float[Array, "state state"],
    observation_noise: Float[Array, "channels channels"],
    prior: Gaussian,
    observations: Float[Array, "time channels"],
    inputs: PyTree = None,
    mask: Bool[Array, "time channels"] | None = None,
) -> Filtered:
    r"""Estimate the state from the observations so far.

    $$K = \hat P H^\top (H \hat P H^\top + R)^{-1}, \quad m = \hat m + K (z - h(\hat m)), \quad
    P = (I - K H) \hat P (I - K H)^\top + K R K^\top$$

    Args:
        transition: `f(state, input) -> state`.
        observation: `h(state, input) -> observation`.
        process_noise: $Q$, of one step.
        observation_noise: $R$.
        prior: The state at the first step, before its observation.
        observations: One row a step.
        inputs: What `transition` and `observation` get as their second argument; leaves lead with time.
        mask: Which observations are there. By default those that are finite: a NaN is a missing observation,
            and the estimate is then the prediction, with its larger covariance.

    Returns:
        Posterior and prediction at every step, and the log likelihood.

    Example:
        >>> import jax.numpy as jnp
        >>> one = jnp.eye(1)
        >>> prior = Gaussian(jnp.zeros(1), one)
        >>> same = lambda state, _: state
        >>> result = kalman_filter(same, same, 0 * one, one, prior, jnp.full((3, 1), 4.0))
        >>> [round(float(mean), 3) for mean in result.posterior.mean[:, 0]]  # 4 t / (t + 1)
        [2.0, 2.667, 3.0]
    """
    mask = jnp.isfinite(observations) if mask is None else mask
    observations = jnp.where(mask, observations, jnp.zeros_like(observations))
    identity = jnp.eye(prior.mean.shape[-1], dtype=prior.mean.dtype)

    def step(predicted: Gaussian, now: tuple[Array, Array, Any]) -> tuple[Gaussian, Filtered]:
        value, seen, given = now
        mean, covariance = predicted
        H = jnp.where(seen[:, None], jax.jacfwd(observation)(mean, given), 0)
        innovation = jnp.where(seen, value - observation(mean, given), 0)
        unseen = jnp.diag(1 - seen.astype(mean.dtype))  # a unit variance that no state explains: weight nought
        R = jnp.where(seen[:, None] & seen[None], observation_noise, 0) + unseen
        S = H @ covariance @ H.T + R
        factor = jax.scipy.linalg.cho_factor(S, lower=True)
        K = jax.scipy.linalg.cho_solve(factor, H @ covariance).T
        left = identity - K @ H
        # Joseph's form: stays positive in float32, where (I - K H) P does not
        posterior = Gaussian(mean + K @ innovation, left @ covariance @ left.T + K @ R @ K.T)
        log_determinant = 2 * jnp.sum(jnp.log(jnp.diagonal(factor[0])))
        distance = innovation @ jax.scipy.linalg.cho_solve(factor, innovation)
        count = jnp.sum(seen.astype(mean.dtype))
        log_likelihood = -(distance + log_determinant + count * jnp.log(2 * jnp.pi).astype(mean.dtype)) / 2
        F = jax.jacfwd(transition)(posterior.mean, given)
        ahead = Gaussian(transition(posterior.mean, given), F @ posterior.covariance @ F.T + process_noise)
        return ahead, Filtered(posterior, predicted, log_likelihood)

    return jax.lax.scan(step, prior, (observations, mask, inputs))[1]


def kalman_smoother(transition: Transition, filtered: Filtered, inputs: PyTree = None) -> Gaussian:
    r"""Estimate the state from the whole sequence (Rauch-Tung-Striebel).

    $$G = P_t F^\top \hat P_{t+1}^{-1}, \quad m^s_t = m_t + G (m^s_{t+1} - \hat m_{t+1}), \quad
    P^s_t = P_t + G (P^s_{t+1} - \hat P_{t+1}) G^\top$$

    Args:
        transition: The filter's.
        filtered: What `kalman_filter` returned.
        inputs: The filter's.

    Returns:
        The state at every step given all observations.
    """
    posterior, predicted, _ = filtered
    last = jax.tree.map(lambda leaf: leaf[-1], posterior)

    def step(later: Gaussian, now: tuple[Gaussian, Gaussian, Any]) -> tuple[Gaussian, Gaussian]:
        here, ahead, given = now
        F = jax.jacfwd(transition)(here.mean, given)
        factor = jax.scipy.linalg.cho_factor(ahead.covariance, lower=True)
        G = jax.scipy.linalg.cho_solve(factor, F @ here.covariance).T
        mean = here.mean + G @ (later.mean - ahead.mean)
        covariance = here.covariance + G @ (later.covariance - ahead.covariance) @ G.T
        return Gaussian(mean, covariance), Gaussian(mean, covariance)

    body = (
        jax.tree.map(lambda leaf: leaf[:-1], posterior),
        jax.tree.map(lambda leaf: leaf[1:], predicted),
        jax.tree.map(lambda leaf: leaf[:-1], inputs),
    )
    earlier = jax.lax.scan(step, last, body, reverse=True)[1]
    return jax.tree.map(lambda leaf, end: jnp.concatenate([leaf, end[None]]), earlier, last)
