"""The arguments as one real vector: which leaves are differentiated, and what each coordinate is called."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from chainlab.errors import UsageError


@dataclass(frozen=True)
class Leaf:
    """A differentiated leaf: its key path, shape, working dtype and place in the vector of real coordinates."""

    path: str
    shape: tuple[int, ...]
    dtype: Any
    start: int

    @property
    def complex(self) -> bool:
        """Whether a coordinate has an imaginary part."""
        return bool(jnp.issubdtype(self.dtype, jnp.complexfloating))

    @property
    def entries(self) -> int:
        """Number of entries."""
        return int(np.prod(self.shape, dtype=int))

    @property
    def stop(self) -> int:
        """End of its real coordinates: the real parts, then the imaginary parts."""
        return self.start + self.entries * (2 if self.complex else 1)

    def index(self, coordinate: int) -> tuple[int, ...]:
        """Index of the entry that a real coordinate of the vector belongs to."""
        return tuple(int(i) for i in np.unravel_index((coordinate - self.start) % self.entries, self.shape))


def _names(f: Callable[..., Any], count: int) -> list[str]:
    try:
        parameters = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    plain = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [plain[i] if i < len(plain) else f"args[{i}]" for i in range(count)]


def _differentiable(value: Any) -> bool:
    if isinstance(value, (bool, int, str, bytes)) or value is None:
        return False
    if isinstance(value, (float, complex)):
        return True
    return hasattr(value, "dtype") and bool(jnp.issubdtype(value.dtype, jnp.inexact))


class Arguments:
    """The floating-point leaves of the arguments as one vector; every other leaf is held fixed.

    Attributes:
        leaves: The differentiated leaves that are not empty.
        values: Their values at the working dtype.
        vector: The point as float64, complex leaves as real parts followed by imaginary parts.
    """

    def __init__(self, f: Callable[..., Any], args: Sequence[Any], argnums: Sequence[int] | None) -> None:
        flat: list[Any] = []
        self.leaves: list[Leaf] = []
        self.values: list[jax.Array] = []
        self._where: list[int] = []
        self._trees: list[Any] = []
        chosen = range(len(args)) if argnums is None else [range(len(args))[i] for i in argnums]
        start = 0
        for number, (name, arg) in enumerate(zip(_names(f, len(args)), args, strict=True)):
            pairs, tree = jax.tree_util.tree_flatten_with_path(arg)
            self._trees.append(tree)
            for path, value in pairs:
                if number in chosen and _differentiable(value) and np.size(value):
                    array = jnp.asarray(value)
                    leaf = Leaf(name + jax.tree_util.keystr(path), array.shape, array.dtype, start)
                    self._where.append(len(flat))
                    self.leaves.append(leaf)
                    self.values.append(array)
                    start = leaf.stop
                flat.append(value)
        self._flat = flat
        if not self.leaves:
            got = ", ".join(sorted({str(getattr(v, "dtype", type(v).__name__)) for v in flat})) or "no leaf"
            raise UsageError(
                "check needs a floating-point or complex argument that is not empty, to differentiate: "
                f"got {got}. Cast the argument, or name another with argnums="
            )
        for leaf, value in zip(self.leaves, self.values, strict=True):
            if not np.all(np.isfinite(np.asarray(value).astype(complex))):
                raise UsageError(f"check differentiates at a finite point, but {leaf.path} holds nan or inf")
        self.vector = self.flatten(self.values)

    @property
    def size(self) -> int:
        """Number of real coordinates."""
        return self.leaves[-1].stop

    def rebuild(self, values: Sequence[Any]) -> list[Any]:
        """The arguments with these values in the differentiated leaves."""
        flat = list(self._flat)
        for where, value in zip(self._where, values, strict=True):
            flat[where] = value
        args, position = [], 0
        for tree in self._trees:
            args.append(tree.unflatten(flat[position : position + tree.num_leaves]))
            position += tree.num_leaves
        return args

    def flatten(self, values: Sequence[Any], *, gradient: bool = False) -> np.ndarray:
        r"""Leaves as one float64 vector.

        A gradient in JAX's convention, $\partial f/\partial x - i\, \partial f/\partial y$, becomes the
        gradient over real coordinates by conjugation.
        """
        parts: list[np.ndarray] = []
        for leaf, value in zip(self.leaves, values, strict=True):
            array = np.asarray(value)
            if leaf.complex:
                array = np.ravel(array.astype(np.complex128))
                parts += [array.real, -array.imag if gradient else array.imag]
            else:
                parts.append(np.ravel(array.astype(np.float64)))
        return np.concatenate(parts)

    def unflatten(self, vector: Any) -> list[Any]:
        """Leaves in float64 or complex128 from a vector; works on traced arrays."""
        values: list[Any] = []
        for leaf in self.leaves:
            part = vector[leaf.start : leaf.stop]
            if leaf.complex:
                part = jax.lax.complex(part[: leaf.entries], part[leaf.entries :])
            values.append(part.reshape(leaf.shape))
        return values

    def spans(self) -> np.ndarray:
        """How far each coordinate may be expected to move: its size or its leaf's, whichever is larger."""
        span = np.ones(self.size)
        for leaf in self.leaves:
            part = np.abs(self.vector[leaf.start : leaf.stop])
            typical = np.sqrt(np.mean((part / (part.max() or 1.0)) ** 2)) * part.max()
            span[leaf.start : leaf.stop] = np.maximum(part, typical if typical > 0 else 1.0)
        return span

    def scales(self) -> np.ndarray:
        """A power of two for each coordinate, about its size: the natural length of a step.

        The size of the coordinate itself, since a function may have structure at that size (`sin(x / 1e-8)` at
        1e-8); the leaf's for a coordinate that is zero. Powers of two keep `x + step` free of rounding for points
        that a narrower float can hold.
        """
        span = self.spans()
        own = np.where(self.vector == 0, span, np.maximum(np.abs(self.vector), 1e-15 * span))
        return 2.0 ** np.round(np.log2(np.maximum(own, 1e-300)))

    def leaf_of(self, coordinate: int) -> Leaf:
        """The leaf that a coordinate belongs to."""
        return next(leaf for leaf in self.leaves if leaf.start <= coordinate < leaf.stop)
