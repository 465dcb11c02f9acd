"""The reverse pass over a tape: every edge keeps its contribution, and a node's adjoint is their sum."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from chainlab.autodiff.explanation.graph import Edge, Node
from chainlab.autodiff.explanation.tape import Tape


def zeros(value: Any) -> Any:
    """A zero cotangent for a value."""
    aval = jax.typeof(value)
    return jnp.zeros(aval.shape, aval.dtype)


def reverse(tape: Tape, seeds: Sequence[tuple[Edge, Any]]) -> None:
    """Fill in the contribution of every edge and the adjoint of every node.

    Args:
        tape: What the forward walk recorded.
        seeds: Edges into the output node, with the cotangent of their source.
    """
    adjoint: dict[int, Any] = {}

    def contribute(edge: Edge, contribution: Any) -> None:
        edge.contribution = contribution
        key = edge.source.id
        adjoint[key] = contribution if key not in adjoint else jax.lax.add(adjoint[key], contribution)

    for edge, cotangent in seeds:
        contribute(edge, cotangent)
    for operation in reversed(tape.operations):
        if not any(node.id in adjoint for node in operation.outputs):
            continue  # nothing that the output depends on
        cotangents = [adjoint[n.id] if n.id in adjoint else zeros(n.value) for n in operation.outputs]
        for edge, contribution in zip(operation.edges, operation.pullback(cotangents), strict=True):
            contribute(edge, contribution)
        if operation.group is not None:
            adjoint[operation.group.id] = tuple(cotangents)
            for edge, cotangent in zip(operation.projections, cotangents, strict=True):
                edge.contribution = cotangent
    _fill(tape.nodes, tape.edges, adjoint)


def _fill(nodes: Sequence[Node], edges: Sequence[Edge], adjoint: dict[int, Any]) -> None:
    """Zeros for what the output does not depend on."""
    for node in nodes:
        if node.active and node.kind != "output":
            node.adjoint = adjoint[node.id] if node.id in adjoint else _like(node.value)
    for edge in edges:
        if edge.active and edge.contribution is None:
            edge.contribution = zeros(edge.target.value if edge.component is not None else edge.source.value)


def _like(value: Any) -> Any:
    return tuple(zeros(part) for part in value) if isinstance(value, tuple) else zeros(value)
