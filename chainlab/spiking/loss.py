"""Losses as folds over time, so that they cost no memory that grows with it; and rate regularisers."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, DTypeLike, Float, Int

from chainlab.errors import UsageError

Outputs = Float[Array, "time *batch classes"]
Labels = Int[Array, "*batch"]


class Loss(NamedTuple):
    """A loss of a network's outputs over time, as a fold.

    Attributes:
        start: `start(output, labels) -> carry`; `output` has the shape of one step's output.
        fold: `fold(carry, outputs, labels) -> carry`, over any number of steps.
        finish: `finish(carry, steps, labels) -> (loss, logits)`.
        additive: Whether `fold` adds to the carry something of each step alone. Online rules need that: the
            learning signal of a step is then known without the other steps' outputs.
        linear: Whether, further, `finish` is linear in the carry, so that the learning signal needs no final
            carry and one pass is enough.
    """

    start: Callable[[Any, Any], Any]
    fold: Callable[[Any, Any, Any], Any]
    finish: Callable[[Any, int, Any], tuple[Array, Array]]
    additive: bool = True
    linear: bool = False

    def __call__(self, outputs: Outputs, labels: Labels) -> Float[Array, ""]:
        """The loss of whole outputs, time first."""
        carry = self.fold(self.start(outputs[0], labels), outputs, labels)
        return self.finish(carry, outputs.shape[0], labels)[0]


def _wide(x: Array) -> DTypeLike:
    """The type that a loss is accumulated in: float32 at least."""
    return x.dtype if jnp.finfo(x.dtype).bits >= 32 else jnp.float32


def _cross_entropy(logits: Float[Array, "*batch classes"], labels: Labels) -> Float[Array, ""]:
    wide = logits.astype(_wide(logits))
    return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(wide, labels))


def _summed(finish: Callable[[Array, int, Labels], tuple[Array, Array]]) -> Loss:
    """A loss of the outputs summed over time."""
    return Loss(
        start=lambda output, labels: jnp.zeros(output.shape, _wide(output)),
        fold=lambda carry, outputs, labels: carry + jnp.sum(outputs, axis=0, dtype=carry.dtype),
        finish=finish,
    )


def count_cross_entropy(scale: float = 1.0) -> Loss:
    r"""Cross-entropy of spike counts, with logits $k \sum_t s_t$.

    Args:
        scale: $k$.

    Returns:
        The loss.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(count_cross_entropy()(jnp.zeros((5, 3, 10)), jnp.zeros(3, int))), 3)
        2.303
    """

    def finish(carry: Array, steps: int, labels: Labels) -> tuple[Array, Array]:
        return _cross_entropy(scale * carry, labels), scale * carry

    return _summed(finish)


def mean_cross_entropy(scale: float = 1.0) -> Loss:
    r"""Cross-entropy of the time mean, with logits $\frac{k}{T} \sum_t o_t$: rates of spikes, or mean membranes.

    Args:
        scale: $k$.

    Returns:
        The loss.
    """

    def finish(carry: Array, steps: int, labels: Labels) -> tuple[Array, Array]:
        logits = scale / steps * carry
        return _cross_entropy(logits, labels), logits

    return _summed(finish)


def step_cross_entropy(scale: float = 1.0) -> Loss:
    r"""Cross-entropy at every step, averaged over time, $\frac1T \sum_t \mathrm{CE}(k\, o_t)$.

    Args:
        scale: $k$.

    Returns:
        The loss, whose learning signal is known at every step.
    """

    def start(output: Array, labels: Labels) -> tuple[Array, Array]:
        return jnp.zeros((), _wide(output)), jnp.zeros(output.shape, _wide(output))

    def fold(carry: tuple[Array, Array], outputs: Array, labels: Labels) -> tuple[Array, Array]:
        total = jnp.sum(outputs, axis=0, dtype=carry[1].dtype)
        losses = jax.vmap(lambda output: _cross_entropy(scale * output, labels))(outputs)
        return carry[0] + jnp.sum(losses), carry[1] + jax.lax.stop_gradient(total)

    def finish(carry: tuple[Array, Array], steps: int, labels: Labels) -> tuple[Array, Array]:
        return carry[0] / steps, carry[1]

    return Loss(start, fold, finish, linear=True)


def rate_mean_square(correct: float = 0.8, incorrect: float = 0.1) -> Loss:
    r"""Mean squared distance of firing rates $\frac1T \sum_t s_t$ to a high rate for the label and a low one elsewhere.

    Args:
        correct: Target rate of the labelled class, in spikes a step.
        incorrect: Target rate of the others.

    Returns:
        The loss.

    Example:
        >>> round(float(rate_mean_square(0.8, 0.1)(jnp.zeros((5, 1, 2)), jnp.array([0]))), 4)  # (0.8^2 + 0.1^2) / 2
        0.325
    """

    def finish(carry: Array, steps: int, labels: Labels) -> tuple[Array, Array]:
        rates = carry / steps
        hot = jax.nn.one_hot(labels, rates.shape[-1], dtype=rates.dtype)
        return jnp.mean(jnp.square(rates - (incorrect + (correct - incorrect) * hot))), rates

    return _summed(finish)


def max_membrane(scale: float = 1.0) -> Loss:
    r"""Cross-entropy of the largest membrane over time, with logits $k \max_t v_t$.

    Args:
        scale: $k$.

    Returns:
        The loss.

    References:
        Cramer et al., The Heidelberg Spiking Data Sets, arXiv:1910.07407, equation 12.
    """

    def finish(carry: Array, steps: int, labels: Labels) -> tuple[Array, Array]:
        return _cross_entropy(scale * carry, labels), scale * carry

    return Loss(
        start=lambda output, labels: jnp.full_like(output, -jnp.inf),
        fold=lambda carry, outputs, labels: jnp.maximum(carry, jnp.max(outputs, axis=0)),
        finish=finish,
        additive=False,
    )


def first_spike_time(scale: float = 1.0) -> Loss:
    r"""Cross-entropy of first-spike times, with logits $-k\, t$: the class that fires first wins.

    The time of the first spike is the number of steps before it, $t = \sum_u \prod_{w \le u} (1 - s_w)$, which is
    $T$ for a silent neuron and passes the surrogate gradient on.

    Args:
        scale: $k$, in 1 / steps.

    Returns:
        The loss.
    """

    def start(output: Array, labels: Labels) -> tuple[Array, Array]:
        wide = _wide(output)
        return jnp.ones(output.shape, wide), jnp.zeros(output.shape, wide)

    def fold(carry: tuple[Array, Array], outputs: Array, labels: Labels) -> tuple[Array, Array]:
        def body(carry: tuple[Array, Array], spike: Array) -> tuple[tuple[Array, Array], None]:
            silent = carry[0] * (1 - spike)
            return (silent, carry[1] + silent), None

        return jax.lax.scan(body, carry, outputs.astype(carry[0].dtype))[0]

    def finish(carry: tuple[Array, Array], steps: int, labels: Labels) -> tuple[Array, Array]:
        return _cross_entropy(-scale * carry[1], labels), -scale * carry[1]

    return Loss(start, fold, finish, additive=False)


def total_output() -> Loss:
    r"""The plain sum of all outputs, $\sum_t \sum_i o_{t,i}$, over batch and features: what benchmarks differentiate.

    Returns:
        The loss.

    Example:
        >>> float(total_output()(jnp.ones((4, 3, 2)), jnp.zeros(3, int)))
        24.0
    """

    def finish(carry: Array, steps: int, labels: Any) -> tuple[Array, Array]:
        return jnp.sum(carry), carry

    return _summed(finish)._replace(linear=True)


def rate_bounds(
    lower: float = 0.0, upper: float = 1.0, *, strength: float = 1.0
) -> Callable[[Mapping[str, Array], int], Float[Array, ""]]:
    r"""Penalty on firing rates outside a range, $c \sum_\ell \overline{[l - r]_+^2 + [r - u]_+^2}$.

    $r$ is the rate of a neuron over time and batch, in spikes a step; silent neurons get no surrogate gradient from
    above, which the lower bound mends.

    Args:
        lower: Lowest rate without a penalty.
        upper: Highest rate without a penalty.
        strength: $c$.

    Returns:
        A function of spike counts by layer and the number of steps.

    Raises:
        UsageError: The bounds are not `0 <= lower <= upper <= 1`.

    Example:
        >>> penalty = rate_bounds(0.2, 0.5)
        >>> round(float(penalty({"hidden": jnp.array([[0.0, 3.0, 10.0]])}, 10)), 4)  # rates 0, 0.3 and 1
        0.0967
    """
    if not 0 <= lower <= upper <= 1:
        raise UsageError(f"rate_bounds needs 0 <= lower <= upper <= 1, got {lower} and {upper}")

    def penalty(counts: Mapping[str, Array], steps: int) -> Float[Array, ""]:
        total = jnp.zeros(())
        for count in counts.values():
            rate = jnp.mean(count.reshape(-1, count.shape[-1]), axis=0) / steps
            outside = jax.nn.relu(lower - rate) + jax.nn.relu(rate - upper)
            total = total + jnp.mean(jnp.square(outside)).astype(total.dtype)
        return strength * total

    return penalty


losses: Mapping[str, Callable[..., Loss]] = {
    "count_cross_entropy": count_cross_entropy,
    "mean_cross_entropy": mean_cross_entropy,
    "step_cross_entropy": step_cross_entropy,
    "rate_mean_square": rate_mean_square,
    "max_membrane": max_membrane,
    "first_spike_time": first_spike_time,
    "total_output": total_output,
}
"""The losses by name."""
