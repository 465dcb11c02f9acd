"""Flax NNX modules as models."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax

from chainlab.errors import UsageError
from chainlab.nn.model import Model
from chainlab.typing import Params, PRNGKey

if TYPE_CHECKING:
    from flax import nnx


def from_nnx(make: "Callable[[nnx.Rngs], nnx.Module]") -> Model:
    """An NNX module as a model.

    The parameters are a plain dict, and the module is put together from it while `apply` is traced: a compiled
    step pays nothing for it, where `nnx.jit` walks the module in Python at every call.

    Args:
        make: Makes the module from its random streams, such as `lambda rngs: nnx.Linear(3, 2, rngs=rngs)`; all
            that it keeps must be parameters and random streams.

    Returns:
        A model; with a key `apply` is in training mode (dropout drops), without one in evaluation mode.

    Raises:
        UsageError: The module keeps something else (batch statistics, a cache), which a pure function of its
            parameters cannot update.

    Example:
        >>> import jax
        >>> from flax import nnx
        >>> model = from_nnx(lambda rngs: nnx.Linear(3, 2, rngs=rngs))
        >>> sorted(model.init(jax.random.key(0)))
        ['bias', 'kernel']
    """
    from flax import nnx

    abstract = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
    graph, shapes, streams, rest = nnx.split(abstract, nnx.Param, nnx.RngState, ...)
    kept = {type(variable).__name__ for _, variable in nnx.to_flat_state(rest)}
    if kept:
        raise UsageError(
            f"{type(abstract).__name__} keeps {', '.join(sorted(kept))} besides its parameters: a model is a pure"
            " function of its parameters; use a layer without such state (GroupNorm for BatchNorm)"
        )

    def init(key: PRNGKey) -> Params:
        return nnx.to_pure_dict(nnx.state(make(nnx.Rngs(key)), nnx.Param))

    def apply(params: Params, x: Any, *, key: PRNGKey | None = None) -> Any:
        module = nnx.merge(graph, _filled(shapes, params), _seeded(streams, key))
        module.eval() if key is None else module.train()
        return module(x)

    return Model(init, apply)


def _filled(shapes: Any, params: Params) -> Any:
    """The module's parameters with values from a plain dict."""
    from flax import nnx

    state = jax.tree.map(lambda leaf: leaf, shapes)  # a copy: the replacement writes into it
    nnx.replace_by_pure_dict(state, params)
    return state


def _seeded(streams: Any, key: PRNGKey | None) -> Any:
    """The module's random streams, each with a key of its own and its count at zero."""
    leaves, structure = jax.tree.flatten(streams)
    base = jax.random.key(0) if key is None else key
    seeded = [
        jax.random.fold_in(base, index)
        if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        else jax.numpy.zeros(leaf.shape, leaf.dtype)
        for index, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(structure, seeded)
