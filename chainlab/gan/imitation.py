"""What a generator is trained on and judged by: data, example shape, and evaluation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from chainlab.data.batches import Data, Origin, in_memory, sampled
from chainlab.errors import UsageError
from chainlab.gan.architectures import (
    dcgan_critic,
    dcgan_generator,
    mlp_critic,
    mlp_generator,
    residual_critic,
    residual_generator,
)
from chainlab.gan.classifier import Classifier, train_classifier
from chainlab.gan.config import NetworksConfig, SourceConfig
from chainlab.gan.mixtures import Mixture, finest_scale, grid, ring
from chainlab.gan.mode_coverage import mixture_metrics
from chainlab.gan.picture_quality import image_floors, image_metrics, stacked_metrics
from chainlab.gan.pictures import Images, images, stacked
from chainlab.gan.spectral import spectrally_normalized
from chainlab.nn.model import Model
from chainlab.typing import Batch, Metrics

Generate = Callable[[Any, int], Array]
"""`generate(labels, count) -> examples`; labels are ignored by an unconditional generator."""


@dataclass(frozen=True)
class Problem:
    """What is imitated.

    Attributes:
        data: Batches and the split `test`.
        shape: Shape of an example.
        deviation: Standard deviation of the training data over all its numbers.
        classes: Number of classes of a conditional generator, else 0.
        mixture: The mixture, for data in the plane.
        pictures: Grey or colour training and test images, for images.
        samples: Examples of an evaluation.
    """

    data: Data
    shape: tuple[int, ...]
    deviation: float
    classes: int = 0
    mixture: Mixture | None = None
    pictures: tuple[Images, Images] | None = None
    samples: int = 10_000

    @property
    def dimension(self) -> int:
        """Numbers in an example."""
        return int(np.prod(self.shape))

    def evaluation(self, classifier_steps: int) -> Callable[[Generate, Batch], Metrics]:
        """How generated examples are judged.

        Args:
            classifier_steps: Training steps of the classifier; not used in the plane.

        Returns:
            `evaluate(generate, split) -> metrics`, pure. A figure `real_...` is that of real examples.
        """
        if self.mixture is not None:
            return self._mixture_evaluation(self.mixture)
        assert self.pictures is not None
        train, test = self.pictures
        classifier = train_classifier(train.x, train.y, int(train.y.max()) + 1, steps=classifier_steps)
        return self._image_evaluation(classifier, train, test)

    def _mixture_evaluation(self, mixture: Mixture) -> Callable[[Generate, Batch], Metrics]:
        def evaluate(generate: Generate, split: Batch) -> Metrics:
            real = mixture_metrics(split["x"], mixture)
            ours = mixture_metrics(generate(None, self.samples), mixture)
            return {**ours, **{f"real_{name}": value for name, value in real.items()}}

        return evaluate

    def _image_evaluation(
        self, classifier: Classifier, train: Images, test: Images
    ) -> Callable[[Generate, Batch], Metrics]:
        key, known = jax.random.key(2), (jnp.asarray(train.x), jnp.asarray(train.y))
        if self.shape != train.x.shape[1:]:
            return lambda generate, split: stacked_metrics(classifier, split["x"], generate(None, self.samples), key)
        held_out = jnp.asarray(test.x), jnp.asarray(test.y)
        # once, on arguments: as constants of the evaluation XLA would evaluate the convolutions while it compiles
        floors = jax.jit(lambda known, held_out: image_floors(classifier, known, held_out, key))(known, held_out)

        def evaluate(generate: Generate, split: Batch) -> Metrics:
            x, y = jnp.asarray(split["x"]), jnp.asarray(split["y"])
            fake = generate(y, x.shape[0]), y
            return {**image_metrics(classifier, known, x, fake, key, conditional=self.classes > 0), **floors}

        return evaluate


def problem(source: SourceConfig, batch_size: int, samples: int = 10_000) -> Problem:
    """A problem from its config.

    Args:
        source: What is to be imitated.
        batch_size: Examples in a batch.
        samples: Examples of an evaluation of a mixture or of stacked images.

    Returns:
        The problem; a mixture is scaled to unit variance, images to [-1, 1].

    Raises:
        UsageError: The data do not fit the kind.
    """
    kind = source.kind
    if kind in ("ring", "grid"):
        make = ring if kind == "ring" else grid
        mixture = make(source.modes, source.distance, source.deviation).scaled()
        test = {"x": mixture.sample(jax.random.key(3), samples)}
        name = Origin(f"{kind} of {source.modes} Gaussians")
        data = sampled(lambda key: {"x": mixture.sample(key, batch_size)}, splits={"test": test}, origin=name)
        return Problem(data, (2,), 1.0, mixture=mixture, samples=samples)
    dataset = source.images.load()
    train, test = images(dataset)
    deviation, classes = float(train.x.std()), len(dataset.classes) if source.conditional else 0
    shape: tuple[int, ...] = train.x.shape[1:]
    if kind == "stacked":
        if classes:
            raise UsageError("stacked images have no labels of their own: conditional must be false")
        data = stacked(train, batch_size, splits={"test": test}, origin=dataset.origin)
        return Problem(data, (*shape[:2], 3), deviation, pictures=(train, test), samples=samples)
    arrays = train._asdict() if classes else {"x": train.x}
    data = in_memory(arrays, batch_size, splits={"test": test._asdict()}, origin=dataset.origin)
    return Problem(data, shape, deviation, classes, pictures=(train, test), samples=samples)


_CONVOLUTIONAL = {"dcgan": (dcgan_generator, dcgan_critic), "residual": (residual_generator, residual_critic)}


def networks(problem: Problem, config: NetworksConfig) -> tuple[Model, Model]:
    """Generator and critic of a problem.

    Args:
        problem: What is imitated.
        config: The networks.

    Returns:
        Both models.

    Raises:
        UsageError: A size is less than 1, or a convolutional network is asked for in the plane.
    """
    shape, classes, latent = problem.shape, problem.classes, config.normals + config.signs
    if config.kind == "mlp":
        bounded, waves = problem.mixture is None, config.frequencies
        generator = mlp_generator(
            latent, shape, hidden=config.generator, classes=classes, bounded=bounded, skip=config.skip
        )
        highest = _highest(problem, config.highest) if waves else 1.0
        critic = mlp_critic(shape, hidden=config.critic, classes=classes, waves=waves, highest=highest)
    else:
        if not (config.generator and config.critic):
            raise UsageError(f"networks: the first hidden features are the width of {config.kind}, got none")
        make_generator, make_critic = _CONVOLUTIONAL[config.kind]
        generator = make_generator(latent, shape, width=config.generator[0], classes=classes)
        critic = make_critic(shape, width=config.critic[0], classes=classes)
    return generator, spectrally_normalized(critic) if config.spectral else critic


_OVER_SCALE = 1.8
"""Highest frequency times the finest scale: the phase turns once within 3.5 deviations of a mode."""


def _highest(problem: Problem, highest: float | str) -> float:
    if not isinstance(highest, str):
        return highest
    batches = [np.asarray(problem.data.batch(jax.random.key(4), index)["x"]) for index in range(16)]
    draws = np.concatenate(batches).reshape(-1, problem.dimension)
    return _OVER_SCALE / finest_scale(draws)
