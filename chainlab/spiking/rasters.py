"""The spikes of a layer, as events in order of time and as a raster of zeros and ones."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from chainlab.errors import UsageError


class Spikes(NamedTuple):
    """Spikes of a layer in order of time, padded.

    Attributes:
        times: Time of each spike; infinite where there is none.
        neurons: Which neuron fired; the number of neurons where there is none.
        complete: Whether all spikes before the horizon are there.
    """

    times: Float[Array, " spikes"]
    neurons: Int[Array, " spikes"]
    complete: Bool[Array, ""] = np.True_  # pyright: ignore[reportAssignmentType]


def from_raster(raster: Float[Array, "time dim"], most: int | None = None) -> Spikes:
    """The spikes of a raster of zeros and ones, at the times of its steps.

    Args:
        raster: Spikes by step and neuron.
        most: Room for spikes; by default `time * dim`.

    Returns:
        The spikes, sorted by time.

    Raises:
        UsageError: An entry is neither 0 nor 1 (where the values are known, outside `jax.jit`).
    """
    check_spikes(raster)
    steps, size = raster.shape
    most = most or steps * size
    (index,) = jnp.nonzero(raster.reshape(-1), size=most, fill_value=steps * size)
    there = index < steps * size
    times = jnp.where(there, (index // size).astype(raster.dtype), jnp.inf)
    return Spikes(times, jnp.where(there, index % size, size).astype(jnp.int32), jnp.sum(raster != 0) <= most)


def check_spikes(spikes: Any) -> None:
    """Refuse spikes that are not zeros and ones.

    Args:
        spikes: An array; under `jax.jit` its values are unknown and nothing is checked.

    Raises:
        UsageError: An entry is neither 0 nor 1; names the first and its place.
    """
    try:
        values = np.asarray(spikes)
    except jax.errors.TracerArrayConversionError:
        return
    wrong = ~((values == 0) | (values == 1))
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise UsageError(f"spikes must be 0 or 1, got {values[place]} at index {place}")
