"""What a declared derivative computes on the way, as far as it names it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from chainlab.autodiff.explanation.local import units
from chainlab.autodiff.explanation.program import WALKED
from chainlab.autodiff.jaxprs import CUSTOM, bind, body_of, evaluate, opened, primitives, subjaxprs

if TYPE_CHECKING:
    from chainlab.autodiff.explanation.graph import Edge


def named_values(edge: "Edge") -> dict[str, np.ndarray]:
    """Values that the rule of a custom derivative names with `jax.ad_checkpoint.checkpoint_name`.

    Args:
        edge: An active edge into a node that declares its own derivative.

    Returns:
        The values by name, in the order in which the rule computes them.
    """
    if edge.pullback is None or not any("name" in primitives(jaxpr) for jaxpr in subjaxprs(edge.equation)):
        return {}  # a rule that names what it evaluates also names its forward value
    cotangents = units(edge.target, 0)
    found: dict[str, np.ndarray] = {}

    def step(equation: Any, arguments: Sequence[Any]) -> list[Any]:
        name = equation.primitive.name
        if name in WALKED | CUSTOM:
            return evaluate(body_of(equation), arguments, step)
        results = bind(equation, arguments)
        if name == "name":
            found[equation.params["name"]] = np.asarray(results[0])
        return results

    evaluate(opened(jax.make_jaxpr(edge.pullback)(cotangents)), cotangents, step)
    return found
