"""The graph for Graphviz and Mermaid."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from chainlab.autodiff.explanation.document import short, type_of
from chainlab.autodiff.explanation.layout import Scope, visual_scopes
from chainlab.autodiff.explanation.text import amount

if TYPE_CHECKING:
    from chainlab.autodiff.explanation.graph import Edge, Explanation, Node


def _edge_label(edge: "Edge") -> str:
    if not edge.active:
        return ""
    local = edge.local
    if local is not None and local.kind == "scalar" and local.value is not None:
        return short(local.value)
    return f"gain {short(edge.gain)}"


def _lines(node: "Node") -> list[str]:
    lines = [node.name, f"{type_of(node)} {amount(node)}"]
    return [*lines, f"adjoint {amount(node, adjoint=True)}"] if node.active else lines


def _nested(
    explanation: "Explanation", write: Callable[["Node", int], str], open_: Callable[[Scope, int], str], close: str
) -> list[str]:
    """Nodes inside the blocks of their scopes."""
    scopes = visual_scopes(explanation)
    inside: dict[Scope, list[Node]] = {}
    children: dict[Scope, dict[Scope, None]] = {}
    for node in explanation.nodes:
        scope = scopes[node.id]
        inside.setdefault(scope, []).append(node)
        for depth in range(len(scope)):
            children.setdefault(scope[:depth], {})[scope[: depth + 1]] = None
    lines: list[str] = []

    def visit(scope: Scope) -> None:
        indent = "  " * (len(scope) + 1)
        lines.extend(indent + write(node, len(scope)) for node in inside.get(scope, []))
        for child in children.get(scope, {}):
            lines.append(indent + open_(child, len(lines)))
            visit(child)
            lines.append(indent + close)

    visit(())
    return lines


def to_dot(explanation: "Explanation") -> str:
    """See `Explanation.to_dot`."""

    def quote(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    def write(node: "Node", depth: int) -> str:
        del depth
        label = quote("\n".join(_lines(node))).replace("\n", "\\n")
        style = "rounded" if node.active else "rounded,dashed"
        shape = {"input": "ellipse", "output": "doubleoctagon"}.get(node.kind, "box")
        return f'n{node.id} [label={label}, shape={shape}, style="{style}"];'

    def open_(scope: Scope, number: int) -> str:
        return f"subgraph cluster_{number} {{ label={quote(scope[-1])};"

    lines = [f"digraph {quote(explanation.title)} {{", "  node [fontname=Helvetica, fontsize=10];"]
    lines += _nested(explanation, write, open_, "}")
    top = max((edge.norm for edge in explanation.edges if edge.active), default=0.0)
    for edge in explanation.edges:
        width = 1.0 + 3.0 * edge.norm / top if top > 0 and edge.active else 0.5
        style = "solid" if edge.active else "dashed"
        label = quote(_edge_label(edge))
        ends = f"n{edge.source.id} -> n{edge.target.id}"
        lines.append(f"  {ends} [label={label}, penwidth={width:.2f}, style={style}, fontsize=9];")
    return "\n".join([*lines, "}"]) + "\n"


def to_mermaid(explanation: "Explanation") -> str:
    """See `Explanation.to_mermaid`."""

    def quote(text: str) -> str:
        for character in '&#"<>`[](){}|\\':
            text = text.replace(character, f"\0{ord(character)};")
        return text.replace("\0", "#")

    def write(node: "Node", depth: int) -> str:
        del depth
        label = "<br/>".join(quote(line) for line in _lines(node))
        left, right = {"input": ("([", "])"), "output": ("[[", "]]")}.get(node.kind, ("[", "]"))
        return f'n{node.id}{left}"{label}"{right}'

    def open_(scope: Scope, number: int) -> str:
        return f'subgraph g{number}["{quote(scope[-1])}"]'

    lines = ["flowchart TD", *_nested(explanation, write, open_, "end")]
    for edge in explanation.edges:
        label = quote(_edge_label(edge))
        arrow = "-->" if edge.active else "-.->"
        text = f'|"{label}"|' if label else ""
        lines.append(f"  n{edge.source.id} {arrow}{text} n{edge.target.id}")
    return "\n".join(lines) + "\n"
