"""How a transformer is optimised, as plain data; imports no JAX."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Lt

from chainlab.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Optimization:
    """An optimiser with its schedule; the defaults are nanoGPT's."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {
        "extra": "forbid",
        "strict": True,
        "use_attribute_docstrings": True,
    }

    name: Literal["adamw", "lion", "muon"] = "adamw"
    """adamw or lion for everything, or muon for the matrices of the blocks and Nesterov's Adam for the rest."""
    learning_rate: Annotated[float, Gt(0)] = 1e-3
    """Peak rate; with muon that of Adam."""
    matrix_learning_rate: Annotated[float, Gt(0)] = 0.02
    """Peak rate of Muon, times sqrt(max(1, outputs / inputs))."""
    embedding_scale: Annotated[float, Gt(0)] = 1.0
    """Factor of the rate of the embeddings."""
    warmup: Annotated[int, Ge(0)] = 100
    """Steps over which the rate rises linearly from 0."""
    steps: Annotated[int, Gt(0)] = 2000
    """Step at which the rate reaches its last value."""
    decay: Literal["cosine", "linear", "none"] = "cosine"
    """How the rate falls after the warm-up."""
    final: Annotated[float, Ge(0)] = 0.1
    """Last rate as a fraction of the peak."""
    b1: Annotated[float, Ge(0), Lt(1)] = 0.9
    """Decay of the first moment."""
    b2: Annotated[float, Ge(0), Lt(1)] = 0.99
    """Decay of the second moment."""
    eps: Annotated[float, Gt(0)] = 1e-8
    """Added to the root of the second moment."""
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.95
    """Momentum of Muon (Nesterov)."""
    iterations: Annotated[int, Gt(0)] = 5
    """Newton-Schulz iterations of Muon."""
    weight_decay: Annotated[float, Ge(0)] = 0.1
    """Decoupled weight decay of weights and tables (with muon of the matrices alone); gains, biases and taps have none."""  # noqa: E501
    clip: Annotated[float, Gt(0)] | None = 1.0
    """Largest global norm of the gradient; null does not clip."""

    def __post_init__(self) -> None:
        if self.warmup >= self.steps:
            raise UsageError(f"warmup must be less than steps={self.steps}, got {self.warmup}")
