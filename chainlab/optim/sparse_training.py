"""Sparse training with a budget of connections that moves: RigL."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Int, PyTree

from chainlab.errors import UsageError
from chainlab.typing import Params


class RiglState(NamedTuple):
    """Steps so far, the masks (None for leaves that stay dense) and the inner optimiser's state."""

    step: Array
    masks: PyTree
    inner: optax.OptState


def _ranks(scores: Array) -> Int[Array, "*shape"]:
    """The place of each entry in descending order of its score."""
    order = jnp.argsort(-scores.reshape(-1))
    return (
        jnp.zeros(scores.size, jnp.int32).at[order].set(jnp.arange(scores.size, dtype=jnp.int32)).reshape(scores.shape)
    )


def redistribute(
    mask: Bool[Array, "*shape"], weight: Array, gradient: Array, fraction: Array
) -> tuple[Bool[Array, "*shape"], Bool[Array, "*shape"]]:
    """Drop the active connections of least weight and grow as many where the gradient is largest.

    Args:
        mask: Active connections.
        weight: Their weights.
        gradient: The gradient of the dense matrix.
        fraction: Share of the active connections to move.

    Returns:
        The connections that stay and those that are new; as many together as before.
    """
    active = jnp.sum(mask, dtype=jnp.int32)
    moved = jnp.floor(fraction * active.astype(jnp.float32)).astype(jnp.int32)
    kept = _ranks(jnp.where(mask, jnp.abs(weight), -1.0)) < active - moved
    grown = _ranks(jnp.where(kept, -1.0, jnp.abs(gradient))) < moved
    return kept, grown


def rigl(
    inner: optax.GradientTransformation,
    *,
    density: float,
    every: int = 100,
    fraction: float = 0.3,
    until: int = 1000,
    seed: int = 0,
) -> optax.GradientTransformation:
    r"""Train a share of the weights, and move some of them now and then: drop by $|w|$, grow by the dense gradient.

    At step $t$ the share $\frac{\alpha}{2}(1 + \cos \frac{\pi t}{T})$ of a matrix's connections moves; new ones
    start at zero. Matrices (leaves of two axes or more) start with random masks of the given density, vectors stay
    dense. Every inactive weight is zero after each update, the first one included, so that the gradient of a network
    that multiplies by the weights is the dense gradient that growing needs.

    Args:
        inner: The optimiser of the active weights; it never sees the gradient of an inactive one.
        density: Share of each matrix's weights that is active.
        every: Steps between two moves.
        fraction: Share $\alpha$ of the active weights that the first move concerns.
        until: Step $T$ after which the masks stay.
        seed: Draws the first masks.

    Returns:
        An optax transformation; it needs the parameters in `update`.

    Raises:
        UsageError: A share is not in (0, 1], a step count is less than 1, or `update` gets no parameters.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> optimizer, params = rigl(optax.sgd(0.1), density=0.5), jnp.ones((4, 4))
        >>> updates, _ = optimizer.update(params, optimizer.init(params), params)
        >>> int(jnp.sum(params + updates == 0))
        8

    References:
        Evci et al., Rigging the Lottery, arXiv:1911.11134, section 3 and algorithm 1.
    """
    if not (0 < density <= 1 and 0 < fraction <= 1):
        raise UsageError(f"rigl needs density and fraction in (0, 1], got {density} and {fraction}")
    if every < 1 or until < 1:
        raise UsageError(f"rigl needs every >= 1 and until >= 1, got {every} and {until}")

    def init(params: Params) -> Any:
        leaves, structure = jax.tree.flatten(params)
        keys = jax.random.split(jax.random.key(seed), max(len(leaves), 1))
        masks = [
            _ranks(jax.random.uniform(key, leaf.shape)) < max(1, round(density * leaf.size)) if leaf.ndim >= 2 else None
            for leaf, key in zip(leaves, keys, strict=bool(leaves))
        ]
        return RiglState(jnp.zeros((), jnp.int32), jax.tree.unflatten(structure, masks), inner.init(params))

    def update(updates: Params, state: Any, params: Params | None = None) -> tuple[Params, Any]:
        if params is None:
            raise UsageError("rigl: update needs the parameters: update(gradients, state, params)")
        step_number = state.step + 1
        share = fraction / 2 * (1 + jnp.cos(math.pi * step_number.astype(jnp.float32) / until))
        due = (step_number % every == 0) & (step_number < until)
        leaves, structure = jax.tree.flatten(updates)
        masks, weights = structure.flatten_up_to(state.masks), structure.flatten_up_to(params)

        masked = [g if m is None else jnp.where(m, g, 0) for g, m in zip(leaves, masks, strict=True)]
        steps, kept_state = inner.update(structure.unflatten(masked), state.inner, params)

        new_masks: list[Any] = []
        new_steps: list[Any] = []
        for step, gradient, mask, weight in zip(structure.flatten_up_to(steps), leaves, masks, weights, strict=True):
            if mask is None:
                new_masks.append(None)
                new_steps.append(step)
                continue
            stay = lambda m=mask: (m, jnp.zeros_like(m))  # noqa: E731
            move = lambda m=mask, w=weight, g=gradient: redistribute(m, w, g, share)  # noqa: E731
            kept, grown = jax.lax.cond(due, move, stay)
            new_masks.append(kept | grown)
            new_steps.append(jnp.where(kept, step, -weight))
        return structure.unflatten(new_steps), RiglState(step_number, structure.unflatten(new_masks), kept_state)

    return optax.GradientTransformation(init, update)
