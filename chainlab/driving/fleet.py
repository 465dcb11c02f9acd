"""Fleets: drives in progress, each on a route and in a condition of its own; where one ends another starts."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from chainlab.driving.conditions import Condition, training_condition
from chainlab.driving.trip import Route, Trip, sample_route, start
from chainlab.typing import PRNGKey

LONGEST = 20.0  # of a drive, s


class Fleet(NamedTuple):
    """Drives in progress, stacked on the leading axis.

    Attributes:
        route: The routes.
        trip: Where each stands.
        condition: The condition of each.
    """

    route: Route
    trip: Trip
    condition: Condition


def _departure(key: PRNGKey) -> Fleet:
    keys = jax.random.split(key)
    route = sample_route(keys[0])
    return Fleet(route, start(route), training_condition(keys[1]))


def fleet(key: PRNGKey, count: int) -> Fleet:
    """Drives at their start.

    Args:
        key: Randomness.
        count: How many.

    Returns:
        The fleet.
    """
    return jax.vmap(_departure)(jax.random.split(key, count))


def stagger(drives: Fleet, key: PRNGKey) -> Fleet:
    """The fleet with clocks at any time of a drive, so that its drives do not end all at once.

    Args:
        drives: Drives at their start.
        key: Randomness.

    Returns:
        The same drives, with less time to go; leads whose time to brake has passed do not brake.
    """
    time = jax.random.uniform(key, drives.trip.time.shape, drives.trip.time.dtype, maxval=LONGEST)
    return drives._replace(trip=drives.trip._replace(time=time))


def renew(drives: Fleet, key: PRNGKey) -> Fleet:
    """The fleet with a new drive in the place of each that has ended: by collision, lost lane, or after 20 s.

    Args:
        drives: The fleet.
        key: Randomness of the new drives.

    Returns:
        The fleet.
    """

    def one(drive: Fleet, key: PRNGKey) -> Fleet:
        ended = (drive.trip.alive < 1) | (drive.trip.time >= LONGEST)
        return jax.tree.map(lambda fresh, old: jnp.where(ended, fresh, old), _departure(key), drive)

    return jax.vmap(one)(drives, jax.random.split(key, len(drives.trip.time)))
