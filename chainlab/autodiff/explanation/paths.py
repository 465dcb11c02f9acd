"""Paths through the graph: exact count, sum of products and the k largest, without enumerating them.

All three are dynamic programmes from the output backwards: a node's count is the sum of its targets' counts, its
total the weighted sum of theirs, and its k best paths are found among the k best of every target.
"""

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from chainlab.autodiff.explanation.local import jacobian
from chainlab.autodiff.explanation.summary import flat
from chainlab.errors import UsageError

if TYPE_CHECKING:
    from chainlab.autodiff.explanation.graph import Edge, Explanation, Node

Weighting = Literal["scalar", "elements", "gains"]

EXPANDED_ROWS = 2_000
EXPANDED_ENTRIES = 40_000
"""An array graph is expanded element by element while its Jacobians have at most this many rows and entries."""


@dataclass(frozen=True)
class Path:
    """One path from a node to the output.

    Attributes:
        nodes: The nodes, first to last; the last is the output's own operation where the output is one number.
        edges: The edges between them.
        factors: The weight of every edge: its local derivative, or its gain.
        product: Product of the factors.
        indices: For `elements`, which element of every node the path runs through.
    """

    nodes: "tuple[Node, ...]"
    edges: "tuple[Edge, ...]"
    factors: tuple[float, ...]
    product: float
    indices: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class Paths:
    """The paths from a node to the output.

    Attributes:
        count: Their exact number. For `elements` a path runs through one element of every node, and edges whose
            derivative is exactly zero don't count.
        total: The sum of all products, which is the node's adjoint. For `gains` it is the adjoint itself.
        largest: The k largest by absolute product, largest first.
        weighting: What a factor is. `scalar`: the local derivative (every node on the way is one number).
            `elements`: the entry of the local Jacobian, the graph expanded element by element. `gains`: for larger
            arrays the edge's realised gain |contribution| / |adjoint of its target|, whose product along a chain is
            |adjoint| / |cotangent| and which is |local derivative| on scalars; it ranks paths, and does not sum.
    """

    count: int
    total: Any
    largest: tuple[Path, ...]
    weighting: Weighting

    def __iter__(self) -> Iterator[Path]:
        return iter(self.largest)

    def __len__(self) -> int:
        return self.count


Vertex = Any
Arc = tuple[Vertex, complex, "Edge"]


def find(explanation: "Explanation", start: "Node", k: int, index: Sequence[int] | None) -> Paths:
    """See `Explanation.paths`."""
    if k < 0:
        raise UsageError(f"paths: k must be >= 0, got {k}")
    if index is not None and (
        len(index) != len(start.shape) or any(not 0 <= i < n for i, n in zip(index, start.shape, strict=False))
    ):
        raise UsageError(f"paths: {start.name} has shape {start.shape}, so that {tuple(index)} is no element of it")
    if not start.active:
        return Paths(0, np.zeros(start.shape), (), "scalar")
    edges = _between(explanation, start)
    nodes = [start, *(edge.target for edge in edges)]
    if all(node.size == 1 for node in nodes) and not any(node.dtype.startswith("complex") for node in nodes):
        return _scalar(explanation, start, edges, k)
    if _expandable(edges):
        return _elements(explanation, start, edges, k, index)
    if index is not None:
        raise UsageError(
            f"paths: the graph between {start.name} and the output is too large to be expanded element by element "
            f"(at most {EXPANDED_ROWS} rows and {EXPANDED_ENTRIES} entries of its Jacobians); leave index out"
        )
    return _gains(explanation, start, edges, k)


def gains(explanation: "Explanation", k: int) -> "Mapping[int, list[Path]]":
    """The k largest paths of every node by gain, in one pass."""
    arcs = {
        node.id: [(edge.target.id, edge.gain, edge) for edge in explanation.outgoing[node.id] if edge.active]
        for node in explanation.nodes
    }
    order = [node.id for node in reversed(explanation.nodes)]
    _, _, best = _programme(order, arcs, {explanation.output.id}, k)
    return {
        node.id: [_path(node, arcs, best, node.id, rank) for rank in range(len(best[node.id]))]
        for node in explanation.nodes
    }


def counts(explanation: "Explanation") -> dict[int, int]:
    """The number of paths from every node to the output."""
    count = {explanation.output.id: 1}
    for node in reversed(explanation.nodes[:-1]):
        count[node.id] = sum(count[edge.target.id] for edge in explanation.outgoing[node.id] if edge.active)
    return count


def _between(explanation: "Explanation", start: "Node") -> "list[Edge]":
    """Active edges that lie on a path from `start` to the output."""
    reached, useful = {start.id}, {explanation.output.id}
    for edge in sorted(explanation.edges, key=lambda edge: edge.target.id):
        if edge.active and edge.source.id in reached:
            reached.add(edge.target.id)
    for edge in sorted(explanation.edges, key=lambda edge: -edge.source.id):
        if edge.active and edge.target.id in useful:
            useful.add(edge.source.id)
    keep = reached & useful
    return [edge for edge in explanation.edges if edge.active and edge.source.id in keep and edge.target.id in keep]


def _programme(
    order: Sequence[Vertex], arcs: Mapping[Vertex, Sequence[Arc]], sinks: set[Vertex], k: int
) -> tuple[dict[Vertex, int], dict[Vertex, Any], dict[Vertex, list[tuple[Any, int, int]]]]:
    """Counts, totals and k best (product, arc, rank at its head) of every vertex; `order` runs from the sinks."""
    count: dict[Vertex, int] = {}
    total: dict[Vertex, Any] = {}
    best: dict[Vertex, list[tuple[Any, int, int]]] = {}
    for vertex in order:
        if vertex in sinks:
            count[vertex], total[vertex], best[vertex] = 1, 1.0, [(1.0, -1, 0)]
            continue
        outgoing = arcs.get(vertex, ())
        count[vertex] = sum(count[head] for head, _, _ in outgoing)
        total[vertex] = sum((weight * total[head] for head, weight, _ in outgoing), 0.0)
        candidates = (
            (weight * product, position, rank)
            for position, (head, weight, _) in enumerate(outgoing)
            for rank, (product, _, _) in enumerate(best[head])
        )
        best[vertex] = heapq.nlargest(k, candidates, key=lambda candidate: abs(candidate[0]))
    return count, total, best


def _path(node: "Node", arcs: Any, best: Any, vertex: Vertex, rank: int, shape: bool = False) -> Path:
    nodes, edges, factors, indices = [node], [], [], []
    product = best[vertex][rank][0]
    if shape:
        indices.append(_unravel(vertex[1], node))
    while True:
        _, position, following = best[vertex][rank]
        if position < 0:
            break
        vertex, factor, edge = arcs[vertex][position]
        rank = following
        if edge.target.kind == "output" and factor == 1.0:
            break  # the output is one number: the step from it to itself says nothing
        nodes.append(edge.target)
        edges.append(edge)
        factors.append(factor)
        if shape:
            indices.append(_unravel(vertex[1], edge.target))
    return Path(tuple(nodes), tuple(edges), tuple(factors), product, tuple(indices))


def _unravel(index: int, node: "Node") -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(index, node.shape)) if node.shape else ()


def _scalar(explanation: "Explanation", start: "Node", edges: "Sequence[Edge]", k: int) -> Paths:
    count, total, largest = _by_node(explanation, start, edges, k, lambda edge: edge.local.value if edge.local else 0.0)
    return Paths(count, total, largest, "scalar")


def _gains(explanation: "Explanation", start: "Node", edges: "Sequence[Edge]", k: int) -> Paths:
    count, _, largest = _by_node(explanation, start, edges, k, lambda edge: edge.gain)
    return Paths(count, start.adjoint, largest, "gains")


def _by_node(
    explanation: "Explanation", start: "Node", edges: "Sequence[Edge]", k: int, weight: "Callable[[Edge], Any]"
) -> tuple[int, Any, tuple[Path, ...]]:
    """Count, total and k largest of the paths whose steps are whole nodes."""
    arcs: dict[int, list[Arc]] = {}
    for edge in edges:
        arcs.setdefault(edge.source.id, []).append((edge.target.id, weight(edge), edge))
    order = sorted({start.id, *(edge.target.id for edge in edges)}, reverse=True)
    count, total, best = _programme(order, arcs, {explanation.output.id}, k)
    largest = tuple(_path(start, arcs, best, start.id, rank) for rank in range(len(best[start.id])))
    return count[start.id], total[start.id], largest


def _expandable(edges: "Sequence[Edge]") -> bool:
    rows = sum(edge.target.size for edge in edges)
    entries = sum(edge.target.size * edge.source.size for edge in edges)
    complex_ = any("complex" in edge.source.dtype for edge in edges)
    freed = any(edge.pullback is None and edge.component is None for edge in edges)
    return rows <= EXPANDED_ROWS and entries <= EXPANDED_ENTRIES and not complex_ and not freed


def _elements(
    explanation: "Explanation", start: "Node", edges: "Sequence[Edge]", k: int, index: Sequence[int] | None
) -> Paths:
    arcs: dict[Vertex, list[Arc]] = {}
    for edge in edges:
        for row, column, weight in _entries(edge):
            arcs.setdefault((edge.source.id, column), []).append(((edge.target.id, row), weight, edge))
    nodes = sorted({node.id: node for edge in edges for node in (edge.source, edge.target)}.items(), reverse=True)
    nodes = nodes or [(start.id, start)]
    order = [(key, element) for key, node in nodes for element in range(node.size)]
    count, total, best = _programme(order, arcs, {(explanation.output.id, 0)}, k)
    chosen = range(start.size) if index is None else [int(np.ravel_multi_index(tuple(index), start.shape))]
    ranked = [
        (abs(entry[0]), element, rank) for element in chosen for rank, entry in enumerate(best[start.id, element])
    ]
    largest = tuple(
        _path(start, arcs, best, (start.id, element), rank, True)
        for _, element, rank in heapq.nlargest(k, ranked, key=lambda entry: entry[0])
    )
    if index is not None:
        sums: Any = total[start.id, chosen[0]]
    else:
        sums = np.array([total[start.id, element] for element in chosen]).reshape(start.shape)
    return Paths(sum(count[start.id, element] for element in chosen), sums, largest, "elements")


def _entries(edge: "Edge") -> list[tuple[int, int, float]]:
    """Non-zero entries (row, column, value) of an edge's Jacobian."""
    if edge.component is not None:
        parts = edge.source.value
        offset = sum(int(np.size(part)) for part in parts[: edge.component])
        return [(row, offset + row, 1.0) for row in range(edge.target.size)]
    if edge.local is not None and edge.local.kind == "diagonal":
        return [(i, i, float(value)) for i, value in enumerate(flat(edge.local.value)) if value != 0.0]
    assert edge.pullback is not None
    matrix = jacobian(edge, edge.pullback)
    return [(int(r), int(c), float(matrix[r, c])) for r, c in zip(*np.nonzero(matrix), strict=True)]
