"""Decoder-only language models as pure functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from chainlab.errors import UsageError
from chainlab.nn.dense import affine
from chainlab.nn.dropout import dropout
from chainlab.nn.norm import accumulator
from chainlab.parallel import one_forward_one_backward, schedule
from chainlab.transformer.architecture import Architecture
from chainlab.transformer.backend import layer_execution
from chainlab.transformer.block import block, norm
from chainlab.transformer.embedding import embed
from chainlab.transformer.feed_forward import Auxiliary
from chainlab.transformer.initialization import embedding_init, head_init
from chainlab.transformer.repeat import repeat, stacked_layers
from chainlab.typing import Params, PRNGKey


class Output(NamedTuple):
    """What one pass gives.

    Attributes:
        logits: `(batch, seq, vocabulary)`, float32 at least.
        cache: The cache after these tokens, or None.
        auxiliary: Values of the mixtures of experts, averaged or stacked over the layers; else empty.
    """

    logits: Array
    cache: Any
    auxiliary: Auxiliary


class LanguageModel(NamedTuple):
    """A language model; its first two functions are those of `chainlab.nn.Model`.

    Attributes:
        init: `init(key) -> params`.
        apply: `apply(params, tokens, *, key=None) -> logits`.
        forward: `forward(params, tokens, *, cache=None, key=None) -> Output`.
        mean_loss: `mean_loss(params, tokens, targets, measure, *, key=None) -> scalar`, the mean of
            `measure(logits, targets)` by a pipeline that turns each micro-batch back at once (`schedule: 1f1b`).
        start: `start(params, batch) -> cache`, empty. The first call of `forward` with it takes any number
            of tokens, each later one a single token.
        architecture: The shape.
        vocabulary: Number of tokens.
    """

    init: Callable[[PRNGKey], Params]
    apply: Callable[..., Float[Array, "batch seq vocabulary"]]
    forward: Callable[..., Output]
    mean_loss: Callable[..., Array]
    start: Callable[..., Any]
    architecture: Architecture
    vocabulary: int


def language_model(architecture: Architecture, vocabulary: int) -> LanguageModel:
    r"""A decoder-only transformer: embeddings, blocks, a norm, and a head over the vocabulary.

    Parameters: `tokens.table`, `positions.table` (learned positions), `blocks.<i>` for the i-th entry of the
    pattern with its repetitions stacked along a leading axis, `norm`, and `head.weight` (untied).

    Args:
        architecture: The shape.
        vocabulary: Number of tokens.

    Returns:
        The model.

    Raises:
        UsageError: `vocabulary` is less than 1, or a sequence is longer than the context.

    Example:
        >>> import jax
        >>> from chainlab.transformer import Architecture, language_model
        >>> model = language_model(Architecture(layers=2, dim=32, context=16), vocabulary=10)
        >>> params = model.init(jax.random.key(0))
        >>> model.apply(params, jax.numpy.zeros((3, 16), "int32")).shape
        (3, 16, 10)

    References:
        Radford et al., Language Models are Unsupervised Multitask Learners, 2019, section 2.3.
    """
    a = architecture
    if vocabulary < 1:
        raise UsageError(f"language_model needs vocabulary >= 1, got {vocabulary}")
    period = len(a.pattern)
    blocks = {str(i): block(a, kind) for i, kind in enumerate(a.pattern)}
    final_norm, noise = norm(a), dropout(a.dropout)
    execution = layer_execution(a.layers) if a.execution == "auto" else a.execution

    def init(key: PRNGKey) -> Params:
        token_key, position_key, head_key, norm_key, block_key = jax.random.split(key, 5)
        keys = jax.random.split(block_key, (period, a.layers // period))
        params: dict[str, Any] = {
            "blocks": {name: jax.vmap(b.init)(keys[int(name)]) for name, b in blocks.items()},
            "norm": final_norm.init(norm_key),
            "tokens": {"table": embedding_init(a)(token_key, (vocabulary, a.dim), jnp.float32)},
        }
        if a.positions == "learned":
            params["positions"] = {"table": embedding_init(a)(position_key, (a.context, a.dim), jnp.float32)}
        if not a.tied:
            params["head"] = {"weight": head_init(a)(head_key, (a.dim, vocabulary), jnp.float32)}
        return params

    def enter(params: Params, tokens: Array, position: Any, key: PRNGKey | None) -> tuple[Params, Array, Any]:
        """The parameters in the type they are used in, the input of the blocks, and the blocks' randomness."""
        length = tokens.shape[1]
        if length > a.context:
            raise UsageError(f"a sequence of {length} tokens is longer than the model's context of {a.context}")
        if a.precision != "parameters":
            params = jax.tree.map(lambda leaf: leaf.astype(a.precision), params)
        noise_key, block_key = (None, None) if key is None else jax.random.split(key)
        return params, noise.apply({}, embed(a, params, tokens, position), key=noise_key), block_key

    def leave(params: Params, x: Float[Array, "batch seq dim"]) -> Float[Array, "batch seq vocabulary"]:
        """The logits of the blocks' output."""
        x = final_norm.apply(params["norm"], x)
        head = params["tokens"]["table"].T if a.tied else params["head"]["weight"]
        logits = affine(x, head)
        logits = logits.astype(accumulator(logits.dtype)) / a.width_ratio
        return logits if a.softcap is None else a.softcap * jnp.tanh(logits / a.softcap)

    def forward(
        params: Params, tokens: Int[Array, "batch seq"], *, cache: Any = None, key: PRNGKey | None = None
    ) -> Output:
        position = 0 if cache is None else cache["position"]
        params, x, block_key = enter(params, tokens, position, key)
        x, new, auxiliary = repeat(
            blocks,
            params["blocks"],
            x,
            execution=execution,
            remat=a.remat,
            cache=None if cache is None else cache["blocks"],
            position=position,
            key=block_key,
            drop=a.drop_path,
        )
        if cache is not None:
            cache = {"blocks": new, "position": cache["position"] + tokens.shape[1]}
        return Output(leave(params, x), cache, auxiliary)

    def mean_loss(
        params: Params,
        tokens: Int[Array, "batch seq"],
        targets: Int[Array, "batch seq"],
        measure: Callable[[Array, Array], Array],
        *,
        key: PRNGKey | None = None,
    ) -> Array:
        params, x, block_key = enter(params, tokens, 0, key)
        layer, inputs = stacked_layers(blocks, params["blocks"], remat=a.remat, key=block_key, drop=a.drop_path)

        def last(head: Params, y: Array, targets: Array) -> Array:
            return jnp.mean(measure(leave(head, y), targets))

        head = {name: part for name, part in params.items() if name != "blocks"}
        return one_forward_one_backward(layer, last, inputs, head, x, targets, parts=schedule()[1])

    def start(params: Params, batch: int) -> Any:
        dtype = params["tokens"]["table"].dtype if a.precision == "parameters" else jnp.dtype(a.precision)
        repeated = a.layers // period
        caches = {name: b.start(batch, dtype) for name, b in blocks.items()}
        stacked = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (repeated, *leaf.shape)), caches)
        return {"blocks": stacked, "position": jnp.zeros((), jnp.int32)}

    def apply(
        params: Params, tokens: Int[Array, "batch seq"], *, key: PRNGKey | None = None
    ) -> Float[Array, "batch seq vocabulary"]:
        return forward(params, tokens, key=key).logits

    return LanguageModel(init, apply, forward, mean_loss, start, a, vocabulary)
