"""One step of a game as a pure function: who moves when, by which optimiser, with which average."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array

from chainlab.autodiff.rules import cut
from chainlab.errors import UsageError
from chainlab.gan.critic_game import Scale, value_at
from chainlab.gan.fields import FieldTransform
from chainlab.gan.game import Players, Scheduled, at_step, vector_field
from chainlab.typing import Batch, Metrics, Params, PRNGKey


@struct.dataclass
class GameState:
    """Everything of a game that must survive a restart.

    Attributes:
        players: Parameters of both.
        optimizers: Optimiser state of both.
        average: Exponential moving average of the generator's parameters.
        memory: Memory of the field transform.
        step: Steps made; under `vmap` every attribute has leading axes.
        snapshots: Averages on the way, on a leading axis; see `snapshot_steps`.
    """

    players: Players
    optimizers: Players
    average: Params
    memory: Any
    step: Any
    snapshots: Params = ()


@struct.dataclass
class Alternating:
    """The critic moves first, `critic_steps` times, then the generator answers the critic that it finds.

    With several critic steps the batch is cut along its leading axis and each one sees its own part; the generator
    sees the last part.
    """

    critic_steps: int = struct.field(pytree_node=False, default=1)

    def __post_init__(self) -> None:
        if self.critic_steps < 1:
            raise UsageError(f"alternating needs critic_steps >= 1, got {self.critic_steps}")


Update = Alternating | FieldTransform
_ONE_EACH = Alternating()


def game_state(
    players: Players,
    optimizers: tuple[optax.GradientTransformation, ...] | Players,
    update: Update = _ONE_EACH,
    *,
    snapshots: int = 0,
) -> GameState:
    """The state that a game starts with.

    Args:
        players: Initial parameters.
        optimizers: Optimiser of the generator and of the discriminator.
        update: The same as of `make_step`.
        snapshots: How many averages are kept on the way.

    Returns:
        The state.
    """
    generator, discriminator = optimizers
    repeat = lambda leaf: jnp.broadcast_to(leaf, (snapshots, *leaf.shape))  # noqa: E731
    return GameState(
        players=players,
        optimizers=Players(generator.init(players.generator), discriminator.init(players.discriminator)),
        average=jax.tree.map(jnp.copy, players.generator),
        memory=() if isinstance(update, Alternating) else update.init(players),
        step=jnp.zeros((), jnp.int32),
        snapshots=jax.tree.map(repeat, players.generator) if snapshots else (),
    )


def snapshot_steps(count: int, step: int) -> list[int]:
    r"""The steps at which the snapshots of a state were taken, the last of each power of four: 3, 15, 63, ...

    Args:
        count: Snapshots of the state.
        step: Steps made.

    Returns:
        A step for each snapshot that is filled; the last one is of the latest step.

    Example:
        >>> snapshot_steps(8, 100)
        [3, 15, 63, 100]
    """
    filled = [index for index in range(count) if 4**index <= step]
    return [step if index == filled[-1] else 4 ** (index + 1) - 1 for index in filled]


def _taken(snapshots: Params, average: Params, step: Array) -> Params:
    """The snapshots after a step: slot i holds the last average of fewer than 4^(i+1) steps."""
    leaves = jax.tree.leaves(snapshots)
    if not leaves:
        return snapshots
    slot = jnp.minimum((31 - jax.lax.clz(step)) // 2, leaves[0].shape[0] - 1)
    put = lambda kept, new: jax.lax.dynamic_update_index_in_dim(kept, new, slot, 0)  # noqa: E731
    return jax.tree.map(put, snapshots, average)


def make_step(
    game: Scheduled,
    optimizers: tuple[optax.GradientTransformation, ...] | Players,
    *,
    update: Update = _ONE_EACH,
    average_half_life: Scale = 0.0,
) -> Callable[[GameState, Batch, PRNGKey], tuple[GameState, Metrics]]:
    r"""One step of a game, ready for `jit`, `scan` and `vmap`.

    Args:
        game: Two objectives, or a function from the step to them.
        optimizers: Any optax transformations, of the generator and of the discriminator; different learning rates
            give the two-time-scale rule (Heusel et al., arXiv:1706.08500).
        update: `Alternating(critic_steps)`, or a field transform, with which both players move at once.
        average_half_life: Steps after which a generator weighs half in the average,
            $\bar g \leftarrow g + 2^{-1/h} (\bar g - g)$; 0 makes the average the generator itself. A number or a
            schedule.

    Returns:
        `step(state, batch, key) -> (state, metrics)`, pure.

    Raises:
        UsageError: The half-life is a negative number.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from chainlab.gan import Game, Players, extragradient
        >>> saddle = Game(lambda d, g, batch, key: (-d * g, {}), lambda g, d, batch, key: (d * g, {}))
        >>> update = extragradient(0.5)
        >>> state = game_state(Players(jnp.array(1.0), jnp.array(1.0)), (optax.sgd(0.5), optax.sgd(0.5)), update)
        >>> state, _ = make_step(saddle, (optax.sgd(0.5), optax.sgd(0.5)), update=update)(state, None, jax.random.key(0))
        >>> float(state.players.generator), float(state.players.discriminator)
        (0.25, 1.25)
    """  # noqa: E501
    if not callable(average_half_life) and not average_half_life >= 0:
        raise UsageError(f"average_half_life must be >= 0 steps, got {average_half_life}")

    def move(which: int, gradient: Params, params: Params, inner: Any) -> tuple[Params, Any]:
        updates, inner = optimizers[which].update(gradient, inner, params)
        return optax.apply_updates(params, updates), inner

    def alternate(state: GameState, batch: Batch, key: PRNGKey, critic_steps: int) -> tuple[Players, Players, Metrics]:
        rules = at_step(game, state.step)
        (g, d), (inner_g, inner_d) = state.players, state.optimizers
        discriminator_key, generator_key = jax.random.split(key)

        def critic_step(carry: Any, inputs: Any) -> tuple[Any, Metrics]:
            d, inner = carry
            (loss, metrics), gradient = jax.value_and_grad(rules.discriminator_loss, has_aux=True)(d, g, *inputs)
            return move(1, gradient, d, inner), {"discriminator_loss": loss, **metrics}

        if critic_steps == 1:
            (d, inner_d), metrics = critic_step((d, inner_d), (batch, discriminator_key))
        else:
            parts = cut(batch, critic_steps, what="critic steps")
            keys = jax.random.split(discriminator_key, critic_steps)
            (d, inner_d), metrics = jax.lax.scan(critic_step, (d, inner_d), (parts, keys))
            metrics = jax.tree.map(lambda values: values[-1], metrics)
            batch = jax.tree.map(lambda part: part[-1], parts)
        (loss, aux), gradient = jax.value_and_grad(rules.generator_loss, has_aux=True)(g, d, batch, generator_key)
        g, inner_g = move(0, gradient, g, inner_g)
        return Players(g, d), Players(inner_g, inner_d), {**metrics, "generator_loss": loss, **aux}

    def step(state: GameState, batch: Batch, key: PRNGKey) -> tuple[GameState, Metrics]:
        memory = state.memory
        if isinstance(update, Alternating):
            players, inner, metrics = alternate(state, batch, key, update.critic_steps)
        else:
            field = vector_field(at_step(game, state.step), batch, key)
            direction, metrics, memory = update.apply(field, state.players, memory, state.step)
            moved = [move(i, direction[i], state.players[i], state.optimizers[i]) for i in range(2)]
            players, inner = (Players(*pair) for pair in zip(*moved, strict=True))
        average = _average(state, players.generator, average_half_life)
        count = state.step + 1
        return GameState(
            players=players,
            optimizers=inner,
            average=average,
            memory=memory,
            step=count,
            snapshots=_taken(state.snapshots, average, count),
        ), metrics

    return step


def _average(state: GameState, new: Params, half_life: Scale) -> Params:
    if not callable(half_life) and half_life == 0:
        return jax.tree.map(jnp.copy, new)
    life = jnp.asarray(value_at(half_life, state.step), jnp.float32)
    keep = jnp.where(life > 0, jnp.exp2(-1 / jnp.where(life > 0, life, 1)), 0.0)
    return jax.tree.map(lambda old, new: new + keep.astype(new.dtype) * (old - new), state.average, new)
