"""The graph that `explain` returns: nodes, edges and the explanation that holds them."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from chainlab.autodiff.explanation.summary import Summary, norm, summarise
from chainlab.errors import UsageError

if TYPE_CHECKING:
    from chainlab.autodiff.explanation.local import LocalDerivative
    from chainlab.autodiff.explanation.paths import Paths

Kind = Literal["input", "constant", "operation", "custom_jvp", "custom_vjp", "loop", "output"]

Pullback = Callable[[Sequence[Any]], list[Any]]
"""Cotangents of an operation's differentiable outputs to the contributions of its differentiable inputs."""


@dataclass(eq=False)
class Node:
    """An intermediate value of the function.

    Attributes:
        id: Position in evaluation order.
        name: Unique name: the key path of an argument, else the operation and a counter (`mul.2`).
        op: The primitive, or the name of the function that declares its own derivative.
        kind: What sort of node it is.
        shape: Shape; that of the concatenated outputs where an operation has several.
        dtype: Element type.
        scope: Name scopes, outermost first: `jax.named_scope`, called functions, loop steps.
        source: File, line and function it was traced from.
        active: Whether it depends differentiably on an argument. Others have no adjoint.
        literals: Operands written into the program, by position.
        value: The value, or None where `keep` left only its summary; a tuple for several outputs.
        adjoint: Derivative of the output with respect to the value, or None (see `value`, `active`).
        iterations: For a folded loop, per-iteration norms of every carry and of its adjoint.
    """

    id: int
    name: str
    op: str
    kind: Kind
    shape: tuple[int, ...]
    dtype: str
    scope: tuple[str, ...] = ()
    source: str = ""
    active: bool = False
    literals: Mapping[int, str] = field(default_factory=dict)
    value: Any = None
    adjoint: Any = None
    iterations: "Mapping[str, np.ndarray] | None" = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @cached_property
    def summary(self) -> Summary:
        """Statistics of the value."""
        return summarise(self.value)

    @cached_property
    def adjoint_summary(self) -> Summary | None:
        """Statistics of the adjoint; None for an inactive node."""
        return None if not self.active else summarise(self.adjoint)

    def __repr__(self) -> str:
        return f"Node({self.name}: {self.dtype}{list(self.shape)})"


@dataclass(eq=False)
class Edge:
    """One use of a value by an operation.

    Attributes:
        id: Position in evaluation order.
        source: The value used.
        target: The result.
        position: Which operand of the operation it is.
        active: Whether a derivative flows along it. An edge into `stop_gradient`, a comparison or an
            integer is shown and carries none.
        contribution: What the edge adds to the source's adjoint; None where inactive or not kept.
        component: Which output of an operation with several this edge takes out, else None.
    """

    id: int
    source: Node
    target: Node
    position: int
    active: bool
    contribution: Any = None
    component: int | None = None
    slot: int = 0
    pullback: Pullback | None = None
    forward_pullback: Pullback | None = None
    equation: Any = None
    operands: Sequence[Any] = ()

    @cached_property
    def norm(self) -> float:
        """Euclidean norm of the contribution."""
        return norm(self.contribution) if self.active else 0.0

    @cached_property
    def gain(self) -> float:
        """Realised gain |contribution| / |adjoint of the target|: the local derivative's size along the actual adjoint.

        On scalars it is |local derivative|; it never exceeds the largest singular value.
        """
        if not self.active or self.target.adjoint_summary is None:
            return 0.0
        below = self.target.adjoint_summary.norm
        return self.norm / below if below > 0 else 0.0

    @cached_property
    def local(self) -> "LocalDerivative | None":
        """The derivative of the target with respect to the source along this edge alone; None where inactive."""
        from chainlab.autodiff.explanation.local import local_derivative

        return local_derivative(self, self.pullback) if self.active else None

    @cached_property
    def forward_local(self) -> "LocalDerivative | None":
        """For a custom derivative: the true derivative of its forward function, beside the declared `local`."""
        from chainlab.autodiff.explanation.local import local_derivative

        return local_derivative(self, self.forward_pullback) if self.forward_pullback else None

    @cached_property
    def deviation(self) -> float | None:
        """For a custom derivative, |declared - true| / max(|declared|, |true|) of the contribution; 0: they agree."""
        if self.forward_pullback is None or self.contribution is None:
            return None
        adjoint = self.target.adjoint
        cotangents = list(adjoint) if isinstance(adjoint, tuple) else [adjoint]
        true = np.asarray(self.forward_pullback(cotangents)[self.slot])
        declared = np.asarray(self.contribution)
        scale = max(norm(declared), norm(true))
        return norm(declared - true) / scale if scale > 0 else 0.0

    @cached_property
    def evaluations(self) -> Mapping[str, np.ndarray]:
        """For a custom derivative: what its rule evaluates and names with `jax.ad_checkpoint.checkpoint_name`."""
        from chainlab.autodiff.explanation.named import named_values

        custom = self.active and self.forward_pullback is not None and self.target.value is not None
        return named_values(self) if custom else {}

    def __repr__(self) -> str:
        return f"Edge({self.source.name} -> {self.target.name})"


@dataclass(eq=False)
class Explanation:
    """A function's value and gradient, with the graph that they came from.

    Attributes:
        title: Name of the function.
        value: What the function returned.
        aux: The auxiliary output, with `has_aux`.
        gradients: The gradient, structured like the argument (like the tuple of arguments if there are several).
        nodes: Every intermediate in evaluation order; the last is the output.
        edges: Every use of an intermediate in evaluation order.
        leaves: The differentiated leaves of the arguments by key path.
    """

    title: str
    value: Any
    aux: Any
    gradients: Any
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    leaves: Mapping[str, Node]

    @property
    def output(self) -> Node:
        """The last node: the scalar whose derivative the adjoints are (output weighted by the cotangent)."""
        return self.nodes[-1]

    @cached_property
    def incoming(self) -> Mapping[int, tuple[Edge, ...]]:
        """Edges into every node by its id."""
        table: dict[int, list[Edge]] = {node.id: [] for node in self.nodes}
        for edge in self.edges:
            table[edge.target.id].append(edge)
        return {key: tuple(edges) for key, edges in table.items()}

    @cached_property
    def outgoing(self) -> Mapping[int, tuple[Edge, ...]]:
        """Edges out of every node by its id."""
        table: dict[int, list[Edge]] = {node.id: [] for node in self.nodes}
        for edge in self.edges:
            table[edge.source.id].append(edge)
        return {key: tuple(edges) for key, edges in table.items()}

    def node(self, name: str | int) -> Node:
        """Look a node up by name (`x`, `params['weight']`, `mul.2`) or id.

        Raises:
            UsageError: There is none.
        """
        if isinstance(name, int):
            if not 0 <= name < len(self.nodes):
                raise UsageError(f"there is no node {name}; ids run from 0 to {len(self.nodes) - 1}")
            return self.nodes[name]
        names = {node.name: node for node in self.nodes}
        if name not in names:
            close = difflib.get_close_matches(name, names, n=3) or list(self.leaves)[:5]
            raise UsageError(f"there is no node {name!r}; did you mean {', '.join(map(repr, close))}?")
        return names[name]

    def paths(self, leaf: str | int, k: int = 5, *, index: Sequence[int] | None = None) -> "Paths":
        """Count the paths from a node to the output and find the k largest; see `chainlab.autodiff.explanation.Paths`.

        Args:
            leaf: Name or id of the node that the paths start from, usually an argument.
            k: How many of the largest paths to return.
            index: One element of the node, where only its paths are wanted.

        Returns:
            The exact count, the sum over all paths and the k largest by absolute product.

        Raises:
            UsageError: There is no such node or element, or the graph is too large to be expanded element by element.

        Example:
            >>> import chainlab
            >>> graph = chainlab.explain(lambda x: 3.0 * x * x)(2.0)
            >>> paths = graph.paths("x")
            >>> paths.count, paths.total, [path.product for path in paths.largest]
            (2, 12.0, [6.0, 6.0])
        """
        from chainlab.autodiff.explanation.paths import find

        return find(self, self.node(leaf), k, index)

    def to_text(self, *, width: int = 110, limit: int = 400, k: int = 3) -> str:
        """The graph as a tree of name scopes with at most `limit` nodes, and the k largest paths of every leaf."""
        from chainlab.autodiff.explanation.text import to_text

        return to_text(self, width=width, limit=limit, k=k)

    def to_html(self, path: "str | FilePath | None" = None, *, k: int = 5) -> str:
        """The graph as one interactive, self-contained page, written to `path` where one is given.

        Args:
            path: File to write.
            k: How many of the largest paths to list for every leaf.

        Returns:
            The page.
        """
        from chainlab.autodiff.explanation.page import to_html

        page = to_html(self, k=k)
        if path is not None:
            FilePath(path).write_text(page, encoding="utf-8")
        return page

    def to_dot(self) -> str:
        """The graph in Graphviz's language."""
        from chainlab.autodiff.explanation.diagrams import to_dot

        return to_dot(self)

    def to_mermaid(self) -> str:
        """The graph as a Mermaid flowchart."""
        from chainlab.autodiff.explanation.diagrams import to_mermaid

        return to_mermaid(self)

    def to_json(self, *, k: int = 5) -> str:
        """Everything that the page shows, as JSON."""
        import json

        from chainlab.autodiff.explanation.document import document

        return json.dumps(document(self, k=k), allow_nan=False)

    def __repr__(self) -> str:
        return f"Explanation({self.title}: {len(self.nodes)} nodes, {len(self.edges)} edges)"
