"""The gradient audit: how far each learning rule and surrogate is from the gradients it stands for."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from chainlab.errors import UsageError
from chainlab.spiking.eligibility import eprop
from chainlab.spiking.exact import eventprop
from chainlab.spiking.objective import Objective
from chainlab.spiking.through_time import bptt, truncated
from chainlab.spiking.traces import online_trace, ottt
from chainlab.typing import Batch, Params, PRNGKey, Rule


def audit(
    objective: Objective,
    params: Params,
    batch: Batch,
    key: PRNGKey,
    *,
    rules: Mapping[str, Rule] | None = None,
    variants: Mapping[str, Objective] | None = None,
    exact: Rule | None = None,
) -> Sequence[Mapping[str, Any]]:
    """Cosine and relative norm of gradients, layer by layer, against BPTT and against the exact gradient.

    Args:
        objective: The objective; BPTT of it is the reference.
        params: Where the gradients are taken.
        batch: The batch.
        key: Randomness of the objective.
        rules: Learning rules by name; by default every one that this network allows.
        variants: The same network with other surrogates, by name; their BPTT is audited too.
        exact: The rule that gives the exact gradient; by default `eventprop`, where this network allows it.

    Returns:
        One row for each rule or variant and layer with parameters: `gradient`, `layer`, `cosine to bptt`, `norm to
        bptt`, and `cosine to exact`, which is None where there is no exact gradient.
    """
    if rules is None:
        rules = {
            "truncated(10)": truncated(10),
            "online_trace": online_trace,
            "ottt": ottt,
            "eprop": eprop,
        }
    reference = jax.jit(bptt(objective))(params, batch, key)[1]
    found = {"bptt": reference}
    for name, rule in rules.items():
        result = _gradient(rule, objective, params, batch, key)
        if result is not None:
            found[name] = result
    for name, variant in (variants or {}).items():
        found[name] = jax.jit(bptt(variant))(params, batch, key)[1]
    true = _gradient(exact or eventprop(), objective, params, batch, key)
    if true is not None:
        found["exact"] = true
    rows: list[dict[str, Any]] = []
    for name, gradient in found.items():
        for layer in gradient:
            if not jax.tree.leaves(gradient[layer]):
                continue
            got, want = _flat(gradient[layer]), _flat(reference[layer])
            rows.append(
                {
                    "gradient": name,
                    "layer": layer,
                    "cosine to bptt": _cosine(got, want),
                    "norm to bptt": round(float(jnp.linalg.norm(got) / jnp.maximum(jnp.linalg.norm(want), 1e-30)), 4),
                    "cosine to exact": None if true is None else _cosine(got, _flat(true[layer])),
                }
            )
    return rows


def _gradient(rule: Rule, objective: Objective, params: Params, batch: Batch, key: PRNGKey) -> Params | None:
    """The rule's gradient, or None where the rule is not for this network."""
    try:
        return jax.jit(rule(objective))(params, batch, key)[1]
    except UsageError:
        return None


def _flat(tree: Params) -> jax.Array:
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)])


def _cosine(a: jax.Array, b: jax.Array) -> float:
    return round(float(a @ b / jnp.maximum(jnp.linalg.norm(a) * jnp.linalg.norm(b), 1e-30)), 4)
