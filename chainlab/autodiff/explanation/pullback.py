"""Pullbacks of single equations: cotangents of the outputs to contributions of the inputs."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax

from chainlab.autodiff.explanation.program import forward_only, source_line
from chainlab.autodiff.jaxprs import bind
from chainlab.errors import UsageError

DERIVATIVE_ERRORS = (NotImplementedError, ValueError, TypeError, AssertionError)
"""What JAX raises where an operation has no derivative."""

Step = Callable[[Any, Sequence[Any]], list[Any]]


class Rule:
    """The differentiable part of an equation: which operands and which outputs carry derivatives."""

    def __init__(self, equation: Any, inputs: tuple[int, ...], outputs: tuple[int, ...], step: Step = bind) -> None:
        self.equation, self.inputs, self.outputs, self.step = equation, inputs, outputs, step
        self.uses = 0

    def split(self, operands: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """Differentiable operands, and the others."""
        chosen = set(self.inputs)
        return [operands[i] for i in self.inputs], [x for i, x in enumerate(operands) if i not in chosen]

    def run(self, differentiable: Sequence[Any], others: Sequence[Any]) -> list[Any]:
        """Execute the equation and keep the differentiable outputs."""
        chosen, rest, operands = dict(zip(self.inputs, differentiable, strict=True)), iter(others), []
        for position in range(len(differentiable) + len(others)):
            operands.append(chosen[position] if position in chosen else next(rest))
        results = self.step(self.equation, operands)
        return [results[i] for i in self.outputs]

    def pull(self, differentiable: list[Any], others: list[Any], cotangents: list[Any]) -> list[Any]:
        """The vector-Jacobian product."""
        _, vjp = jax.vjp(lambda *xs: self.run(xs, others), *differentiable)
        return list(vjp(cotangents))

    @functools.cached_property
    def compiled(self) -> Callable[..., list[Any]]:
        """`pull`, compiled once for every shape."""
        return jax.jit(self.pull)


@functools.lru_cache(maxsize=2048)
def _shared(key: "_Key") -> Rule:
    return Rule(key.equation, key.inputs, key.outputs)


class _Key:
    """Equations with the same primitive and parameters share one compiled pullback."""

    def __init__(self, equation: Any, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> None:
        self.equation, self.inputs, self.outputs = equation, inputs, outputs
        self.identity = (
            equation.primitive,
            tuple(sorted(equation.params.items())),
            len(equation.invars),
            inputs,
            outputs,
        )
        self.hash = hash(self.identity)

    def __hash__(self) -> int:
        return self.hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.identity == other.identity


def rule_of(equation: Any, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> Rule:
    """The rule of an equation, shared with equal equations where its parameters can be compared."""
    try:
        return _shared(_Key(equation, inputs, outputs))
    except TypeError:  # parameters without a hash
        return Rule(equation, inputs, outputs)


def explain_failure(equation: Any, error: Exception) -> UsageError:
    """The error for an operation that has no derivative."""
    name = equation.primitive.name
    advice = (
        "give the function around it a derivative with jax.custom_vjp, or stop the chain before it with "
        "jax.lax.stop_gradient"
    )
    if name == "while":
        advice = (
            "its trip count is not concrete here; call `explain(f)(*args)` outside jit, or write the loop as lax.scan "
            "or fori_loop with a fixed length"
        )
    head = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return UsageError(
        f"explain: {name} at {source_line(equation)} has no reverse derivative: {advice}. JAX says: {head}"
    )


def eager(rule: Rule, operands: Sequence[Any]) -> Callable[[Sequence[Any]], list[Any]]:
    """A pullback that is called with concrete cotangents; compiled when its rule is shared or used again."""
    differentiable, others = rule.split(operands)

    def pullback(cotangents: Sequence[Any]) -> list[Any]:
        rule.uses += 1
        custom = rule.equation.primitive.name in ("custom_jvp_call", "custom_vjp_call")
        call = rule.pull if custom and rule.uses == 1 else rule.compiled
        try:
            return call(differentiable, others, list(cotangents))
        except UsageError:
            raise
        except DERIVATIVE_ERRORS as error:
            raise explain_failure(rule.equation, error) from error

    return pullback


def forward_pullback(rule: Rule, operands: Sequence[Any]) -> Callable[[Sequence[Any]], list[Any]]:
    """The pullback of a custom derivative's forward function, every declared rule taken off."""
    bare = Rule(rule.equation, rule.inputs, rule.outputs, forward_only)
    return eager(bare, operands)
