"""How examples are spread over clients: evenly, by skewed labels or sizes, by shifted features, by a column."""

import numpy as np
from jaxtyping import Float, Int, Integer, Shaped

from chainlab.errors import UsageError

Parts = list[Int[np.ndarray, " _"]]


def _check(clients: int, examples: int) -> None:
    if not 1 <= clients <= examples:
        raise UsageError(f"clients: wanted 1..{examples} (the number of examples), got {clients}")


def _cut(order: Int[np.ndarray, " n"], shares: Float[np.ndarray, " clients"]) -> Parts:
    """Cut indices into runs whose lengths follow the shares, to one example."""
    ends = np.round(np.cumsum(shares / np.sum(shares))[:-1] * len(order)).astype(int)
    return np.split(order, ends)


def _fill_empty(parts: Parts) -> Parts:
    """Give each empty client one example of the largest, so that every client can take part."""
    for client, part in enumerate(parts):
        if len(part) == 0:
            giver = int(np.argmax([len(other) for other in parts]))
            parts[client], parts[giver] = parts[giver][-1:], parts[giver][:-1]
    return parts


def even(examples: int, clients: int, *, seed: int = 0) -> Parts:
    """Independent and identically distributed clients of equal size, to one example.

    Args:
        examples: Number of examples.
        clients: Number of clients.
        seed: Shuffles the examples.

    Returns:
        Indices of each client's examples.

    Raises:
        UsageError: There are fewer examples than clients.

    Example:
        >>> sorted(len(part) for part in even(10, 3))
        [3, 3, 4]
    """
    _check(clients, examples)
    return _cut(np.random.default_rng(seed).permutation(examples), np.ones(clients))


def dirichlet(labels: Integer[np.ndarray, " examples"], clients: int, *, alpha: float, seed: int = 0) -> Parts:
    r"""Skewed labels: each class is spread over the clients by shares $p \sim \mathrm{Dir}(\alpha, \dots, \alpha)$.

    A small alpha gives clients of few classes and of unequal size. A client that draws nothing gets one example of
    the largest.

    Args:
        labels: Class of each example.
        clients: Number of clients.
        alpha: Concentration; 0.1 is strongly skewed, 100 nearly even.
        seed: Draws the shares and the order.

    Returns:
        Indices of each client's examples.

    Raises:
        UsageError: There are fewer examples than clients, or alpha is not positive.

    Example:
        >>> parts = dirichlet(np.arange(100) % 10, 4, alpha=0.1)
        >>> sorted(np.concatenate(parts).tolist()) == list(range(100))
        True

    References:
        Hsu et al., Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification,
        arXiv:1909.06335; the spread by class is that of Yurochkin et al., arXiv:1905.12022, section 4.
    """
    _check(clients, len(labels))
    if not alpha > 0:
        raise UsageError(f"dirichlet: wanted alpha > 0, got {alpha}")
    rng = np.random.default_rng(seed)
    by_class = [
        _cut(rng.permutation(np.flatnonzero(labels == label)), _shares(rng, alpha, clients))
        for label in np.unique(labels)
    ]
    return _fill_empty([np.concatenate(pieces) for pieces in zip(*by_class, strict=True)])


def _shares(rng: np.random.Generator, alpha: float, clients: int) -> Float[np.ndarray, " clients"]:
    """A draw of the Dirichlet distribution; at a tiny alpha all of it may underflow, then one client gets it all."""
    shares = rng.dirichlet(np.full(clients, alpha))
    return shares if np.sum(shares) > 0 else np.eye(clients)[rng.integers(clients)]


def quantity(examples: int, clients: int, *, sigma: float, seed: int = 0) -> Parts:
    r"""Skewed sizes with labels alike: sizes follow $e^{\sigma z}$, $z \sim N(0, 1)$.

    Args:
        examples: Number of examples.
        clients: Number of clients.
        sigma: Spread of the sizes; 0 is even.
        seed: Draws the sizes and the order.

    Returns:
        Indices of each client's examples, at least one each.

    Raises:
        UsageError: There are fewer examples than clients, or sigma is negative.

    Example:
        >>> sum(len(part) for part in quantity(100, 7, sigma=1.0))
        100
    """
    _check(clients, examples)
    if not sigma >= 0:
        raise UsageError(f"quantity: wanted sigma >= 0, got {sigma}")
    rng = np.random.default_rng(seed)
    return _fill_empty(_cut(rng.permutation(examples), np.exp(sigma * rng.normal(size=clients))))


def by_column(column: Shaped[np.ndarray, " examples"]) -> Parts:
    """Natural clients: one for each value of a column (a writer, a hospital, a device), in sorted order.

    Args:
        column: Whose each example is.

    Returns:
        Indices of each client's examples.

    Raises:
        UsageError: The column is empty.

    Example:
        >>> [part.tolist() for part in by_column(np.array(["b", "a", "b"]))]
        [[1], [0, 2]]
    """
    if len(column) == 0:
        raise UsageError("by_column: wanted at least one example, got an empty column")
    _, owner = np.unique(column, return_inverse=True)
    return [np.flatnonzero(owner == client) for client in range(int(np.max(owner)) + 1)]


def shift_features(
    x: Float[np.ndarray, "examples *features"], parts: Parts, *, sigma: float, seed: int = 0
) -> Float[np.ndarray, "examples *features"]:
    r"""Shifted features: client $k$ sees $x\,e^{\sigma a_k} + \sigma b_k$ with $a_k, b_k \sim N(0, 1)$ per client.

    It is what a sensor with a gain and an offset of its own does; labels and sizes stay as they are.

    Args:
        x: Inputs.
        parts: Indices of each client's examples.
        sigma: Spread of gains and offsets, in units of `x`.
        seed: Draws them.

    Returns:
        The shifted inputs, a copy.

    Example:
        >>> shift_features(np.zeros((2, 3), np.float32), [np.array([0]), np.array([1])], sigma=0.0).shape
        (2, 3)
    """
    rng = np.random.default_rng(seed)
    shifted = x.copy()
    for part in parts:
        gain, offset = np.exp(sigma * rng.normal()), sigma * rng.normal()
        shifted[part] = (x[part] * gain + offset).astype(x.dtype)
    return shifted
