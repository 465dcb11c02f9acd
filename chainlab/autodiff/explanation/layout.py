"""Layered layout: every name scope is laid out on its own, its scopes inside it being single boxes.

igraph's Sugiyama method orders the boxes of a layer and routes edges that skip layers. Because each scope has a
layout of its own, the page can fold and open scopes in any combination without laying anything out again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import igraph

if TYPE_CHECKING:
    from chainlab.autodiff.explanation.graph import Explanation, Node

Scope = tuple[str, ...]


@dataclass
class Level:
    """The inside of one scope.

    Attributes:
        scope: Its name, outermost part first; empty for the whole graph.
        places: Layer and rank in it of every box, `n7` for node 7 and `s2` for level 2. `en7` is a gap above, through
            which edges from outside the scope reach node 7.
        routes: Layer and rank of the bends of every edge, by the boxes that it joins.
    """

    scope: Scope
    places: dict[str, tuple[int, float]] = field(default_factory=dict)
    routes: dict[tuple[str, str], list[tuple[int, float]]] = field(default_factory=dict)


def visual_scopes(explanation: "Explanation") -> dict[int, Scope]:
    """The scope that each node is drawn in: arguments go where they are used, scopes of one node dissolve."""
    scopes = {node.id: node.scope for node in explanation.nodes}
    members: dict[Scope, int] = {}
    for node in explanation.nodes:
        if node.kind not in ("input", "output"):
            for depth in range(1, len(node.scope) + 1):
                members[node.scope[:depth]] = members.get(node.scope[:depth], 0) + 1
    for key, scope in scopes.items():
        while scope and members.get(scope, 0) < 2:
            scope = scope[:-1]
        scopes[key] = scope
    for node in explanation.nodes:
        if node.kind == "input":
            scopes[node.id] = _common(scopes[edge.target.id] for edge in explanation.outgoing[node.id])
    return scopes


def _common(scopes: Iterable[Scope]) -> Scope:
    result: Scope | None = None
    for scope in scopes:
        if result is None:
            result = scope
        while scope[: len(result)] != result:
            result = result[:-1]
    return result or ()


def layout(explanation: "Explanation") -> list[Level]:
    """Lay every scope out; the first level is the whole graph, and a scope comes after the one around it."""
    scopes = visual_scopes(explanation)
    names = sorted({scope[:depth] for scope in scopes.values() for depth in range(len(scope) + 1)} | {()}, key=len)
    numbers = {scope: index for index, scope in enumerate(names)}
    levels = [Level(scope) for scope in names]

    def box(node: "Node", depth: int) -> str:
        scope = scopes[node.id]
        return f"n{node.id}" if len(scope) == depth else f"s{numbers[scope[: depth + 1]]}"

    boxes: list[dict[str, int]] = [{} for _ in names]  # the first node in it orders a box
    inputs: list[set[str]] = [set() for _ in names]
    for node in explanation.nodes:
        scope = scopes[node.id]
        if node.kind == "input":  # says nothing about when the scopes around it are evaluated
            inputs[numbers[scope]].add(f"n{node.id}")
            boxes[numbers[scope]][f"n{node.id}"] = node.id
            continue
        for depth in range(len(scope) + 1):
            boxes[numbers[scope[:depth]]].setdefault(box(node, depth), node.id)
    arcs: list[dict[tuple[str, str], None]] = [{} for _ in names]
    entered: list[set[str]] = [set() for _ in names]
    for edge in explanation.edges:
        inside = _common((scopes[edge.source.id], scopes[edge.target.id]))
        source, target = box(edge.source, len(inside)), box(edge.target, len(inside))
        if source != target:
            arcs[numbers[inside]][source, target] = None
        for depth in range(len(inside) + 1, len(scopes[edge.target.id]) + 1):
            entered[numbers[scopes[edge.target.id][:depth]]].add(box(edge.target, depth))
    for level, first, floating, pairs, entries in zip(levels, boxes, inputs, arcs, entered, strict=True):
        _place(level, first, floating, list(pairs), entries)
    return levels


def _place(
    level: Level, first: dict[str, int], floating: set[str], pairs: Sequence[tuple[str, str]], entries: set[str]
) -> None:
    """Assign layers by longest path, arguments just above their first use, and let igraph order them."""
    order = sorted(first, key=lambda name: (name not in floating, first[name]))
    rank = {name: index for index, name in enumerate(order)}
    forward = [pair for pair in pairs if rank[pair[0]] < rank[pair[1]]]  # interleaved scopes can make cycles
    incoming: dict[str, list[str]] = {name: [] for name in order}
    outgoing: dict[str, list[str]] = {name: [] for name in order}
    for source, target in forward:
        incoming[target].append(source)
        outgoing[source].append(target)
    layer: dict[str, int] = {}
    for name in order:
        layer[name] = max((layer[source] + 1 for source in incoming[name]), default=0)
    for name in reversed(order):
        if not incoming[name] and outgoing[name]:
            layer[name] = min(layer[target] for target in outgoing[name]) - 1
    used = {value: index for index, value in enumerate(sorted(set(layer.values())))}
    layer = {name: used[value] for name, value in layer.items()}
    for name in list(order):
        if name in entries and layer[name]:
            order.append(f"e{name}")
            layer[f"e{name}"] = 0
            forward.append((f"e{name}", name))
    if not order:
        return
    rank = {name: index for index, name in enumerate(order)}
    graph = igraph.Graph(len(order), [(rank[a], rank[b]) for a, b in forward], directed=True)
    drawn = graph.layout_sugiyama(layers=[layer[name] for name in order], hgap=1, vgap=1, maxiter=100)
    level.places = {name: (layer[name], round(drawn[rank[name]][0], 3)) for name in order}
    for pair, bends in zip(forward, vars(drawn)["edge_routing"], strict=True):
        level.routes[pair] = [(round(y), round(x, 3)) for x, y in bends]
