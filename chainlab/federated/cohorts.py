"""Which clients take part in a round: sampling, and clients that drop out."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Int

from chainlab.data.batches import Data, Origin
from chainlab.data.shuffle import permute
from chainlab.errors import UsageError
from chainlab.federated.clients import Clients
from chainlab.typing import PRNGKey


@struct.dataclass
class Cohort:
    """The clients of a round.

    Attributes:
        clients: The data of all clients.
        ids: Clients that were asked, each once.
        active: Which of them answer.
    """

    # Quoted for the reason given in `Batches`.
    clients: "Clients"
    ids: 'Int[Array, " cohort"]'
    active: 'Bool[Array, " cohort"]'


def uniform(clients: Clients, size: int, key: PRNGKey) -> Cohort:
    """Draw a fixed number of clients without replacement, all alike whatever their size.

    Args:
        clients: All clients.
        size: How many are asked.
        key: Picks them.

    Returns:
        The cohort.
    """
    ids = permute(jnp.arange(size, dtype=jnp.int32), clients.number, key)
    return Cohort(clients, ids, jnp.ones(size, bool))


def poisson(clients: Clients, rate: float, key: PRNGKey) -> Cohort:
    """Ask each client on its own with the same probability: the sampling that privacy accounting assumes.

    Args:
        clients: All clients.
        rate: Probability.
        key: Draws them.

    Returns:
        The cohort: every client, of whom those drawn are active.
    """
    ids = jnp.arange(clients.number, dtype=jnp.int32)
    return Cohort(clients, ids, jax.random.bernoulli(key, rate, ids.shape))


def sample_rounds(
    clients: Clients,
    *,
    size: int | None = None,
    rate: float | None = None,
    dropout: float = 0.0,
    splits: Mapping[str, Any] | None = None,
    origin: Origin = Origin("unnamed"),
) -> Data:
    """A federation as the data of a task: the batch of a step is the cohort of a round.

    Args:
        clients: All clients.
        size: Clients asked in a round, drawn uniformly without replacement; or
        rate: probability with which each is asked (Poisson sampling). Exactly one of the two is given.
        dropout: Probability that a client that was asked does not answer.
        splits: Evaluation sets by name, held by the server.
        origin: Where the data came from.

    Returns:
        The data.

    Raises:
        UsageError: Not exactly one of `size` and `rate` is given, or one is out of range.

    Example:
        >>> import numpy as np
        >>> from chainlab.federated import even, lay_out
        >>> clients = lay_out({"x": np.zeros((8, 2), np.float32)}, even(8, 4), batch_size=2)
        >>> sample_rounds(clients, size=3).batch(jax.random.key(0), 0).ids.shape
        (3,)
    """
    if (size is None) == (rate is None):
        raise UsageError(f"sample_rounds: wanted either size or rate, got size={size} and rate={rate}")
    if size is not None and not 1 <= size <= clients.number:
        raise UsageError(f"sample_rounds: size: wanted 1..{clients.number} (the number of clients), got {size}")
    if rate is not None and not 0 < rate <= 1:
        raise UsageError(f"sample_rounds: rate: wanted a probability in (0, 1], got {rate}")
    if not 0 <= dropout < 1:
        raise UsageError(f"sample_rounds: dropout: wanted a probability in [0, 1), got {dropout}")

    def gather(clients: Clients, key: PRNGKey) -> Cohort:
        draw, lose = jax.random.split(key)
        cohort = uniform(clients, size, draw) if rate is None else poisson(clients, rate, draw)  # pyright: ignore[reportArgumentType]
        if dropout:
            cohort = cohort.replace(active=cohort.active & ~jax.random.bernoulli(lose, dropout, cohort.ids.shape))  # pyright: ignore[reportAttributeAccessIssue]
        return cohort

    return Data(clients, jax.random.fold_in, gather, splits or {}, None, origin)
