"""Generative adversarial networks on mixtures of Gaussians, on images and on stacked images."""

from typing import Annotated, Any

from annotated_types import Ge, Gt

import chainlab
from chainlab.gan.config import LossConfig, NetworksConfig, SourceConfig, UpdateConfig, Weight, scheduled
from chainlab.optim.config import OptimizerConfig


@chainlab.config
class GanConfig:
    """A generator against a critic."""

    source: SourceConfig = SourceConfig()
    """What is to be imitated."""
    networks: NetworksConfig = NetworksConfig()
    """Generator and critic."""
    loss: LossConfig = LossConfig()
    """The objectives."""
    update: UpdateConfig = UpdateConfig()
    """Who moves when."""
    optimizer: OptimizerConfig = OptimizerConfig(name="adam", learning_rate=1e-3, b1=0.0, b2=0.99)
    """Optimiser of the generator, and of the critic unless that has its own."""
    critic_optimizer: OptimizerConfig | None = None
    """Optimiser of the critic."""
    average_half_life: Weight = 100.0
    """Half-life in steps of the generator's moving average, which is what is evaluated."""
    snapshots: Annotated[int, Ge(0)] = 8
    """Generators kept on the way, after 3, 15, 63, ... steps, for pictures of the training."""
    batch_size: Annotated[int, Gt(0)] = 256
    """Examples that a critic step sees."""
    samples: Annotated[int, Gt(0)] = 10_000
    """Examples of an evaluation of a mixture or of stacked images."""
    classifier_steps: Annotated[int, Gt(0)] = 800
    """Training steps of the classifier whose features and labels the image metrics use."""


@chainlab.experiment
def gan(config: GanConfig) -> "chainlab.Task":
    """Train a generator against a critic."""
    import jax

    from chainlab import gan, optim

    problem = gan.problem(config.source, config.batch_size * config.update.critic_steps, config.samples)
    generator, critic = gan.networks(problem, config.networks)
    sample = gan.latent(config.networks.normals, config.networks.signs)
    weights = config.loss.penalties(problem.dimension, problem.deviation)
    path_length = scheduled(config.loss.path_length)
    plain = gan.adversarial(
        generator, critic, sample, loss=config.loss.name, penalties=weights, path_length=path_length
    )
    depth, rate = config.update.unrolled, config.update.unrolled_rate
    game = (lambda step: gan.unrolled(plain(step), depth, rate)) if depth else plain
    update: Any = config.update.build()
    optimizers = optim.build(config.optimizer), optim.build(config.critic_optimizer or config.optimizer)
    half_life = scheduled(config.average_half_life)
    evaluation = problem.evaluation(config.classifier_steps)

    def init(key: Any) -> Any:
        keys = jax.random.split(key)
        players = gan.Players(generator.init(keys[0]), critic.init(keys[1]))
        return gan.game_state(players, optimizers, update, snapshots=config.snapshots)

    def make(params: Any, z: Any, y: Any) -> Any:
        return generator.apply(params, z, y) if problem.classes else generator.apply(params, z)

    def evaluate(state: Any, split: Any) -> Any:
        return evaluation(lambda y, count: make(state.average, sample(jax.random.key(1), count), y), split)

    def subjects(state: Any) -> "dict[str, chainlab.Subject]":
        rules, (g, d) = game(state.step), state.players
        return {
            "discriminator": chainlab.Subject(lambda p, batch, key: rules.discriminator_loss(p, g, batch, key), d),
            "generator": chainlab.Subject(lambda p, batch, key: rules.generator_loss(p, d, batch, key), g),
        }

    def panels(state: Any, folder: Any) -> "list[chainlab.Panel]":
        drawn = gan.sample_panels(problem, lambda z, y: make(state.average, z, y), sample)
        drawn += gan.snapshot_panels(problem, make, sample, state.snapshots, int(state.step))
        if problem.mixture is not None:
            batch = problem.data.batch(jax.random.key(6), 0)
            values = gan.game_eigenvalues(game(state.step), state.players, batch, largest=20)
            note = "The 20 of largest modulus at the last state, on one batch."
            drawn.append(("Spectrum of the game's Jacobian", gan.spectrum(values), note))
        ends = [float(gan.value_at(weights[name], state.step)) for name in ("r1", "r2")]
        note = "A generator and a critic of one number each, under this run's loss and its R1 and R2 at the last step."
        drawn.append(("Phase portrait", gan.phase_portrait(gan.dirac_gan(config.loss.name, *ends)), note))
        return [chainlab.Panel(title, figure, note=note) for title, figure, note in drawn]

    return chainlab.Task(
        init,
        gan.make_step(game, optimizers, update=update, average_half_life=half_life),
        evaluate,
        problem.data,
        subjects=subjects,
        panels=panels,
    )
