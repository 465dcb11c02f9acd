"""Differential privacy of clients: bounded updates, Gaussian noise on their sum, and what a run has spent.

The unit that is protected is one client with all its data. Protected are the parameters after each round; the losses
and other figures that a simulation prints are not.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, PyTree

from chainlab.errors import MissingDependencyError, UsageError
from chainlab.typing import PRNGKey


@dataclass(frozen=True)
class Privacy:
    r"""The subsampled Gaussian mechanism on client updates.

    Attributes:
        clip: Largest norm $C$ of a client's update; longer ones are scaled down to it.
        noise_multiplier: Standard deviation of the noise on the sum of updates, in units of `clip`.
        rate: Probability with which each client is asked in a round (Poisson sampling).

    References:
        McMahan et al., Learning Differentially Private Recurrent Language Models, arXiv:1710.06963, algorithm 1 with
        the fixed-denominator estimator.
    """

    clip: float
    noise_multiplier: float
    rate: float

    def __post_init__(self) -> None:
        if not (self.clip > 0 and self.noise_multiplier > 0 and 0 < self.rate <= 1):
            raise UsageError(f"privacy: wanted clip > 0, noise_multiplier > 0 and a rate in (0, 1], got {self}")


def clip(tree: PyTree, norm: float) -> PyTree:
    r"""Scale a tree down to a norm, $v \min(1, C / \lVert v \rVert)$.

    Args:
        tree: Arrays, taken as one vector.
        norm: Largest norm.

    Returns:
        The tree; zero stays zero.

    Example:
        >>> clip(jnp.array([3.0, 4.0]), 1.0).round(3).tolist()
        [0.6000000238418579, 0.800000011920929]
    """
    length = optax.tree.norm(tree)
    scale = jnp.minimum(1.0, norm / jnp.maximum(length, jnp.finfo(length.dtype).tiny))
    return jax.tree.map(lambda leaf: leaf * scale.astype(leaf.dtype), tree)


def add_noise(tree: PyTree, sigma: float, key: PRNGKey) -> PyTree:
    r"""Independent Gaussian noise on every coordinate, $v + \sigma z$, $z \sim N(0, I)$.

    Args:
        tree: Arrays.
        sigma: Standard deviation.
        key: Draws the noise.

    Returns:
        The noisy tree.

    Example:
        >>> float(jnp.std(add_noise(jnp.zeros(10_000), 2.0, jax.random.key(0))).round(1))
        2.0
    """
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, len(leaves))
    noisy = [leaf + sigma * jax.random.normal(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)]
    return structure.unflatten(noisy)


def epsilons(privacy: Privacy, rounds: int, *, delta: float) -> Float[np.ndarray, " rounds"]:
    r"""What 1, 2, ... rounds spend: the least $\varepsilon$ with which they are $(\varepsilon, \delta)$-private.

    Rényi accounting of the Poisson-subsampled Gaussian mechanism under addition or removal of one client, by
    dp-accounting.

    Args:
        privacy: The mechanism.
        rounds: Number of rounds.
        delta: Probability with which the bound may fail; well below one over the number of clients.

    Returns:
        Epsilon after each round.

    Raises:
        UsageError: There is no round, or delta is not in (0, 1).
        MissingDependencyError: dp-accounting is not installed.
    """
    if rounds < 1 or not 0 < delta < 1:
        raise UsageError(f"epsilons: wanted rounds >= 1 and delta in (0, 1), got {rounds} and {delta}")
    try:
        import dp_accounting
        from dp_accounting.rdp import RdpAccountant
        from dp_accounting.rdp.rdp_privacy_accountant import compute_epsilon
    except ImportError as error:
        raise MissingDependencyError("dp-accounting", "privacy", "the privacy budget") from error
    gaussian = dp_accounting.GaussianDpEvent(privacy.noise_multiplier)
    accountant = RdpAccountant().compose(dp_accounting.PoissonSampledDpEvent(privacy.rate, gaussian))
    return np.array([compute_epsilon(accountant.orders, t * accountant.rdp, delta)[0] for t in range(1, rounds + 1)])
