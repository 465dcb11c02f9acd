"""The part of a block that works on each token alone: the MLP, dense or a mixture of experts."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chainlab.nn.activation import named
from chainlab.nn.dense import affine
from chainlab.nn.norm import accumulator
from chainlab.transformer.architecture import Architecture, Experts
from chainlab.transformer.initialization import branch_init, matrix_init
from chainlab.typing import Params, PRNGKey

Auxiliary = dict[str, Array]

_GATES = {"swiglu": "silu", "geglu": "gelu"}


class FeedForward(NamedTuple):
    """A layer over tokens.

    Attributes:
        init: `init(key) -> params`.
        apply: `apply(params, x, *, training) -> (y, auxiliary)`; the dense layer has no auxiliary values, a
            mixture gives `balance_loss`, `z_loss`, `dropped` (the share of assignments beyond a capacity) and
            `load`, the fraction of assignments of each expert.
    """

    init: Callable[[PRNGKey], Params]
    apply: Callable[..., tuple[Array, Auxiliary]]


def _activate(mlp: str, x: Array) -> Array:
    if mlp not in _GATES:
        return named(mlp)(x)
    gate, value = jnp.split(x, 2, axis=-1)
    return named(_GATES[mlp])(gate) * value


def dense_feed_forward(architecture: Architecture) -> FeedForward:
    r"""The MLP, $y = W_2\,\phi(W_1 x)$, or its gated form $y = W_2\,(\phi(W_g x) \odot W_u x)$.

    Args:
        architecture: The shape.

    Returns:
        The layer; parameters `up` (both gates side by side in the gated form) and `down`.

    References:
        Shazeer, GLU Variants Improve Transformer, arXiv:2002.05202, equation 6.
        So et al., Primer, arXiv:2109.08668, section 3 (squared ReLU).
    """
    a = architecture
    wide = a.hidden_dim * (2 if a.mlp in _GATES else 1)

    def init(key: PRNGKey) -> Params:
        up_key, down_key = jax.random.split(key)
        params = {
            "down": {"weight": branch_init(a)(down_key, (a.hidden_dim, a.dim), jnp.float32)},
            "up": {"weight": matrix_init(a)(up_key, (a.dim, wide), jnp.float32)},
        }
        if a.bias:
            params["down"]["bias"], params["up"]["bias"] = jnp.zeros(a.dim), jnp.zeros(wide)
        return params

    def apply(params: Params, x: Float[Array, "*batch dim"], *, training: bool = False) -> tuple[Array, Auxiliary]:
        del training
        up, down = params["up"], params["down"]
        hidden = _activate(a.mlp, affine(x, up["weight"], up.get("bias")))
        return affine(hidden, down["weight"], down.get("bias")), {}

    return FeedForward(init, apply)


def expert_feed_forward(architecture: Architecture, experts: Experts) -> FeedForward:
    r"""A sparse mixture of experts: each token goes to the `active` experts that its router scores highest.

    $y = \sum_{e \in \text{top-}k(p)} \frac{p_e}{\sum_{\text{top-}k} p}\, f_e(x)$ with $p = \mathrm{softmax}(W_r x)$; a
    single active expert weighs $p_e$ itself, without which its router would have no gradient. Experts have no biases.
    In training an expert takes at most `capacity_factor` times its fair share, earlier tokens first, and the
    rest pass by on the residual stream; otherwise no token is dropped, so that a token's output never
    depends on its neighbours. Tokens are gathered into one buffer an expert and multiplied at once.

    Args:
        architecture: The shape.
        experts: The mixture.

    Returns:
        The layer; parameters `router`, `up` (experts, dim, hidden) and `down` (experts, hidden, dim).

    References:
        Fedus et al., Switch Transformers, arXiv:2101.03961, equations 2 to 6 (one expert, capacity and balance).
        Zoph et al., ST-MoE, arXiv:2202.08906, equation 5 (z loss).
    """
    a, count, active = architecture, experts.count, experts.active
    wide = a.hidden_dim * (2 if a.mlp in _GATES else 1)

    def init(key: PRNGKey) -> Params:
        router_key, up_key, down_key = jax.random.split(key, 3)
        return {
            "down": {"weight": branch_init(a)(down_key, (count, a.hidden_dim, a.dim), jnp.float32)},
            "router": {"weight": matrix_init(a)(router_key, (a.dim, count), jnp.float32)},
            "up": {"weight": matrix_init(a)(up_key, (count, a.dim, wide), jnp.float32)},
        }

    def apply(params: Params, x: Float[Array, "*batch dim"], *, training: bool = False) -> tuple[Array, Auxiliary]:
        tokens = x.reshape(math.prod(x.shape[:-1]), a.dim)
        number = tokens.shape[0]
        logits = affine(tokens, params["router"]["weight"])
        logits = logits.astype(accumulator(logits.dtype))
        probabilities = jax.nn.softmax(logits, axis=-1)
        weights, chosen = jax.lax.top_k(probabilities, active)
        if active > 1:
            weights = weights / jnp.sum(weights, axis=-1, keepdims=True)

        capacity = number
        if training and experts.capacity_factor is not None:
            capacity = min(number, math.ceil(experts.capacity_factor * number * active / count))
        assigned = jax.nn.one_hot(chosen.reshape(-1), count, dtype=jnp.int32)
        place = jnp.sum((jnp.cumsum(assigned, axis=0) - assigned) * assigned, axis=-1).reshape(number, active)
        slot = jnp.where(place < capacity, chosen * capacity + place, count * capacity)  # past the end: dropped

        buffer = jnp.zeros((count * capacity, a.dim), x.dtype)
        buffer = buffer.at[slot].set(jnp.broadcast_to(tokens[:, None, :], (number, active, a.dim)), mode="drop")
        hidden = jnp.einsum("ecd,edh->ech", buffer.reshape(count, capacity, a.dim), params["up"]["weight"])
        out = jnp.einsum("ech,ehd->ecd", _activate(a.mlp, hidden), params["down"]["weight"])
        out = out.reshape(count * capacity, a.dim).at[slot].get(mode="fill", fill_value=0)
        y = jnp.sum(out * jnp.broadcast_to(weights.astype(x.dtype)[..., None], out.shape), axis=1)

        load = jnp.mean(assigned.astype(probabilities.dtype), axis=0)
        auxiliary = {
            "balance_loss": count * jnp.sum(load * jnp.mean(probabilities, axis=0)),
            "dropped": jnp.mean((place >= capacity).astype(probabilities.dtype)),
            "load": load,
            "z_loss": jnp.mean(jnp.square(jax.nn.logsumexp(logits, axis=-1))),
        }
        return y.reshape(x.shape), auxiliary

    return FeedForward(init, apply)


def feed_forward(architecture: Architecture) -> FeedForward:
    """The MLP that an architecture asks for: a mixture where it names `experts`, else a dense one."""
    experts: Any = architecture.experts
    return dense_feed_forward(architecture) if experts is None else expert_feed_forward(architecture, experts)
