"""The shape of a transformer as plain data; imports no JAX, so that a YAML file is checked without it."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Lt

from chainlab.errors import UsageError

_STRICT: dict[str, Any] = {"extra": "forbid", "strict": True, "use_attribute_docstrings": True}

Kind = Literal["global", "local", "linear"]


@dataclass(frozen=True, kw_only=True)
class Experts:
    """A sparse mixture of experts in place of the MLP."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    count: Annotated[int, Ge(2)] = 8
    """Number of experts."""
    active: Annotated[int, Gt(0)] = 2
    """Experts that see each token (top-k)."""
    capacity_factor: Annotated[float, Gt(0)] | None = 1.25
    """Places of an expert as a multiple of its fair share in training; null never drops a token."""
    balance_loss: Annotated[float, Ge(0)] = 0.01
    """Weight of the load-balancing loss."""
    z_loss: Annotated[float, Ge(0)] = 0.001
    """Weight of the router's z loss."""

    def __post_init__(self) -> None:
        if self.active > self.count:
            raise UsageError(f"experts: active must be at most count={self.count}, got {self.active}")


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The shape of a decoder-only transformer; the defaults are nanoGPT's CPU configuration.

    Example:
        >>> shape = Architecture(dim=128, heads=4, kv_heads=2)
        >>> shape.head_dim, shape.groups, shape.hidden_dim
        (32, 2, 512)
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    layers: Annotated[int, Gt(0)] = 4
    """Number of blocks."""
    heads: Annotated[int, Gt(0)] = 4
    """Query heads."""
    kv_heads: Annotated[int, Gt(0)] | None = None
    """Key and value heads (grouped-query attention); null is as many as query heads."""
    dim: Annotated[int, Gt(0)] = 128
    """Features of the residual stream."""
    context: Annotated[int, Gt(0)] = 64
    """Longest sequence, in tokens."""
    hidden: Annotated[int, Gt(0)] | None = None
    """Features inside the MLP; null is 4 * dim."""
    pattern: tuple[Kind, ...] = ("global",)
    """Attention of the layers, repeated over the depth: global, local (sliding window) or linear (decayed)."""
    window: Annotated[int, Gt(0)] | None = None
    """Tokens a local layer sees, itself included; needed when the pattern has one."""
    mlp: Literal["gelu", "gelu_tanh", "relu2", "swiglu", "geglu"] = "gelu"
    """Activation of the MLP; gelu is the exact (erf) form, the last two are gated."""
    experts: Experts | None = None
    """Mixture of experts in place of each MLP."""
    norm: Literal["layer", "rms", "rms_plain"] = "layer"
    """Normalisation: LayerNorm, RMSNorm, or RMSNorm without a gain."""
    norm_embedding: bool = False
    """Normalise the embeddings before the first block."""
    bias: bool = False
    """Biases in the projections and in LayerNorm."""
    positions: Literal["learned", "rotary", "none"] = "learned"
    """How positions enter: a learned table, RoPE on queries and keys, or not at all."""
    rotary_base: Annotated[float, Gt(1)] = 10000.0
    """Base of the RoPE wavelengths."""
    qk_norm: bool = False
    """Normalise each head's queries and keys to unit mean square (without a gain)."""
    mix: Annotated[int, Ge(0)] = 0
    """Past tokens in the causal depthwise mix before attention and MLP; 0 is none."""
    tied: bool = True
    """Whether the head is the transposed embedding."""
    softcap: Annotated[float, Gt(0)] | None = None
    """Soft cap of the logits, c tanh(logits / c)."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Dropout of the embeddings and of each branch."""
    drop_path: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Stochastic depth: probability of dropping the last block's branches, growing linearly from 0."""
    init: Literal["gpt2", "zero"] = "gpt2"
    """gpt2: N(0, 0.02^2), branch outputs over sqrt(2 layers). zero: N(0, 0.36 / dim), branch outputs and head 0."""
    base_dim: Annotated[int, Gt(0)] | None = None
    """muP: the width at which the hyper-parameters were tuned; null is the standard parameterisation."""
    execution: Literal["auto", "scan", "unrolled"] = "auto"
    """Whether the blocks are scanned or unrolled; auto chooses by backend."""
    attention: Literal["auto", "full", "blockwise", "fused"] = "auto"
    """Form of softmax attention; auto chooses by backend and length."""
    remat: Literal["none", "dots", "full"] = "none"
    """What the backward pass recomputes: nothing, all but matrix products, or whole blocks."""
    precision: Literal["float32", "bfloat16", "parameters"] = "parameters"
    """Type of products and activations (norms, softmax and losses accumulate in float32); or the parameters' own."""

    def __post_init__(self) -> None:
        if self.dim % self.heads:
            raise UsageError(f"heads must divide dim={self.dim}, got heads={self.heads}")
        if self.heads % self.groups:
            raise UsageError(f"kv_heads must divide heads={self.heads}, got kv_heads={self.groups}")
        if self.positions == "rotary" and self.head_dim % 2:
            raise UsageError(f"rotary positions need an even head width dim / heads, got {self.dim} / {self.heads}")
        if not self.pattern or self.layers % len(self.pattern):
            raise UsageError(f"the pattern's length must divide layers={self.layers}, got {list(self.pattern)}")
        if "local" in self.pattern and self.window is None:
            raise UsageError("a pattern with local layers needs window, the number of tokens they see")

    @property
    def head_dim(self) -> int:
        """Features of one head."""
        return self.dim // self.heads

    @property
    def groups(self) -> int:
        """Key and value heads."""
        return self.heads if self.kv_heads is None else self.kv_heads

    @property
    def hidden_dim(self) -> int:
        """Features inside the MLP."""
        return 4 * self.dim if self.hidden is None else self.hidden

    @property
    def width_ratio(self) -> float:
        """Width over the width at which the hyper-parameters were tuned; 1 in the standard parameterisation."""
        return 1.0 if self.base_dim is None else self.dim / self.base_dim
