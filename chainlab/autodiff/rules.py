"""Gradient rules: interchangeable ways to differentiate an objective.

A rule takes `objective(params, batch, key) -> (scalar, metrics)` and returns
`(params, batch, key) -> ((scalar, metrics), gradients)`. Rules share this one signature, so an experiment
swaps them without touching anything else.
"""

import jax
import jax.numpy as jnp

from chainlab.errors import UsageError
from chainlab.typing import Batch, Gradient, Objective, Params, PRNGKey, Rule


def backprop(objective: Objective) -> Gradient:
    r"""Reverse-mode differentiation, $g = \nabla_\theta f(\theta)$.

    Args:
        objective: What is differentiated.

    Returns:
        The objective's value, metrics and exact gradient.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> square = lambda params, batch, key: (jnp.sum(params**2), {})
        >>> (value, _), gradient = backprop(square)(jnp.array([3.0]), None, jax.random.key(0))
        >>> float(value), gradient.tolist()
        (9.0, [6.0])
    """
    return jax.value_and_grad(objective, has_aux=True)


def cut(batch: Batch, parts: int, *, what: str) -> Batch:
    """Cut a batch along its leading axis into equal parts, one after the other.

    Args:
        batch: Leaves with a leading axis of examples.
        parts: How many; must divide the batch.
        what: What the parts are, for the error.

    Returns:
        Leaves (parts, examples / parts, ...).

    Raises:
        UsageError: `parts` does not divide a leaf's leading axis.

    Example:
        >>> import jax.numpy as jnp
        >>> cut(jnp.arange(6), 2, what="micro-batches").tolist()
        [[0, 1, 2], [3, 4, 5]]
    """
    for leaf in jax.tree.leaves(batch):
        if leaf.shape[0] % parts:
            raise UsageError(
                f"{parts} {what} do not divide a batch of {leaf.shape[0]}; choose a batch_size that is a multiple of "
                f"{parts}"
            )
    return jax.tree.map(lambda x: x.reshape(parts, x.shape[0] // parts, *x.shape[1:]), batch)


def accumulate(steps: int, rule: Rule = backprop) -> Rule:
    r"""Average a rule's gradient over micro-batches, $g = \frac{1}{k} \sum_i g(B_i)$.

    The batch is cut along its leading axis and the micro-batches are scanned, so that memory is that of one.
    For an objective that is a mean over examples the result is the gradient of the whole batch.

    Args:
        steps: Number of micro-batches; must divide the batch.
        rule: The rule applied to each micro-batch.

    Returns:
        A rule.

    Raises:
        UsageError: `steps` is less than 1 or does not divide a leaf's leading axis.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> objective = lambda params, batch, key: (jnp.mean(params * batch), {})
        >>> (value, _), gradient = accumulate(2)(objective)(jnp.float32(1.0), jnp.arange(4.0), jax.random.key(0))
        >>> float(value), float(gradient)
        (1.5, 1.5)
    """
    if steps < 1:
        raise UsageError(f"accumulate needs steps >= 1, got {steps}")

    def accumulated(objective: Objective) -> Gradient:
        gradient = rule(objective)

        def apply(params: Params, batch: Batch, key: PRNGKey):
            micro = cut(batch, steps, what="micro-batches")

            def body(total, inputs):
                result = gradient(params, *inputs)
                return jax.tree.map(jnp.add, total, result), None

            keys = jax.random.split(key, steps)
            first = jax.tree.map(lambda x: x[0], micro)
            shapes = jax.eval_shape(gradient, params, first, keys[0])
            zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
            total, _ = jax.lax.scan(body, zeros, (micro, keys))
            return jax.tree.map(lambda x: x / steps, total)

        return apply

    return accumulated
