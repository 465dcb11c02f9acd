"""Adversarial losses on critic scores: what the discriminator and the generator minimise."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chainlab.errors import UsageError

Scores = Float[Array, " batch"]


class AdversarialLoss(NamedTuple):
    """Two functions of the critic's scores of real and of generated examples (larger is more real).

    Attributes:
        discriminator: `(real, fake) -> scalar`.
        generator: `(real, fake) -> scalar`; `real` matters to paired losses alone.
        paired: Whether the generator's loss looks at the scores of real examples.
    """

    discriminator: Callable[[Scores, Scores], Float[Array, ""]]
    generator: Callable[[Scores, Scores], Float[Array, ""]]
    paired: bool = False


def _mean_softplus(x: Scores) -> Float[Array, ""]:
    return jnp.mean(jax.nn.softplus(x))


def _cross_entropy(real: Scores, fake: Scores) -> Float[Array, ""]:
    return _mean_softplus(-real) + _mean_softplus(fake)


losses: Mapping[str, AdversarialLoss] = MappingProxyType(
    {
        "non_saturating": AdversarialLoss(_cross_entropy, lambda real, fake: _mean_softplus(-fake)),
        "minimax": AdversarialLoss(_cross_entropy, lambda real, fake: -_mean_softplus(fake)),
        "least_squares": AdversarialLoss(
            lambda real, fake: 0.5 * jnp.mean(jnp.square(real - 1)) + 0.5 * jnp.mean(jnp.square(fake)),
            lambda real, fake: 0.5 * jnp.mean(jnp.square(fake - 1)),
        ),
        "hinge": AdversarialLoss(
            lambda real, fake: jnp.mean(jax.nn.relu(1 - real)) + jnp.mean(jax.nn.relu(1 + fake)),
            lambda real, fake: -jnp.mean(fake),
        ),
        "wasserstein": AdversarialLoss(
            lambda real, fake: jnp.mean(fake) - jnp.mean(real),
            lambda real, fake: -jnp.mean(fake),
        ),
        "relativistic": AdversarialLoss(
            lambda real, fake: _mean_softplus(fake - real),
            lambda real, fake: _mean_softplus(real - fake),
            paired=True,
        ),
    }
)
r"""Losses by name, of scores $r = D(x)$ and $f = D(G(z))$; $\zeta$ is the softplus.

| name | discriminator | generator | reference |
|---|---|---|---|
| `non_saturating` | $E\zeta(-r) + E\zeta(f)$ | $E\zeta(-f)$ | Goodfellow et al., arXiv:1406.2661, section 3 |
| `minimax` | $E\zeta(-r) + E\zeta(f)$ | $-E\zeta(f)$ | the same, equation 1 |
| `least_squares` | $E(r-1)^2/2 + Ef^2/2$ | $E(f-1)^2/2$ | Mao et al., arXiv:1611.04076, equation 2 |
| `hinge` | $E(1-r)_+ + E(1+f)_+$ | $-Ef$ | Miyato et al., arXiv:1802.05957, equations 16 and 17 |
| `wasserstein` | $Ef - Er$ | $-Ef$ | Arjovsky et al., arXiv:1701.07875, equation 3 |
| `relativistic` | $E\zeta(f - r)$ | $E\zeta(r - f)$ | Huang et al. (R3GAN), arXiv:2501.05441, equation 2 |

Every loss is conditional when the critic's scores are: see `chainlab.gan.adversarial`.
"""


def adversarial_loss(name: str) -> AdversarialLoss:
    """Look an adversarial loss up.

    Args:
        name: A key of `losses`.

    Returns:
        The pair of functions.

    Raises:
        UsageError: There is no such loss.

    Example:
        >>> import jax.numpy as jnp
        >>> float(adversarial_loss("wasserstein").discriminator(jnp.array([3.0]), jnp.array([1.0])))
        -2.0
    """
    if name not in losses:
        raise UsageError(f"unknown adversarial loss {name!r}; choose one of {', '.join(sorted(losses))}")
    return losses[name]
