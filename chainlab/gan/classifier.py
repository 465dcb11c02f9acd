"""A classifier that is trained in the project, whose features and labels the image metrics use."""

import hashlib
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PyTree, Shaped

from chainlab.data.dataset import check_labels
from chainlab.errors import DataError
from chainlab.gan.layers import down, flatten, leaky
from chainlab.nn.dense import dense
from chainlab.nn.model import Model, sequential
from chainlab.typing import Params, PRNGKey


@dataclass(frozen=True)
class Classifier:
    """A trained classifier.

    Attributes:
        body: From images to features.
        head: From features to one logit a class.
        params: Parameters of both.
        sha256: Hash of the parameters: figures are comparable under one hash alone.
    """

    body: Model
    head: Model
    params: Params
    sha256: str

    def features(self, x: Float[Array, "*batch height width channels"]) -> Float[Array, "*batch dim"]:
        """Features of the last layer but one, each vector with root mean square 1."""
        h = self.body.apply(self.params["body"], x)
        return h * jax.lax.rsqrt(jnp.mean(jnp.square(h), axis=-1, keepdims=True) + 1e-8)

    def logits(self, x: Float[Array, "*batch height width channels"]) -> Float[Array, "*batch classes"]:
        """One logit a class."""
        return self.head.apply(self.params["head"], self.body.apply(self.params["body"], x))

    def labels(self, x: Float[Array, "*batch height width channels"]) -> Int[Array, "*batch"]:
        """The most likely class."""
        return jnp.argmax(self.logits(x), axis=-1)

    def accuracy(
        self, x: Float[Array, "batch height width channels"], y: Shaped[Array | np.ndarray, " batch"]
    ) -> Float[Array, ""]:
        """Share of examples that it gets right."""
        return jnp.mean((self.labels(x) == jnp.asarray(y)).astype(jnp.float32))


def train_classifier(
    x: Float[Array | np.ndarray, "examples height width channels"],
    y: Shaped[Array | np.ndarray, " examples"],
    classes: int,
    *,
    width: int = 32,
    features: int = 64,
    steps: int = 800,
    batch_size: int = 128,
    noise: float = 0.1,
    seed: int = 0,
) -> Classifier:
    """Train a small convolutional classifier on real training images; the same arguments give the same one.

    Args:
        x: Training images alone, never those of the test set.
        y: Their labels.
        classes: Number of classes.
        width: Features of the first convolution.
        features: Features of the last layer but one.
        steps: Training steps.
        batch_size: Images in a step.
        noise: Deviation of the Gaussian noise added to the training images, in units of their deviation.
        seed: Picks the initial parameters and the order.

    Returns:
        The classifier.

    Raises:
        DataError: A label is out of range, or a class has no image.
    """
    check_classes(y, classes)
    images, targets = jnp.asarray(x, jnp.float32), jnp.asarray(np.asarray(y), jnp.int32)
    height, wide, channels = images.shape[1:]
    body = sequential(
        {
            "down0": down(channels, width),
            "leaky0": leaky(),
            "down1": down(width, 2 * width),
            "leaky1": leaky(),
            "flat": flatten(3),
            "dense": dense(height * wide // 16 * 2 * width, features),
            "leaky2": leaky(),
        }
    )
    head = dense(features, classes)
    optimizer = optax.adamw(optax.cosine_decay_schedule(2e-3, steps), weight_decay=1e-2)
    body_key, head_key, loop_key = jax.random.split(jax.random.key(seed), 3)
    params = {"body": body.init(body_key), "head": head.init(head_key)}
    scale = noise * float(np.std(np.asarray(x)))

    def loss(params: Params, key: PRNGKey) -> Float[Array, ""]:
        index_key, noise_key = jax.random.split(key)
        index = jax.random.randint(index_key, (batch_size,), 0, images.shape[0])
        batch = images[index]
        batch = batch + scale * jax.random.normal(noise_key, batch.shape)
        logits = head.apply(params["head"], body.apply(params["body"], batch))
        labels = optax.smooth_labels(jax.nn.one_hot(targets[index], classes), 0.05)
        return jnp.mean(optax.softmax_cross_entropy(logits, labels))

    def step(state: tuple[Params, PyTree], key: PRNGKey) -> tuple[tuple[Params, PyTree], None]:
        params, inner = state
        updates, inner = optimizer.update(jax.grad(loss)(params, key), inner, params)
        return (optax.apply_updates(params, updates), inner), None

    run = jax.jit(partial(jax.lax.scan, step))
    (params, _), _ = run((params, optimizer.init(params)), jax.random.split(loop_key, steps))
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(params):
        digest.update(np.asarray(leaf).tobytes())
    return Classifier(body, head, params, digest.hexdigest())


def check_classes(y: Shaped[Array | np.ndarray, " examples"], classes: int, where: str = "images") -> None:
    """Refuse labels out of range and classes without an example.

    Args:
        y: Labels.
        classes: Number of classes.
        where: What the error calls them.

    Raises:
        DataError: A label is not in 0 .. classes - 1, or a class has no example.
    """
    labels = np.asarray(y)
    check_labels(labels, classes, where)
    missing = np.setdiff1d(np.arange(classes), labels)
    if len(missing):
        raise DataError(f"{where}: class {missing[0]} has no example ({len(missing)} of {classes} classes have none)")
