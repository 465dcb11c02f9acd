"""Optimisers and schedules as configs; imports no JAX."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Gt
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from chainlab.optim.signature import Mistake

_OPEN = ConfigDict(
    extra="allow", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True, defer_build=True
)


class ScheduleConfig(BaseModel):
    """A schedule of optax: its name, and its own arguments as further keys.

    Example:
        >>> ScheduleConfig(name="cosine_decay_schedule", init_value=1e-3, decay_steps=100).arguments
        {'init_value': 0.001, 'decay_steps': 100}
    """

    model_config = _OPEN

    name: str
    """Name of the schedule in `optax.schedules`, such as `warmup_cosine_decay_schedule`."""

    if TYPE_CHECKING:

        def __init__(self, *, name: str, **arguments: Any) -> None: ...

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the optax function."""
        return dict(self.__pydantic_extra__ or {})

    @classmethod
    def mistakes(cls, data: Mapping[str, Any]) -> "Iterator[Mistake]":
        """Names and arguments that optax does not have; imports JAX."""
        from chainlab.optim.signature import schedule_mistakes

        return schedule_mistakes(data)


class OptimizerConfig(BaseModel):
    """An optimiser of optax: its name, its learning rate, and its own arguments as further keys.

    Example:
        >>> OptimizerConfig(name="adamw", learning_rate=1e-3, weight_decay=0.1).arguments
        {'learning_rate': 0.001, 'weight_decay': 0.1}
    """

    model_config = _OPEN

    name: str
    """Name of the optimiser in `optax` or `optax.contrib`, such as `adamw`."""
    learning_rate: Annotated[float, Gt(0)] | ScheduleConfig | None = None
    """Learning rate: a number, a schedule, or null for the optimiser's own default."""
    clip_norm: Annotated[float, Gt(0)] | None = None
    """Largest global norm of a gradient; longer ones are scaled down to it first. null does not clip."""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            name: str,
            learning_rate: float | ScheduleConfig | None = None,
            clip_norm: float | None = None,
            **arguments: Any,
        ) -> None: ...

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the optax function."""
        given = {} if self.learning_rate is None else {"learning_rate": self.learning_rate}
        return {**given, **(self.__pydantic_extra__ or {})}

    @classmethod
    def mistakes(cls, data: Mapping[str, Any]) -> "Iterator[Mistake]":
        """Names and arguments that optax does not have; imports JAX."""
        from chainlab.optim.signature import optimizer_mistakes

        return optimizer_mistakes(data)
