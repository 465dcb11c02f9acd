r"""Gradients of an expectation over draws that depend on the parameters: $E_{z \sim p_\theta} c(\theta, z)$."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from chainlab.errors import UsageError
from chainlab.typing import Batch, Gradient, Metrics, Objective, Params, PRNGKey, Rule


@dataclass(frozen=True)
class Sampling:
    r"""An objective that samples: one draw of $c(\theta, z)$ with $z \sim p_\theta$.

    It is an objective like any other (`backprop` of it is the reparameterisation gradient where `sample` is
    differentiable), and says besides what the score-function and straight-through rules need.

    Attributes:
        sample: `sample(params, batch, key) -> z`.
        cost: `cost(params, batch, z) -> scalar`.
        log_prob: `log_prob(params, batch, z) -> scalar`, the log density of the whole draw.
        relax: `relax(params, batch, key) -> z`, a differentiable stand-in for the draw (its mean, or a Gumbel
            softmax), for draws that are discrete.
    """

    sample: Callable[[Params, Batch, PRNGKey], Any]
    cost: Callable[[Params, Batch, Any], Any]
    log_prob: Callable[[Params, Batch, Any], Any] | None = None
    relax: Callable[[Params, Batch, PRNGKey], Any] | None = None

    def __call__(self, params: Params, batch: Batch, key: PRNGKey) -> tuple[Any, Metrics]:
        """One draw of the cost."""
        return self.cost(params, batch, self.sample(params, batch, key)), {}


def _sampling(rule: str, objective: Objective, need: str) -> Sampling:
    if not isinstance(objective, Sampling) or getattr(objective, need) is None:
        raise UsageError(
            f"{rule} needs an objective that says how it samples: chainlab.autodiff.Sampling(sample, cost, "
            f"{need}=...), got {type(objective).__name__}"
        )
    return objective


def score_function(samples: int = 2, *, baseline: bool = True) -> Rule:
    r"""Score-function estimator, $g = \frac{1}{n} \sum_i (c_i - b_i)\, \nabla \log p_\theta(z_i) + \nabla c_i$.

    Unbiased for any distribution with a density, discrete ones included. The baseline of a draw is the mean
    cost of the others, which leaves the estimator unbiased.

    Args:
        samples: Draws a gradient; at least 2 with a baseline.
        baseline: Whether to subtract the mean of the other draws.

    Returns:
        A rule for `Sampling` objectives.

    Raises:
        UsageError: Too few samples, or the objective has no `log_prob`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> coin = Sampling(
        ...     sample=lambda p, batch, key: jax.random.bernoulli(key, p),
        ...     cost=lambda p, batch, z: jnp.where(z, 2.0, 0.0),
        ...     log_prob=lambda p, batch, z: jnp.log(jnp.where(z, p, 1 - p)),
        ... )
        >>> _, gradient = score_function(4096)(coin)(jnp.float32(0.5), None, jax.random.key(0))
        >>> abs(float(gradient) - 2.0) < 0.2  # of the mean cost, 2 p
        True

    References:
        R. J. Williams, "Simple statistical gradient-following algorithms", Machine Learning 8, 1992;
        W. Kool et al., "Buy 4 REINFORCE samples, get a baseline for free", ICLR workshop 2019.
    """
    if samples < (2 if baseline else 1):
        raise UsageError(f"score_function needs samples >= {2 if baseline else 1}, got {samples}")

    def scored(objective: Objective) -> Gradient:
        sampling = _sampling("score_function", objective, "log_prob")

        def apply(params: Params, batch: Batch, key: PRNGKey):
            assert sampling.log_prob is not None
            log_prob = sampling.log_prob
            keys = jax.random.split(key, samples)
            draws = jax.lax.stop_gradient(jax.vmap(lambda k: sampling.sample(params, batch, k))(keys))
            costs = jax.vmap(lambda z: sampling.cost(params, batch, z))(draws)
            others = (jnp.sum(costs) - costs) / (samples - 1) if baseline else jnp.zeros_like(costs)
            advantage = jax.lax.stop_gradient(costs - others)

            def surrogate(params: Params) -> Any:
                def one(z: Any, weight: Any) -> Any:
                    return weight * log_prob(params, batch, z) + sampling.cost(params, batch, z)

                return jnp.mean(jax.vmap(one)(draws, advantage))

            return (jnp.mean(costs), {}), jax.grad(surrogate)(params)

        return apply

    return scored


def straight_through(objective: Objective) -> Gradient:
    r"""Straight-through estimator: the cost at the draw, the derivative of the draw that of its relaxation.

    $z = \tilde z + \mathrm{stop}(z - \tilde z)$. Biased, unless the cost is linear in the draw.

    Args:
        objective: A `Sampling` objective with `relax`.

    Returns:
        Value, metrics and gradient.

    Raises:
        UsageError: The objective has no `relax`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> coin = Sampling(
        ...     sample=lambda p, batch, key: jax.random.bernoulli(key, p),
        ...     cost=lambda p, batch, z: 2.0 * z,
        ...     relax=lambda p, batch, key: p,
        ... )
        >>> (cost, _), gradient = straight_through(coin)(jnp.float32(0.5), None, jax.random.key(0))
        >>> float(cost) in (0.0, 2.0), float(gradient)
        (True, 2.0)

    References:
        Y. Bengio et al., "Estimating or propagating gradients through stochastic neurons", arXiv:1308.3432.
    """
    sampling = _sampling("straight_through", objective, "relax")

    def through(params: Params, batch: Batch, key: PRNGKey) -> tuple[Any, Metrics]:
        assert sampling.relax is not None
        soft = sampling.relax(params, batch, key)
        hard = sampling.sample(params, batch, key)
        draw = jax.tree.map(lambda s, h: s + jax.lax.stop_gradient(h.astype(s.dtype) - s), soft, hard)
        return sampling.cost(params, batch, draw), {}

    return jax.value_and_grad(through, has_aux=True)


def surrogate(objective: Objective) -> Gradient:
    """The gradient of the relaxed objective: the cost at the relaxation instead of the draw; biased.

    Args:
        objective: A `Sampling` objective with `relax`.

    Returns:
        Value, metrics and gradient, of the relaxed objective.

    Raises:
        UsageError: The objective has no `relax`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> coin = Sampling(
        ...     sample=lambda p, batch, key: jax.random.bernoulli(key, p),
        ...     cost=lambda p, batch, z: 2.0 * z,
        ...     relax=lambda p, batch, key: p,
        ... )
        >>> (cost, _), gradient = surrogate(coin)(jnp.float32(0.5), None, jax.random.key(0))
        >>> float(cost), float(gradient)
        (1.0, 2.0)
    """
    sampling = _sampling("surrogate", objective, "relax")

    def relaxed(params: Params, batch: Batch, key: PRNGKey) -> tuple[Any, Metrics]:
        assert sampling.relax is not None
        return sampling.cost(params, batch, sampling.relax(params, batch, key)), {}

    return jax.value_and_grad(relaxed, has_aux=True)
