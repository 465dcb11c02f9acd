"""The objective of a spiking network: what every learning rule differentiates."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from chainlab.errors import UsageError
from chainlab.spiking.chunks import in_chunks
from chainlab.spiking.loss import Loss
from chainlab.spiking.network import Network
from chainlab.spiking.sequences import Sequence, length
from chainlab.typing import Batch, Metrics, Params, PRNGKey

Penalty = Callable[[Mapping[str, Array], int], Array]


def labelled(batch: Batch, key: PRNGKey) -> tuple[Sequence, Any]:
    """Read a batch `{"x": inputs, "y": labels}` whose inputs already have the time axis first."""
    return batch["x"], batch["y"]


@dataclass(frozen=True)
class Objective:
    """A network, what it reads and the loss of its outputs: `objective(params, batch, key) -> (scalar, metrics)`.

    It is a plain objective to any gradient rule; the rules of this package look inside it. The key draws what `read`
    draws: layers run without one, so that dropout has no effect here.

    Attributes:
        network: The network.
        loss: A fold over its outputs.
        read: `read(batch, key) -> (inputs, labels)`: encodes a batch, time first.
        penalty: Of the spike counts by layer and the number of steps, added to the loss.
    """

    network: Network
    loss: Loss
    read: Callable[[Batch, PRNGKey], tuple[Sequence, Any]] = labelled
    penalty: Penalty | None = None

    def __call__(self, params: Params, batch: Batch, key: PRNGKey) -> tuple[Array, Metrics]:
        """Loss and metrics, in chunks of time that stay in the cache."""
        return self.in_chunks(params, batch, key)

    def in_chunks(self, params: Params, batch: Batch, key: PRNGKey, **how: Any) -> tuple[Array, Metrics]:
        """Loss and metrics, with time cut up as `chunks.in_chunks` is told to."""
        xs, labels = self.read(batch, key)
        carry = in_chunks(self.network, self.loss, params, xs, labels, **how)
        return self.finish(carry.folded, carry.counts, length(xs), labels)

    def finish(self, carry: Any, counts: Mapping[str, Array], steps: int, labels: Any) -> tuple[Array, Metrics]:
        """Loss and metrics from the loss's carry and the spike counts."""
        value, logits = self.loss.finish(carry, steps, labels)
        if self.penalty is not None:
            value = value + self.penalty(counts, steps).astype(value.dtype)
        metrics = {f"rate/{name}": jnp.mean(count) / steps for name, count in counts.items()}
        if labels is not None and jnp.issubdtype(jnp.result_type(labels), jnp.integer):
            metrics["accuracy"] = jnp.mean((jnp.argmax(logits, axis=-1) == labels).astype(value.dtype))
        return value, metrics


def of_network(objective: Any, rule: str) -> Objective:
    """The objective, where it is one of a spiking network.

    Args:
        objective: What a rule was given.
        rule: The rule's name, for the message.

    Returns:
        The objective.

    Raises:
        UsageError: It is any other function, whose time a rule cannot see.
    """
    if not isinstance(objective, Objective):
        raise UsageError(f"{rule} needs a spiking.Objective, whose network it can step through; got {objective!r}")
    return objective
