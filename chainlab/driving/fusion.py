"""Fusion: several sensors' tokens, some missing and some poisoned, as one Gaussian over the command."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chainlab import nn
from chainlab.driving import grid
from chainlab.driving.encoders import lift, pillar_grid
from chainlab.driving.readers import DiagonalGaussian, Reader, dense_reader, head, product, reader
from chainlab.driving.rig import RIG, Rig
from chainlab.errors import UsageError
from chainlab.nn import Model
from chainlab.typing import Params, PRNGKey

Fusion = Literal["concatenation", "gated", "attention", "lift_splat", "experts", "late", "stacked"]
TARGETS = 2  # steering and acceleration
EGO = 3


class Inputs(NamedTuple):
    """What fusion sees of a batch.

    Attributes:
        tokens: Tokens by sensor, (batch, count, dim).
        ego: Features of the ego's motion.
        present: 1 for a sensor that delivers (batch, sensors), in the order of `tokens`.
        ranges: LiDAR ranges, for the fusion that pools them in its own grid.
    """

    tokens: Mapping[str, Float[Array, "batch count dim"]]
    ego: Float[Array, "batch 3"]
    present: Float[Array, "batch sensors"]
    ranges: Float[Array, "batch 2 rings beams"] | None


class Fused(NamedTuple):
    """What fusion answers.

    Attributes:
        command: The command.
        health: Log odds that each sensor is sound.
        parts: What single sensors answer, by name, where the fusion asks them.
    """

    command: DiagonalGaussian
    health: Float[Array, "batch sensors"]
    parts: Mapping[str, DiagonalGaussian]


class Sizes(NamedTuple):
    """Sizes of a fusion: tokens by sensor, features of a token, features of a reader."""

    counts: Mapping[str, int]
    dim: int
    hidden: int


def _init(parts: Mapping[str, Model]) -> Callable[[PRNGKey], Params]:
    def init(key: PRNGKey) -> Params:
        keys = jax.random.split(key, len(parts))
        return {name: part.init(k) for (name, part), k in zip(parts.items(), keys, strict=True)}

    return init


def _spread(present: Array, index: int, count: int) -> Array:
    return jnp.broadcast_to(present[:, index, None], (len(present), count))


def _health(sensors: Sequence[str], hidden: int) -> dict[str, Model]:
    return {f"health_{name}": nn.dense(hidden, 1) for name in sensors}


def _sensor_readers(sizes: Sizes, kind: Reader) -> dict[str, Model]:
    return {f"read_{name}": reader(kind, n, sizes.dim, EGO, sizes.hidden) for name, n in sizes.counts.items()}


def _read_each(parts: Mapping[str, Model], params: Params, inputs: Inputs) -> list[Array]:
    """One feature vector a sensor; a missing sensor's tokens are null."""
    return [
        parts[f"read_{name}"].apply(
            params[f"read_{name}"], tokens, _spread(inputs.present, i, tokens.shape[1]), inputs.ego
        )
        for i, (name, tokens) in enumerate(inputs.tokens.items())
    ]


def _odds(parts: Mapping[str, Model], params: Params, sensors: Sequence[str], features: Sequence[Array]) -> Array:
    """Log odds that each sensor is sound."""
    each = [
        parts[f"health_{name}"].apply(params[f"health_{name}"], feature)
        for name, feature in zip(sensors, features, strict=True)
    ]
    return jnp.concatenate(each, axis=-1)


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
        **_health(sensors, sizes.hidden // 4),
    }

    def apply(params: Params, inputs: Inputs, *, key: PRNGKey | None = None) -> Fused:
        del key
        tokens = jnp.concatenate(list(inputs.tokens.values()), axis=1)
        features = []
        for i, (name, own) in enumerate(inputs.tokens.items()):
            middle = jnp.mean(own, axis=1, keepdims=True)
            model, weights = parts[f"summary_{name}"], params[f"summary_{name}"]
            features.append(model.apply(weights, middle, _spread(inputs.present, i, 1), inputs.ego[:, :0]))
        odds = jnp.concatenate(
            [parts[f"health_{n}"].apply(params[f"health_{n}"], f) for n, f in zip(sensors, features, strict=True)],
            axis=-1,
        )
        sound = inputs.present * jax.nn.sigmoid(odds + 2.0)  # what is not known to be broken counts
        present = jnp.concatenate([_spread(sound, i, n) for i, n in enumerate(sizes.counts.values())], axis=1)
        read = parts["read"].apply(params["read"], tokens, present, inputs.ego)
        return Fused(parts["head"].apply(params["head"], read), odds, {})

    return Model(_init(parts), apply)


def gated(sizes: Sizes) -> Model:
    r"""A gate on every feature of every sensor, $h = \sum_k \sigma(g_k) \odot h_k$, from all features and healths.

    Args:
        sizes: Sizes.

    Returns:
        A model from `Inputs` to `Fused`.
    """
    sensors = list(sizes.counts)
    parts = {
        **_sensor_readers(sizes, "dense"),
        "gate": nn.dense((sizes.hidden + 1) * len(sensors), sizes.hidden * len(sensors)),
        "head": head(sizes.hidden, TARGETS),
        **_health(sensors, sizes.hidden),
    }

    def apply(params: Params, inputs: Inputs, *, key: PRNGKey | None = None) -> Fused:
        del key
        features = _read_each(parts, params, inputs)
        odds = _odds(parts, params, sensors, features)
        known = jnp.concatenate([*features, jax.nn.sigmoid(odds)], axis=-1)
        gates = jax.nn.sigmoid(parts["gate"].apply(params["gate"], known))
        split = jnp.split(gates, len(sensors), axis=-1)
        total = sum((g * f for g, f in zip(split, features, strict=True)), jnp.zeros_like(features[0]))
        return Fused(parts["head"].apply(params["head"], total), odds, {})

    return Model(_init(parts), apply)


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
    parts = {**_sensor_readers(sizes, "dense"), **heads, **_health(sensors, sizes.hidden)}

    def apply(params: Params, inputs: Inputs, *, key: PRNGKey | None = None) -> Fused:
        del key
        features = _read_each(parts, params, inputs)
        odds = _odds(parts, params, sensors, features)
        answers = {
            name: parts[f"head_{name}"].apply(params[f"head_{name}"], f)
            for name, f in zip(sensors, features, strict=True)
        }
        trust = inputs.present * (jax.nn.sigmoid(odds + 2.0) if precise else jnp.ones_like(odds))
        # with every sensor missing each null answer counts alike: the ego's motion speaks alone
        trust = jnp.where(jnp.sum(inputs.present, axis=-1, keepdims=True) > 0, trust, 1.0)
        equal = [DiagonalGaussian(a.mean, jnp.zeros_like(a.mean)) for a in answers.values()]
        command = product(list(answers.values()) if precise else equal, trust)
        if not precise:  # the mean's own spread: that of the answers
            logs = jnp.stack([a.log_variance for a in answers.values()])
            command = DiagonalGaussian(command.mean, jnp.mean(logs, axis=0))
        return Fused(command, odds, answers)

    return Model(_init(parts), apply)


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
        **_health(list(sizes.counts), sizes.hidden // 4),
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
        odds = _odds(parts, params, list(grids), middles)
        sound = inputs.present * jax.nn.sigmoid(odds + 2.0)
        both = jnp.concatenate([sound[:, i, None, None, None] * g for i, g in enumerate(grids.values())], axis=-1)
        tokens = jax.nn.gelu(parts["embed"].apply(params["embed"], grid.patches(both, (patch, patch))))
        read = parts["read"].apply(params["read"], tokens, jnp.ones_like(tokens[..., 0]), inputs.ego)
        return Fused(parts["head"].apply(params["head"], read), odds, {})

    return Model(_init(parts), apply)


def stacked(sizes: Sizes) -> Model:
    r"""Stacked generalisation over every single-sensor network and a joint one.

    A dense and an attending reader of each sensor answer alone and learn alone: what the stack learns does not reach
    them, so that each is as good as a network that has nothing but that sensor. The stack sees their features, answers
    and certainties and the healths, gives an answer of its own, and weighs all answers target by target,
    $\mu = \sum_k \mathrm{softmax}(g - \log \sigma^2)_k \mu_k$: a product of experts, corrected by $g$ (within ±4, so
    that no answer is ever out of reach), that can always fall back on whichever single sensor is best.

    Args:
        sizes: Sizes; each reader has its own tokens under `<sensor>_dense` and `<sensor>_attention`.

    Returns:
        A model from `Inputs` to `Fused`, with one part a reader.

    References:
        Wolpert, Stacked Generalization, Neural Networks 5 (1992), 241-259.
    """
    names = list(sizes.counts)
    kinds: dict[str, Reader] = {name: "dense" if name.endswith("dense") else "attention" for name in names}
    seen = len(names) * (sizes.hidden + 2 * TARGETS + 1) + EGO
    parts = {
        **{f"read_{n}": reader(kinds[n], sizes.counts[n], sizes.dim, EGO, sizes.hidden) for n in names},
        **{f"head_{n}": head(sizes.hidden, TARGETS) for n in names},
        **_health(names, sizes.hidden),
        "stack": nn.mlp([seen, sizes.hidden, sizes.hidden, (len(names) + 3) * TARGETS], activation="gelu"),
    }

    def apply(params: Params, inputs: Inputs, *, key: PRNGKey | None = None) -> Fused:
        del key
        features = _read_each(parts, params, inputs)
        # neither the healths nor the stack change what the parts learn
        odds = _odds(parts, params, names, jax.lax.stop_gradient(features))
        answers = {n: parts[f"head_{n}"].apply(params[f"head_{n}"], f) for n, f in zip(names, features, strict=True)}
        fixed = jax.lax.stop_gradient((features, list(answers.values()), odds))
        evidence = [*fixed[0], *(leaf for answer in fixed[1] for leaf in answer), jnp.tanh(fixed[2]), inputs.ego]
        out = parts["stack"].apply(params["stack"], jnp.concatenate(evidence, axis=-1))
        out = out.reshape(len(out), len(names) + 3, TARGETS)
        scores, own, log_variance = 4 * jnp.tanh(out[:, :-2] / 4), out[:, -2], 6 * jnp.tanh(out[:, -1] / 6)
        sure = [-answer.log_variance for answer in fixed[1]]  # each answer's own claim, corrected by the stack
        scores = scores + jnp.stack([*sure, jnp.zeros_like(own)], axis=1)
        absent = jnp.concatenate([1 - inputs.present, jnp.zeros_like(inputs.present[:, :1])], axis=-1)
        weight = jax.nn.softmax(scores - 1e9 * absent[..., None], axis=1)
        candidates = jnp.stack([*(answer.mean for answer in fixed[1]), own], axis=1)
        return Fused(DiagonalGaussian(jnp.sum(weight * candidates, axis=1), log_variance), odds, answers)

    return Model(_init(parts), apply)


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
