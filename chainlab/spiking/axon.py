"""Axonal delays that can be learnt."""

from types import MappingProxyType

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float

from chainlab.errors import UsageError
from chainlab.spiking.neuron import Neuron
from chainlab.spiking.sequences import Constant, Stepwise
from chainlab.typing import Params, PRNGKey


def delay(size: int, longest: int, *, dtype: DTypeLike = jnp.float32) -> Neuron:
    r"""Delay each channel by its own learnable time, $y_t = (1 - f)\, x_{t - k} + f\, x_{t - k - 1}$.

    The delay $d = k + f$ in steps has whole part $k$ and fraction $f$: a spike between two steps is shared between
    them, which is what gives $\partial y_t / \partial d = x_{t-k-1} - x_{t-k}$.

    Args:
        size: Number of channels.
        longest: The longest delay, in steps; delays are clipped to `[0, longest]`.
        dtype: Type of the delays.

    Returns:
        A layer with the parameter `delay` (size,), drawn uniformly, and the last inputs as its state.

    Raises:
        UsageError: `size` or `longest` is less than 1.

    Example:
        >>> import jax.numpy as jnp
        >>> layer = delay(1, 3)
        >>> xs = jnp.array([[1.0], [0.0], [0.0], [0.0]])
        >>> params = {"delay": jnp.array([1.25])}
        >>> layer.unroll(params, layer.rest(params, xs[0]), xs)[1][:, 0].tolist()
        [0.0, 0.75, 0.25, 0.0]

    References:
        Hammouamri et al., Learning Delays in Spiking Neural Networks using Dilated Convolutions with Learnable
        Spacings, arXiv:2306.17670 (linear interpolation is their limit of a narrow kernel).
    """
    if size < 1 or longest < 1:
        raise UsageError(f"delay: size and longest must be at least 1, got {size} and {longest}")

    def init(key: PRNGKey) -> Params:
        return {"delay": jax.random.uniform(key, (size,), dtype, 0.0, longest)}

    def rest(params: Params, current: Float[Array, "*batch dim"]) -> Array:
        return jnp.zeros((longest + 1, *current.shape), current.dtype)  # oldest first

    def split(params: Params, like: Array) -> tuple[Array, Array]:
        time = jnp.clip(params["delay"], 0.0, longest).astype(like.dtype)
        whole = jnp.minimum(jnp.floor(time), longest - 1)
        axes = (1,) * (like.ndim - 1)
        return whole.astype(jnp.int32).reshape(*axes, size), (time - whole).reshape(*axes, size)

    def step(params: Params, state: Array, current: Float[Array, "*batch dim"]) -> tuple[Array, Array]:
        state, output = unroll(params, state, current[None])
        return state, output[0]

    def unroll(params: Params, state: Array, currents: Stepwise) -> tuple[Array, Array]:
        xs = currents.expand() if isinstance(currents, Constant) else currents
        if xs.shape[-1] != size:
            raise UsageError(f"delay: the input must have {size} features (last axis), got shape {xs.shape}")
        history = jnp.concatenate([state[1:], xs])  # position t + longest holds step t
        whole, fraction = split(params, xs)
        now = jnp.arange(xs.shape[0], dtype=jnp.int32).reshape(-1, *(1,) * (xs.ndim - 1)) + longest
        late = jnp.take_along_axis(history, jnp.broadcast_to(now - whole, xs.shape), axis=0)
        later = jnp.take_along_axis(history, jnp.broadcast_to(now - whole - 1, xs.shape), axis=0)
        return history[-longest - 1 :], (1 - fraction) * late + fraction * later

    about = MappingProxyType({"kind": "delay", "size": size, "longest": longest})
    return Neuron(init, rest, step, unroll, lambda state: state[-1], False, about)
