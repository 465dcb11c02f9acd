"""What a client does between two rounds: SGD on its own batches, in the form that takes the least work."""

import functools
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from chainlab.autodiff.rules import backprop
from chainlab.errors import UsageError
from chainlab.federated.clients import Batches
from chainlab.federated.gram import InputProduct, descend_by_products, window_lengths
from chainlab.typing import Objective, Params, PRNGKey, Rule

Correct = Callable[[Params, Params], Params]
"""`correct(params, gradient) -> gradient`: what an algorithm adds to a local gradient."""

Trained = tuple[Params, Float[Array, ""], Float[Array, ""]]
"""The change of the parameters, the number of steps, and their mean loss."""


def local_sgd(
    objective: Objective, *, rate: float, epochs: int = 1, rule: Rule = backprop
) -> Callable[[Params, Batches, PRNGKey, Correct | None], Trained]:
    r"""Local training by SGD, $w \leftarrow w - \eta\, c(w, \nabla f_k(w))$, over a client's batches in order.

    Plain SGD on an `InputProduct` takes the products form for clients whose size makes that less work.

    Args:
        objective: `objective(params, batch, key)`; the mean over the examples where `batch["mask"]` is 1.
        rate: Learning rate.
        epochs: Passes over a client's data.
        rule: How the gradient is obtained.

    Returns:
        `descend(params, batches, key, correct) -> (change, steps, mean loss)`.

    Raises:
        UsageError: The rate is not positive or there is no epoch.
    """
    if not rate > 0 or epochs < 1:
        raise UsageError(f"local training: wanted a rate > 0 and epochs >= 1, got {rate} and {epochs}")
    gradient = rule(objective)

    def along_gradients(params: Params, batches: Batches, key: PRNGKey, correct: Correct | None) -> tuple[Params, Any]:
        def step(t: Any, carry: tuple[Params, Any]) -> tuple[Params, Any]:
            w, total = carry
            (loss, _), g = gradient(w, batches.at(t), jax.random.fold_in(key, t))
            g = correct(w, g) if correct else g
            # The rate multiplies the finished gradient: folded into the product it would cost a pass over the weights.
            return jax.tree.map(lambda w, g: w - rate * g, w, g), total + loss.astype(jnp.float32)

        # The bound depends on the data. The gradient is taken inside the step, never through the loop.
        start = (params, jnp.zeros((), jnp.float32))
        w, total = jax.lax.fori_loop(0, batches.count * epochs, step, start)
        return jax.tree.map(jnp.subtract, w, params), total

    @jax.custom_batching.custom_vmap
    def by_least_work(params: Params, batches: Batches, key: PRNGKey) -> tuple[Params, Any]:
        product = cast(InputProduct, objective)

        def form(length: int) -> Callable[[], tuple[Params, Any]]:
            if not length:
                return lambda: along_gradients(params, batches, key, None)
            return lambda: descend_by_products(product, params, batches, key, rate=rate, epochs=epochs, length=length)

        lengths, branch = np.unique(window_lengths(product, params, batches, epochs), return_inverse=True)
        return jax.lax.switch(jnp.asarray(branch)[batches.count], [form(int(each)) for each in lengths])

    @by_least_work.def_vmap
    def _(size: int, batched: Any, *inputs: Any) -> tuple[Any, Any]:
        # Side by side a switch would run every branch for everyone.
        del size
        axes = jax.tree.map(lambda each: 0 if each else None, batched)
        plain = functools.partial(along_gradients, correct=None)
        found = jax.vmap(plain, tuple(axes))(*inputs)
        return found, jax.tree.map(lambda _: True, found)

    def descend(params: Params, batches: Batches, key: PRNGKey, correct: Correct | None = None) -> Trained:
        if isinstance(objective, InputProduct) and rule is backprop and correct is None:
            change, total = by_least_work(params, batches, key)
        else:
            change, total = along_gradients(params, batches, key, correct)
        steps = jnp.maximum(batches.count * epochs, 1).astype(jnp.float32)
        return change, steps, total / steps

    return descend
