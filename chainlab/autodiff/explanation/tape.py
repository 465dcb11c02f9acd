"""What the forward walk records: nodes, edges and the operations with their pullbacks."""

from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from chainlab.autodiff.explanation.graph import Edge, Kind, Node, Pullback


@dataclass(eq=False)
class Operand:
    """A value in flight: concrete or traced, with the node that it belongs to (None for a constant)."""

    value: Any
    node: Node | None = None

    @property
    def active(self) -> bool:
        """Whether it carries a derivative."""
        return self.node is not None and self.node.active


@dataclass(eq=False)
class Operation:
    """One recorded equation with differentiable inputs and outputs."""

    edges: tuple[Edge, ...]
    outputs: tuple[Node, ...]
    pullback: Pullback
    group: Node | None = None
    projections: tuple[Edge, ...] = ()


@dataclass(eq=False)
class Tape:
    """What the forward walk records."""

    unroll: int
    traced: bool = False
    nodes: list[Node] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    counters: dict[Any, int] = field(default_factory=dict)

    def unique(self, scope: tuple[str, ...], name: str) -> str:
        """Number repeated names within a scope."""
        count = self.counters[scope, name] = self.counters.get((scope, name), 0) + 1
        return name if count == 1 else f"{name}.{count}"

    def add_node(self, op: str, kind: Kind, value: Any, *, name: str = "", active: bool, **more: Any) -> Node:
        """Append a node for a value (a tuple of values where an operation has several outputs)."""
        if type(value) is tuple:
            shape, dtype = (sum(int(np.size(v)) for v in value),), str(value[0].dtype)
        else:
            aval = jax.typeof(value)
            shape, dtype = tuple(aval.shape), str(aval.dtype)
        node = Node(
            len(self.nodes), name or self.unique((), op), op, kind, shape, dtype, active=active, value=value, **more
        )
        self.nodes.append(node)
        return node

    def add_edge(self, source: Node, target: Node, position: int, *, active: bool, **more: Any) -> Edge:
        """Append an edge."""
        edge = Edge(len(self.edges), source, target, position, active, **more)
        self.edges.append(edge)
        return edge
