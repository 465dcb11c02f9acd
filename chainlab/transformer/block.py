"""One transformer block."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chainlab.nn.dropout import dropout
from chainlab.nn.model import Model
from chainlab.nn.norm import layer_norm, rms_norm, root_mean_square
from chainlab.transformer.architecture import Architecture, Kind
from chainlab.transformer.feed_forward import Auxiliary, feed_forward
from chainlab.transformer.mixer import Cache, depthwise_mix, linear_mixer, softmax_mixer
from chainlab.typing import Params, PRNGKey


class Block(NamedTuple):
    """A block of the residual stream.

    Attributes:
        init: `init(key) -> params`.
        apply: `apply(params, x, *, cache, position, key, drop) -> (x, cache, auxiliary)`; `drop` is the
            probability of skipping each branch in training.
        start: `start(batch, dtype) -> cache`, empty.
    """

    init: Callable[[PRNGKey], Params]
    apply: Callable[..., tuple[Array, Cache | None, Auxiliary]]
    start: Callable[..., Cache]


def norm(architecture: Architecture) -> Model:
    """The normalisation that an architecture asks for."""
    a = architecture
    if a.norm == "layer":
        return layer_norm(a.dim, bias=a.bias)
    if a.norm == "rms":
        return rms_norm(a.dim)
    return Model(lambda key: {}, lambda params, x, *, key=None: root_mean_square(x))


def skip_branch(branch: Float[Array, "batch *rest"], rate: Array, key: PRNGKey) -> Float[Array, "batch *rest"]:
    r"""Stochastic depth: drop an example's whole branch with probability `rate`, scale the rest by $1/(1-p)$.

    Args:
        branch: What the branch would add to the residual stream.
        rate: The probability.
        key: Randomness.

    Returns:
        The branch, zero for the dropped examples.

    References:
        Huang et al., Deep Networks with Stochastic Depth, arXiv:1603.09382, equation 2.
    """
    keep = jax.random.bernoulli(key, 1.0 - rate, (branch.shape[0], *(1 for _ in branch.shape[1:])))
    return jnp.where(jnp.broadcast_to(keep, branch.shape), branch / (1.0 - rate).astype(branch.dtype), 0)


def block(architecture: Architecture, kind: Kind) -> Block:
    r"""A pre-norm block, $x \leftarrow x + A(N(x))$, then $x \leftarrow x + F(N(x))$.

    Args:
        architecture: The shape.
        kind: Which attention $A$ is.

    Returns:
        The block.

    References:
        Xiong et al., On Layer Normalization in the Transformer Architecture, arXiv:2002.04745, section 3.
    """
    a = architecture
    attention = linear_mixer(a) if kind == "linear" else softmax_mixer(a, kind)
    mlp, normalize, mix = feed_forward(a), norm(a), depthwise_mix(a.dim, a.mix)
    noise = dropout(a.dropout)

    def init(key: PRNGKey) -> Params:
        keys = jax.random.split(key, 4)
        params: dict[str, Any] = {
            "attention": attention.init(keys[0]),
            "attention_norm": normalize.init(keys[1]),
            "mlp": mlp.init(keys[2]),
            "mlp_norm": normalize.init(keys[3]),
        }
        if a.mix:
            params["attention_mix"], params["mlp_mix"] = mix.init(key), mix.init(key)
        return params

    def apply(
        params: Params,
        x: Float[Array, "batch seq dim"],
        *,
        cache: Cache | None = None,
        position: Any = 0,
        key: PRNGKey | None = None,
        drop: Any = 0.0,
    ) -> tuple[Array, Cache | None, Auxiliary]:
        keys = [None] * 4 if key is None else jax.random.split(key, 4)
        new: Cache | None = None if cache is None else {}

        def run(name: str, layer: Any, h: Array) -> Array:
            h, inner = layer.apply(params[name], h, None if cache is None else cache[name], position)
            if new is not None:
                new[name] = inner
            return h

        def add(x: Array, branch: Array, noise_key: Any, drop_key: Any) -> Array:
            branch = noise.apply({}, branch, key=noise_key)
            if a.drop_path and drop_key is not None:
                branch = skip_branch(branch, jnp.asarray(drop, jnp.float32), drop_key)
            return x + branch

        h = normalize.apply(params["attention_norm"], x)
        h = run("attention_mix", mix, h) if a.mix else h
        x = add(x, run("attention", attention, h), keys[0], keys[1])
        h = normalize.apply(params["mlp_norm"], x)
        h = run("mlp_mix", mix, h) if a.mix else h
        h, auxiliary = mlp.apply(params["mlp"], h, training=key is not None)
        return add(x, h, keys[2], keys[3]), new, auxiliary

    def start(batch: int, dtype: Any) -> Cache:
        cache = {"attention": attention.start(batch, dtype)}
        if a.mix:
            cache |= {"attention_mix": mix.start(batch, dtype), "mlp_mix": mix.start(batch, dtype)}
        return cache

    return Block(init, apply, start)
