"""Encoders: numbers to spikes over time, or to currents."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chainlab.errors import UsageError
from chainlab.spiking.sequences import Constant, Silent
from chainlab.typing import PRNGKey


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise UsageError(f"steps: an encoder needs at least one step, got {steps}")


def constant_current(x: Float[Array, "*batch dim"], steps: int) -> Constant:
    """The values themselves as a current that does not change; the first layer's product is done once.

    Args:
        x: Values.
        steps: Number of time steps.

    Returns:
        The current.

    Raises:
        UsageError: `steps` is less than 1.

    Example:
        >>> constant_current(jnp.ones((3, 2)), 5).expand().shape
        (5, 3, 2)
    """
    _check_steps(steps)
    return Constant(x, steps)


def poisson_rate(
    x: Float[Array, "*batch dim"], steps: int, key: PRNGKey, *, rate: float = 1.0
) -> Float[Array, "time *batch dim"]:
    r"""Independent spikes with probability $\min(1, r x)$ at every step.

    Args:
        x: Values, at least 0.
        steps: Number of time steps.
        key: Randomness.
        rate: $r$, spikes a step of a value of 1.

    Returns:
        Spikes of 0 and 1.

    Raises:
        UsageError: `steps` is less than 1 or `rate` not positive.

    Example:
        >>> spikes = poisson_rate(jnp.array([0.0, 1.0]), 4, jax.random.key(0))
        >>> spikes.sum(axis=0).tolist()
        [0.0, 4.0]
    """
    _check_steps(steps)
    if not rate > 0:
        raise UsageError(f"rate must be positive, got {rate}")
    draws = jax.random.uniform(key, (steps, *x.shape), x.dtype)
    return (draws < rate * x[None]).astype(x.dtype)


def latency(
    x: Float[Array, "*batch dim"], steps: int, *, tau: float = 10.0, threshold: float = 0.2, levels: int = 255
) -> Silent:
    r"""One spike a value, sooner for a larger one: $t = \lfloor \tau \ln \frac{x}{x - \vartheta} \rfloor$.

    It is the time at which a leaky membrane charged by the current $x$ reaches $\vartheta$; values up to
    $\vartheta$ never fire. Values that are multiples of `1 / levels` fire at the times of those alone, so that only
    such steps are stored and multiplied: 25 of 100 for bytes by default.

    Args:
        x: Values in [0, 1], multiples of `1 / levels`.
        steps: Number of time steps.
        tau: Membrane time constant, in steps.
        threshold: $\vartheta$, in (0, 1).
        levels: Number of levels of a value of 1: 255 for bytes.

    Returns:
        Spikes of 0 and 1.

    Raises:
        UsageError: An argument is out of range; names it.

    Example:
        >>> import jax.numpy as jnp
        >>> code = latency(jnp.array([1.0, 0.4, 0.1]), 20, tau=10.0, levels=10)
        >>> code.at, jnp.argmax(code.expand(), axis=0).tolist(), code.values.sum(axis=0).tolist()
        ((2, 3, 4, 5, 6, 10), [2, 6, 0], [1.0, 1.0, 0.0])
    """
    _check_steps(steps)
    if not tau > 0:
        raise UsageError(f"tau must be a positive time, got {tau}")
    if not 0 < threshold < 1:
        raise UsageError(f"threshold must be in (0, 1), got {threshold}")
    faintest = math.floor(threshold * levels + 1e-6) + 1
    times = [tau * math.log(level / (level - threshold * levels)) for level in range(faintest, levels + 1)]
    # a time at the very edge of a step may round either way in another precision
    edges = {math.floor(time + margin) for time in times for margin in (-1e-4, 1e-4)}
    at = tuple(sorted(step for step in edges if step < steps))
    fires = x > threshold + 0.5 / levels * 1e-3
    time = jnp.floor(tau * jnp.log(jnp.where(fires, x / jnp.where(fires, x - threshold, 1), 1)))
    step = jnp.array(at, x.dtype).reshape(-1, *(1,) * x.ndim)
    spikes = (fires[None] & (time[None] == step)).astype(x.dtype)
    return Silent(spikes, jnp.zeros_like(x), steps, at)


def delta(x: Float[Array, "time *batch dim"], *, threshold: float = 0.1) -> Float[Array, "time *batch twice"]:
    r"""Spikes where a signal has changed by more than a threshold since the step before, up and down apart.

    Args:
        x: A signal, time first.
        threshold: Change that fires.

    Returns:
        Spikes of 0 and 1 with twice the features: rises, then falls; none at the first step.

    Raises:
        UsageError: `threshold` is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> delta(jnp.array([[0.0], [0.5], [0.5], [0.0]])).tolist()
        [[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]
    """
    if not threshold > 0:
        raise UsageError(f"threshold must be positive, got {threshold}")
    change = jnp.diff(x, axis=0, prepend=x[:1])
    return jnp.concatenate([change > threshold, change < -threshold], axis=-1).astype(x.dtype)


def population(
    x: Float[Array, "*batch dim"], fields: int, *, low: float = 0.0, high: float = 1.0, width: float = 1.0
) -> Float[Array, "*batch many"]:
    r"""Gaussian receptive fields, $\exp(-\tfrac12 ((x - \mu_i) / \sigma)^2)$ with centres spread over a range.

    The result is a value in [0, 1] for each field: encode it further by `poisson_rate`, `latency` or
    `constant_current`.

    Args:
        x: Values.
        fields: Receptive fields of each value, at least 2.
        low: Centre of the first.
        high: Centre of the last.
        width: $\sigma$ in distances between centres.

    Returns:
        `fields` activations for each value, those of one value side by side.

    Raises:
        UsageError: `fields` is less than 2, the range empty or `width` not positive.

    References:
        Bohte, Kok and La Poutré, Error-backpropagation in temporally encoded networks of spiking neurons,
        Neurocomputing 48, 2002, section 4.
    """
    if fields < 2 or not high > low or not width > 0:
        raise UsageError(
            f"population needs fields >= 2, high > low and width > 0, got {fields=}, {low=}, {high=}, {width=}"
        )
    centres = jnp.linspace(low, high, fields, dtype=x.dtype)
    sigma = width * (high - low) / (fields - 1)
    distance = (x[..., None] - centres.reshape(*(1,) * x.ndim, fields)) / sigma
    return jnp.exp(-0.5 * jnp.square(distance)).reshape(*x.shape[:-1], x.shape[-1] * fields)
