"""The graph as text: a tree of name scopes."""

import io
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from chainlab.autodiff.explanation.document import leaf_data, place, short, type_of

if TYPE_CHECKING:
    from chainlab.autodiff.explanation.graph import Edge, Explanation, Node
    from chainlab.autodiff.explanation.local import LocalDerivative

_LISTED = 16  # numbers of an array that are written out


def amount(node: "Node", adjoint: bool = False) -> str:
    """A number, or the norm of an array."""
    value, summary = (node.adjoint, node.adjoint_summary) if adjoint else (node.value, node.summary)
    if summary is None:
        return "-"
    scalar = node.size == 1 and value is not None and not isinstance(value, tuple)
    return short(np.asarray(value).item()) if scalar else f"|{short(summary.norm)}|"


def local_text(local: "LocalDerivative | None") -> str:
    """A local derivative in one phrase."""
    if local is None:
        return "?"
    if local.kind == "scalar" and local.value is not None:
        return short(local.value)
    sigma = "" if local.sigma is None else f", sigma {short(local.sigma)}"
    return f"{local.kind} |{'~' if local.estimated else ''}{short(local.norm)}|{sigma}"


def operands(node: "Node", edges: "tuple[Edge, ...]") -> str:
    """The operands of an operation in order."""
    table = {**{edge.position: edge.source.name for edge in edges}, **node.literals}
    return ", ".join(text for _, text in sorted(table.items()))


def node_text(explanation: "Explanation", node: "Node") -> Text:
    """One line for a node."""
    line = Text()
    line.append(node.name, "bold")
    if node.kind not in ("input", "output"):
        line.append(f" = {node.op}({operands(node, explanation.incoming[node.id])})", "dim")
    line.append(f"  {type_of(node)} {amount(node)}")
    if node.active:
        line.append(f"  adjoint {amount(node, adjoint=True)}", "cyan")
    else:
        line.append("  no derivative", "dim")
    if node.kind in ("custom_jvp", "custom_vjp"):
        line.append(f"  [{node.kind}]", "magenta")
    return line


def edge_text(edge: "Edge") -> Text:
    """One line for what an edge adds to its source's adjoint."""
    line = Text(f"{edge.source.name}: ")
    if not edge.active:
        return line.append("no derivative", "dim")
    contribution = edge.contribution
    scalar = contribution is not None and np.size(contribution) == 1
    adds = short(np.asarray(contribution).item()) if scalar else f"|{short(edge.norm)}|"
    line.append(f"local {local_text(edge.local)} x adjoint {amount(edge.target, adjoint=True)} = {adds}")
    if edge.deviation is not None:
        agrees = edge.deviation <= 1e-5
        true = "agrees with its forward" if agrees else f"its forward's derivative is {local_text(edge.forward_local)}"
        line.append(f"  ({true})", "green" if agrees else "yellow")
    return line


def listed(value: np.ndarray) -> str:
    """The numbers of a small array, the norm of a large one."""
    numbers = np.ravel(value)
    return ", ".join(map(short, numbers)) if len(numbers) <= _LISTED else f"|{short(np.linalg.norm(numbers))}|"


def to_text(explanation: "Explanation", *, width: int = 110, limit: int = 400, k: int = 3) -> str:
    """See `Explanation.to_text`."""
    tree = Tree(Text(f"{explanation.title} = {amount(explanation.output)}", "bold"))
    branches: dict[tuple[str, ...], Tree] = {(): tree}
    for node in explanation.nodes[:limit]:
        for depth in range(1, len(node.scope) + 1):
            scope = node.scope[:depth]
            if scope not in branches:
                branches[scope] = branches[scope[:-1]].add(Text(scope[-1] + "/", "bold blue"))
        branch = branches[node.scope].add(node_text(explanation, node))
        if node.kind != "output":
            for edge in explanation.incoming[node.id]:
                line = branch.add(edge_text(edge))
                for name, value in edge.evaluations.items():
                    line.add(Text(f"its rule evaluates: {name} = {listed(value)}", "magenta"))
    if len(explanation.nodes) > limit:
        tree.add(Text(f"... {len(explanation.nodes) - limit} more nodes", "dim"))
    shown = tree.add(Text("largest paths", "bold blue"))
    for leaf in leaf_data(explanation, k):
        count, weighting = leaf["count"], leaf["weighting"]
        branch = shown.add(Text(f"{leaf['name']}: {count} path{'' if count == '1' else 's'}, by {weighting}"))
        for path in leaf["paths"]:
            factors = " x ".join(short(factor) for factor in path["factors"]) or "1"
            names = " > ".join(explanation.nodes[node].name for node in path["nodes"])
            branch.add(Text(f"{factors} = {short(path['product'])}   {names}"))
    where = next((place(node.source) for node in explanation.nodes if node.source), "")
    stream = io.StringIO()
    Console(file=stream, width=width, no_color=True, color_system=None, highlight=False).print(tree, Text(where, "dim"))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"
