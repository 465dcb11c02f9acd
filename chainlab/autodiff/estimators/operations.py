"""How many evaluations of an objective a gradient amounts to, counted in the traced program."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr

from chainlab.autodiff.estimators.sampling import Sampling
from chainlab.typing import Batch, Objective, Params, PRNGKey, Rule

_TAG = "chainlab_counted_objective"


def _tagged(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        return function(*args)

    call.__name__ = _TAG
    return jax.jit(call)


def _counted(objective: Objective) -> Objective:
    if not isinstance(objective, Sampling):
        return _tagged(objective)
    parts = {name: getattr(objective, name) for name in ("sample", "cost", "log_prob", "relax")}
    return replace(objective, **{name: _tagged(part) for name, part in parts.items() if part is not None})


def _shape(variable: Any) -> tuple[int, ...]:
    return getattr(variable.aval, "shape", ())


def _size(variable: Any) -> int:
    return int(np.prod(_shape(variable), dtype=int))


def _operations(program: Jaxpr, inside: bool) -> int:
    """Arithmetic operations in the tagged calls of a program: 2 a multiply-add of a product, else 1 an entry."""
    total = 0
    for equation in program.eqns:
        here = inside or equation.params.get("name") == _TAG
        name = equation.primitive.name
        times = equation.params["length"] if name == "scan" else 1
        nested = [
            _operations(item.jaxpr if isinstance(item, ClosedJaxpr) else item, here)
            for value in equation.params.values()
            for item in (value if isinstance(value, (tuple, list)) else (value,))
            if isinstance(item, (ClosedJaxpr, Jaxpr))
        ]
        if nested:
            total += times * (max(nested) if name == "cond" else sum(nested))
        elif here and name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shape = _shape(equation.invars[0])
            total += 2 * _size(equation.outvars[0]) * int(np.prod([shape[i] for i in contracted], dtype=int))
        elif here and name == "conv_general_dilated":
            features = equation.params["dimension_numbers"].rhs_spec[0]
            kernel = equation.invars[1]
            total += 2 * _size(equation.outvars[0]) * _size(kernel) // _shape(kernel)[features]
        elif here:
            total += sum(map(_size, equation.outvars))
    return total


def evaluations(rule: Rule, objective: Objective, params: Params, batch: Batch, key: PRNGKey) -> float:
    """Arithmetic that a rule spends in the objective, relative to one evaluation.

    Derivatives of the objective count with their own arithmetic, so that backpropagation is about 3. Drawing
    perturbations and averaging is not counted; a `while_loop` counts once.

    Args:
        rule: The rule.
        objective: The objective.
        params: Where.
        batch: On what.
        key: Key.

    Returns:
        The number of evaluations.
    """
    counted = _counted(objective)
    whole = jax.make_jaxpr(rule(counted))(params, batch, key)
    single = jax.make_jaxpr(counted)(params, batch, key)
    return _operations(whole.jaxpr, False) / max(_operations(single.jaxpr, False), 1)
