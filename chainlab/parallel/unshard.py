"""Fully sharded data parallelism: matrices lie divided, and are gathered where they are used."""

from typing import Any

import jax
from jax.extend.core import primitives
from jax.sharding import PartitionSpec
from jaxtyping import PyTree

from chainlab.parallel.ambient import axis_size
from chainlab.parallel.config import AXES
from chainlab.parallel.sharding import STACK, leaf_spec, mixtures, names


def unshard(params: PyTree) -> PyTree:
    r"""The parameters as a device that has its own part of the batch uses them: whole along `fsdp`.

    Left to itself the partitioner of XLA is free to divide a product over `fsdp` by its features instead: every device
    then holds the activations of the whole batch. Stated so, it gathers a matrix, and reduces its gradient, by
    itself. Layers stacked under `blocks` stay divided: whoever scans them unshards one at a time.

    Args:
        params: Parameters, or those of one layer.

    Returns:
        The same values. Without an `fsdp` axis in the mesh in use, the very same arrays.

    References:
        Rajbhandari et al., ZeRO, arXiv:1910.02054, section 5.3 (stage 3); Zhao et al., PyTorch FSDP,
        arXiv:2304.11277, section 3.2.
    """
    if axis_size("fsdp") == 1:
        return params
    sizes = {axis: axis_size(axis) for axis in AXES}
    mixed = mixtures(params)

    def one(path: Any, leaf: Any) -> Any:
        keys = names(path)
        spec = leaf_spec(keys, leaf.shape, sizes, experts=any(keys[: len(place)] == place for place in mixed))
        if STACK in keys or "fsdp" not in spec:
            return leaf
        whole = PartitionSpec(*(None if axis == "fsdp" else axis for axis in spec))
        return jax.lax.with_sharding_constraint(leaf, whole)

    return jax.tree_util.tree_map_with_path(one, params)


def keep_all_but_gathered(primitive: Any, *_: Any, **__: Any) -> bool:
    """A policy of `jax.checkpoint`: everything is kept but what `unshard` gave, which is gathered anew."""
    return primitive is not primitives.sharding_constraint_p
