"""Arithmetic of a program, counted in its jaxpr."""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Jaxpr

from chainlab.autodiff.jaxprs import opened, subjaxprs


def product_flops(function: Callable[..., Any], *arguments: Any) -> float:
    r"""Floating-point operations of the matrix products and convolutions of a function: $2 m n k$ a product.

    A scan counts its body as often as it runs, a branch its dearest side, and a `while` loop its body once.

    Args:
        function: The function.
        arguments: Its arguments, or their shapes.

    Returns:
        The operations.

    Example:
        >>> import jax.numpy as jnp
        >>> product_flops(lambda a, b: a @ b, jnp.zeros((2, 3)), jnp.zeros((3, 5)))
        60.0
    """
    return _count(opened(jax.make_jaxpr(function)(*arguments))[0])


def _count(jaxpr: Jaxpr) -> float:
    total = 0.0
    for eqn in jaxpr.eqns:
        result: Any = eqn.outvars[0].aval if eqn.outvars else None
        if eqn.primitive.name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            left: Any = eqn.invars[0].aval
            total += 2.0 * math.prod(result.shape) * math.prod(left.shape[axis] for axis in contracted)
        elif eqn.primitive.name == "conv_general_dilated":
            kernel: Any = eqn.invars[1].aval
            layout = eqn.params["dimension_numbers"]
            rest = math.prod(kernel.shape) // kernel.shape[layout.rhs_spec[0]]
            total += 2.0 * math.prod(result.shape) * rest
        inner = [_count(part) for part in subjaxprs(eqn)]
        if eqn.primitive.name == "cond":
            total += max(inner, default=0.0)
        else:
            total += sum(inner) * (eqn.params["length"] if eqn.primitive.name == "scan" else 1)
    return total
