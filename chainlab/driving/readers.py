"""Readers: from tokens, some of which may be missing, to one feature vector; and heads that say how sure they are."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chainlab import nn
from chainlab.nn import Model
from chainlab.typing import Params, PRNGKey

Reader = Literal["dense", "attention"]
MISSING = -1e9  # added to the scores of missing tokens


class DiagonalGaussian(NamedTuple):
    """Independent normal distributions.

    Attributes:
        mean: Means.
        log_variance: Logarithms of the variances.
    """

    mean: Float[Array, "*batch targets"]
    log_variance: Float[Array, "*batch targets"]


def product(parts: list[DiagonalGaussian], trust: Float[Array, "batch parts"]) -> DiagonalGaussian:
    r"""Product of experts, $\mu = \sum_k w_k \mu_k / \sigma_k^2 \big/ \sum_k w_k / \sigma_k^2$.

    Args:
        parts: The experts.
        trust: Weights $w_k$ in [0, 1]; an expert of weight 0 says nothing.

    Returns:
        The product.

    References:
        Hinton, Training Products of Experts by Minimizing Contrastive Divergence, Neural Computation 14 (2002).

    Example:
        >>> import jax.numpy as jnp
        >>> one, other = (DiagonalGaussian(jnp.array([[m]]), jnp.array([[0.0]])) for m in (0.0, 2.0))
        >>> product([one, other], jnp.ones((1, 2))).mean.round(3).tolist()
        [[1.0]]
    """
    weight = [trust[:, k, None] * jnp.exp(-part.log_variance) for k, part in enumerate(parts)]
    total = sum(weight[1:], weight[0]) + 1e-6
    mean = sum((w * part.mean for w, part in zip(weight, parts, strict=True)), jnp.zeros_like(total)) / total
    return DiagonalGaussian(mean, -jnp.log(total))


def bounded(x: Float[Array, "*shape"], limit: float) -> Float[Array, "*shape"]:
    """Numbers softly kept within ±`limit`."""
    return limit * jnp.tanh(x / limit)


def head(hidden: int, targets: int) -> Model:
    """A Gaussian from features; log variances stay within ±6 (`bounded`).

    Args:
        hidden: Features.
        targets: Numbers to predict.

    Returns:
        A model from (batch, hidden) to a `DiagonalGaussian`.
    """
    out = nn.dense(hidden, 2 * targets, weight_init=jax.nn.initializers.normal(0.02))

    def apply(params: Params, features: Array, *, key: PRNGKey | None = None) -> DiagonalGaussian:
        del key
        mean, log_variance = jnp.split(out.apply(params, features), 2, axis=-1)
        return DiagonalGaussian(mean, bounded(log_variance, 6.0))

    return Model(out.init, apply)


def dense_reader(count: int, dim: int, ego: int, hidden: int) -> Model:
    """All tokens and the ego's motion side by side through a perceptron; a missing token is a learnt null vector.

    Args:
        count: Tokens.
        dim: Features of a token.
        ego: Features of the ego's motion.
        hidden: Features of the result.

    Returns:
        A model `apply(params, tokens, present, ego)`, with `present` (batch, count) in [0, 1].
    """
    net = nn.mlp([count * dim + ego, hidden, hidden], activation="gelu")

    def init(key: PRNGKey) -> Params:
        keys = jax.random.split(key)
        return {"null": 0.02 * jax.random.normal(keys[0], (count, dim)), "net": net.init(keys[1])}

    def apply(params: Params, tokens: Array, present: Array, ego_values: Array) -> Array:
        null = params["null"][None, :, :]
        seen = null + present[..., None] * (tokens - null)
        flat = seen.reshape(len(tokens), count * dim)
        return jax.nn.gelu(net.apply(params["net"], jnp.concatenate([flat, ego_values], axis=-1)))

    return Model(init, apply)


def attention_reader(
    count: int, dim: int, ego: int, hidden: int, heads: int = 4, queries: int = 4, blocks: int = 2
) -> Model:
    """Learnt queries, shifted by the ego's motion, attend to the tokens that are there.

    Args:
        count: Tokens.
        dim: Features of a token, divisible by `heads`.
        ego: Features of the ego's motion.
        hidden: Features of the result.
        heads: Attention heads.
        queries: Queries.
        blocks: Rounds of attention.

    Returns:
        A model `apply(params, tokens, present, ego)`, with `present` (batch, count) in [0, 1].

    References:
        Vaswani et al., Attention Is All You Need, arXiv:1706.03762, equation 1.
    """
    motion, norm, out = nn.dense(ego, queries * dim), nn.layer_norm(dim), nn.dense(queries * dim, hidden)
    values, project, think = nn.dense(dim, 2 * dim), nn.dense(dim, dim), nn.mlp([dim, 2 * dim, dim], activation="gelu")
    scale = (dim // heads) ** -0.5

    def init(key: PRNGKey) -> Params:
        keys = jax.random.split(key, 4 + blocks)
        parts = {"ask": project, "values": values, "join": project, "think": think, "before": norm, "after": norm}
        rounds = {
            f"block{i}": {
                name: part.init(k)
                for (name, part), k in zip(parts.items(), jax.random.split(keys[4 + i], len(parts)), strict=True)
            }
            for i in range(blocks)
        }
        query = 0.5 * jax.random.normal(keys[0], (queries, dim))
        return {
            "query": query,
            "motion": motion.init(keys[1]),
            "norm": norm.init(keys[2]),
            "out": out.init(keys[3]),
            **rounds,
        }

    def apply(params: Params, tokens: Array, present: Array, ego_values: Array) -> Array:
        batch = len(tokens)
        tokens = norm.apply(params["norm"], tokens)
        query = params["query"][None] + motion.apply(params["motion"], ego_values).reshape(batch, queries, dim)
        there = present > 0
        trust = jnp.where(there, jnp.log(jnp.where(there, present, 1.0)), MISSING)
        bias = trust[:, None, None, :]
        for i in range(blocks):
            block = params[f"block{i}"]
            asked = project.apply(block["ask"], norm.apply(block["before"], query)).reshape(batch, queries, heads, -1)
            keys, value = jnp.split(values.apply(block["values"], tokens).reshape(batch, count, heads, -1), 2, axis=-1)
            weight = jax.nn.softmax(scale * jnp.einsum("bqhd,bkhd->bhqk", asked, keys) + bias, axis=-1)
            weight = weight * present[:, None, None, :]  # where every token is missing nothing is read
            read = jnp.einsum("bhqk,bkhd->bqhd", weight, value).reshape(batch, queries, dim)
            query = query + project.apply(block["join"], read)
            query = query + think.apply(block["think"], norm.apply(block["after"], query))
        return jax.nn.gelu(out.apply(params["out"], query.reshape(batch, queries * dim)))

    return Model(init, apply)


def reader(kind: Reader, count: int, dim: int, ego: int, hidden: int) -> Model:
    """A reader by name."""
    return (dense_reader if kind == "dense" else attention_reader)(count, dim, ego, hidden)
