"""Long loops folded into one node: the reverse pass of a scan with per-iteration statistics.

A while loop whose trip count is known is a scan of its body, so that it has a reverse derivative.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from chainlab.autodiff.explanation.program import is_differentiable
from chainlab.autodiff.jaxprs import Program, body_of, evaluate, opened, scan_layout


class Loop(NamedTuple):
    """A loop with a known length: `(consts, carry, row) -> (carry, row)`."""

    body: Program
    n_consts: int
    n_carry: int
    length: int
    reverse: bool


def from_scan(equation: Any) -> Loop:
    """The loop of a scan equation."""
    parameters = equation.params
    n_consts, n_carry = scan_layout(parameters)
    return Loop(body_of(equation), n_consts, n_carry, parameters["length"], parameters["reverse"])


def from_while(equation: Any, values: Sequence[Any]) -> Loop:
    """The loop of a while equation, its trips counted by running it once on concrete values."""
    parameters = equation.params
    n_cond, n_body = parameters["cond_nconsts"], parameters["body_nconsts"]
    condition, body = opened(parameters["cond_jaxpr"]), opened(parameters["body_jaxpr"])

    @jax.jit
    def trips(cond_consts: list[Any], body_consts: list[Any], carry: list[Any]) -> Any:
        def proceed(state: Any) -> Any:
            return evaluate(condition, [*cond_consts, *state[1]])[0]

        def advance(state: Any) -> Any:
            return state[0] + 1, evaluate(body, [*body_consts, *state[1]])

        return jax.lax.while_loop(proceed, advance, (jnp.zeros((), jnp.int32), carry))[0]

    values = list(values)
    count = trips(values[:n_cond], values[n_cond : n_cond + n_body], values[n_cond + n_body :])
    return Loop(body, n_body, len(values) - n_cond - n_body, int(count), False)


@dataclass(eq=False)
class Folded:
    """A loop that has been run forward, with its carries kept."""

    loop: Loop
    operands: Sequence[Any]
    outputs: list[Any]
    carries: list[Any]
    iterations: dict[str, np.ndarray] = field(default_factory=dict)

    @functools.cached_property
    def _compiled(self) -> Any:
        return jax.jit(functools.partial(_reverse, self.loop))

    def pull(self, cotangents: Sequence[Any]) -> list[Any]:
        """Contributions of every operand (None where it is not differentiable); fills the adjoints' statistics."""
        loop, n = self.loop, self.loop.n_consts
        consts, rows = list(self.operands[:n]), list(self.operands[n + loop.n_carry :])
        full = [_zeros(o) if c is None else c for o, c in zip(self.outputs, cotangents, strict=True)]
        contributions, norms = self._compiled(consts, self.carries, rows, full[: loop.n_carry], full[loop.n_carry :])
        for name, values in norms.items():
            if not isinstance(values, Tracer):  # its Jacobian is being taken, not its adjoint
                self.iterations.setdefault(f"adjoint of carry {name}", np.asarray(values))
        return contributions


def _zeros(value: Any) -> Any:
    return jnp.zeros_like(value) if is_differentiable(value.dtype) else None


def accumulator(dtype: Any) -> Any:
    """The type that norms of a real type are accumulated in: float32 at least."""
    return jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype


def _norm(value: Any) -> Any:
    wide = jnp.abs(value)
    wide = wide.astype(accumulator(wide.dtype))
    return jnp.sqrt(jnp.sum(jnp.square(wide)))


def run(loop: Loop, operands: Sequence[Any]) -> Folded:
    """Run a loop forward, keeping the carries that every iteration starts from."""
    n, m = loop.n_consts, loop.n_carry

    @jax.jit
    def forward(consts: list[Any], carry: list[Any], rows: list[Any]) -> Any:
        def body(carry: list[Any], row: list[Any]) -> Any:
            results = evaluate(loop.body, [*consts, *carry, *row])
            norms = {str(i): _norm(c) for i, c in enumerate(carry) if is_differentiable(c.dtype)}
            return results[:m], (results[m:], carry, norms)

        return jax.lax.scan(body, carry, rows, loop.length, reverse=loop.reverse)

    operands = [jnp.asarray(x) for x in operands]
    consts, carry, rows = operands[:n], operands[n : n + m], operands[n + m :]
    last, (stacked, carries, norms) = forward(consts, carry, rows)
    iterations = {f"carry {name}": np.asarray(values) for name, values in norms.items()}
    return Folded(loop, operands, [*last, *stacked], carries, iterations)


def _reverse(
    loop: Loop, consts: list[Any], carries: list[Any], rows: list[Any], last: list[Any], stacked: list[Any]
) -> Any:
    m = loop.n_carry

    def pick(values: Sequence[Any]) -> list[int]:
        return [i for i, value in enumerate(values) if is_differentiable(value.dtype)]

    c, y, r = pick(consts), pick(carries), pick(rows)

    def step(state: Any, inputs: Any) -> Any:
        total, adjoint = state
        carry, row, cotangent = inputs

        def body(*chosen: Any) -> list[Any]:
            full = [*consts, *carry, *row]
            places = [*c, *(len(consts) + i for i in y), *(len(consts) + m + i for i in r)]
            for place, value in zip(places, chosen, strict=True):
                full[place] = value
            results = evaluate(loop.body, full)
            return [v for v in results if is_differentiable(v.dtype)]

        _, vjp = jax.vjp(body, *[consts[i] for i in c], *[carry[i] for i in y], *[row[i] for i in r])
        pulled = vjp([*adjoint, *cotangent])
        total = [a + b for a, b in zip(total, pulled[: len(c)], strict=True)]
        before = list(pulled[len(c) : len(c) + len(y)])
        norms = {str(i): _norm(value) for i, value in zip(y, before, strict=True)}
        return (total, before), (list(pulled[len(c) + len(y) :]), norms)

    start = ([jnp.zeros_like(consts[i]) for i in c], [x for x in last if x is not None])
    (total, first), (row_adjoints, norms) = jax.lax.scan(
        step, start, (carries, rows, [x for x in stacked if x is not None]), loop.length, reverse=not loop.reverse
    )
    result: list[Any] = [None] * (len(consts) + m + len(rows))
    for i, value in zip(c, total, strict=True):
        result[i] = value
    for i, value in zip(y, first, strict=True):
        result[len(consts) + i] = value
    for i, value in zip(r, row_adjoints, strict=True):
        result[len(consts) + m + i] = value
    return result, norms
