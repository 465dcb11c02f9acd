"""All adjoints and all contribution norms inside one compiled program."""

import functools
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from chainlab.autodiff.explanation.loops import accumulator
from chainlab.autodiff.explanation.tape import Tape


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("value", "aux", "gradients", "adjoints", "contributions"),
    meta_fields=("nodes", "edges"),
)
@dataclass(frozen=True)
class Statistics:
    """What `explain(f).statistics` returns: a pytree, so that it passes through `jax.jit`.

    Attributes:
        value: What the function returned.
        aux: The auxiliary output.
        gradients: As `Explanation.gradients`.
        adjoints: The adjoint of every active node.
        contributions: Euclidean norm of every active edge's contribution.
        nodes: Names of the nodes.
        edges: Names of the source and target of every edge.
    """

    value: PyTree
    aux: PyTree
    gradients: PyTree
    adjoints: tuple[PyTree, ...]
    contributions: Float[Array, " edges"]
    nodes: tuple[str, ...] = field(default=())
    edges: tuple[tuple[str, str], ...] = field(default=())


def statistics(tape: Tape, value: Any, aux: Any, gradients: Any) -> Statistics:
    """Collect the statistics of a tape whose reverse pass has run; the output node itself is left out."""
    nodes = [node for node in tape.nodes if node.active and node.kind != "output"]
    edges = [edge for edge in tape.edges if edge.active and edge.target.kind != "output"]
    norms: dict[int, Array] = {}  # an addition hands one array to both operands: measure it once
    for edge in edges:
        if id(edge.contribution) not in norms:
            norms[id(edge.contribution)] = _norm(edge.contribution)
    stacked = [norms[id(edge.contribution)] for edge in edges]
    return Statistics(
        value,
        aux,
        gradients,
        tuple(node.adjoint for node in nodes),
        jnp.stack(stacked) if stacked else jnp.zeros(0),
        tuple(node.name for node in nodes),
        tuple((edge.source.name, edge.target.name) for edge in edges),
    )


def _norm(x: Array) -> Float[Array, ""]:
    magnitude = jnp.abs(x) if jnp.iscomplexobj(x) else x
    wide = magnitude.astype(accumulator(magnitude.dtype))
    return jnp.sqrt(jnp.sum(jnp.square(wide))).astype(jnp.float32)
