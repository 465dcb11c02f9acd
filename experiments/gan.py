"""Generative adversarial networks on mixtures of Gaussians, on images and on stacked images."""

from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt

import chainlab
from chainlab.data.config import DatasetConfig
from chainlab.optim.config import OptimizerConfig


@chainlab.config
class ScheduleConfig:
    """A weight that goes from one value to another along a cosine in its logarithm."""

    start: Annotated[float, Gt(0)]
    """Weight at the first step."""
    end: Annotated[float, Gt(0)]
    """Weight at the last."""
    steps: Annotated[int, Gt(0)]
    """Length of the schedule."""


Weight = Annotated[float, Ge(0)] | ScheduleConfig


@chainlab.config
class SourceConfig:
    """What is to be imitated."""

    kind: Literal["ring", "grid", "images", "stacked"] = "grid"
    """Gaussians on a ring or a square grid (scaled to unit variance), images, or three grey images as channels."""
    modes: Annotated[int, Gt(0)] = 25
    """Gaussians."""
    distance: Annotated[float, Gt(0)] = 2.0
    """Radius of the ring, or spacing of the grid."""
    deviation: Annotated[float, Gt(0)] = 0.05
    """Standard deviation of each Gaussian along an axis."""
    images: DatasetConfig = DatasetConfig(name="digits", scale="none", validation=0.0)
    """The images."""
    conditional: bool = False
    """Whether images are made for a label."""


@chainlab.config
class NetworksConfig:
    """Generator and critic."""

    kind: Literal["mlp", "dcgan", "residual"] = "mlp"
    """Perceptrons, or convolutional networks without normalisation."""
    generator: tuple[Annotated[int, Gt(0)], ...] = (64, 64, 64)
    """Hidden features of the generator; the convolutional ones take the first as their width."""
    critic: tuple[Annotated[int, Gt(0)], ...] = (64, 64)
    """Hidden features of the critic; the convolutional ones take the first as their width."""
    normals: Annotated[int, Ge(0)] = 4
    """Standard normal coordinates of the latent vector."""
    signs: Annotated[int, Ge(0)] = 16
    """Random signs in the latent vector: separate points for separate modes."""
    skip: bool = False
    """Whether the last layer of a perceptron generator sees the latent vector too."""
    frequencies: Annotated[int, Ge(0)] = 0
    """Fixed frequencies that a perceptron critic sees beside its input."""
    highest: Annotated[float, Gt(0)] | Literal["data"] = "data"
    """Largest of them in radians a unit; `data` takes 1.8 over the finest scale that the data itself shows."""
    spectral: bool = False
    """Whether the critic's weights are divided by their largest singular value."""


@chainlab.config
class LossConfig:
    """The objectives."""

    name: Literal["non_saturating", "minimax", "least_squares", "hinge", "wasserstein", "relativistic"] = "relativistic"
    """The adversarial loss."""
    r1: Weight | Literal["auto"] = 0.0
    """Weight of the gradient penalty at real examples."""
    r2: Weight | Literal["auto"] = 0.0
    """Weight of the gradient penalty at generated examples."""
    gradient_penalty: Weight = 0.0
    """Weight of WGAN-GP's penalty."""
    dragan: Weight = 0.0
    """Weight of DRAGAN's penalty."""
    max_gradient: Weight = 0.0
    """Weight of the largest squared gradient."""
    score_variance: Weight = 0.0
    """Weight of the scores' variance."""
    scale_free: bool = False
    """Whether the weights of r1 and r2 are per dimension and per variance of the data, as `auto` always is."""


@chainlab.config
class UpdateConfig:
    """Who moves when."""

    name: Literal[
        "alternating",
        "simultaneous",
        "extragradient",
        "optimistic",
        "consensus",
        "symplectic",
        "competitive",
        "implicit",
    ] = "alternating"
    """In turn, or both at once along the field or a transform of it."""
    critic_steps: Annotated[int, Gt(0)] = 1
    """Critic steps a step, in turn."""
    scale: Annotated[float, Gt(0)] | ScheduleConfig = 0.1
    """Weight or look-ahead rate of the transform."""
    unrolled: Annotated[int, Ge(0)] = 0
    """Critic steps that the generator's loss looks through."""
    unrolled_rate: Annotated[float, Gt(0)] = 1e-2
    """Learning rate of those steps."""


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

    problem = gan.problem(vars(config.source), config.batch_size * config.update.critic_steps, config.samples)
    options, steps = vars(config.networks), config.update.critic_steps
    generator, critic = gan.networks(problem, **options)
    sample = gan.latent(config.networks.normals, config.networks.signs)
    weights = {
        name: _weight(value, name in ("r1", "r2") and (value == "auto" or config.loss.scale_free), problem)
        for name, value in vars(config.loss).items()
        if name not in ("name", "scale_free")
    }
    plain = gan.adversarial(generator, critic, sample, loss=config.loss.name, penalties=weights)
    depth, rate = config.update.unrolled, config.update.unrolled_rate
    game = (lambda step: gan.unrolled(plain(step), depth, rate)) if depth else plain
    update: Any = gan.Alternating(steps)
    if config.update.name != "alternating":
        transform = getattr(gan, config.update.name)
        scale = _weight(config.update.scale, False, problem)
        update = transform() if config.update.name in ("simultaneous", "optimistic") else transform(scale)
    optimizers = optim.build(config.optimizer), optim.build(config.critic_optimizer or config.optimizer)
    half_life = _weight(config.average_half_life, False, problem)
    evaluation = problem.evaluation(config.classifier_steps)

    def init(key: Any) -> Any:
        keys = jax.random.split(key)
        return gan.game_state(gan.Players(generator.init(keys[0]), critic.init(keys[1])), optimizers, update)

    def make(state: Any, z: Any, y: Any) -> Any:
        return generator.apply(state.average, z, y) if problem.classes else generator.apply(state.average, z)

    def evaluate(state: Any, split: Any) -> Any:
        return evaluation(lambda y, count: make(state, sample(jax.random.key(1), count), y), split)

    def subjects(state: Any) -> "dict[str, chainlab.Subject]":
        rules, (g, d) = game(state.step), state.players
        return {
            "discriminator": chainlab.Subject(lambda p, batch, key: rules.discriminator_loss(p, g, batch, key), d),
            "generator": chainlab.Subject(lambda p, batch, key: rules.generator_loss(p, d, batch, key), g),
        }

    def panels(state: Any, folder: Any) -> "list[chainlab.Panel]":
        drawn = gan.sample_panels(problem, lambda z, y: make(state, z, y), sample)
        if problem.mixture is not None:
            batch = problem.data.batch(jax.random.key(6), 0)
            values = gan.game_eigenvalues(game(state.step), state.players, batch, largest=20)
            note = "The 20 of largest modulus at the last state, on one batch."
            drawn.append(("Spectrum of the game's Jacobian", gan.spectrum(values), note))
        return [chainlab.Panel(title, figure, note=note) for title, figure, note in drawn]

    return chainlab.Task(
        init,
        gan.make_step(game, optimizers, update=update, average_half_life=half_life),
        evaluate,
        problem.data,
        subjects=subjects,
        panels=panels,
    )


def _weight(value: Any, scale_free: bool, problem: Any) -> Any:
    """A weight or schedule as a number or function of the step; r1 and r2 may be in scale-free units."""
    from chainlab import gan

    unit = gan.absolute_gamma(problem.dimension, problem.deviation, 1.0) if scale_free else 1.0
    if isinstance(value, ScheduleConfig):
        return gan.geometric_cosine(unit * value.start, unit * value.end, value.steps)
    return gan.absolute_gamma(problem.dimension, problem.deviation) if value == "auto" else unit * value
