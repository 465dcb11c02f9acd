"""Gradient rules that only evaluate the objective, at perturbed parameters."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from chainlab.errors import UsageError
from chainlab.typing import Batch, Gradient, Objective, Params, PRNGKey, Rule


def _flat(objective: Objective, params: Params, batch: Batch, key: PRNGKey) -> tuple[Any, Any, Callable[[Any], Any]]:
    """The parameters as a vector, the way back, and the objective of the vector with the metrics left out."""
    vector, unravel = ravel_pytree(params)
    if not jnp.issubdtype(vector.dtype, jnp.floating) or not vector.size:
        raise UsageError(f"a gradient rule needs floating-point parameters, got {vector.dtype}[{vector.size}]")
    return vector, unravel, lambda v: objective(unravel(v), batch, key)[0]


def _positive(name: str, **numbers: float | int) -> None:
    for argument, value in numbers.items():
        if not value > 0:
            raise UsageError(f"{name} needs {argument} > 0, got {value}")


def differences(step: float = 1e-3) -> Rule:
    r"""Central finite differences, $g_i = \frac{f(\theta + h e_i) - f(\theta - h e_i)}{2h}$.

    Costs two evaluations a parameter; biased by $O(h^2)$ and by rounding divided by $h$.

    Args:
        step: The step $h$, in the parameters' units.

    Returns:
        A rule.

    Raises:
        UsageError: `step` is not positive.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> square = lambda params, batch, key: (jnp.sum(params**2), {})
        >>> _, gradient = differences(0.1)(square)(jnp.array([3.0]), None, jax.random.key(0))
        >>> round(float(gradient[0]), 3)
        6.0
    """
    _positive("differences", step=step)
    return _central(step, 2 * step)


def _central(distance: float, divisor: float) -> Rule:
    """Differences of the objective at a distance on either side of every parameter, over a divisor."""

    def differenced(objective: Objective) -> Gradient:
        def apply(params: Params, batch: Batch, key: PRNGKey):
            vector, unravel, f = _flat(objective, params, batch, key)

            def one(direction: Any) -> Any:
                return (f(vector + distance * direction) - f(vector - distance * direction)) / divisor

            return objective(params, batch, key), unravel(jax.vmap(one)(jnp.eye(vector.size, dtype=vector.dtype)))

        return apply

    return differenced


def spsa(directions: int = 1, step: float = 1e-3) -> Rule:
    r"""Simultaneous perturbation, $g = \frac{f(\theta + h\Delta) - f(\theta - h\Delta)}{2h}\, \Delta$.

    Each entry of $\Delta$ is plus or minus one.
    Costs two evaluations a direction, whatever the number of parameters; biased by $O(h^2)$.

    Args:
        directions: Random directions that are averaged.
        step: The step $h$.

    Returns:
        A rule.

    Raises:
        UsageError: An argument is not positive.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> square = lambda params, batch, key: (jnp.sum(params**2), {})
        >>> _, gradient = spsa(step=0.1)(square)(jnp.array([3.0]), None, jax.random.key(0))
        >>> round(float(gradient[0]), 3)  # exact for one parameter of a parabola
        6.0

    References:
        J. C. Spall, "Multivariate stochastic approximation using a simultaneous perturbation gradient
        approximation", IEEE Trans. Automat. Control 37, 1992, eq. 2.2.
    """
    _positive("spsa", directions=directions, step=step)

    def perturbed(objective: Objective) -> Gradient:
        def apply(params: Params, batch: Batch, key: PRNGKey):
            inner, outer = jax.random.split(key)
            vector, unravel, f = _flat(objective, params, batch, inner)

            def one(key: PRNGKey) -> Any:
                delta = jax.random.rademacher(key, vector.shape, vector.dtype)
                return (f(vector + step * delta) - f(vector - step * delta)) / (2 * step) * delta

            gradients = jax.vmap(one)(jax.random.split(outer, directions))
            return objective(params, batch, inner), unravel(jnp.mean(gradients, 0))

        return apply

    return perturbed


def evolution(population: int = 32, sigma: float = 1e-2) -> Rule:
    r"""Antithetic evolution strategy, $g = \frac{1}{n\sigma} \sum_i (f_i^+ - f_i^-)\, \epsilon_i$.

    Here $f_i^\pm = f(\theta \pm \sigma \epsilon_i)$ with $\epsilon_i \sim N(0, I)$, over $n/2$ pairs.
    Unbiased for the objective smoothed by a Gaussian of width `sigma`, hence biased by $O(\sigma^2)$ for the
    objective itself.

    Args:
        population: Evaluations; even, since they come in pairs.
        sigma: Width of the perturbation, in the parameters' units.

    Returns:
        A rule.

    Raises:
        UsageError: `population` is odd or an argument is not positive.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> square = lambda params, batch, key: (jnp.sum(params**2), {})
        >>> _, gradient = evolution(4096, 0.1)(square)(jnp.array([3.0]), None, jax.random.key(0))
        >>> abs(float(gradient[0]) - 6.0) < 0.6
        True

    References:
        T. Salimans et al., "Evolution strategies as a scalable alternative to reinforcement learning",
        arXiv:1703.03864, section 2.
    """
    _positive("evolution", population=population, sigma=sigma)
    if population % 2:
        raise UsageError(f"evolution evaluates antithetic pairs: population must be even, got {population}")

    def evolved(objective: Objective) -> Gradient:
        def apply(params: Params, batch: Batch, key: PRNGKey):
            inner, outer = jax.random.split(key)
            vector, unravel, f = _flat(objective, params, batch, inner)

            def one(key: PRNGKey) -> Any:
                noise = jax.random.normal(key, vector.shape, vector.dtype)
                return (f(vector + sigma * noise) - f(vector - sigma * noise)) / (2 * sigma) * noise

            gradients = jax.vmap(one)(jax.random.split(outer, population // 2))
            return objective(params, batch, inner), unravel(jnp.mean(gradients, 0))

        return apply

    return evolved


def parameter_shift(shift: float = jnp.pi / 2) -> Rule:
    r"""Parameter shift, $g_i = \frac{f(\theta + s e_i) - f(\theta - s e_i)}{2 \sin s}$.

    Exact, for any shift, where each parameter enters as an angle of frequency one (a Pauli rotation used
    once); otherwise biased.

    Args:
        shift: The shift $s$, in radians.

    Returns:
        A rule.

    Raises:
        UsageError: `shift` is a multiple of pi.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> cosine = lambda params, batch, key: (jnp.sum(jnp.cos(params)), {})
        >>> _, gradient = parameter_shift()(cosine)(jnp.array([0.5]), None, jax.random.key(0))
        >>> round(float(gradient[0]), 4), round(-float(jnp.sin(0.5)), 4)
        (-0.4794, -0.4794)

    References:
        M. Schuld et al., "Evaluating analytic gradients on quantum hardware", arXiv:1811.11184, eq. 8.
    """
    scale = float(jnp.sin(shift))
    if abs(scale) < 1e-3:
        raise UsageError(f"parameter_shift divides by sin(shift): shift must not be a multiple of pi, got {shift}")
    return _central(shift, 2 * scale)
