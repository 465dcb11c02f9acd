"""The adversarial game of a generator and a critic."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from chainlab.errors import UsageError
from chainlab.gan.game import Game
from chainlab.gan.loss import adversarial_loss
from chainlab.gan.penalty import path_length as path_length_penalty
from chainlab.gan.penalty import penalties as penalty_table
from chainlab.nn.model import Model
from chainlab.typing import Batch, Metrics, Params, PRNGKey

Scale = float | Callable[[Int[Array, ""]], Any]
"""A number, or a schedule: a function from the step to a number."""


def value_at(scale: Scale, step: Int[Array, ""]) -> Any:
    """The value of a number or schedule at a step.

    Args:
        scale: The number or schedule.
        step: The step.

    Returns:
        The value.

    Example:
        >>> value_at(0.5, jnp.array(3)), int(value_at(lambda step: 2 * step, jnp.array(3)))
        (0.5, 6)
    """
    return scale(step) if callable(scale) else scale


def adversarial(
    generator: Model,
    critic: Model,
    sample: Callable[[PRNGKey, int], Float[Array, "batch latent"]],
    *,
    loss: str = "relativistic",
    penalties: Mapping[str, Scale] | None = None,
    path_length: Scale = 0.0,
) -> Callable[[Int[Array, ""]], Game]:
    r"""A generator against a critic, with penalties on the critic's input gradient and on the generator's Jacobian.

    $L_D = \ell_D(D(x), D(G(z))) + \sum_i \gamma_i P_i$ and $L_G = \ell_G(D(x), D(G(z))) + \gamma_L P_L$. Each player
    differentiates its own loss in its own parameters alone; nothing is detached, since the mixed derivatives are what
    the field transforms and the game's Jacobian are made of. With labels `y` in the batch both networks are called
    with them, and every loss and penalty is that of the conditional game.

    Args:
        generator: `apply(params, z)` or `apply(params, z, y)` gives examples.
        critic: `apply(params, x)` or `apply(params, x, y)` gives one score an example.
        sample: `sample(key, count)` draws latent vectors.
        loss: A key of `chainlab.gan.losses`.
        penalties: Weight of each penalty, a key of `chainlab.gan.penalties`; a number or a schedule.
        path_length: Weight $\gamma_L$ of the generator's `chainlab.gan.path_length`, about the batch's own mean.

    Returns:
        A function from the step to the game, whose batch is `{"x": examples}` and, when conditional, `"y"`: labels.

    Raises:
        UsageError: A loss or penalty is unknown, or a weight is a negative number.
    """
    pair = adversarial_loss(loss)
    weights = dict(penalties or {})
    unknown = sorted(set(weights) - set(penalty_table))
    if unknown:
        raise UsageError(f"unknown penalty {unknown[0]!r}; choose one of {', '.join(sorted(penalty_table))}")
    for name, weight in {**weights, "path_length": path_length}.items():
        if not callable(weight) and not weight >= 0:
            raise UsageError(f"the weight of penalty {name!r} must be >= 0, got {weight}")
    weights = {name: weight for name, weight in weights.items() if callable(weight) or weight > 0}

    def conditions(batch: Batch) -> tuple[Array, ...]:
        return (batch["y"],) if "y" in batch else ()

    def play(step: Int[Array, ""]) -> Game:
        def discriminator_loss(
            params_d: Params, params_g: Params, batch: Batch, key: PRNGKey
        ) -> tuple[Float[Array, ""], Metrics]:
            latent_key, penalty_key = jax.random.split(key)
            real, y = batch["x"], conditions(batch)
            z = sample(latent_key, real.shape[0])
            fake = generator.apply(params_g, z, *y)
            if fake.shape != real.shape:
                raise UsageError(
                    f"the generator makes examples of shape {fake.shape[1:]}, the data's are {real.shape[1:]}"
                )

            def score(x: Float[Array, "batch ..."]) -> Float[Array, " batch"]:
                return critic.apply(params_d, x, *y)

            real_scores, fake_scores = score(real), score(fake)
            total = pair.discriminator(real_scores, fake_scores)
            metrics = {"real_score": jnp.mean(real_scores), "fake_score": jnp.mean(fake_scores)}
            for index, (name, weight) in enumerate(weights.items()):
                value = penalty_table[name](score, real, fake, jax.random.fold_in(penalty_key, index))
                metrics[name] = value
                total = total + value_at(weight, step) * value
            return total, metrics

        def generator_loss(
            params_g: Params, params_d: Params, batch: Batch, key: PRNGKey
        ) -> tuple[Float[Array, ""], Metrics]:
            y, z = conditions(batch), sample(key, batch["x"].shape[0])

            def generate(z: Float[Array, "batch latent"]) -> Float[Array, "batch ..."]:
                return generator.apply(params_g, z, *y)

            fake_scores = critic.apply(params_d, generate(z), *y)
            real_scores = critic.apply(params_d, batch["x"], *y) if pair.paired else fake_scores
            loss = pair.generator(real_scores, fake_scores)
            if not callable(path_length) and path_length == 0:
                return loss, {}
            value, mean = path_length_penalty(generate, z, jax.random.fold_in(key, 1))
            return loss + value_at(path_length, step) * value, {"path_length": value, "path_length_mean": mean}

        return Game(discriminator_loss, generator_loss)

    return play
