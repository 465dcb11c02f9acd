"""Everything that the renderings show, as plain data."""

import math
import os
from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import numpy as np

from chainlab.autodiff.explanation.paths import Path, counts, gains
from chainlab.autodiff.explanation.summary import Summary

if TYPE_CHECKING:
    from chainlab.autodiff.explanation.graph import Edge, Explanation, Node
    from chainlab.autodiff.explanation.local import LocalDerivative

_LISTED = 64
"""Arrays of at most this many elements are written out."""

_EXPANDED_LEAVES = 12
"""With more leaves, the paths of array graphs are ranked by gains in one pass over the graph."""


def number(value: Any) -> Any:
    """A JSON number, or text where JSON has none (NaN, infinities, complex)."""
    if isinstance(value, complex):
        return str(value)
    value = float(value)
    return value if math.isfinite(value) else str(value)


def short(value: Any) -> str:
    """A number in at most four significant digits."""
    return str(value) if isinstance(value, (str, complex)) else f"{float(value):.4g}"


def type_of(node: "Node") -> str:
    """Element type and shape, `f32[64,256]`."""
    prefix = node.dtype.replace("bfloat", "bf").replace("float", "f").replace("complex", "c")
    return f"{prefix.replace('uint', 'u').replace('int', 'i')}[{','.join(map(str, node.shape))}]"


def place(source: str) -> str:
    """A source line with its path relative to the working directory, or else without its folders."""
    path, colon, rest = source.partition(":")
    try:
        relative = os.path.relpath(path)
    except ValueError:
        relative = path
    return (FilePath(path).name if relative.startswith("..") else relative) + colon + rest


def _array(value: Any, summary: Summary | None) -> dict[str, Any] | None:
    if summary is None:
        return None
    data: dict[str, Any] = {name: number(getattr(summary, name)) for name in summary.__dataclass_fields__}
    if value is not None and not isinstance(value, tuple) and summary.size <= _LISTED:
        try:
            data["values"] = _nested(np.asarray(value).tolist())
        except (TypeError, ValueError):
            return data  # keys have no numbers
    return data


def _nested(value: Any) -> Any:
    return [_nested(item) for item in value] if isinstance(value, list) else number(value)


def _local(local: "LocalDerivative | None") -> dict[str, Any] | None:
    if local is None:
        return None
    data: dict[str, Any] = {
        "kind": local.kind,
        "norm": number(local.norm),
        "sigma": None if local.sigma is None else number(local.sigma),
        "estimated": local.estimated,
    }
    if local.value is not None and np.size(local.value) <= _LISTED:
        data["value"] = _nested(np.asarray(local.value).tolist())
    return data


def node_data(node: "Node", paths: int) -> dict[str, Any]:
    """A node as plain data."""
    return {
        "id": node.id,
        "name": node.name,
        "op": node.op,
        "kind": node.kind,
        "type": type_of(node),
        "size": node.size,
        "scope": list(node.scope),
        "source": place(node.source),
        "active": node.active,
        "literals": {str(key): text for key, text in node.literals.items()},
        "value": _array(node.value, node.summary),
        "adjoint": _array(node.adjoint, node.adjoint_summary),
        "iterations": {key: [number(v) for v in values] for key, values in (node.iterations or {}).items()},
        "paths": str(paths),  # exact, and often beyond what a JSON number holds
    }


def edge_data(edge: "Edge") -> dict[str, Any]:
    """An edge as plain data."""
    data: dict[str, Any] = {
        "id": edge.id,
        "source": edge.source.id,
        "target": edge.target.id,
        "position": edge.position,
        "active": edge.active,
    }
    if edge.active:
        data |= {"norm": number(edge.norm), "gain": number(edge.gain), "local": _local(edge.local)}
        contribution = edge.contribution
        if contribution is not None and np.size(contribution) == 1:
            data["contribution"] = number(np.asarray(contribution).item())
        if edge.forward_pullback is not None or edge.forward_local is not None:
            deviation = edge.deviation
            data |= {
                "forward": _local(edge.forward_local),
                "deviation": None if deviation is None else number(deviation),
                "evaluations": {name: _nested(np.asarray(v).tolist()) for name, v in edge.evaluations.items()},
            }
    return data


def _path(path: Path) -> dict[str, Any]:
    return {
        "nodes": [node.id for node in path.nodes],
        "edges": [edge.id for edge in path.edges],
        "factors": [number(factor) for factor in path.factors],
        "product": number(path.product),
        "indices": [list(index) for index in path.indices],
    }


def leaf_data(explanation: "Explanation", k: int) -> list[dict[str, Any]]:
    """The k largest paths of every differentiated leaf."""
    one_pass = len(explanation.leaves) > _EXPANDED_LEAVES and any(node.size > 1 for node in explanation.nodes)
    ranked, count = (gains(explanation, k), counts(explanation)) if one_pass else ({}, {})
    result: list[dict[str, Any]] = []
    for name, node in explanation.leaves.items():
        if one_pass:
            weighting, largest, total = "gains", ranked[node.id], count[node.id]
        else:
            paths = explanation.paths(node.id, k)
            weighting, largest, total = paths.weighting, paths.largest, paths.count
        shown: Sequence[Path] = [path for path in largest if path.product]
        result.append(
            {
                "node": node.id,
                "name": name,
                "count": str(total),
                "weighting": weighting,
                "paths": [_path(path) for path in shown],
            }
        )
    return result


def document(explanation: "Explanation", *, k: int = 5) -> dict[str, Any]:
    """The whole explanation as plain data."""
    count = counts(explanation)
    return {
        "format": "chainlab-explanation-1",
        "title": explanation.title,
        "value": number(np.asarray(explanation.output.value).item()),
        "nodes": [node_data(node, count.get(node.id, 0)) for node in explanation.nodes],
        "edges": [edge_data(edge) for edge in explanation.edges],
        "leaves": leaf_data(explanation, k),
    }
