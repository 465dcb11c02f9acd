"""All adjoints and all contribution norms inside one compiled program.

What that costs over the gradient is memory traffic. So an adjoint that is another one reshaped, transposed or times a
number in the program is not returned a second time, and a norm that an operation cannot change is not computed again.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PyTree

from chainlab.autodiff.explanation.graph import Edge, Node
from chainlab.autodiff.explanation.loops import accumulator
from chainlab.autodiff.explanation.tape import Tape

Step = tuple[str, tuple[Any, ...]]
"""`("reshape", shape)`, `("transpose", permutation)`, `("multiply", (number,))` or `("divide", (number,))`."""

_RESHAPES = ("reshape", "squeeze", "expand_dims")
_ISOMETRIES = (*_RESHAPES, "transpose", "neg", "rev", "add", "add_any", "sub", "copy")


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("value", "aux", "gradients", "arrays", "contributions"),
    meta_fields=("nodes", "edges", "views"),
)
@dataclass(frozen=True)
class Statistics:
    """What `explain(f).statistics` returns: a pytree, so that it passes through `jax.jit`.

    Attributes:
        value: What the function returned.
        aux: The auxiliary output.
        gradients: As `Explanation.gradients`.
        arrays: The adjoints that differ in more than shape and scale; read them through `adjoints`.
        contributions: Euclidean norm of every active edge's contribution.
        nodes: Names of the active nodes, without operations of several outputs: those outputs are nodes themselves.
        edges: Names of the source and target of every active edge.
        views: Which of the arrays is each node's adjoint, and how it is read from it.
    """

    value: PyTree
    aux: PyTree
    gradients: PyTree
    arrays: tuple[PyTree, ...]
    contributions: Float[Array, " edges"]
    nodes: tuple[str, ...]
    edges: tuple[tuple[str, str], ...]
    views: tuple[tuple[int, tuple[Step, ...]], ...]

    @property
    def adjoints(self) -> Mapping[str, PyTree]:
        """The adjoint of every active node, by name."""
        views = zip(self.nodes, self.views, strict=True)
        return {name: _read(self.arrays[index], steps) for name, (index, steps) in views}


_READ = {
    "reshape": lambda x, numbers: jnp.reshape(x, numbers),
    "transpose": lambda x, numbers: jnp.transpose(x, numbers),
    "multiply": lambda x, numbers: x * jnp.asarray(numbers[0], x.dtype),
    "divide": lambda x, numbers: x / jnp.asarray(numbers[0], x.dtype),
}


def _read(array: Any, steps: Sequence[Step]) -> Any:
    for kind, numbers in steps:
        array = _READ[kind](array, numbers)
    return array


def statistics(tape: Tape, value: Any, aux: Any, gradients: Any) -> Statistics:
    """Collect the statistics of a tape whose reverse pass has run; the output node itself is left out."""
    nodes = [node for node in tape.nodes if node.active and node.kind != "output" and not isinstance(node.value, tuple)]
    edges = [edge for edge in tape.edges if edge.active and edge.target.kind != "output"]
    uses: dict[int, list[Edge]] = {}
    for edge in tape.edges:
        if edge.active:
            uses.setdefault(edge.source.id, []).append(edge)
    arrays: list[Any] = []
    places: dict[int, int] = {}
    views: dict[int, tuple[int, tuple[Step, ...]]] = {}
    for node in reversed(nodes):
        step = _step(node, uses.get(node.id, []))
        if step is not None:
            target, steps = uses[node.id][0].target, (step,)
            index, before = views[target.id]
            views[node.id] = index, before + steps
            continue
        if id(node.adjoint) not in places:
            places[id(node.adjoint)] = len(arrays)
            arrays.append(node.adjoint)
        views[node.id] = places[id(node.adjoint)], ()
    norms = _norms(edges)
    return Statistics(
        value,
        aux,
        gradients,
        tuple(arrays),
        jnp.stack([norms[edge.id] for edge in edges]) if edges else jnp.zeros(0),
        tuple(node.name for node in nodes),
        tuple((edge.source.name, edge.target.name) for edge in edges),
        tuple(views[node.id] for node in nodes),
    )


def _step(node: Node, uses: Sequence[Edge]) -> Step | None:
    """How a node's adjoint follows from that of its only use; None where it is an array of its own."""
    if (
        len(uses) != 1
        or node.kind == "input"
        or uses[0].target.kind == "output"
        or isinstance(uses[0].target.value, tuple)
    ):
        return None
    (edge,) = uses
    if edge.equation is None:
        return None
    parameters, name = edge.equation.params, edge.equation.primitive.name
    if name in _RESHAPES and not (name == "reshape" and parameters["dimensions"]):
        return "reshape", node.shape
    if name == "transpose":
        return "transpose", tuple(int(axis) for axis in np.argsort(parameters["permutation"]))
    if node.shape != edge.target.shape:
        return None
    if name == "neg" or (name == "sub" and edge.position == 1):
        return "multiply", (-1.0,)
    if name == "mul" or (name == "div" and edge.position == 0):
        number = edge.operands[1 - edge.position]
        if not isinstance(number, Tracer) and np.size(number) == 1:
            return {"mul": "multiply", "div": "divide"}[name], (np.asarray(number).item(),)
    return None


def _norms(edges: Sequence[Edge]) -> dict[int, Array]:
    """The norm of every contribution, each computed once."""
    by_array: dict[int, Array] = {}
    single: dict[int, Array] = {}  # the norm of the adjoint of a node with one use
    count: dict[int, int] = {}
    for edge in edges:
        count[edge.source.id] = count.get(edge.source.id, 0) + 1
    result: dict[int, Array] = {}
    for edge in reversed(edges):
        key = id(edge.contribution)
        name = edge.equation.primitive.name if edge.equation is not None else ""
        same = name in _ISOMETRIES and edge.source.size == edge.target.size and edge.target.id in single
        if key not in by_array:
            by_array[key] = single[edge.target.id] if same else _norm(edge.contribution)
        result[edge.id] = by_array[key]
        if count[edge.source.id] == 1:
            single[edge.source.id] = result[edge.id]
    return result


def _norm(x: Array) -> Float[Array, ""]:
    magnitude = jnp.abs(x) if jnp.iscomplexobj(x) else x
    wide = magnitude.astype(accumulator(magnitude.dtype))
    return jnp.sqrt(jnp.sum(jnp.square(wide))).astype(jnp.float32)
