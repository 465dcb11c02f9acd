"""How workers exchange gradients, as plain data; imports no JAX."""

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from chainlab.declare import config
from chainlab.errors import UsageError

_SPARSE = ("top_k", "random_k")


@config
class ExchangeConfig:
    """How workers form the mean of their gradients."""

    name: Literal["dense", "bfloat16", "int8", "top_k", "random_k", "scaled_sign", "one_bit", "qsgd", "power_sgd"] = (
        "dense"
    )
    """The code on the wire; dense sends gradients as they are."""
    fraction: Annotated[float, Gt(0), Le(1)] = 0.01
    """Share of the coordinates that `top_k` and `random_k` send."""
    bits: Literal[2, 4, 8] = 4
    """Bits of a coordinate of `qsgd`."""
    rank: Annotated[int, Gt(0)] = 2
    """Rank of `power_sgd`."""
    error_feedback: bool = True
    """Whether a worker adds what earlier steps left out; codes that are unbiased do without."""
    momentum: Annotated[float, Ge(0), Lt(1)] | None = None
    """Momentum on each worker, masked where a coordinate was sent (Deep Gradient Compression); includes error
    feedback, for `top_k` and `random_k`."""

    def __post_init__(self) -> None:
        if self.momentum is not None and self.name not in _SPARSE:
            raise UsageError(
                f"momentum belongs to {' and '.join(_SPARSE)}, whose messages leave coordinates out, got "
                f"{self.name!r}: give the optimiser momentum instead"
            )
