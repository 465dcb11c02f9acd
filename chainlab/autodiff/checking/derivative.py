"""The declared derivative: the program that autodiff writes, run at the working dtype and in float64."""

import contextlib
from collections.abc import Callable, Generator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxpr_as_fun

from chainlab.autodiff.checking.arguments import Arguments
from chainlab.autodiff.checking.programs import host_constants, trace
from chainlab.autodiff.checking.promote import promote
from chainlab.autodiff.jaxprs import equations
from chainlab.errors import UsageError

_BATCH = 64


@contextlib.contextmanager
def float64() -> Generator[None]:
    """Float64 on the CPU, whatever the session's settings, which are restored."""
    with (
        jax.enable_x64(True),
        jax.default_device(jax.local_devices(backend="cpu")[0]),
        jax.debug_nans(False),
        jax.debug_infs(False),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        np.errstate(all="ignore"),
    ):
        yield


def pack(arguments: Arguments, gradient: Sequence[Any]) -> Any:
    r"""Gradient leaves as one vector over real coordinates (JAX's $\partial_x - i \partial_y$ conjugated)."""
    parts: list[Any] = []
    for leaf, value in zip(arguments.leaves, gradient, strict=True):
        flat = jnp.ravel(value)
        parts += [flat.real, -flat.imag] if leaf.complex else [flat]
    return jnp.concatenate(parts)


class Derivative:
    """The value and gradient of a scalar function in one mode.

    Attributes:
        program: The traced derivative, at the working dtype: of the leaves in reverse mode, of the leaves and
            a tangent in forward mode.
        constants: Its constants in float64.
    """

    def __init__(self, scalar: Callable[[list[Any]], Any], arguments: Arguments, mode: str) -> None:
        self.arguments, self.mode = arguments, mode
        values = arguments.values
        if mode == "rev":
            self.program = trace(jax.value_and_grad(scalar), values)
        else:
            self.program = trace(lambda v, t: jax.jvp(scalar, (v,), (t,)), values, values)
            if any(e.primitive.name == "custom_lin" for e in equations(self.program.jaxpr)):
                raise UsageError("a custom_vjp function has no forward mode: check it with mode='rev'")
        program = self.program
        self.constants = host_constants(program)

        def reverse(constants: Any, point: Any) -> Any:
            value, *gradient = promote(program, constants)(*arguments.unflatten(point))
            return value, pack(arguments, gradient)

        def slope(constants: Any, point: Any, direction: Any) -> Any:
            return promote(program, constants)(*arguments.unflatten(point), *arguments.unflatten(direction))

        def forward(constants: Any, point: Any) -> Any:
            def one(i: Any) -> Any:
                return slope(constants, point, jnp.zeros_like(point).at[i].set(1.0))

            values, slopes = jax.lax.map(one, jnp.arange(point.shape[0]), batch_size=min(_BATCH, arguments.size))
            return values[0], slopes

        self._exact = jax.jit(reverse if mode == "rev" else forward)
        self._slope = jax.jit(slope)

    def exact(self, point: np.ndarray, constants: list[Any] | None = None) -> tuple[float, np.ndarray]:
        """Value and gradient in float64, with other constants if given; to be called inside `float64()`."""
        value, gradient = self._exact(self.constants if constants is None else constants, point)
        return float(value), np.asarray(gradient)

    def slope(self, point: np.ndarray, direction: np.ndarray) -> float:
        """Directional derivative in float64, in forward mode; to be called inside `float64()`."""
        return float(self._slope(self.constants, point, direction)[1])

    def tangents(self, i: Any) -> list[Any]:
        """The `i`-th unit vector as leaves at the working dtype."""
        parts: list[Any] = []
        for leaf in self.arguments.leaves:
            flat = (jnp.arange(leaf.start, leaf.stop) == i).astype(jnp.float32)
            if leaf.complex:
                flat = jax.lax.complex(flat[: leaf.entries], flat[leaf.entries :])
            parts.append(flat.reshape(leaf.shape).astype(leaf.dtype))
        return parts

    def working(self) -> tuple[float, np.ndarray]:
        """Value and gradient at the working dtype, on the session's device."""
        call = jaxpr_as_fun(self.program)
        values = self.arguments.values
        if self.mode == "rev":
            value, *gradient = jax.jit(call)(*values)
            return float(value), self.arguments.flatten(gradient, gradient=True)
        run = jax.jit(
            lambda v: jax.lax.map(
                lambda i: call(*v, *self.tangents(i)),
                jnp.arange(self.arguments.size),
                batch_size=min(_BATCH, self.arguments.size),
            )
        )
        values, slopes = run(values)
        return float(values[0]), np.asarray(slopes).astype(np.float64)
