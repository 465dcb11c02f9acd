"""The form of a round's work on this machine, chosen by counting it."""

import jax
from jaxtyping import PyTree

from chainlab.autodiff.rules import backprop
from chainlab.federated.clients import Clients
from chainlab.federated.interpreters import Interpreter, grouped, ragged, vmapped
from chainlab.typing import Objective, Rule

# A step of a CPU's loop costs about as much as this many operations even if it computes nothing: some 30 kernels are
# started, and products this small run far below the processor's peak. Measured on a 64-32-10 perceptron.
_STEP_OVERHEAD = 600_000
_LARGEST_GROUP = 8


def count_operations(objective: Objective, params: PyTree, clients: Clients, *, rule: Rule = backprop) -> int:
    """Floating-point operations of one local gradient, counted by XLA before it optimises; nothing is compiled.

    Args:
        objective: What the clients differentiate.
        params: Parameters, or their shapes.
        clients: The clients, whose batches all have one shape.
        rule: How the gradient is obtained.

    Returns:
        The number of operations.
    """
    batch = {name: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype) for name, leaf in clients.arrays.items()}
    key = jax.eval_shape(lambda: jax.random.key(0))
    counted = jax.jit(rule(objective)).lower(params, batch, key).cost_analysis()
    return int((counted or {}).get("flops", 0))


def choose(objective: Objective, params: PyTree, clients: Clients, *, rule: Rule = backprop) -> Interpreter:
    r"""The interpreter that suits the device and the work of a step.

    On a CPU clients go one after the other, unless a step has so few operations that starting it costs more: then
    $g \approx$ overhead / operations clients share it, at most 8. An accelerator takes all at once.

    Args:
        objective: What the clients differentiate.
        params: Parameters, or their shapes.
        clients: The clients.
        rule: How the gradient is obtained.

    Returns:
        `ragged`, `grouped(g)` or `vmapped`.
    """
    if jax.default_backend() != "cpu":
        return vmapped
    operations = count_operations(objective, params, clients, rule=rule)
    size = max(1, min(_LARGEST_GROUP, round(_STEP_OVERHEAD / max(operations, 1)), clients.number))
    return ragged if size == 1 else grouped(size)
