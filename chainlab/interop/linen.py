"""Flax Linen modules as models."""

import inspect
from typing import TYPE_CHECKING, Any

import jax
from jaxtyping import PyTree

from chainlab.errors import UsageError
from chainlab.nn.model import Model
from chainlab.typing import Params, PRNGKey

if TYPE_CHECKING:
    from flax import linen

_TRAIN = ("train", "training", "is_training")


def from_linen(module: "linen.Module", sample: PyTree, *, streams: tuple[str, ...] = ("dropout",)) -> Model:
    """A Linen module as a model.

    The call's argument that switches training on, `deterministic` or one of `train`, `training` and
    `is_training`, follows `apply`'s key: with a key the module trains, without one it is deterministic.

    Args:
        module: The module; all that it keeps must be parameters.
        sample: An input like those that `apply` will get; only its shapes and types matter.
        streams: Names of the random streams that get `apply`'s key.

    Returns:
        A model whose parameters are the module's `params`.

    Raises:
        UsageError: The module keeps something else than parameters (batch statistics, a cache), which a pure
            function of its parameters cannot update.

    Example:
        >>> import jax
        >>> from flax import linen
        >>> model = from_linen(linen.Dense(2), jax.numpy.ones((1, 3)))
        >>> params = model.init(jax.random.key(0))
        >>> model.apply(params, jax.numpy.ones((5, 3))).shape
        (5, 2)
    """
    accepted = inspect.signature(type(module).__call__).parameters
    zeros = jax.tree.map(lambda leaf: jax.numpy.zeros(leaf.shape, leaf.dtype), sample)

    def mode(training: bool) -> dict[str, Any]:
        flags = {name: training for name in _TRAIN if name in accepted}
        return {"deterministic": not training, **flags} if "deterministic" in accepted else flags

    kept = set(jax.eval_shape(lambda key: module.init(key, zeros, **mode(False)), jax.random.key(0))) - {"params"}
    if kept:
        raise UsageError(
            f"{type(module).__name__} keeps {', '.join(sorted(kept))} besides its parameters: a model is a pure"
            " function of its parameters; use a layer without such state (group_norm for batch norm)"
        )

    def init(key: PRNGKey) -> Params:
        return module.init(key, zeros, **mode(False)).get("params", {})

    def apply(params: Params, x: Any, *, key: PRNGKey | None = None) -> Any:
        keys = {} if key is None else {name: jax.random.fold_in(key, i) for i, name in enumerate(streams)}
        return module.apply({"params": params}, x, rngs=keys, **mode(key is not None))

    return Model(init, apply)
