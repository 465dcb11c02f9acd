"""A game: two objectives over two parameter sets."""

from collections.abc import Callable
from typing import NamedTuple

import jax
from jaxtyping import Array, Float, Int

from chainlab.typing import Batch, Metrics, Params, PRNGKey

Loss = Callable[[Params, Params, Batch, PRNGKey], tuple[Float[Array, ""], Metrics]]
"""`loss(own, other, batch, key) -> (scalar, metrics)`: what one player minimises over its own parameters."""


class Players(NamedTuple):
    """One thing for each player: parameters, gradients or optimisers."""

    generator: Params
    discriminator: Params


class Game(NamedTuple):
    """Two objectives over two parameter sets, both minimised.

    Attributes:
        discriminator_loss: `(params_d, params_g, batch, key) -> (scalar, metrics)`.
        generator_loss: `(params_g, params_d, batch, key) -> (scalar, metrics)`.
    """

    discriminator_loss: Loss
    generator_loss: Loss


Scheduled = Game | Callable[[Int[Array, ""]], Game]
"""A game, or a function from the step to one, for penalties whose weight follows a schedule."""

VectorField = Callable[[Players], tuple[Players, Metrics]]
"""`field(players) -> (v, metrics)` at a fixed batch and key."""


def at_step(game: Scheduled, step: Int[Array, ""]) -> Game:
    """The game that is played at a step."""
    return game if isinstance(game, Game) else game(step)


def vector_field(game: Game, batch: Batch, key: PRNGKey) -> VectorField:
    r"""The game's vector field, $v(g, d) = (\nabla_g L_g(g, d), \nabla_d L_d(d, g))$, at one batch and key.

    Gradient descent on the game is $\dot\theta = -v(\theta)$; it is not the gradient of any one function.

    Args:
        game: Two objectives.
        batch: What both see.
        key: Randomness of both.

    Returns:
        The field; its metrics are `discriminator_loss`, `generator_loss` and the objectives' own.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> saddle = Game(lambda d, g, batch, key: (-d * g, {}), lambda g, d, batch, key: (d * g, {}))
        >>> v, _ = vector_field(saddle, None, jax.random.key(0))(Players(jnp.array(2.0), jnp.array(3.0)))
        >>> float(v.generator), float(v.discriminator)
        (3.0, -2.0)

    References:
        Mescheder, Nowozin and Geiger, The Numerics of GANs, arXiv:1705.10461, equation 2.
    """
    discriminator_key, generator_key = jax.random.split(key)

    def field(players: Players) -> tuple[Players, Metrics]:
        (loss_d, metrics_d), gradient_d = jax.value_and_grad(game.discriminator_loss, has_aux=True)(
            players.discriminator, players.generator, batch, discriminator_key
        )
        (loss_g, metrics_g), gradient_g = jax.value_and_grad(game.generator_loss, has_aux=True)(
            players.generator, players.discriminator, batch, generator_key
        )
        metrics = {"discriminator_loss": loss_d, "generator_loss": loss_g, **metrics_d, **metrics_g}
        return Players(gradient_g, gradient_d), metrics

    return field
