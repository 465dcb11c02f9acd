"""What a trained model's layers look at, and how much gradient reaches them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from chainlab.transformer.block import block, norm
from chainlab.transformer.embedding import embed
from chainlab.transformer.language_model import LanguageModel
from chainlab.transformer.mixer import depthwise_mix, query_key_value, score_scale
from chainlab.transformer.softmax_attention import attention_weights, visible
from chainlab.typing import Batch, Objective, Params


def attention_maps(
    model: LanguageModel, params: Params, tokens: Int[Array, " seq"]
) -> dict[int, Float[Array, "heads seq seq"]]:
    """The attention probabilities of every softmax layer for one sequence.

    Args:
        model: The language model.
        params: Its parameters.
        tokens: The sequence.

    Returns:
        Probabilities (query, key) of each head by layer number; linear layers have none.
    """
    a = model.architecture
    blocks = [block(a, kind) for kind in a.pattern]
    normalize, mix = norm(a), depthwise_mix(a.dim, a.mix)
    positions = jnp.arange(tokens.shape[0], dtype=jnp.int32)
    x = embed(a, params, tokens[None])
    maps: dict[int, Array] = {}
    for layer in range(a.layers):
        repetition, slot = divmod(layer, len(a.pattern))
        weights = jax.tree.map(lambda leaf, i=repetition: leaf[i], params["blocks"][str(slot)])
        if a.pattern[slot] != "linear":
            h = normalize.apply(weights["attention_norm"], x)
            h = mix.apply(weights["attention_mix"], h)[0] if a.mix else h
            query, key, _ = query_key_value(a, weights["attention"], h, positions)
            mask = visible(positions, positions, window=a.window if a.pattern[slot] == "local" else None)
            maps[layer] = attention_weights(query, key, mask, scale=score_scale(a))[0]
        x, _, _ = blocks[slot].apply(weights, x)
    return maps


def gradient_flow(
    model: LanguageModel, objective: Objective, params: Params, batch: Batch
) -> list[dict[str, float | int]]:
    r"""Root mean square of the gradient by layer and part, $\sqrt{\overline{(\partial L / \partial W)^2}}$.

    Args:
        model: The language model.
        objective: What is differentiated.
        params: The point at which it is.
        batch: A batch.

    Returns:
        One row a layer, by the names of its parts; a mixture of experts adds `experts`, the number of experts
        that received gradient.
    """
    gradient = jax.grad(lambda p: objective(p, batch, jax.random.key(0))[0])(params)
    rows: list[dict[str, float | int]] = []
    for layer in range(model.architecture.layers):
        repetition, slot = divmod(layer, len(model.architecture.pattern))
        parts = jax.tree.map(lambda leaf, i=repetition: leaf[i], gradient["blocks"][str(slot)])
        row: dict[str, float | int] = {"layer": layer}
        for name, part in parts.items():
            leaves = [jnp.ravel(leaf) for leaf in jax.tree.leaves(part)]
            if leaves:
                row[name] = float(jnp.sqrt(jnp.mean(jnp.square(jnp.concatenate(leaves)))))
        if model.architecture.experts is not None:
            row["experts"] = int(jnp.sum(jnp.any(parts["mlp"]["up"]["weight"] != 0, axis=(1, 2))))
        rows.append(row)
    return rows
