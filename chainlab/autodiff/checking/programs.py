"""The compiled programs of a check: the function along lines, and its declared derivative, in float64."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr

from chainlab.autodiff.checking.arguments import Arguments
from chainlab.autodiff.checking.promote import entries, promote, wide
from chainlab.autodiff.jaxprs import equations
from chainlab.errors import UsageError

_ROWS = 16  # lines in a compiled call, at most; fewer are padded
_MEMORY = 2**25  # float64 values that the samples of a call may hold at once


def scalar_function(
    f: Callable[..., Any], arguments: Arguments, cotangent: Any, has_aux: bool
) -> Callable[[list[Any]], Any]:
    r"""`f` as a real scalar of the differentiated leaves, $\mathrm{Re} \sum c \cdot f$ with a cotangent $c$.

    Raises:
        UsageError: The output is not a real scalar and no cotangent was given, or it does not fit.
    """

    def scalar(values: list[Any]) -> Any:
        out = f(*arguments.rebuild(values))
        if has_aux:
            out = out[0]
        if cotangent is None:
            leaves = jax.tree.leaves(out)
            if len(leaves) != 1 or jnp.shape(leaves[0]) != ():
                shapes = jax.tree.map(lambda x: f"{jnp.result_type(x)}{list(jnp.shape(x))}", out)
                raise UsageError(
                    f"check differentiates a scalar, but the function returns {shapes}: pass cotangent= (an array "
                    "like the output, what the output's adjoint is), or has_aux=True for (scalar, metrics)"
                )
            if jnp.iscomplexobj(leaves[0]):
                raise UsageError(
                    "the function returns a complex number: pass cotangent=1.0 to check its real part and "
                    "cotangent=-1j to check its imaginary part"
                )
            if not jnp.issubdtype(jnp.result_type(leaves[0]), jnp.floating):
                raise UsageError(
                    f"the function returns {jnp.result_type(leaves[0])}, which has no derivative: cast it to a float"
                )
            return leaves[0]
        try:
            terms = jax.tree.map(lambda c, x: _pair(c, x), cotangent, out)
        except (ValueError, TypeError) as error:
            raise UsageError(f"cotangent= does not have the structure of the output: {error}") from error
        return sum(jax.tree.leaves(terms))

    return scalar


def _pair(cotangent: Any, output: Any) -> Any:
    if jnp.shape(cotangent) != jnp.shape(output):
        raise UsageError(
            f"cotangent= has shape {jnp.shape(cotangent)} where the output has {jnp.shape(output)}: they must be equal"
        )
    if not jnp.issubdtype(jnp.result_type(output), jnp.inexact):
        return jnp.zeros((), jnp.float32)
    if jnp.iscomplexobj(output):
        return jnp.sum((jnp.asarray(cotangent).astype(output.dtype) * output).real)
    return jnp.sum(jnp.asarray(cotangent).real.astype(output.dtype) * output)


def trace(function: Callable[..., Any], *inputs: Any) -> ClosedJaxpr:
    """Trace at the working dtype, with an error that names forward mode where reverse mode refuses."""
    try:
        return jax.make_jaxpr(function)(*inputs)
    except ValueError as error:
        if "Reverse-mode differentiation does not work" in str(error):
            raise UsageError(
                "jax.grad refuses a while_loop whose trip count is not static: "
                "check it with mode='fwd', or use lax.scan"
            ) from error
        raise


def host_constants(program: ClosedJaxpr) -> list[Any]:
    """The constants of a program on the host in float64, where it is supported; keys stay as they are."""
    keys = jax.dtypes.extended
    return [c if jnp.issubdtype(jnp.result_type(c), keys) else _wide(np.asarray(c)) for c in program.consts]


def _wide(value: np.ndarray) -> np.ndarray:
    return value.astype(wide(value.dtype))


def _batched(program: ClosedJaxpr, points: int) -> int | None:
    """How many points to evaluate at once: as many as memory allows, one where a callback forbids it."""
    names = {e.primitive.name for e in equations(program.jaxpr)}
    if names & {"pure_callback", "io_callback", "ffi_call"}:
        return None
    size = sum(entries(v) for e in equations(program.jaxpr) for v in e.outvars) + 1
    return int(np.clip(_MEMORY // size, 1, points))


class Lines:
    """A traced function in float64, sampled along lines through the point.

    A line is `x + t * d` where `d` is a base direction cut to a range of coordinates, so that coordinates,
    blocks, leaves and the whole vector are sampled by one compiled program.
    """

    def __init__(self, program: ClosedJaxpr, arguments: Arguments, samples: int, pack: Callable[..., Any]) -> None:
        self.samples = samples
        self._constants = host_constants(program)
        batch = _batched(program, _ROWS * samples)
        self._rows = min(_ROWS, arguments.size, max(1, (batch or 1) // samples))

        def sample(constants: Any, point: Any, base: Any, starts: Any, stops: Any, times: Any) -> Any:
            place = jnp.arange(point.shape[0])

            def one(row: Any) -> Any:
                start, stop, time = row
                direction = jnp.where((place >= start) & (place < stop), base, jnp.zeros_like(base))
                return pack(promote(program, constants)(*arguments.unflatten(point + time * direction)))

            rows = (jnp.repeat(starts, samples), jnp.repeat(stops, samples), times.reshape(-1))
            flat = jax.lax.map(one, rows, batch_size=batch and min(batch, self._rows * samples))
            return flat.reshape(*times.shape, *flat.shape[1:])

        self._sample = jax.jit(sample)

    def __call__(
        self, point: np.ndarray, base: np.ndarray, ranges: Sequence[tuple[int, int]], times: np.ndarray
    ) -> np.ndarray:
        """Values at the times, `(ranges, times)` and the function's own axes."""
        rows: list[np.ndarray] = []
        for first in range(0, len(ranges), self._rows):
            part = list(ranges[first : first + self._rows])
            padded = np.asarray(part + [part[-1]] * (self._rows - len(part)), np.int32)
            columns: list[np.ndarray] = []
            for second in range(0, len(times), self.samples):
                some = times[second : second + self.samples]
                some = np.concatenate([some, np.zeros(self.samples - len(some))])
                grid = np.broadcast_to(some, (self._rows, self.samples))
                columns.append(np.asarray(self._sample(self._constants, point, base, padded[:, 0], padded[:, 1], grid)))
            rows.append(np.concatenate(columns, 1)[: len(part), : len(times)])
        return np.concatenate(rows)
