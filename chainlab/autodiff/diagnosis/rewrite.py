"""Evaluate a jaxpr with taps at its sites; nothing else about the program changes."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, JaxprEqn, Literal
from jaxtyping import Array

from chainlab.autodiff.diagnosis.sites import Site
from chainlab.autodiff.diagnosis.taps import forward_statistics, watch
from chainlab.autodiff.jaxprs import INLINED, REMATERIALISED, bind, body_of, opened, scan_layout

Statistics = dict[str, Array]
NOT_EXECUTED = -1.0
"""The largest magnitude of a site in a branch of a `cond` that was not taken."""


def evaluate(
    jaxpr: Jaxpr, constants: Sequence[Any], args: Sequence[Any], probes: Mapping[str, Array], sites: Mapping[str, Site]
) -> tuple[list[Any], Statistics]:
    """Run a program and watch its sites.

    Args:
        jaxpr: The program.
        constants: Values of its `constvars`.
        args: Values of its inputs.
        probes: Zeros for every watched adjoint, by key; the sites of a scan have its length as leading axis.
        sites: The sites by key.

    Returns:
        The program's outputs, and forward statistics by key with the axes of the enclosing scans in front.
    """
    return _run(jaxpr, constants, args, probes, "", sites)


def _run(
    jaxpr: Jaxpr,
    constants: Sequence[Any],
    args: Sequence[Any],
    probes: Mapping[str, Array],
    prefix: str,
    sites: Mapping[str, Site],
) -> tuple[list[Any], Statistics]:
    env: dict[Any, Any] = dict(zip(jaxpr.constvars, constants, strict=True))
    env.update(zip(jaxpr.invars, args, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else env[atom]

    seen: Statistics = {}
    for index, eqn in enumerate(jaxpr.eqns):
        place = f"{prefix}{index}"
        inputs = [read(atom) for atom in eqn.invars]
        inside = {key: site for key, site in sites.items() if key.startswith(f"{place}/")}
        if inside:
            mine = {key: probe for key, probe in probes.items() if key in inside}
            outputs, forward = _structured(eqn, inputs, mine, place, inside)
            seen |= forward
        else:
            outputs = bind(eqn, inputs)
        for number, (var, value) in enumerate(zip(eqn.outvars, outputs, strict=True)):
            env[var] = _watched(value, f"{place}:{number}", probes, sites, seen)
    return [read(atom) for atom in jaxpr.outvars], seen


def _watched(value: Any, key: str, probes: Mapping[str, Array], sites: Mapping[str, Site], seen: Statistics) -> Any:
    site = sites.get(key)
    if site is None:
        return value
    # what a product makes is seen again in its activation or carry, which say more of it
    seen[key] = forward_statistics(
        value, site.features, site.limits, zeros=site.kind != "product", similarity=site.stream or site.kind == "tap"
    )
    return watch(value, probes[key], site.features) if site.adjoint else value


def _structured(
    eqn: JaxprEqn, inputs: Sequence[Any], probes: Mapping[str, Array], place: str, sites: Mapping[str, Site]
) -> tuple[list[Any], Statistics]:
    name = eqn.primitive.name
    if name == "scan":
        return _scan(eqn, inputs, probes, place, sites)
    if name == "cond":
        return _cond(eqn, inputs, probes, place, sites)
    body, constants = body_of(eqn)

    def call(inputs: Sequence[Any], probes: Mapping[str, Array]) -> tuple[list[Any], Statistics]:
        return _run(body, constants, inputs, probes, f"{place}/", sites)

    assert name in INLINED or name in REMATERIALISED
    if name in REMATERIALISED:
        call = jax.checkpoint(call, policy=eqn.params["policy"], prevent_cse=eqn.params["prevent_cse"])
    return call(inputs, probes)


def _scan(
    eqn: JaxprEqn, inputs: Sequence[Any], probes: Mapping[str, Array], place: str, sites: Mapping[str, Site]
) -> tuple[list[Any], Statistics]:
    body, constants = body_of(eqn)
    fixed, carried = scan_layout(eqn.params)

    def step(carry: list[Any], slices: tuple[list[Any], dict[str, Array]]):
        values, probe = slices
        outputs, seen = _run(body, constants, [*inputs[:fixed], *carry, *values], probe, f"{place}/", sites)
        for number in range(carried):
            outputs[number] = _watched(outputs[number], f"{place}/c{number}", probe, sites, seen)
        return outputs[:carried], (outputs[carried:], seen)

    carry, (stacked, seen) = jax.lax.scan(
        step,
        list(inputs[fixed : fixed + carried]),
        (list(inputs[fixed + carried :]), dict(probes)),
        length=eqn.params["length"],
        reverse=eqn.params["reverse"],
        unroll=eqn.params["unroll"],
    )
    return [*carry, *stacked], seen


def _cond(
    eqn: JaxprEqn, inputs: Sequence[Any], probes: Mapping[str, Array], place: str, sites: Mapping[str, Site]
) -> tuple[list[Any], Statistics]:
    def branch(number: int, closed: Any):
        def run(inputs: list[Any], probes: dict[str, Array]) -> tuple[list[Any], Statistics]:
            outputs, seen = _run(*opened(closed), inputs, probes, f"{place}/{number}/", sites)
            return outputs, {key: seen[key] if key in seen else missing[key] for key in missing}

        return run

    missing: Statistics = {}
    for number, closed in enumerate(eqn.params["branches"]):
        _, shapes = jax.eval_shape(
            lambda inputs, probes, number=number, closed=closed: _run(
                *opened(closed), inputs, probes, f"{place}/{number}/", sites
            ),
            list(inputs[1:]),
            dict(probes),
        )
        missing |= {key: jnp.full(shape.shape, NOT_EXECUTED, shape.dtype) for key, shape in shapes.items()}
    branches = [branch(number, closed) for number, closed in enumerate(eqn.params["branches"])]
    return jax.lax.switch(inputs[0], branches, list(inputs[1:]), dict(probes))
