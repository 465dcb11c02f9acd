"""What fusions are made of: their inputs and answers, and for each sensor a reader and an estimate of its health."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chainlab import nn
from chainlab.driving.readers import DiagonalGaussian, Reader, reader
from chainlab.nn import Model
from chainlab.typing import Params, PRNGKey

TARGETS = 2  # steering and acceleration
EGO = 3  # features of the ego's motion


class Inputs(NamedTuple):
    """What fusion sees of a batch.

    Attributes:
        tokens: Tokens by sensor, (batch, count, dim).
        ego: Features of the ego's motion.
        present: 1 for a sensor that delivers (batch, sensors), in the order of `tokens`.
        ranges: LiDAR ranges, for the fusion that pools them in its own grid.
    """

    tokens: Mapping[str, Float[Array, "batch count dim"]]
    ego: Float[Array, "batch 3"]
    present: Float[Array, "batch sensors"]
    ranges: Float[Array, "batch 2 rings beams"] | None


class Fused(NamedTuple):
    """What fusion answers.

    Attributes:
        command: The command.
        health: Log odds that each sensor is sound.
        parts: What single sensors answer, by name, where the fusion asks them.
    """

    command: DiagonalGaussian
    health: Float[Array, "batch sensors"]
    parts: Mapping[str, DiagonalGaussian]


class Sizes(NamedTuple):
    """Sizes of a fusion: tokens by sensor, features of a token, features of a reader."""

    counts: Mapping[str, int]
    dim: int
    hidden: int


def init_each(parts: Mapping[str, Model]) -> Callable[[PRNGKey], Params]:
    """The `init` of a model with named parts."""

    def init(key: PRNGKey) -> Params:
        keys = jax.random.split(key, len(parts))
        return {name: part.init(k) for (name, part), k in zip(parts.items(), keys, strict=True)}

    return init


def spread(present: Float[Array, "batch sensors"], index: int, count: int) -> Float[Array, "batch count"]:
    """The presence of a sensor for each of its tokens."""
    return jnp.broadcast_to(present[:, index, None], (len(present), count))


def sensor_readers(sizes: Sizes, kind: Reader) -> dict[str, Model]:
    """A reader `read_<sensor>` of each sensor's tokens."""
    return {f"read_{name}": reader(kind, n, sizes.dim, EGO, sizes.hidden) for name, n in sizes.counts.items()}


def read_each(parts: Mapping[str, Model], params: Params, inputs: Inputs) -> list[Float[Array, "batch hidden"]]:
    """The features that each sensor's reader finds; a missing sensor's tokens are null."""
    return [
        parts[f"read_{name}"].apply(
            params[f"read_{name}"], tokens, spread(inputs.present, i, tokens.shape[1]), inputs.ego
        )
        for i, (name, tokens) in enumerate(inputs.tokens.items())
    ]


def sound(present: Float[Array, "batch sensors"], odds: Float[Array, "batch sensors"]) -> Float[Array, "batch sensors"]:
    """How much each sensor counts: what is there and not known to be broken does."""
    return present * jax.nn.sigmoid(odds + 2.0)


def health_heads(sensors: Sequence[str], hidden: int) -> dict[str, Model]:
    """A head `health_<sensor>` for each sensor."""
    return {f"health_{name}": nn.dense(hidden, 1) for name in sensors}


def log_odds(
    parts: Mapping[str, Model], params: Params, sensors: Sequence[str], features: Sequence[Float[Array, "batch hidden"]]
) -> Float[Array, "batch sensors"]:
    """Log odds that each sensor is sound, from its features."""
    each = [
        parts[f"health_{name}"].apply(params[f"health_{name}"], feature)
        for name, feature in zip(sensors, features, strict=True)
    ]
    return jnp.concatenate(each, axis=-1)
