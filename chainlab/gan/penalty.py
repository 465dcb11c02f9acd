"""Penalties on the critic's input gradient, by a gradient inside a gradient; each is per example.

A penalty is `penalty(critic, real, fake, key) -> scalar`, where `critic` maps a batch of inputs to their scores. The
inner gradient is that of the summed scores, so a critic must not mix examples (no batch normalisation).
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chainlab.errors import UsageError
from chainlab.typing import PRNGKey

Critic = Callable[[Float[Array, "batch ..."]], Float[Array, " batch"]]
Penalty = Callable[[Critic, Float[Array, "batch ..."], Float[Array, "batch ..."], PRNGKey], Float[Array, ""]]


def safe_norm(x: Float[Array, "batch ..."]) -> Float[Array, " batch"]:
    r"""Euclidean norm of every example, $\lVert x_i \rVert$, with derivative zero (not NaN) where $x_i = 0$.

    Args:
        x: Any shape, examples first.

    Returns:
        One norm an example.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> jax.grad(lambda x: safe_norm(x).sum())(jnp.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    square = jnp.sum(jnp.square(x), axis=tuple(range(1, x.ndim)))
    zero = square == 0
    return jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, square)))


def input_gradient(critic: Critic, x: Float[Array, "batch ..."]) -> Float[Array, "batch ..."]:
    r"""$\nabla_{x_i} D(x_i)$ for every example of a batch at once.

    Args:
        critic: From a batch of inputs to their scores, example by example.
        x: The batch.

    Returns:
        The gradients, shaped like `x`.

    Example:
        >>> input_gradient(lambda x: x[:, 0] ** 2, jnp.array([[1.0, 5.0], [3.0, 5.0]])).tolist()
        [[2.0, 0.0], [6.0, 0.0]]
    """
    return jax.grad(lambda x: jnp.sum(critic(x)))(x)


def zero_centered(critic: Critic, x: Float[Array, "batch ..."]) -> Float[Array, ""]:
    r"""Half the mean squared input gradient, $\tfrac12 E \lVert \nabla_x D(x) \rVert^2$.

    At real examples this is R1, at generated ones R2.

    Args:
        critic: From a batch of inputs to their scores.
        x: Where the gradient is taken.

    Returns:
        The penalty, to be weighted with gamma.

    Example:
        >>> import jax.numpy as jnp
        >>> float(zero_centered(lambda x: 3 * x[:, 0], jnp.zeros((5, 2))))
        4.5

    References:
        Mescheder et al., Which Training Methods for GANs do actually Converge?, arXiv:1801.04406, equations 9 and 10.
    """
    return 0.5 * jnp.sum(jnp.square(input_gradient(critic, x))) / x.shape[0]


def _between(real: Array, fake: Array, key: PRNGKey) -> Array:
    weight = jax.random.uniform(key, (real.shape[0],) + (1,) * (real.ndim - 1), real.dtype)
    return fake + weight * (real - fake)


def _gradient_penalty(critic: Critic, real: Array, fake: Array, key: PRNGKey) -> Float[Array, ""]:
    norm = safe_norm(input_gradient(critic, _between(real, fake, key)))
    return jnp.mean(jnp.square(norm - 1))


def _dragan(critic: Critic, real: Array, fake: Array, key: PRNGKey) -> Float[Array, ""]:
    del fake
    noise = 0.5 * jnp.std(real) * jax.random.uniform(key, real.shape, real.dtype)
    return jnp.mean(jnp.square(safe_norm(input_gradient(critic, real + noise)) - 1))


def _max_gradient(critic: Critic, real: Array, fake: Array, key: PRNGKey) -> Float[Array, ""]:
    return jnp.max(jnp.square(safe_norm(input_gradient(critic, _between(real, fake, key)))))


def _score_variance(critic: Critic, real: Array, fake: Array, key: PRNGKey) -> Float[Array, ""]:
    del key
    return 0.5 * (jnp.var(critic(real)) + jnp.var(critic(fake)))


penalties: Mapping[str, Penalty] = MappingProxyType(
    {
        "r1": lambda critic, real, fake, key: zero_centered(critic, real),
        "r2": lambda critic, real, fake, key: zero_centered(critic, fake),
        "gradient_penalty": _gradient_penalty,
        "dragan": _dragan,
        "max_gradient": _max_gradient,
        "score_variance": _score_variance,
    }
)
r"""Penalties by name; $\hat x$ is uniform on the segment between a real and a generated example.

| name | value | reference |
|---|---|---|
| `r1` | $\tfrac12 E \lVert \nabla D(x) \rVert^2$ at real examples | Mescheder et al., arXiv:1801.04406, equation 9 |
| `r2` | the same at generated examples | the same, equation 10 |
| `gradient_penalty` | $E(\lVert \nabla D(\hat x) \rVert - 1)^2$ | Gulrajani et al., arXiv:1704.00028, equation 3 |
| `dragan` | $E(\lVert \nabla D(x + \delta) \rVert - 1)^2$, $\delta \sim \tfrac12 \sigma_x U(0, 1)$ | Kodali et al., arXiv:1705.07215 |
| `max_gradient` | $\max \lVert \nabla D(\hat x) \rVert^2$ | Zhou et al. (LGAN), arXiv:1902.05687 |
| `score_variance` | $\tfrac12 (\mathrm{Var} D(x) + \mathrm{Var} D(G(z)))$ | a drift term that leaves the mean free |
"""  # noqa: E501


def path_length(
    generate: Callable[[Float[Array, "batch latent"]], Float[Array, "batch ..."]],
    z: Float[Array, "batch latent"],
    key: PRNGKey,
    mean: Float[Array, ""] | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    r"""Path length of a generator, $E(\lVert J_z^\top y \rVert - a)^2$ with $y \sim N(0, I/d)$.

    Args:
        generate: From latent vectors to examples, example by example.
        z: Latent vectors.
        key: Draws the direction `y`.
        mean: Running mean $a$ of the lengths; None takes that of the batch, so that there is nothing to carry.

    Returns:
        The penalty, and the mean length of this batch, with which the caller updates $a$.

    References:
        Karras et al., Analyzing and Improving the Image Quality of StyleGAN, arXiv:1912.04958, equation 4.
    """
    images, pullback = jax.vjp(generate, z)
    scale = math.sqrt(math.prod(images.shape[1:]))
    lengths = safe_norm(pullback(jax.random.normal(key, images.shape, images.dtype) / scale)[0])
    found = jax.lax.stop_gradient(jnp.mean(lengths))
    return jnp.mean(jnp.square(lengths - (found if mean is None else mean))), found


_AUTOMATIC = 6.5e-4


def absolute_gamma(dimension: int, deviation: float, gamma: float | None = None) -> float:
    r"""The weight of R1 and R2 from its scale-free form, $\gamma = \gamma_0 \, d \, \sigma^2$.

    Scaling the data by $s$ divides the input gradient by $s$, and repeating every pixel $k$ times divides its square by
    $k$: $\gamma_0$ is what is left when both are taken out, so one value serves every resolution and every scaling.

    R3GAN's own values (data in [-1, 1], $\sigma \approx 0.5$) span a factor of 3,000 in $\gamma$ and 47 in $\gamma_0$:

    | data | $d$ | $\gamma$ | $\gamma_0$ |
    |---|---|---|---|
    | CIFAR-10, 32x32 | 3,072 | 0.05 | 6.5e-5 |
    | ImageNet, 32x32 | 3,072 | 0.5 | 6.5e-4 |
    | ImageNet, 64x64 | 12,288 | 1 | 3.3e-4 |
    | FFHQ, 64x64 | 12,288 | 2 | 6.5e-4 |
    | FFHQ, 256x256 | 196,608 | 150 | 3.1e-3 |

    Args:
        dimension: Numbers in one example.
        deviation: Standard deviation of the data over all of them.
        gamma: $\gamma_0$; None takes the automatic one, the median of the table, which is meant for images.

    Returns:
        $\gamma$.

    Raises:
        UsageError: The dimension or the deviation is not positive, or `gamma` is negative.

    Example:
        >>> round(absolute_gamma(12288, 0.5), 2)
        2.0

    References:
        Values: Huang et al., arXiv:2501.05441, table of hyperparameters. Karras et al. (arXiv:2006.06676) make
        gamma proportional to the number of pixels too.
    """
    if dimension < 1 or not deviation > 0 or (gamma is not None and gamma < 0):
        raise UsageError(
            f"gamma needs dimension >= 1, deviation > 0 and gamma >= 0, got {dimension}, {deviation} and {gamma}"
        )
    return (_AUTOMATIC if gamma is None else gamma) * dimension * deviation**2
