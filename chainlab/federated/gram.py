r"""Local SGD without the first layer's weights: several passes over few examples in the products of their inputs.

A model meets its examples through one product, $z = x W$. Along plain SGD $W_t = W_0 - \eta X^\top A_t$, where the rows
of $A_t$ are the sums of the gradients of $z$ so far. So $z = (X W_0)_B - \eta (X X^\top)_B A_t$ for a batch $B$: the
client's examples enter once, and no step touches $W$. It is exact, and less work where a client has fewer examples
than the layer has inputs and passes over them several times.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from chainlab.errors import UsageError
from chainlab.typing import Batch, Metrics, Objective, Params, PRNGKey

if TYPE_CHECKING:
    from chainlab.federated.clients import Batches

# Lengths of a client's window in batches; a client is filled up to the next one.
_LENGTHS = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128)


@dataclass(frozen=True)
class InputProduct:
    r"""An objective that meets its examples only through one product, $f(w; x) = h(w_{\setminus W}; x W)$.

    It is an objective like any other; that it says where its input product lies lets local training choose a cheaper
    form.

    Attributes:
        head: `head(params, batch, key)`, an objective whose `batch["x"]` is the product; it must not use the weight
            (which is None in its parameters), but may use everything else, such as the bias that is added to it.
        weight: Keys that lead to the weight (inputs, outputs) in the parameters.

    Example:
        >>> head = lambda params, batch, key: (jnp.sum((batch["x"] + params["b"][None]) ** 2), {})
        >>> objective = InputProduct(head, ("w",))
        >>> params = {"w": jnp.ones((2, 1)), "b": jnp.ones(1)}
        >>> float(objective(params, {"x": jnp.ones((1, 2))}, jax.random.key(0))[0])
        9.0
    """

    head: Objective
    weight: tuple[str, ...]

    def __call__(self, params: Params, batch: Batch, key: PRNGKey) -> tuple[Float[Array, ""], Metrics]:
        """The objective's value and metrics."""
        weight, rest = self.split(params)
        x = batch["x"]
        return self.head(rest, {**batch, "x": x.reshape(-1, x.shape[-1]) @ weight}, key)

    def split(self, params: Params) -> tuple[Float[Array, "inputs outputs"], Params]:
        """The weight, and the parameters with None in its place."""
        node = params
        for name in self.weight:
            if name not in node:
                path = "/".join(self.weight)
                raise UsageError(f"InputProduct: no {path} in the parameters: wanted {name!r}, got {list(node)}")
            node = node[name]
        return node, self.join(None, params)

    def join(self, weight: Any, params: Params) -> Params:
        """The parameters with another weight in its place."""

        def put(node: Any, path: tuple[str, ...]) -> Any:
            return weight if not path else {**node, path[0]: put(node[path[0]], path[1:])}

        return put(params, self.weight)


def window_lengths(objective: InputProduct, params: Params, batches: "Batches", epochs: int) -> Int[np.ndarray, " _"]:
    r"""The cheapest form for clients of 0, 1, 2, ... batches, by counted multiplications.

    For $n$ examples, $d$ inputs, $h$ outputs, $e$ epochs and a window of $m \ge n$ examples: $2 e n d h$ on the
    weights, $2 m d h + m^2 d + e n m h$ in the products. What both do alike is not counted.

    Args:
        objective: The objective.
        params: Its parameters.
        batches: A client's batches; which client's does not matter.
        epochs: Passes over the data.

    Returns:
        Length of the window in batches by number of batches, up to the longest client's; 0 where SGD on the weights is
        less work.
    """
    inputs, outputs = objective.split(params)[0].shape
    total, size = batches.arrays["mask"].shape[:2]
    lengths = [length for length in _LENGTHS if length <= total]
    chosen = np.zeros(batches.longest + 1, np.int32)
    for count in range(1, batches.longest + 1):
        length = next((length for length in lengths if length >= count), 0)
        n, m = count * size, length * size
        on_weights = 2 * epochs * n * inputs * outputs
        if length and 2 * m * inputs * outputs + m**2 * inputs + epochs * n * m * outputs < on_weights:
            chosen[count] = length
    return chosen


def descend_by_products(
    objective: InputProduct, params: Params, batches: "Batches", key: PRNGKey, *, rate: float, epochs: int, length: int
) -> tuple[Params, Float[Array, ""]]:
    """Plain local SGD in the products of a client's inputs.

    Args:
        objective: The objective.
        params: The server's parameters.
        batches: The client's batches, at most `length`.
        key: Randomness of the local steps.
        rate: Learning rate.
        epochs: Passes over the data.
        length: Batches in the window that is looked at, at most the number of all batches.

    Returns:
        The change of the parameters, and the sum of the losses of all steps.
    """
    # A window that would run over the end begins earlier; its foreign rows have no gradient, hence no effect.
    start = jnp.minimum(batches.start, batches.arrays["mask"].shape[0] - length)
    window = jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, length), dict(batches.arrays))
    weight, rest = objective.split(params)
    size, inputs = window["mask"].shape[1], weight.shape[0]
    x = window.pop("x").reshape(length * size, inputs)
    first = x @ weight
    gram = x @ x.T
    head = jax.value_and_grad(lambda rest, z, batch, key: objective.head(rest, {**batch, "x": z}, key), (0, 1), True)

    def step(t: Any, carry: tuple[Params, Array, Array]) -> tuple[Params, Array, Array]:
        w, sums, total = carry
        index = batches.start - start + t % batches.count
        rows = index * size
        batch = jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, index, keepdims=False), window)
        z = jax.lax.dynamic_slice_in_dim(first, rows, size) - rate * (
            jax.lax.dynamic_slice_in_dim(gram, rows, size) @ sums
        )
        (loss, _), (g, dz) = head(w, z, batch, jax.random.fold_in(key, t))
        before = jax.lax.dynamic_slice_in_dim(sums, rows, size)
        sums = jax.lax.dynamic_update_slice_in_dim(sums, before + dz, rows, axis=0)
        return jax.tree.map(lambda w, g: w - rate * g, w, g), sums, total + loss.astype(jnp.float32)

    carry = (rest, jnp.zeros_like(first), jnp.zeros((), jnp.float32))
    w, sums, total = jax.lax.fori_loop(0, batches.count * epochs, step, carry)
    change = jax.tree.map(jnp.subtract, w, rest)
    return objective.join(-rate * (x.T @ sums), change), total
