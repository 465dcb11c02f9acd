r"""The second derivative: $H v$ from autodiff against differences of the gradient along $v$."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr

from chainlab.autodiff.checking.arguments import Arguments
from chainlab.autodiff.checking.derivative import Derivative, pack
from chainlab.autodiff.checking.differences import RATIO, slopes
from chainlab.autodiff.checking.judge import judge
from chainlab.autodiff.checking.programs import Lines, host_constants, trace
from chainlab.autodiff.checking.promote import promote, residual_spacing
from chainlab.autodiff.checking.report import Finding
from chainlab.autodiff.checking.search import LEVELS

_EVERY = 64  # up to this many coordinates the whole Hessian is checked, column by column
_LEVELS = np.arange(1, 19)


def hessian_product(scalar: Callable[[list[Any]], Any], arguments: Arguments) -> ClosedJaxpr:
    """Trace $H v$, forward over reverse, at the working dtype; outside `float64()`."""

    def product(values: list[Any], tangent: list[Any]) -> Any:
        return jax.jvp(jax.grad(scalar), (values,), (tangent,))[1]

    return trace(product, arguments.values, arguments.values)


def second_order(
    program: ClosedJaxpr, arguments: Arguments, derivative: Derivative, rtol: float
) -> tuple[list[Finding], int]:
    """Compare; inside `float64()`.

    Args:
        program: What `hessian_product` traced.
        arguments: The differentiated leaves.
        derivative: The gradient, in reverse mode.
        rtol: Relative tolerance.

    Returns:
        The mistakes, and how many columns or directions were compared.
    """
    lines = Lines(derivative.program, arguments, 2 * LEVELS, lambda outputs: pack(arguments, outputs[1:]))
    constants = host_constants(program)

    def product(constants: Any, point: Any, tangent: Any) -> Any:
        return pack(arguments, promote(program, constants)(*arguments.unflatten(point), *arguments.unflatten(tangent)))

    product = jax.jit(product)
    point, scales, size = arguments.vector, arguments.scales(), arguments.size
    random = np.random.default_rng(0)
    if size <= _EVERY:
        ranges, base = [(i, i + 1) for i in range(size)], scales
    else:
        ranges = [(leaf.start, leaf.stop) for leaf in arguments.leaves] * 2
        base = scales * random.choice([-1.0, 1.0], size) * random.integers(4, 9, size) / 8
    steps = RATIO ** -_LEVELS.astype(float)
    times = np.empty(2 * len(steps))
    times[0::2], times[1::2] = steps, -steps
    centre = lines(point, base, [(0, 1)], np.zeros(1))[0, 0]
    spacing = residual_spacing(derivative.program)
    findings: list[Finding] = []
    found: set[int] = set()
    for start, stop in dict.fromkeys(ranges):
        values = lines(point, base, [(start, stop)], times)[0].T
        tangent = np.where((np.arange(size) >= start) & (np.arange(size) < stop), base, 0.0)
        got = np.asarray(product(constants, point, tangent))
        largest = np.nanmax(np.abs(values), axis=1, initial=1e-300)
        measured = slopes(centre, values[:, 0::2], values[:, 1::2], steps, 2 * spacing * largest)
        floor = np.full(size, 64 * spacing * np.nanmax(np.abs(got), initial=0.0) + 4 * spacing * np.max(np.abs(centre)))
        verdict = judge(got, measured, rtol, floor, 1e-6 * float(np.max(np.abs(centre))))
        for i in np.flatnonzero(~verdict.accepted | ~np.isfinite(got)).tolist():
            if i in found:
                continue
            found.add(i)
            leaf = arguments.leaf_of(i)
            along = arguments.leaf_of(start)
            place = (
                f"{along.path}{list(along.index(start)) or ''}" if stop - start == 1 else f"a direction in {along.path}"
            )
            unit = scales[start] if stop - start == 1 else 1.0
            findings.append(
                Finding(
                    "second derivative",
                    leaf.path,
                    leaf.index(i),
                    float(got[i] / unit),
                    float(verdict.want[i] / unit),
                    float(verdict.tolerance[i] / unit),
                    f"the derivative of this gradient along {place} is not what autodiff says: a rule that is right "
                    "once is not differentiable itself (a stopped residual, a nested custom rule)",
                )
            )
    return findings, len(ranges)
