"""A function compiled together with the statistics of its layers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from chainlab.autodiff.diagnosis.rewrite import NOT_EXECUTED, evaluate
from chainlab.autodiff.diagnosis.sites import Kind, Loop, Site, find, sites
from chainlab.autodiff.diagnosis.taps import ADJOINT, FORWARD, probe_shape, wide
from chainlab.autodiff.jaxprs import opened
from chainlab.errors import UsageError

Column: TypeAlias = Any
"""One number a layer: a JAX array inside a program, a NumPy one in a diagnosis."""


class LayerName(NamedTuple):
    """Which layer a row of the statistics is about.

    Attributes:
        name: Name scopes, scan indices in brackets, and what made the value.
        kind: `product`, `activation`, `carry` (of a scan) or `tap`.
        shape: Its shape.
        source: The line of the program that made it.
        width: Number of features.
        stream: Whether it is carried by a scan: the path that every layer of a chain shares.
    """

    name: str
    kind: Kind
    shape: tuple[int, ...]
    source: str
    width: int
    stream: bool


class Statistics(NamedTuple):
    """Statistics of all layers, in the order of execution; shares are fractions of 1, NaN where not measured.

    Attributes:
        rms: Root mean square of the value.
        largest: Largest magnitude of the value.
        zeros: Share of entries that are exactly 0.
        dead: Share of features that are 0 in every row.
        saturated: Share of entries within 2 % of an asymptote of the activation.
        similarity: Mean cosine between rows: 1 where the layer maps all inputs to one direction.
        adjoint_rms: Root mean square of the adjoint.
        adjoint_largest: Largest magnitude of the adjoint.
        adjoint_zeros: Share of entries of the adjoint that are exactly 0.
        adjoint_zero_rows: Share of rows (examples, tokens) whose adjoint is 0 throughout.
        executed: Whether the layer ran; not so in a branch of a `cond` that was not taken.
    """

    rms: Column
    largest: Column
    zeros: Column
    dead: Column
    saturated: Column
    similarity: Column
    adjoint_rms: Column
    adjoint_largest: Column
    adjoint_zeros: Column
    adjoint_zero_rows: Column
    executed: Column


@dataclass(frozen=True)
class Program:
    """A traced function: its layers, and a pure function that runs it and watches them.

    Attributes:
        layers: The layers in the order of execution, a scan's once for each index.
        run: `run(*args) -> (value, gradients, statistics)`; can be jitted and scanned.
        dtype: The narrowest type of a layer.
    """

    layers: tuple[LayerName, ...]
    run: Callable[..., tuple[Any, PyTree, Statistics]]
    dtype: str


def trace(
    f: Callable[..., Any], argnums: int | Sequence[int], *, has_aux: bool, cotangent: PyTree | None, args: Sequence[Any]
) -> Program:
    """Trace a function and place taps at its layers.

    Args:
        f: Any JAX function.
        argnums: The arguments that are differentiated.
        has_aux: Whether `f` returns `(value, aux)`; the second part is dropped.
        cotangent: What the output's entries are weighted by; needed when the output is not a scalar.
        args: The arguments, or their shapes.

    Returns:
        The program.

    Raises:
        UsageError: The output is not a scalar and there is no cotangent, the cotangent does not fit it, an
            argument to differentiate holds integers, or nothing on the way is a layer.
    """
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    _check_inputs(args, numbers)
    closed, shape = jax.make_jaxpr(lambda *a: f(*a)[0] if has_aux else f(*a), return_shape=True)(*args)
    weights = _weights(shape, cotangent)
    flat, structure = jax.tree.flatten(tuple(args))
    chosen = jax.tree.leaves(
        tuple(jax.tree.map(lambda _, n=n: n in {i % len(args) for i in numbers}, a) for n, a in enumerate(args))
    )
    del flat
    jaxpr, constants = opened(closed)
    items = find(jaxpr, chosen)
    rows = list(_rows(items, {}))
    places = {site.key: site for site in sites(items)}
    if not rows:
        raise UsageError(
            "diagnose: found no layer between the differentiated arguments and the output (products, convolutions, "
            "activations, scan carries): mark one with chainlab.tap(x, name), or choose other argnums"
        )
    lengths = _lengths(items, ())
    offsets: dict[str, int] = {}
    total = 0
    for key in places:
        offsets[key], total = total, total + int(np.prod(lengths[key], dtype=int))
    order = np.asarray(
        [offsets[s.key] + int(np.ravel_multi_index(i, lengths[s.key])) if i else offsets[s.key] for s, i, _ in rows]
    )

    def run(*args: Any) -> tuple[Any, PyTree, Statistics]:
        leaves = jax.tree.leaves(args)
        probes = {
            key: jnp.zeros((*lengths[key], *probe_shape(site.shape, site.features)), wide(site.dtype))
            for key, site in places.items()
            if site.adjoint
        }

        def objective(inputs: list[Any], probes: dict[str, Array]):
            given = iter(inputs)
            values = [next(given) if flag else leaf for flag, leaf in zip(chosen, leaves, strict=True)]
            outputs, seen = evaluate(jaxpr, constants, values, probes, places)
            total = sum(
                jnp.vdot(weight, out).real if weight is not None else out
                for weight, out in zip(weights, outputs, strict=True)
            )
            return total, (outputs, seen)

        inputs = [leaf for flag, leaf in zip(chosen, leaves, strict=True) if flag]
        (_, (outputs, seen)), (gradients, adjoints) = jax.value_and_grad(objective, (0, 1), has_aux=True)(
            inputs, probes
        )
        value = jax.tree.unflatten(jax.tree.structure(shape), outputs)
        statistics = jax.tree.map(
            lambda *parts: jnp.take(jnp.concatenate([part.reshape(-1) for part in parts]), order),
            *[_finish(site, seen[key], adjoints.get(key)) for key, site in places.items()],
        )
        given = iter(gradients)
        tree = jax.tree.unflatten(structure, [next(given) if flag else None for flag in chosen])
        return value, tree[argnums] if isinstance(argnums, int) else tuple(tree[n] for n in numbers), statistics

    names = tuple(
        LayerName(name, site.kind, site.shape, site.source, site.shape[site.features], site.stream)
        for site, _, name in rows
    )
    narrow = min((jnp.dtype(site.dtype) for site in places.values()), key=lambda dtype: dtype.itemsize)
    return Program(names, run, narrow.name)


def _check_inputs(args: Sequence[Any], numbers: Sequence[int]) -> None:
    for number in numbers:
        if not -len(args) <= number < len(args):
            raise UsageError(f"diagnose: argnums={number}, but the function got {len(args)} arguments")
        for path, leaf in jax.tree_util.tree_leaves_with_path(args[number]):
            dtype = jnp.result_type(leaf)
            if not jnp.issubdtype(dtype, jnp.inexact):
                raise UsageError(
                    f"diagnose: argument {number % len(args)}{jax.tree_util.keystr(path)} has type {dtype}, which has "
                    "no derivative: convert it to float, or leave it out of argnums"
                )


def _weights(shape: PyTree, cotangent: PyTree | None) -> list[Array | None]:
    leaves = jax.tree.leaves(shape)
    if cotangent is None:
        if len(leaves) != 1 or leaves[0].shape != () or not jnp.issubdtype(leaves[0].dtype, jnp.floating):
            got = ", ".join(f"{leaf.dtype}{list(leaf.shape)}" for leaf in leaves)
            raise UsageError(
                f"diagnose: the function must return one real scalar, got {got}: pass cotangent= (a tree like the "
                "output, whose entries weight it), or has_aux=True for (scalar, aux)"
            )
        return [None]
    if jax.tree.structure(cotangent) != jax.tree.structure(shape):
        raise UsageError(
            f"diagnose: cotangent must be a tree like the output {jax.tree.structure(shape)}, "
            f"got {jax.tree.structure(cotangent)}"
        )
    given = [jnp.asarray(leaf) for leaf in jax.tree.leaves(cotangent)]
    for wanted, got in zip(leaves, given, strict=True):
        if wanted.shape != got.shape:
            raise UsageError(f"diagnose: cotangent must have the output's shape {wanted.shape}, got {got.shape}")
    return [got.astype(wanted.dtype) for wanted, got in zip(leaves, given, strict=True)]


def _rows(items: Sequence[Site | Loop], index: dict[int, int], label: str = "") -> Iterator[tuple[Site, Any, str]]:
    for item in items:
        if isinstance(item, Site):
            yield item, tuple(index.values()), label + item.name
        else:
            steps = range(item.length)
            for step in reversed(steps) if item.reverse else steps:
                yield from _rows(item.items, {**index, len(index): step}, f"{label}{item.name}[{step}]/")


def _lengths(items: Sequence[Site | Loop], outer: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    result: dict[str, tuple[int, ...]] = {}
    for item in items:
        if isinstance(item, Site):
            result[item.key] = outer
        else:
            result |= _lengths(item.items, (*outer, item.length))
    return result


def _finish(site: Site, forward: Array, adjoint: Array | None) -> Statistics:
    """From columns to scalars: (*loops, statistic, features) -> (*loops) of each."""
    size = int(np.prod(site.shape))
    width = site.shape[site.features]
    columns = dict(zip(FORWARD, jnp.moveaxis(forward, -2, 0), strict=True))
    executed = columns["largest"][..., 0] != NOT_EXECUTED
    missing = jnp.full_like(columns["largest"][..., 0], jnp.nan)

    def total(x: Array) -> Array:  # a product with ones: XLA's reduction over the last axis is slow on CPU
        return x @ jnp.ones(width, x.dtype)

    def rms(largest: Array, squares: Array) -> Array:
        top = jnp.max(largest, -1)
        return jnp.where(jnp.isfinite(top), top * jnp.sqrt(total(squares) / size), top)

    def share(counts: Array) -> Array:
        return total(counts) / size

    back = None if adjoint is None else dict(zip(ADJOINT, jnp.moveaxis(adjoint, -2, 0), strict=True))
    values = Statistics(
        rms=rms(columns["largest"], columns["squares"]),
        largest=jnp.max(columns["largest"], -1),
        zeros=share(columns["zeros"]),
        dead=total((columns["largest"] == 0).astype(missing.dtype)) / width,
        saturated=share(columns["saturated"]),
        similarity=columns["similarity"][..., 0],
        adjoint_rms=missing if back is None else rms(back["largest"], back["squares"]),
        adjoint_largest=missing if back is None else jnp.max(back["largest"], -1),
        adjoint_zeros=missing if back is None else share(back["zeros"]),
        adjoint_zero_rows=missing if back is None else back["zero_rows"][..., 0] * width / size,
        executed=jnp.ones_like(missing),
    )
    values = jax.tree.map(lambda x: jnp.where(executed, x, missing), values)
    return values._replace(executed=executed.astype(missing.dtype))
