"""Stacked generalisation: networks of single sensors that learn alone, and a stack that weighs their answers."""

import jax
import jax.numpy as jnp

from chainlab import nn
from chainlab.driving.fusion_parts import (
    EGO,
    TARGETS,
    Fused,
    Inputs,
    Sizes,
    health_heads,
    init_each,
    log_odds,
    read_each,
)
from chainlab.driving.readers import MISSING, DiagonalGaussian, Reader, bounded, head, reader
from chainlab.nn import Model
from chainlab.typing import Params, PRNGKey


def stacked(sizes: Sizes) -> Model:
    r"""Stacked generalisation over every single-sensor network and a joint one.

    A dense and an attending reader of each sensor answer alone and learn alone: what the stack learns does not reach
    them, so that each is as good as a network that has nothing but that sensor. The stack sees their answers and
    certainties, the healths and the ego's motion, gives an answer of its own, and weighs all answers target by target,
    $\mu = \sum_k \mathrm{softmax}(g - \log \sigma^2)_k \mu_k$: a product of experts at the start, corrected by $g$
    (within ±4, so that no answer is ever out of reach), that can always fall back on whichever single sensor is best.

    Args:
        sizes: Sizes; each reader has its own tokens under `<sensor>_dense` and `<sensor>_attention`.

    Returns:
        A model from `Inputs` to `Fused`, with one part a reader.

    References:
        Wolpert, Stacked Generalization, Neural Networks 5 (1992), 241-259.
    """
    names = list(sizes.counts)
    kinds: dict[str, Reader] = {name: "dense" if name.endswith("dense") else "attention" for name in names}
    seen = len(names) * (2 * TARGETS + 1) + EGO
    parts = {
        **{f"read_{n}": reader(kinds[n], sizes.counts[n], sizes.dim, EGO, sizes.hidden) for n in names},
        **{f"head_{n}": head(sizes.hidden, TARGETS) for n in names},
        **health_heads(names, sizes.hidden),
        "stack": _stack(seen, sizes.hidden // 2, (len(names) + 3) * TARGETS),
    }

    def apply(params: Params, inputs: Inputs, *, key: PRNGKey | None = None) -> Fused:
        del key
        features = read_each(parts, params, inputs)
        # neither the healths nor the stack change what the parts learn
        odds = log_odds(parts, params, names, jax.lax.stop_gradient(features))
        answers = {n: parts[f"head_{n}"].apply(params[f"head_{n}"], f) for n, f in zip(names, features, strict=True)}
        said, doubts = jax.lax.stop_gradient((list(answers.values()), odds))
        evidence = [*(leaf for answer in said for leaf in answer), jnp.tanh(doubts), inputs.ego]
        out = parts["stack"].apply(params["stack"], jnp.concatenate(evidence, axis=-1))
        out = out.reshape(len(out), len(names) + 3, TARGETS)
        scores, own, log_variance = bounded(out[:, :-2], 4.0), out[:, -2], bounded(out[:, -1], 6.0)
        sure = [-answer.log_variance for answer in said]  # each answer's own claim, corrected by the stack
        scores = scores + jnp.stack([*sure, jnp.zeros_like(own)], axis=1)
        absent = jnp.concatenate([1 - inputs.present, jnp.zeros_like(inputs.present[:, :1])], axis=-1)
        weight = jax.nn.softmax(scores + MISSING * absent[..., None], axis=1)
        candidates = jnp.stack([*(answer.mean for answer in said), own], axis=1)
        return Fused(DiagonalGaussian(jnp.sum(weight * candidates, axis=1), log_variance), odds, answers)

    return Model(init_each(parts), apply)


def _stack(inputs: int, hidden: int, outputs: int) -> Model:
    """A perceptron that starts by saying nothing."""
    net = nn.mlp([inputs, hidden, hidden, outputs], activation="gelu")

    def init(key: PRNGKey) -> Params:
        params = net.init(key)
        return {**params, "dense2": jax.tree.map(jnp.zeros_like, params["dense2"])}

    return Model(init, net.apply)
