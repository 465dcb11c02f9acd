"""A classification task in spike times alone, which needs no file."""

import numpy as np

from chainlab.data.batches import Origin
from chainlab.data.dataset import Dataset, split
from chainlab.errors import UsageError


def spike_timing(
    classes: int = 4,
    *,
    neurons: int = 20,
    steps: int = 50,
    jitter: float = 1.0,
    examples: int = 1000,
    validation: float = 0.0,
    test: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """Random spike-time patterns: every neuron fires exactly once, so that only timing tells the classes apart.

    A class is a template of one spike time a neuron, drawn uniformly; an example is its template with Gaussian
    jitter. Counts and rates carry no information at all.

    Args:
        classes: Number of templates.
        neurons: Input neurons.
        steps: Time steps.
        jitter: Standard deviation of the jitter, in steps.
        examples: Examples in all.
        validation: Share of the examples in `validation`.
        test: Share of the examples in `test`.
        seed: Draws templates, jitter and split.

    Returns:
        The data set: `x` (examples, time, neurons) of zeros and ones as bytes.

    Raises:
        UsageError: A size is less than 1, there are fewer than 2 classes, or `jitter` is negative.

    Example:
        >>> data = spike_timing(2, neurons=5, steps=10, examples=40)
        >>> data.train["x"].shape, set(data.train["x"].sum(axis=1).ravel().tolist())
        ((32, 10, 5), {1})
    """
    if min(neurons, steps, examples) < 1 or classes < 2 or jitter < 0:
        given = f"{classes=}, {neurons=}, {steps=}, {examples=}, {jitter=}"
        raise UsageError(f"spike_timing needs sizes >= 1, classes >= 2 and jitter >= 0, got {given}")
    rng = np.random.default_rng(seed)
    templates = rng.uniform(0, steps, (classes, neurons))
    labels = np.arange(examples, dtype=np.int32) % classes
    times = templates[labels] + jitter * rng.standard_normal((examples, neurons))
    index = np.clip(times, 0, steps - 1).astype(int)
    x = (index[:, None, :] == np.arange(steps)[None, :, None]).astype(np.uint8)
    names = tuple(f"pattern {index}" for index in range(classes))
    train, splits = split(x, labels, {"validation": validation, "test": test}, seed=seed, classes=names, where="timing")
    return Dataset(train, splits, Origin("spike-timing"), names)
