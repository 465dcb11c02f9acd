"""What generated images are like, by a classifier of the project and beside the figures of real images."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from chainlab.gan.classifier import Classifier
from chainlab.gan.feature_metrics import (
    frechet_distance,
    kernel_distance,
    memorisation,
    neighbour_metrics,
    sliced_wasserstein,
)
from chainlab.gan.mode_coverage import categorical_kl
from chainlab.gan.pictures import stack
from chainlab.typing import Metrics, PRNGKey

Pictures = Float[Array, "_ height width channels"]
Labels = Int[Array, " _"]


def class_variance(x: Pictures, y: Labels, classes: int) -> Float[Array, ""]:
    r"""Mean pixel variance within a class, $\frac{1}{n} \sum_i \lVert x_i - \mu_{y_i} \rVert^2$ over the pixels.

    Args:
        x: Images.
        y: Labels.
        classes: Number of classes.

    Returns:
        The variance, corrected for the classes' means being estimates.
    """
    flat = x.reshape(x.shape[0], -1)
    member = jax.nn.one_hot(y, classes, dtype=x.dtype)
    counts = jnp.maximum(jnp.sum(member, axis=0), 1)
    means = (member.T @ flat) / counts[:, None]
    return jnp.sum(jnp.square(flat - means[y])) / ((x.shape[0] - classes) * flat.shape[1])


def distances(classifier: Classifier, real: Pictures, other: Pictures, key: PRNGKey) -> Metrics:
    r"""Distances of one set of images from another, on features and on pixels.

    Args:
        classifier: Trained on real training images.
        real: Real images that were not trained on.
        other: As many images.
        key: Draws the directions of the sliced Wasserstein distance.

    Returns:
        `fid_c` and `kid_c` (on the classifier's features: comparable under one classifier alone, and not with FID and
        KID on Inception features), `precision`, `recall`, `density`, `coverage` and `sliced_wasserstein`.
    """
    features, others = classifier.features(real), classifier.features(other)
    flat = lambda x: x.reshape(x.shape[0], -1)  # noqa: E731
    return {
        "fid_c": frechet_distance(features, others),
        "kid_c": kernel_distance(features, others),
        "sliced_wasserstein": sliced_wasserstein(flat(real), flat(other), key),
        **neighbour_metrics(features, others),
    }


def image_floors(
    classifier: Classifier, train: tuple[Pictures, Labels], test: tuple[Pictures, Labels], key: PRNGKey
) -> Metrics:
    r"""What real training images score against real test images: the floor of every distance.

    Args:
        classifier: Trained on the training images.
        train: Training images and labels, in no order of class.
        test: Real images and labels that were not trained on.
        key: The same as of `image_metrics`.

    Returns:
        `real_...` for every figure of `distances`, `real_variance_ratio`, and the classifier's own
        `classifier_accuracy` on the test images.
    """
    train_x, (test_x, test_y) = train[0], test
    classes = classifier.logits(test_x[:1]).shape[-1]
    variance = [class_variance(x, y, classes) for x, y in (test, train)]
    found = distances(classifier, test_x, train_x[: test_x.shape[0]], key)
    return {
        **{f"real_{name}": value for name, value in found.items()},
        "real_variance_ratio": variance[0] / variance[1],
        "classifier_accuracy": classifier.accuracy(test_x, test_y),
    }


def image_metrics(
    classifier: Classifier,
    train: tuple[Pictures, Labels],
    test_x: Pictures,
    fake: tuple[Pictures, Labels],
    key: PRNGKey,
    *,
    conditional: bool,
) -> Metrics:
    r"""Fidelity and diversity of generated images; print `image_floors` beside them.

    Args:
        classifier: Trained on real training images.
        train: Training images and labels.
        test_x: Real images that were not trained on.
        fake: As many generated images, and the labels that they were made for.
        key: Draws the directions of the sliced Wasserstein distance.
        conditional: Whether the labels mean anything.

    Returns:
        The figures of `distances` and `memorisation`, and when conditional `class_accuracy` (share classified as their
        label) and `variance_ratio` (pixel variance within a class over that of the training images).
    """
    (train_x, train_y), (fake_x, fake_y) = train, fake
    flat = lambda x: x.reshape(x.shape[0], -1)  # noqa: E731
    found = {
        **distances(classifier, test_x, fake_x, key),
        **memorisation(flat(train_x), flat(test_x), flat(fake_x)),
    }
    if conditional:
        classes = classifier.logits(fake_x[:1]).shape[-1]
        found["class_accuracy"] = classifier.accuracy(fake_x, fake_y)
        found["variance_ratio"] = class_variance(fake_x, fake_y, classes) / class_variance(train_x, train_y, classes)
    return found


def stacked_metrics(
    classifier: Classifier, test_x: Float[Array, "_ height width 1"], fake: Pictures, key: PRNGKey
) -> Metrics:
    r"""Modes and KL of stacked images: a label $100 a + 10 b + c$ from the classes of the three channels.

    Args:
        classifier: Of the grey images, ten classes.
        test_x: Real grey images, stacked at random into as many real examples.
        fake: Generated stacked images.
        key: Draws the real examples.

    Returns:
        `modes` that occur at all (of 1,000), `kl` to the uniform distribution in nats, `kl_excess` over the KL of as
        many real examples under the same classifier, and `real_modes` and `real_kl`.
    """

    def counted(x: Pictures) -> Float[Array, " modes"]:
        digits = [classifier.labels(x[..., channel : channel + 1]) for channel in range(3)]
        return jnp.zeros(1000, x.dtype).at[100 * digits[0] + 10 * digits[1] + digits[2]].add(1)

    index = jax.random.randint(key, (fake.shape[0], 3), 0, test_x.shape[0])
    ours, real = counted(fake), counted(stack(test_x, index))
    kl, real_kl = categorical_kl(ours), categorical_kl(real)
    return {
        "modes": jnp.sum((ours > 0).astype(fake.dtype)),
        "kl": kl,
        "kl_excess": kl - real_kl,
        "real_modes": jnp.sum((real > 0).astype(fake.dtype)),
        "real_kl": real_kl,
    }
