"""Layers of generators and critics: resampling convolutions, fixed frequencies, conditioning on a label."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from chainlab.errors import UsageError
from chainlab.gan.transposed import strided_convolution, transposed_convolution
from chainlab.nn.model import Model
from chainlab.typing import Params, PRNGKey


def leaky(slope: float = 0.2) -> Model:
    r"""Leaky ReLU, $\max(x, \alpha x)$, with the slope that adversarial networks use.

    Args:
        slope: $\alpha$.

    Returns:
        A model without parameters.

    References:
        Radford, Metz and Chintala (DCGAN), arXiv:1511.06434, section 3.
    """
    return Model(lambda key: {}, lambda params, x, *, key=None: jax.nn.leaky_relu(x, slope))


def reshape(*shape: int) -> Model:
    """The last axis as several.

    Args:
        shape: The new axes.

    Returns:
        A model without parameters.
    """
    return Model(lambda key: {}, lambda params, x, *, key=None: x.reshape(*x.shape[:-1], *shape))


def flatten(axes: int) -> Model:
    """The last axes as one.

    Args:
        axes: How many.

    Returns:
        A model without parameters.
    """
    return Model(lambda key: {}, lambda params, x, *, key=None: x.reshape(*x.shape[:-axes], -1))


def _resampling(function: Callable[..., Array], inputs: int, outputs: int, fan: int, kernel: int, form: str) -> Model:
    if min(inputs, outputs) < 1:
        raise UsageError(f"a convolution needs inputs >= 1 and outputs >= 1, got {inputs} and {outputs}")

    def init(key: PRNGKey) -> Params:
        weight = jax.random.normal(key, (kernel, kernel, inputs, outputs)) * (2 / fan) ** 0.5
        return {"bias": jnp.zeros(outputs), "weight": weight}

    def apply(params: Params, x: Float[Array, "*batch height width dim"], *, key: PRNGKey | None = None) -> Array:
        del key
        y = function(x, params["weight"], 2, form=form)
        return y + jnp.broadcast_to(params["bias"], y.shape)

    return Model(init, apply)


def up(inputs: int, outputs: int, *, form: str = "auto") -> Model:
    """A transposed convolution of 4x4 taps to twice the size.

    Args:
        inputs: Input features.
        outputs: Output features.
        form: See `chainlab.gan.transposed_convolution`.

    Returns:
        A model with parameters `weight` and `bias`.
    """
    return _resampling(transposed_convolution, inputs, outputs, 4 * inputs, 4, form)


def down(inputs: int, outputs: int, *, form: str = "auto") -> Model:
    """A convolution of 4x4 taps to half the size.

    Args:
        inputs: Input features.
        outputs: Output features.
        form: See `chainlab.gan.strided_convolution`.

    Returns:
        A model with parameters `weight` and `bias`.
    """
    return _resampling(strided_convolution, inputs, outputs, 16 * inputs, 4, form)


def frequencies(dimension: int, count: int, lowest: float, highest: float) -> Model:
    r"""Fixed frequencies, $x \mapsto [x, \sin W x, \cos W x]$, so that a critic sees fine structure at once.

    Args:
        dimension: Features of `x`.
        count: Number of frequencies, rows of $W$, in random directions.
        lowest: Smallest $\lVert w \rVert$, in radians a unit of `x`.
        highest: Largest; those between are spaced evenly in the logarithm.

    Returns:
        A model without parameters, of `dimension + 2 count` features.

    Raises:
        UsageError: There is no frequency or the bounds are not 0 < lowest <= highest.

    References:
        Tancik et al., Fourier Features Let Networks Learn High Frequency Functions, arXiv:2006.10739, equation 5.
    """
    if count < 1 or not 0 < lowest <= highest:
        raise UsageError(f"frequencies needs count >= 1 and 0 < lowest <= highest, got {count}, {lowest}, {highest}")
    directions = np.random.default_rng(0).normal(size=(dimension, count))
    directions /= np.linalg.norm(directions, axis=0)
    waves = (directions * np.geomspace(lowest, highest, count)).astype(np.float32)

    def apply(params: Params, x: Float[Array, "*batch dim"], *, key: PRNGKey | None = None) -> Array:
        del params, key
        phase = x @ jnp.asarray(waves, x.dtype)
        return jnp.concatenate([x, jnp.sin(phase), jnp.cos(phase)], axis=-1)

    return Model(lambda key: {}, apply)


def beside(model: Model) -> Model:
    r"""A model's output and its input side by side, $x \mapsto [f(x), x]$.

    Args:
        model: $f$.

    Returns:
        A model with the same parameters.
    """

    def apply(params: Params, x: Float[Array, "*batch dim"], *, key: PRNGKey | None = None) -> Array:
        return jnp.concatenate([model.apply(params, x, key=key), x], axis=-1)

    return Model(model.init, apply)


def labelled(model: Model, classes: int) -> Model:
    """A generator of labelled examples: the label's one-hot vector is appended to the latent vector.

    Args:
        model: A model of latent size plus `classes` features.
        classes: Number of classes; 0 returns the model itself.

    Returns:
        A model `apply(params, z, y)`.
    """
    if classes == 0:
        return model

    def apply(params: Params, z: Array, y: Int[Array, "*batch"], *, key: PRNGKey | None = None) -> Array:
        return model.apply(params, jnp.concatenate([z, jax.nn.one_hot(y, classes, dtype=z.dtype)], axis=-1), key=key)

    return Model(model.init, apply)


def scored(model: Model, classes: int) -> Model:
    """A critic's score from a head of one output a class (one in all without classes): the label picks its own.

    Args:
        model: A model of `max(classes, 1)` outputs.
        classes: Number of classes; 0 for an unconditional critic.

    Returns:
        A model `apply(params, x)` or `apply(params, x, y)` without the last axis.
    """

    def apply(params: Params, x: Array, y: Any = None, *, key: PRNGKey | None = None) -> Array:
        output = model.apply(params, x, key=key)
        if classes == 0:
            return output[..., 0]
        return jnp.sum(output * jax.nn.one_hot(y, classes, dtype=output.dtype), axis=-1)

    return Model(model.init, apply)
