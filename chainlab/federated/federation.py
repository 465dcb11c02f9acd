"""A federation as a value: what the simulation and the deployment both run."""

from collections.abc import Callable
from typing import NamedTuple

import optax

from chainlab.federated.algorithms import Algorithm
from chainlab.federated.clients import Clients
from chainlab.federated.privacy import Privacy
from chainlab.typing import Params, PRNGKey


class Federation(NamedTuple):
    """Clients, what they compute, and what the server makes of it.

    Attributes:
        algorithm: What clients compute and how the server combines it.
        optimizer: The server's optimiser.
        init: `init(key) -> params`.
        clients: The data of all clients; on a node, only its own client's is looked at.
        privacy: Clipping and noise.
        last: The round after which nothing changes any more.
    """

    algorithm: Algorithm
    optimizer: optax.GradientTransformation
    init: Callable[[PRNGKey], Params]
    clients: Clients
    privacy: Privacy | None = None
    last: int | None = None
