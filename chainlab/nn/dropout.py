"""Dropout."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chainlab.errors import UsageError
from chainlab.nn.model import Model
from chainlab.typing import Params, PRNGKey


def dropout(rate: float) -> Model:
    r"""Zero each feature with probability `rate` and scale the rest by $1 / (1 - \text{rate})$.

    Args:
        rate: Probability of zeroing, in [0, 1).

    Returns:
        A model without parameters; the identity when `apply` gets no key.

    Raises:
        UsageError: `rate` is outside [0, 1).

    Example:
        >>> import jax, jax.numpy as jnp
        >>> layer, x = dropout(0.5), jnp.ones(4)
        >>> layer.apply({}, x).tolist()
        [1.0, 1.0, 1.0, 1.0]
        >>> set(layer.apply({}, x, key=jax.random.key(0)).tolist()) <= {0.0, 2.0}
        True

    References:
        Srivastava et al., Dropout, JMLR 15, 2014, section 4.
    """
    if not 0.0 <= rate < 1.0:
        raise UsageError(f"dropout rate must be in [0, 1), got {rate}")

    def apply(params: Params, x: Float[Array, "*batch dim"], *, key: PRNGKey | None = None) -> Array:
        del params
        if key is None or rate == 0.0:
            return x
        keep = jax.random.bernoulli(key, 1.0 - rate, x.shape)
        return jnp.where(keep, x / (1.0 - rate), jnp.zeros_like(x))

    return Model(lambda key: {}, apply)
