"""`check`: is this derivative right?"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from chainlab.autodiff.checking.arguments import Arguments
from chainlab.autodiff.checking.derivative import Derivative, float64
from chainlab.autodiff.checking.nonfinite import origin
from chainlab.autodiff.checking.order_one import FirstOrder
from chainlab.autodiff.checking.programs import scalar_function, trace
from chainlab.autodiff.checking.report import Estimation, Finding, Report
from chainlab.autodiff.checking.second_order import hessian_product, second_order
from chainlab.autodiff.checking.stochastic import check_estimator
from chainlab.errors import UsageError
from chainlab.typing import PRNGKey


def check(
    f: Callable[..., Any],
    *args: Any,
    reference: Callable[..., Any] | None = None,
    estimator: Callable[..., Any] | None = None,
    order: int = 1,
    mode: str = "rev",
    argnums: int | Sequence[int] | None = None,
    cotangent: Any = None,
    has_aux: bool = False,
    rtol: float = 1e-4,
    probes: int = 3,
    key: PRNGKey | None = None,
    alpha: float = 1e-3,
    draws: int = 1_000_000,
    negligible: float = 0.01,
    detect: float = 0.05,
) -> Report:
    r"""Check the derivative that autodiff gives of a function: $\nabla f(x)$ against differences of $f$.

    The function and its declared derivative are traced once and evaluated in float64, so that mistakes of the
    rule (found by extrapolated differences at many scales) and mistakes of the working dtype (found by holding
    it against float64) are told apart. Kinks accept any slope between their two sides. Large leaves are searched
    by directions and bisection. Every finding names the leaf, the coordinate and the kind of mistake.

    Args:
        f: Function of any pytrees; returns a real scalar, or see `cotangent` and `has_aux`.
        args: Where it is checked. Floating-point and complex leaves are differentiated; integers, keys, strings
            and empty arrays are held fixed.
        reference: A function of the same arguments whose derivative `f` declares as its own (a surrogate's
            relaxation); it is differenced instead of `f`.
        estimator: `estimator(key, *args) -> gradient`, a stochastic estimator of the gradient of `f`; it is
            tested for bias, coordinate by coordinate.
        order: 1, or 2 to check Hessian-vector products too.
        mode: `"rev"` checks reverse mode and that forward mode agrees where it exists; `"fwd"` checks forward
            mode alone.
        argnums: Positions of the arguments to differentiate; all by default.
        cotangent: Adjoint of an output that is not a scalar, with its structure and shapes.
        has_aux: Whether `f` returns `(scalar, anything)`.
        rtol: Relative difference that is accepted.
        probes: Points around the arguments (at most 4) that are tried as well; none with `reference`.
        key: Key of the estimator's draws.
        alpha: Probability that an unbiased estimator is rejected.
        draws: Largest number of the estimator's draws.
        negligible: Relative bias of an estimator that is accepted.
        detect: Relative bias that the sampling has to be able to see before it ends early.

    Returns:
        The report: `.ok`, `.findings`, and what could not be judged.

    Raises:
        UsageError: Nothing can be differentiated, the output is not a scalar and no cotangent is given, the
            reference or the estimator does not fit, or the function has no derivative in this mode.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import chainlab
        >>> @jax.custom_vjp
        ... def cube(x):
        ...     return x**3
        >>> cube.defvjp(lambda x: (cube(x), x), lambda x, ct: (ct * x**2,))
        >>> report = chainlab.check(lambda x: cube(x).sum(), jnp.array([1.0, 2.0, 3.0]))
        >>> report.ok, report.findings[0].kind, report.findings[0].leaf
        (False, 'missing factor', 'x')

    References:
        Ridders (1982) for the differences; Griewank and Walther, "Evaluating Derivatives", 2008.
    """
    began = time.perf_counter()
    if order not in (1, 2):
        raise UsageError(f"order must be 1 or 2, got {order}")
    if mode not in ("rev", "fwd"):
        raise UsageError(f"mode must be 'rev' or 'fwd', got {mode!r}")
    if order == 2 and mode == "fwd":
        raise UsageError("order=2 differentiates the gradient forward over reverse: use mode='rev'")
    if reference is not None and estimator is not None:
        raise UsageError("give reference= or estimator=, not both: an estimator is held against the gradient of f")
    if not rtol > 0:
        raise UsageError(f"rtol must be positive, got {rtol}")
    arguments = Arguments(f, args, (argnums,) if isinstance(argnums, int) else argnums)
    scalar = scalar_function(f, arguments, cotangent, has_aux)
    function = trace(scalar, arguments.values)
    measured = function if reference is None else _trace_reference(reference, arguments, cotangent, has_aux)
    derivative = Derivative(scalar, arguments, mode)
    hessian = hessian_product(scalar, arguments) if order == 2 else None
    forward = _forward(scalar, arguments) if mode == "rev" else None

    value, working = derivative.working()
    findings: list[Finding] = []
    if not np.isfinite(value):
        place = origin(function, arguments.values)
        findings.append(
            Finding(
                "non-finite",
                "output",
                (),
                value,
                float("nan"),
                0.0,
                f"the function itself is {value}" + (f": it appears first in {place}" if place else ""),
            )
        )
    with float64():
        exact_value, exact = derivative.exact(arguments.vector)
        first = FirstOrder(arguments, function, measured, derivative, rtol)
        if np.isfinite(exact_value):
            first.at_point(exact_value, exact, working)
            if reference is None and estimator is None:
                first.around(probes)
            if forward is not None:
                findings += _compare_modes(forward, arguments, exact)
    columns = 0
    if np.isfinite(exact_value) and not np.all(np.isfinite(working)):
        with float64():
            measurements = first.not_finite_measurements(exact_value, exact, working)
        findings += first.not_finite(arguments.values, exact, working, measurements)
    if hessian is not None and np.all(np.isfinite(exact)):
        with float64():
            more, columns = second_order(hessian, arguments, derivative, rtol)
        findings += more
    estimation: Estimation | None = None
    if estimator is not None and np.all(np.isfinite(exact)):
        more, estimation = check_estimator(
            estimator,
            arguments,
            exact,
            jax.random.key(0) if key is None else key,
            alpha=alpha,
            draws=draws,
            negligible=negligible,
            detect=detect,
        )
        findings += more
    notes = [*first.notes, *([f"{columns} Hessian columns or directions compared"] if columns else [])]
    return Report(
        (*first.findings, *findings),
        arguments.size,
        first.differenced,
        tuple(first.unresolved),
        tuple(notes),
        time.perf_counter() - began,
        estimation,
    )


def _trace_reference(reference: Callable[..., Any], arguments: Arguments, cotangent: Any, has_aux: bool) -> Any:
    try:
        return trace(scalar_function(reference, arguments, cotangent, has_aux), arguments.values)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"reference= must take the arguments of the function and return a scalar like it: {error}"
        ) from error


def _forward(scalar: Callable[[list[Any]], Any], arguments: Arguments) -> Derivative | None:
    """Forward mode, where the function has it: a custom_vjp has none."""
    try:
        return Derivative(scalar, arguments, "fwd")
    except (UsageError, TypeError, NotImplementedError):
        return None


def _compare_modes(forward: Derivative, arguments: Arguments, exact: np.ndarray) -> list[Finding]:
    """Hold forward mode against reverse mode along a random direction, then by coordinate."""
    if not np.all(np.isfinite(exact)):
        return []
    direction = np.random.default_rng(2).uniform(0.5, 1.5, exact.shape)
    scale = float(np.sqrt(np.sum((exact * direction) ** 2)))
    slope = forward.slope(arguments.vector, direction)
    if abs(slope - exact @ direction) <= 1e-6 * scale + 1e-300 or not np.isfinite(slope):
        return []
    basis = forward.exact(arguments.vector)[1]
    wrong = np.flatnonzero(np.abs(basis - exact) > 1e-6 * np.abs(exact) + 1e-9 * np.max(np.abs(exact)))
    findings: list[Finding] = []
    for i in wrong[np.argsort(-np.abs(basis - exact)[wrong])].tolist():
        leaf = arguments.leaf_of(i)
        findings.append(
            Finding(
                "forward mode",
                leaf.path,
                leaf.index(i),
                float(basis[i]),
                float(exact[i]),
                float(1e-6 * abs(exact[i])),
                "forward mode (got) and reverse mode (want) disagree: a custom transpose or linear solve is wrong; "
                "mode='fwd' says whether forward mode is the right one",
            )
        )
    return findings
