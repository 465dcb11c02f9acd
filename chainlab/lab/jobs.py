"""The jobs of a sweep: every combination of its lists, or draws from its ranges, each one config."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from chainlab.errors import UsageError
from chainlab.lab.config import Document, load
from chainlab.lab.config.envelope import Search, SweptValues

Space: TypeAlias = Mapping[str, SweptValues]
"""What a sweep tries, by dotted key."""


@dataclass(frozen=True)
class Job:
    """One combination of a sweep.

    Attributes:
        values: The swept values by dotted key; a key whose condition is not met is missing.
        overrides: The same as overrides of the config.
        hash: The config hash of the combination; the job's identity.
    """

    values: dict[str, Any]
    overrides: tuple[str, ...]
    hash: str


def space(document: Document) -> Space:
    """What a config's sweep tries.

    Args:
        document: The config.

    Returns:
        The values by key, in the config's order.

    Raises:
        UsageError: The config sweeps nothing.
    """
    swept = document.envelope.sweep
    if not swept:
        raise UsageError(f"{document.name} sweeps nothing: add `sweep:` or use --sweep key=value,value")
    return {
        key: value if isinstance(value, SweptValues) else SweptValues(choices=value) for key, value in swept.items()
    }


def jobs(document: Document, overrides: Sequence[str] = ()) -> list[Job]:
    """The jobs of a config's sweep: the product of its lists in their order, or random draws.

    It draws where `search:` is stated or a value is a range; the same config always draws the same jobs, and with
    more trials the same first ones.

    Args:
        document: The config.
        overrides: The overrides that `document` was loaded with.

    Returns:
        The jobs; combinations that mean the same config are one job.

    Raises:
        UsageError: The config sweeps nothing.
        ConfigError: A combination is no valid config.
    """
    tried = space(document)
    drawing = document.envelope.search is not None or any(each.choices is None for each in tried.values())
    combinations = _draws(tried, document.envelope.search or Search()) if drawing else _product(tried)
    found: dict[str, Job] = {}
    looked_at: set[str] = set()
    for combination in combinations:
        values = admitted(combination, tried, document.values)
        # names of optimisers and their arguments are looked up once for combinations that differ in numbers alone
        shape = json.dumps({key: value for key, value in values.items() if not isinstance(value, float)})
        made = job(document, overrides, values, deep=shape not in looked_at)
        looked_at.add(shape)
        found.setdefault(made.hash, made)
    return list(found.values())


def job(document: Document, overrides: Sequence[str], values: Mapping[str, Any], *, deep: bool = True) -> Job:
    """A config with some of its values replaced.

    Args:
        document: The config.
        overrides: The overrides that it was loaded with.
        values: The values by dotted key.
        deep: Whether checks that import JAX are made too.

    Returns:
        The job.

    Raises:
        ConfigError: That is no valid config.
    """
    own = (*overrides, "sweep=null", "search=null", *(f"{key}={json.dumps(value)}" for key, value in values.items()))
    return Job(dict(values), own, load(document.path, own, deep=deep).hash)


def _product(tried: Space) -> Iterator[dict[str, Any]]:
    for combination in itertools.product(*(each.choices or () for each in tried.values())):
        yield dict(zip(tried, combination, strict=True))


def _draws(tried: Space, search: Search) -> Iterator[dict[str, Any]]:
    for trial in range(search.trials):
        rng = np.random.default_rng((search.seed, trial))
        yield {key: draw(each, rng) for key, each in tried.items()}


def draw(values: SweptValues, rng: np.random.Generator) -> Any:
    """One value, at random.

    Args:
        values: A list, whose entries are equally likely, or a range.
        rng: Where randomness comes from.

    Returns:
        The value; a real number has four significant digits.

    Example:
        >>> draw(SweptValues(log_uniform=(1e-4, 1e-1)), np.random.default_rng(0))
        0.008145
    """
    if values.choices is not None:
        return values.choices[int(rng.integers(len(values.choices)))]
    if values.integers is not None:
        low, high = values.integers
        return int(rng.integers(low, high, endpoint=True))
    if values.uniform is not None:
        low, high = values.uniform
        found = rng.uniform(low, high)
    else:
        assert values.log_uniform is not None
        low, high = values.log_uniform
        found = np.exp(rng.uniform(np.log(low), np.log(high)))
    return float(np.clip(float(f"{found:.4g}"), low, high))


def admitted(combination: Mapping[str, Any], tried: Space, config: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a combination whose conditions are met.

    Args:
        combination: A value a key.
        tried: What the sweep tries, with its conditions.
        config: The config, for conditions on keys that are not swept.

    Returns:
        The values that are left; the config's own hold for the others.

    Example:
        >>> sgd = {"optimizer.name": "sgd"}
        >>> tried = {"optimizer.name": SweptValues(choices=("sgd", "adam")),
        ...          "optimizer.momentum": SweptValues(choices=(0.9,), when=sgd)}
        >>> admitted({"optimizer.name": "adam", "optimizer.momentum": 0.9}, tried, {})
        {'optimizer.name': 'adam'}
    """
    kept: dict[str, Any] = {}
    for key, value in combination.items():
        if holds(tried[key], kept, config):
            kept[key] = value
    return kept


def holds(values: SweptValues, chosen: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether a condition is met by the values chosen so far and, for other keys, by the config."""
    for key, wanted in (values.when or {}).items():
        got: Any = chosen[key] if key in chosen else _at(config, key)
        if got not in (wanted if isinstance(wanted, list | tuple) else [wanted]):
            return False
    return True


def _at(values: Any, key: str) -> Any:
    for name in key.split("."):
        values = values.get(name) if isinstance(values, Mapping) else None
    return values
