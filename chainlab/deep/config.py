"""A deep chain as a config; imports no JAX."""

from typing import Annotated, Literal

from annotated_types import Ge, Gt

from chainlab.declare import config

Connection = Literal[
    "plain",
    "residual",
    "scaled",
    "rezero",
    "skipinit",
    "fixup",
    "pre_norm",
    "post_norm",
    "deepnorm",
    "batch_norm",
    "highway",
]
"""The ways in which a branch joins the stream; see `chainlab.deep.connect`."""


@config
class ChainConfig:
    """The chain."""

    kind: Literal["mlp", "convolution", "transformer"] = "mlp"
    """Dense layers, 3x3 convolutions over the image, or attention and feed-forward over its rows."""
    depth: Annotated[int, Gt(0)] = 100
    """Layers."""
    width: Annotated[int, Gt(0)] = 64
    """Features of every layer."""
    connection: Connection = "rezero"
    """How a branch joins the stream: the cure for a gradient that does not arrive."""
    activation: str = "relu"
    """Activation of dense and convolutional branches, by its name in `chainlab.nn.activations`."""
    branch_layers: Annotated[int, Gt(0)] = 1
    """Dense layers in a branch of kind `mlp`; fixup needs two."""
    sigma_w: Annotated[float, Ge(0)] | None = None
    """Scale of the initial weights; null takes the critical one of the activation."""
    sigma_b: Annotated[float, Ge(0)] = 0.0
    """Standard deviation of the initial biases."""
    orthogonal: bool = False
    """Whether the initial weights are orthogonal (kernels: delta-orthogonal)."""
    heads: Annotated[int, Gt(0)] = 4
    """Attention heads of kind `transformer`."""
    memory: str = "sqrt"
    """What the backward pass remembers: `store`, `sqrt`, `reversible` or `budget: N MiB`."""
