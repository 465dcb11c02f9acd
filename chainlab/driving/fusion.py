"""Fusion: several sensors' tokens, some missing and some poisoned, as one Gaussian over the command."""

from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp

from chainlab import nn
from chainlab.driving import grid
from chainlab.driving.encoders import lift, pillar_grid
from chainlab.driving.fusion_parts import (
    EGO,
    TARGETS,
    Fused,
    Inputs,
    Sizes,
    health_heads,
    init_each,
    log_odds,
    read_each,
    sensor_readers,
    sound,
    spread,
)
from chainlab.driving.readers import DiagonalGaussian, Reader, dense_reader, head, product, reader
from chainlab.driving.rig import RIG, Rig
from chainlab.driving.stacking import stacked
from chainlab.errors import UsageError
from chainlab.nn import Model
from chainlab.typing import Params, PRNGKey

Fusion = Literal["concatenation", "gated", "attention", "lift_splat", "experts", "late", "stacked"]


def joint(sizes: Sizes, kind: Reader) -> Model:
    """All tokens in one reader: concatenation where it is dense, masked cross-attention where it attends.

    A sensor that is missing contributes null vectors or masked tokens; the health estimate of each sensor (from its
    mean token) scales how much its tokens count.

    Args:
        sizes: Sizes.
        kind: The reader.

    Returns:
        A model from `Inputs` to `Fused`.
    """
    count, sensors = sum(sizes.counts.values()), list(sizes.counts)
    parts = {
        "read": reader(kind, count, sizes.dim, EGO, sizes.hidden),
        "head": head(sizes.hidden, TARGETS),
        **{f"summary_{name}": dense_reader(1, sizes.dim, 0, sizes.hidden // 4) for name in sensors},
        **health_heads(sensors, sizes.hidden // 4),
    }

    def apply(params: Params, inputs: Inputs, *, key: PRNGKey | None = None) -> Fused:
        del key
        tokens = jnp.concatenate(list(inputs.tokens.values()), axis=1)
        features = []
        for i, (name, own) in enumerate(inputs.tokens.items()):
            middle = jnp.mean(own, axis=1, keepdims=True)
            model, weights = parts[f"summary_{name}"], params[f"summary_{name}"]
            features.append(model.apply(weights, middle, spread(inputs.present, i, 1), inputs.ego[:, :0]))
        odds = log_odds(parts, params, sensors, features)
        trust = sound(inputs.present, odds)
        present = jnp.concatenate([spread(trust, i, n) for i, n in enumerate(sizes.counts.values())], axis=1)
        read = parts["read"].apply(params["read"], tokens, present, inputs.ego)
        return Fused(parts["head"].apply(params["head"], read), odds, {})

    return Model(init_each(parts), apply)


def gated(sizes: Sizes) -> Model:
    r"""A gate on every feature of every sensor, $h = \sum_k \sigma(g_k) \odot h_k$, from all features and healths.

    Args:
        sizes: Sizes.

    Returns:
        A model from `Inputs` to `Fused`.
    """
    sensors = list(sizes.counts)
    parts = {
        **sensor_readers(sizes, "dense"),
        "gate": nn.dense((sizes.hidden + 1) * len(sensors), sizes.hidden * len(sensors)),
        "head": head(sizes.hidden, TARGETS),
        **health_heads(sensors, sizes.hidden),
    }

    def apply(params: Params, inputs: Inputs, *, key: PRNGKey | None = None) -> Fused:
        del key
        features = read_each(parts, params, inputs)
        odds = log_odds(parts, params, sensors, features)
        known = jnp.concatenate([*features, jax.nn.sigmoid(odds)], axis=-1)
        gates = jax.nn.sigmoid(parts["gate"].apply(params["gate"], known))
        split = jnp.split(gates, len(sensors), axis=-1)
        total = sum((g * f for g, f in zip(split, features, strict=True)), jnp.zeros_like(features[0]))
        return Fused(parts["head"].apply(params["head"], total), odds, {})

    return Model(init_each(parts), apply)


def separate(sizes: Sizes, *, precise: bool) -> Model:
    """Every sensor answers alone: a product of experts by their learnt precision, or their plain mean (late fusion).

    Args:
        sizes: Sizes.
        precise: Whether the answers are weighted by precision and health.

    Returns:
        A model from `Inputs` to `Fused`.
    """
    sensors = list(sizes.counts)
    heads = {f"head_{name}": head(sizes.hidden, TARGETS) for name in sensors}
    parts = {**sensor_readers(sizes, "dense"), **heads, **health_heads(sensors, sizes.hidden)}

    def apply(params: Params, inputs: Inputs, *, key: PRNGKey | None = None) -> Fused:
        del key
        features = read_each(parts, params, inputs)
        odds = log_odds(parts, params, sensors, features)
        answers = {
            name: parts[f"head_{name}"].apply(params[f"head_{name}"], f)
            for name, f in zip(sensors, features, strict=True)
        }
        trust = sound(inputs.present, odds) if precise else inputs.present
        # with every sensor missing each null answer counts alike: the ego's motion speaks alone
        trust = jnp.where(jnp.sum(inputs.present, axis=-1, keepdims=True) > 0, trust, 1.0)
        equal = [DiagonalGaussian(a.mean, jnp.zeros_like(a.mean)) for a in answers.values()]
        command = product(list(answers.values()) if precise else equal, trust)
        if not precise:  # the mean's own spread: that of the answers
            logs = jnp.stack([a.log_variance for a in answers.values()])
            command = DiagonalGaussian(command.mean, jnp.mean(logs, axis=0))
        return Fused(command, odds, answers)

    return Model(init_each(parts), apply)


def lift_splat(sizes: Sizes, rig: Rig = RIG) -> Model:
    """Camera tokens lifted into a bird's-eye grid beside the LiDAR's pillars, read patch by patch.

    Args:
        sizes: Sizes; the sensors are `camera` and `lidar`.
        rig: The sensors, whose geometry places what they measured in the grid.

    Returns:
        A model from `Inputs` to `Fused`.

    References:
        Liu et al., BEVFusion, arXiv:2205.13542, section 3.
    """
    if list(sizes.counts) != ["camera", "lidar"]:
        raise UsageError(f"lift_splat fuses camera and lidar, got {', '.join(sizes.counts)}")
    dim, patch = sizes.dim, 4
    lifted, _ = lift(dim, camera=rig.camera)
    count = (grid.SIZE // patch) ** 2
    parts = {
        "lift": lifted,
        "pillars": pillar_grid(dim, rig.lidar),
        "embed": nn.dense(2 * dim * patch**2, dim),
        "read": dense_reader(count, dim, EGO, sizes.hidden),
        "head": head(sizes.hidden, TARGETS),
        **{f"summary_{name}": nn.dense(dim, sizes.hidden // 4) for name in sizes.counts},
        **health_heads(list(sizes.counts), sizes.hidden // 4),
    }

    def apply(params: Params, inputs: Inputs, *, key: PRNGKey | None = None) -> Fused:
        del key
        assert inputs.ranges is not None
        grids = {
            "camera": parts["lift"].apply(params["lift"], inputs.tokens["camera"]),
            "lidar": parts["pillars"].apply(params["pillars"], inputs.ranges),
        }
        middles = [
            jax.nn.gelu(parts[f"summary_{name}"].apply(params[f"summary_{name}"], jnp.mean(g, axis=(1, 2))))
            for name, g in grids.items()
        ]
        odds = log_odds(parts, params, list(grids), middles)
        trust = sound(inputs.present, odds)
        both = jnp.concatenate([trust[:, i, None, None, None] * g for i, g in enumerate(grids.values())], axis=-1)
        tokens = jax.nn.gelu(parts["embed"].apply(params["embed"], grid.patches(both, (patch, patch))))
        read = parts["read"].apply(params["read"], tokens, jnp.ones_like(tokens[..., 0]), inputs.ego)
        return Fused(parts["head"].apply(params["head"], read), odds, {})

    return Model(init_each(parts), apply)


def fusion(kind: str, sizes: Sizes, rig: Rig = RIG) -> Model:
    """A fusion by name.

    Args:
        kind: Its name.
        sizes: Sizes.
        rig: The sensors.

    Returns:
        A model from `Inputs` to `Fused`.

    Raises:
        UsageError: There is no such fusion.
    """
    makers: dict[str, Callable[[Sizes], Any]] = {
        "concatenation": lambda s: joint(s, "dense"),
        "attention": lambda s: joint(s, "attention"),
        "gated": gated,
        "lift_splat": lambda s: lift_splat(s, rig),
        "experts": lambda s: separate(s, precise=True),
        "late": lambda s: separate(s, precise=False),
        "stacked": stacked,
    }
    if kind not in makers:
        raise UsageError(f"no fusion {kind!r}: there are {', '.join(get_args(Fusion))}")
    return makers[kind](sizes)
