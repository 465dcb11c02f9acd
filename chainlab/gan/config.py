"""A game as a config: what is imitated, the networks, the losses and who moves when; imports no JAX."""

from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Gt

from chainlab.data.config import DatasetConfig
from chainlab.declare import config

if TYPE_CHECKING:
    from chainlab.gan.critic_game import Scale
    from chainlab.gan.fields import FieldTransform
    from chainlab.gan.step import Alternating


@config
class ScheduleConfig:
    """A weight that goes from one value to another along a cosine in its logarithm."""

    start: Annotated[float, Gt(0)]
    """Weight at the first step."""
    end: Annotated[float, Gt(0)]
    """Weight at the last."""
    steps: Annotated[int, Gt(0)]
    """Length of the schedule."""


Weight = Annotated[float, Ge(0)] | ScheduleConfig


def scheduled(weight: Weight, unit: float = 1.0) -> "Scale":
    """A weight as a number, or as a function of the step.

    Args:
        weight: A number or a schedule.
        unit: What it is measured in.

    Returns:
        The weight times the unit.

    Example:
        >>> scheduled(0.5, unit=4.0)
        2.0
    """
    if not isinstance(weight, ScheduleConfig):
        return unit * weight
    from chainlab.gan.schedules import geometric_cosine

    return geometric_cosine(unit * weight.start, unit * weight.end, weight.steps)


@config
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


@config
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


@config
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
    path_length: Weight = 0.0
    """Weight of the generator's path length regularisation."""
    scale_free: bool = False
    """Whether the weights of r1 and r2 are per dimension and per variance of the data, as `auto` always is."""

    def penalties(self, dimension: int, deviation: float) -> dict[str, "Scale"]:
        """The weight of every penalty on the critic, by its name.

        Args:
            dimension: Numbers in an example of the data.
            deviation: Their standard deviation.

        Returns:
            Numbers and functions of the step.
        """
        from chainlab.gan.penalty import absolute_gamma

        found: dict[str, Scale] = {}
        for name, weight in vars(self).items():
            if name in ("r1", "r2") and weight == "auto":
                found[name] = absolute_gamma(dimension, deviation)
            elif name not in ("name", "scale_free", "path_length"):
                own = self.scale_free and name in ("r1", "r2")
                found[name] = scheduled(weight, absolute_gamma(dimension, deviation, 1.0) if own else 1.0)
        return found


@config
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

    def build(self) -> "Alternating | FieldTransform":
        """Who moves when, without `unrolled`, which is a property of the game."""
        from chainlab.gan import fields
        from chainlab.gan.step import Alternating

        if self.name == "alternating":
            return Alternating(self.critic_steps)
        transform = getattr(fields, self.name)
        return transform() if self.name in ("simultaneous", "optimistic") else transform(scheduled(self.scale))
