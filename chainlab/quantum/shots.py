"""Finite shots: sampled expectations under explicit keys, their variance, and how shots are shared out."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, PyTree

from chainlab.errors import UsageError
from chainlab.quantum.circuit import compile_tape, record
from chainlab.quantum.observables import measurement_of
from chainlab.quantum.settings import Setting, settings_of
from chainlab.quantum.shift import plan
from chainlab.quantum.simulator import simulate
from chainlab.typing import PRNGKey

Allocation = Literal["uniform", "weighted", "optimal"]


def sample(
    states: Complex[Array, "dim columns"],
    settings: Sequence[Setting],
    shots: Sequence[Float[Array, ""]],
    key: PRNGKey,
) -> Float[Array, "expectations columns"]:
    r"""Mean outcome of each expectation, $\frac{1}{N} \sum_i t(o_i)$ over samples $o_i$ of its setting.

    Args:
        states: Final states, one a column; each is sampled by itself.
        settings: What is measured.
        shots: Shots of each setting.
        key: Equal keys give equal samples.

    Returns:
        The means.
    """
    means: dict[int, Array] = {}
    for index, (setting, count) in enumerate(zip(settings, shots, strict=True)):
        probabilities = setting.probabilities(states)
        keys = jax.random.split(jax.random.fold_in(key, index), states.shape[1])
        draw = jax.vmap(lambda k, p, n=count: jax.random.multinomial(k, n.astype(p.dtype), p), (0, 1), 1)
        frequencies = draw(keys, probabilities) / count.astype(probabilities.dtype)
        found = jnp.asarray(setting.table, probabilities.dtype) @ frequencies
        means.update(zip(setting.rows, found, strict=True))
    return jnp.stack([means[row] for row in sorted(means)])


def share(
    states: Complex[Array, "dim columns"],
    settings: Sequence[Setting],
    coefficients: np.ndarray | None,
    shots: int,
    allocation: str,
) -> list[Float[Array, ""]]:
    r"""Shots of each setting; together `shots` times the number of settings.

    `uniform` gives each the same; `weighted` shares them in proportion to the sum of the coefficients'
    magnitudes; `optimal` in proportion to the standard deviation $\sigma_g$ of what the setting adds to the
    result, which minimises the variance $\sum_g \sigma_g^2 / n_g$ of the sum.

    Args:
        states: Final states; the first decides for all.
        settings: What is measured.
        coefficients: Weight of each expectation in the result; not needed to share uniformly.
        shots: Mean number of shots a setting.
        allocation: The rule.

    Returns:
        The numbers, at least one each.

    References:
        Wecker, Hastings and Troyer, Progress towards practical quantum variational algorithms,
        arXiv:1507.08969, section V; Arrasmith et al., Operator sampling for shot-frugal optimization,
        arXiv:2004.06252, section II.
    """
    real = states.real.dtype
    if allocation == "uniform" or len(settings) == 1 or coefficients is None:
        return [jnp.asarray(shots, real)] * len(settings)
    if allocation == "weighted":
        sizes = jnp.asarray([np.abs(coefficients[list(s.rows)]).sum() for s in settings], real)
    else:
        sizes = jnp.stack([jnp.sqrt(_variance(s, coefficients, states[:, :1])[0]) for s in settings])
    sizes = jnp.maximum(sizes, 1e-9)
    counts = jnp.round(shots * len(settings) * sizes / jnp.sum(sizes))
    return list(jnp.maximum(counts, 1.0))


def _variance(setting: Setting, coefficients: np.ndarray, states: Array) -> Float[Array, " columns"]:
    """Variance of one sample of a setting's part of the result, in each column's state."""
    values = coefficients[list(setting.rows)] @ setting.table
    probabilities = setting.probabilities(states)
    first = jnp.asarray(values, probabilities.dtype) @ probabilities
    second = jnp.asarray(values**2, probabilities.dtype) @ probabilities
    return jnp.maximum(second - jnp.square(first), 0.0)


class ShotNoise(NamedTuple):
    """Variance of a sampled expectation, and of each entry of its parameter-shift gradient."""

    value: Float[Array, ""]
    gradient: PyTree


def shot_noise(
    circuit: Any, shots: int, *, argnums: int | tuple[int, ...] = 0, allocation: str = "uniform"
) -> Callable[..., ShotNoise]:
    r"""The exact variance that finite shots give a circuit's expectation and its gradient.

    A value has variance $\sum_g \sigma_g^2 / n_g$ over its settings, and the derivative by an angle
    $\sum_i c_i^2 V(\theta + s_i)$ over the terms of its rule, since every copy is sampled by itself.

    Args:
        circuit: A QNode or quantum function that returns one expectation.
        shots: Mean number of shots a setting.
        argnums: Arguments to differentiate by.
        allocation: How shots are shared out among settings.

    Returns:
        `noise(*args) -> ShotNoise`; the gradient's variances have the shapes of the arguments.

    Raises:
        UsageError: The circuit returns something else than one expectation.

    References:
        Mari, Bromley and Killoran, Estimating the gradient and higher-order derivatives on quantum hardware,
        arXiv:2008.06517, section III.
    """
    chosen = (argnums,) if isinstance(argnums, int) else argnums

    check_allocation(allocation)

    def noise(*args: Any) -> ShotNoise:
        def leaves_at(*own: Any) -> list[Array]:
            whole = list(args)
            for argument, value in zip(chosen, own, strict=True):
                whole[argument] = value
            tape, wires = _one_tape(circuit, whole)
            return compile_tape(tape, wires)[1]

        args = tuple(jnp.asarray(value) if i in chosen else value for i, value in enumerate(args))
        tape, wires = _one_tape(circuit, args)
        compiled, values = compile_tape(tape, wires)
        measurements = [measurement_of(m, compiled.wires, term_by_term=True) for m in compiled.measurements]
        if len(measurements) != 1 or compiled.measurements[0].obs is None:
            raise UsageError("shot_noise needs a circuit that returns one expectation")
        settings = settings_of(measurements[0].observables)
        active = [i for i, leaf in enumerate(compiled.leaves) if leaf.rule is not None]
        shifts, weights, unshifted = plan([leaf.rule for leaf in compiled.leaves], active)
        states, columns = simulate(compiled, values, shifts)
        coefficients = measurements[0].coefficients()
        counts = share(states, settings, coefficients, shots, allocation)
        parts = [_variance(s, coefficients, states) / n for s, n in zip(settings, counts, strict=True)]
        variances = jnp.sum(jnp.stack(parts), axis=0)
        copies = variances[1:][np.argsort(columns)]
        by_leaf = jnp.asarray(weights**2, copies.dtype) @ copies
        by_leaf = by_leaf + jnp.asarray(unshifted**2, copies.dtype) * variances[0]
        slopes = jax.jacobian(leaves_at, tuple(range(len(chosen))))(*(args[a] for a in chosen))
        gradient = tuple(
            sum(by_leaf[row] * jnp.square(slopes[leaf][position]) for row, leaf in enumerate(active))
            for position in range(len(chosen))
        )
        return ShotNoise(variances[0], gradient[0] if isinstance(argnums, int) else gradient)

    return noise


def _one_tape(circuit: Any, args: Sequence[Any]) -> tuple[Any, tuple[Any, ...] | None]:
    recording = record(circuit, args, {})
    if len(recording.tapes) != 1:
        raise UsageError("shot_noise needs a circuit of one tape: remove transforms that split it")
    return recording.tapes[0], recording.wires


def check_allocation(allocation: str) -> None:
    """Refuse an unknown allocation."""
    if allocation not in get_args(Allocation):
        raise UsageError(f"allocation must be one of {', '.join(get_args(Allocation))}, got {allocation!r}")
