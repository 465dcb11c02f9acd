"""Derivatives as evaluations elsewhere: parameter-shift and finite differences, to any order."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float, PyTree, Shaped

from chainlab.errors import UsageError
from chainlab.quantum.circuit import Leaf
from chainlab.quantum.matrices import Shift

Leaves = Sequence[Shaped[Array, "..."]]
Evaluate = Callable[[Leaves, Any, Sequence[Shift]], tuple[Float[Array, " size"], Float[Array, "copies size"]]]
"""`(leaves, key, shifts) -> (expectations, expectations of the shifted copies)`."""
Jacobian = Callable[[Any, Leaves, Sequence[int]], tuple[PyTree, PyTree]]
"""`(key, leaves, active) -> (value, derivatives by each active leaf along a new first axis)`."""
Rules = Sequence[Float[np.ndarray, "_ 3"] | None]


def finite_difference(step: float) -> Float[np.ndarray, "_ 3"]:
    r"""The central difference $(f(\theta + h) - f(\theta - h)) / 2h$ in the form of a shift rule."""
    return np.array([[0.5 / step, 1.0, step], [-0.5 / step, 1.0, -step]])


def shifted(evaluate: Evaluate, leaves: Sequence[Leaf], rules: Rules, chunk: int) -> Callable[..., PyTree]:
    r"""A function of leaves whose derivatives, of every order, are evaluations at shifted leaves.

    $\partial_k f = \sum_i c_{ki} f(m_{ki} \theta_k + s_{ki})$ for every leaf whose tangent is not zero. Such a
    sum is differentiated by shifting each of its evaluations again.

    Args:
        evaluate: Values of the circuit and of shifted copies of it.
        leaves: The leaves, for messages.
        rules: For each leaf its rule, None where it has none.
        chunk: Most copies to evaluate at once.

    Returns:
        `f(key, *leaves) -> expectations`, differentiable in forward and reverse mode.

    References:
        Mari, Bromley and Killoran, Estimating the gradient and higher-order derivatives on quantum hardware,
        arXiv:2008.06517, equation 13.
    """

    def circuit(key: Any, *values: Array) -> Array:
        return evaluate(values, key, ())[0]

    apart = _by_copies(circuit, rules, chunk)

    def jacobian(key: Any, values: Leaves, active: Sequence[int]) -> tuple[Array, Array]:
        shifts, weights, unshifted = plan(rules, active)
        if len(shifts) > chunk:
            return apart(key, values, active)
        result, copies = evaluate(values, key, shifts)
        return result, _weigh(result, copies, weights, unshifted)

    return _differentiable(circuit, jacobian, leaves, rules, chunk)


def plan(
    rules: Rules, active: Sequence[int]
) -> tuple[list[Shift], Float[np.ndarray, "active copies"], Float[np.ndarray, " active"]]:
    """The shifted copies that derivatives need.

    Args:
        rules: The rule of each leaf.
        active: The leaves to differentiate by.

    Returns:
        The copies, the weight of each copy in each derivative, and that of the circuit itself.
    """
    shifts: list[Shift] = []
    owners: list[int] = []
    weights: list[float] = []
    unshifted = np.zeros(len(active))
    for row, leaf in enumerate(active):
        rule = rules[leaf]
        assert rule is not None
        for weight, multiplier, shift in rule.tolist():
            if multiplier == 1 and shift == 0:
                unshifted[row] += weight
            else:
                shifts.append(Shift(leaf, multiplier, shift))
                owners.append(row)
                weights.append(weight)
    table = np.zeros((len(active), len(shifts)))
    table[owners, np.arange(len(shifts))] = weights
    return shifts, table, unshifted


def _weigh(result: Array, copies: Array, weights: np.ndarray, unshifted: np.ndarray) -> Array:
    """Derivatives from the value and the copies' values, along a new first axis."""
    derivatives = jnp.tensordot(jnp.asarray(weights, result.dtype), copies, 1)
    if np.any(unshifted):
        derivatives = derivatives + jnp.multiply.outer(jnp.asarray(unshifted, result.dtype), result)
    return derivatives


def _by_copies(function: Callable[..., PyTree], rules: Rules, chunk: int) -> Jacobian:
    """The derivatives of any function of leaves that is linear in circuit values, from copies of the function."""

    def jacobian(key: Any, values: Leaves, active: Sequence[int]) -> tuple[PyTree, PyTree]:
        shifts, weights, unshifted = plan(rules, active)
        result = function(key, *values)
        if not shifts:
            return result, jax.tree.map(lambda r: jnp.zeros((len(active), *r.shape), r.dtype), result)
        moving = sorted({shift.leaf for shift in shifts})
        rows = {}
        for leaf in moving:
            value = values[leaf]
            multipliers = [s.multiplier if s.leaf == leaf else 1.0 for s in shifts]
            offsets = [s.shift if s.leaf == leaf else 0.0 for s in shifts]
            rows[leaf] = value * jnp.asarray(multipliers, value.dtype) + jnp.asarray(offsets, value.dtype)
        keys = None if key is None else jax.random.split(key, len(shifts))

        def copy(arguments: tuple[Any, dict[int, Array]]) -> PyTree:
            own_key, moved = arguments
            return function(own_key, *(moved.get(i, value) for i, value in enumerate(values)))

        if len(shifts) > chunk:
            copies = jax.lax.map(copy, (keys, rows), batch_size=chunk)
        else:
            copies = jax.vmap(copy)((keys, rows))
        return result, jax.tree.map(lambda r, c: _weigh(r, c, weights, unshifted), result, copies)

    return jacobian


def _differentiable(
    function: Callable[..., PyTree], jacobian: Jacobian, leaves: Sequence[Leaf], rules: Rules, chunk: int
) -> Callable[..., PyTree]:
    """Give `function(key, *leaves)` its derivatives by shifts; they are differentiated in the same way."""
    call = jax.custom_jvp(function)

    @partial(call.defjvp, symbolic_zeros=True)
    def rule(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[PyTree, PyTree]:
        key, *values = primals
        active = [i for i, tangent in enumerate(tangents[1:]) if not isinstance(tangent, SymbolicZero)]
        if missing := [leaves[leaf].gate for leaf in active if rules[leaf] is None]:
            raise UsageError(
                f"{missing[0]} has no shift rule: use gradient='backprop' or 'adjoint', or write it in gates that have "
                "one (qml.decompose)"
            )

        def both(key: Any, *values: Array) -> tuple[PyTree, PyTree]:
            return jacobian(key, values, active)

        copies = max(1, len(plan(rules, active)[0]))
        inner_chunk = max(1, chunk // copies)
        higher = _differentiable(both, _by_copies(both, rules, inner_chunk), leaves, rules, inner_chunk)
        result, derivatives = higher(key, *values)
        direction = [tangents[1 + leaf] for leaf in active]
        return result, jax.tree.map(lambda d: _along(direction, d), derivatives)

    return call


def _along(direction: Sequence[Array], derivatives: Array) -> Array:
    """The directional derivative; nothing moves without a direction."""
    if not direction:
        return jnp.zeros(derivatives.shape[1:], derivatives.dtype)
    return jnp.tensordot(jnp.stack(direction).astype(derivatives.dtype), derivatives, 1)
