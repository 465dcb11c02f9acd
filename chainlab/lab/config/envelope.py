"""The keys of a config that every experiment has: what is run, how long, how often, and what is claimed."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, MinLen

from chainlab.declare import config
from chainlab.parallel.config import MeshConfig

_Positive = Annotated[int, Gt(0)]


@config
class RunConfig:
    """How long a run trains, and how often it measures and saves."""

    steps: _Positive = 1000
    """Training steps."""
    block: _Positive | None = None
    """Steps in one dispatch to the device; null lets the runner choose."""
    log_every: _Positive = 100
    """Steps between two lines of training metrics."""
    eval_every: _Positive | None = None
    """Steps between two evaluations; null evaluates at the end only."""
    checkpoint_every: _Positive | None = None
    """Steps between two checkpoints; null saves at the end and when interrupted."""
    keep: _Positive = 2
    """Checkpoints kept, the newest ones; the best one is kept besides."""
    monitor: str | None = None
    """Metric that names the best checkpoint and stops early, such as `validation/accuracy`."""
    mode: Literal["max", "min"] = "max"
    """Whether the monitored metric is better when larger or when smaller."""
    patience: _Positive | None = None
    """Evaluations without a better monitored metric after which training stops; null never stops early."""

    def __post_init__(self) -> None:
        if self.patience is not None and self.monitor is None:
            raise ValueError("patience needs a monitor: the metric that must improve")
        if self.monitor is not None and self.monitor.count("/") != 1:
            raise ValueError(f"monitor is `split/name`, such as `validation/accuracy`, got {self.monitor!r}")


@config
class Claim:
    """A bound that a metric must keep: its mean over the config's seeds, or each of them."""

    metric: str
    """`split/name` of an evaluation, `train/name` of a step metric, or `seconds`."""
    at_least: float | None = None
    """Smallest value that meets the claim."""
    at_most: float | None = None
    """Largest value that meets the claim."""
    equals: float | None = None
    """Value that meets the claim."""
    tolerance: Annotated[float, Ge(0)] = 0.0
    """Absolute difference from `equals` that still meets the claim."""
    each_seed: bool = False
    """Hold every seed's value against the bound, instead of the mean over the seeds."""

    def __post_init__(self) -> None:
        bounds = [bound for bound in (self.at_least, self.at_most, self.equals) if bound is not None]
        if not bounds:
            raise ValueError("a claim needs a bound: at_least, at_most or equals")
        if self.equals is not None and len(bounds) > 1:
            raise ValueError("a claim has either equals or at_least/at_most, got both")
        if self.tolerance and self.equals is None:
            raise ValueError("tolerance belongs to equals")
        if any(math.isnan(bound) for bound in bounds):
            raise ValueError("a bound must be a number, got nan")

    def met(self, values: Sequence[float]) -> bool:
        """Whether the seeds' values keep every bound; a value that is not a number meets none.

        Args:
            values: The metric, one value a seed.

        Returns:
            Whether the claim holds.

        Example:
            >>> Claim(metric="test/accuracy", at_least=0.9).met([0.95, 0.89])
            True
            >>> Claim(metric="test/accuracy", at_least=0.9, each_seed=True).met([0.95, 0.89])
            False
        """
        return all(map(self._holds, values if self.each_seed else [sum(values) / len(values)]))

    def _holds(self, value: float) -> bool:
        lower = -math.inf if self.at_least is None else self.at_least
        upper = math.inf if self.at_most is None else self.at_most
        if self.equals is not None:
            return abs(value - self.equals) <= self.tolerance
        return lower <= value <= upper

    @property
    def goal(self) -> str:
        """The bounds as text.

        Example:
            >>> Claim(metric="seconds", at_most=60.0).goal
            '<= 60'
            >>> Claim(metric="test/accuracy", at_least=0.9, each_seed=True).goal
            '>= 0.9 in each seed'
        """
        return self._bounds + (" in each seed" if self.each_seed else "")

    @property
    def _bounds(self) -> str:
        if self.equals is not None:
            return f"= {self.equals:g}" + (f" ± {self.tolerance:g}" if self.tolerance else "")
        bounds = [
            f"{sign} {bound:g}" for sign, bound in ((">=", self.at_least), ("<=", self.at_most)) if bound is not None
        ]
        return " and ".join(bounds)


@config
class Diagnose:
    """Statistics of gradients, layer by layer, while a run trains."""

    every: _Positive = 100
    """Steps between two diagnoses."""


@config
class SweptValues:
    """What a sweep tries for a key, where a plain list does not say it: a range, or values under a condition."""

    choices: Annotated[tuple[Any, ...], MinLen(1)] | None = None
    """A list of values."""
    uniform: tuple[float, float] | None = None
    """Real numbers between two bounds, all equally likely."""
    log_uniform: tuple[float, float] | None = None
    """Positive numbers between two bounds, whose logarithms are equally likely."""
    integers: tuple[int, int] | None = None
    """Integers between two bounds, both included."""
    when: dict[str, Any] | None = None
    """Values, or lists of values, that other keys must have, such as `{optimizer.name: sgd}`; else it is left out."""

    def __post_init__(self) -> None:
        kinds = ("choices", "uniform", "log_uniform", "integers")
        stated = [kind for kind in kinds if getattr(self, kind) is not None]
        if len(stated) != 1:
            raise ValueError(f"wanted one of {', '.join(kinds)}, got {' and '.join(stated) or 'none'}")
        low, high = (0, 1) if self.choices is not None else getattr(self, stated[0])
        if not low < high:
            raise ValueError(f"{stated[0]} goes from a smaller bound to a larger one, got [{low}, {high}]")
        if self.log_uniform is not None and low <= 0:
            raise ValueError(f"log_uniform needs bounds > 0, got [{low}, {high}]")


@config
class Search:
    """How a sweep searches instead of trying every combination."""

    trials: _Positive = 20
    """Combinations to try."""
    sampler: Literal["random", "tpe"] = "random"
    """`random` draws every trial by itself; `tpe` learns from those before (Bergstra 2011; needs optuna)."""
    seed: Annotated[int, Ge(0)] = 0
    """Seed of the draws."""
    metric: str | None = None
    """Metric that tells which trial is better, such as `validation/accuracy`; `tpe` and `asha` need it."""
    mode: Literal["max", "min"] = "max"
    """Whether the metric is better when larger or when smaller."""
    pruner: Literal["none", "asha"] = "none"
    """`asha` stops the worse two thirds of the trials early, again and again (Li 2020; needs optuna)."""

    def __post_init__(self) -> None:
        if self.metric is None and (self.sampler == "tpe" or self.pruner == "asha"):
            raise ValueError(f"{'tpe' if self.sampler == 'tpe' else 'asha'} needs a metric to compare trials by")
        if self.metric is not None and self.metric.count("/") != 1:
            raise ValueError(f"metric is `split/name`, such as `validation/accuracy`, got {self.metric!r}")


@config
class Envelope:
    """The keys that every config has besides those of its experiment."""

    experiment: str
    """The experiment: a name from `chainlab list`, `./file.py[:function]` or `module:function`."""
    base: str | None = None
    """A config to inherit from: a path relative to this file, or the name of a packaged config."""
    seed: Annotated[int, Ge(0)] = 0
    """Seed of the run, or the first of its seeds."""
    seeds: _Positive | Annotated[tuple[Annotated[int, Ge(0)], ...], MinLen(1)] = 1
    """Seeds trained side by side in one compile: how many, starting at `seed`, or a list of them."""
    run: RunConfig = RunConfig()
    """How long, and how often."""
    expect: tuple[Claim, ...] = ()
    """What the config claims; `chainlab verify` checks it."""
    sweep: dict[str, Annotated[tuple[Any, ...], MinLen(1)] | SweptValues] | None = None
    """Values to try by dotted key, every combination a run: `{optimizer.learning_rate: [1e-3, 1e-2]}`; a range, such
    as `{log_uniform: [1e-4, 1e-1]}`, is drawn from."""
    search: Search | None = None
    """How many draws a sweep makes, and by what; null tries every combination where all values are lists."""
    diagnose: Diagnose | None = None
    """Diagnose gradients during the run; null does not."""
    tracking: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = ()
    """Trackers that receive the metrics besides the run's own folder."""
    mesh: MeshConfig | None = None
    """Devices along each axis, such as `{data: 4, tensor: 2}`; null uses one device. The result does not depend on it
    but for rounding."""
    note: str = ""
    """A sentence for whoever reads the run."""
    tags: tuple[str, ...] = ()
    """Labels to find configs by; `smoke` marks those that finish within seconds."""

    def __post_init__(self) -> None:
        if isinstance(self.seeds, tuple) and len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds must differ, got {list(self.seeds)}")

    @property
    def replicas(self) -> tuple[int, ...]:
        """The seeds, one a replica.

        Example:
            >>> Envelope(experiment="mlp", seed=3, seeds=2).replicas
            (3, 4)
        """
        if isinstance(self.seeds, int):
            return tuple(range(self.seed, self.seed + self.seeds))
        return self.seeds
