"""Policies: from an observation to a command, with any set of sensors and any fusion."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from chainlab import nn
from chainlab.driving.encoders import CameraEncoder, LidarEncoder, camera_encoder, ego_features, lidar_encoder
from chainlab.driving.fusion import fusion
from chainlab.driving.fusion_parts import EGO, TARGETS, Fused, Inputs, Sizes
from chainlab.driving.lidar import LIDAR, Lidar
from chainlab.driving.readers import DiagonalGaussian, head
from chainlab.driving.rig import RIG, Rig
from chainlab.driving.scene import Observation
from chainlab.driving.vehicle import Command
from chainlab.errors import UsageError
from chainlab.typing import Params, PRNGKey

Sensor = Literal["camera", "lidar"]
SENSORS: tuple[Sensor, ...] = ("camera", "lidar")
SCALE = (0.07, 2.0)  # rad and m/s^2: one unit of what networks answer
_DARKEST = 0.01  # brightest pixel of a frame that shows nothing


class Policy(NamedTuple):
    """A network that drives.

    Attributes:
        init: `init(key) -> params`.
        apply: `apply(params, observation) -> Fused`, in units of `SCALE`; any leading batch axes.
        sensors: The sensors that it looks at.
        parts: Which sensor each part and each health of `Fused` belongs to.
    """

    init: Callable[[PRNGKey], Params]
    apply: Callable[[Params, Observation], Fused]
    sensors: tuple[Sensor, ...]
    parts: Mapping[str, Sensor]

    def command(self, params: Params, observation: Observation) -> Command:
        """The command for an observation, in rad and m/s^2."""
        mean = self.apply(params, observation).command.mean
        return Command(SCALE[0] * mean[..., 0], SCALE[1] * mean[..., 1])


def ego_only(hidden: int) -> Policy:
    """A policy that sees its own motion and nothing else: the row that every table of results needs.

    Args:
        hidden: Features of its two hidden layers.

    Returns:
        The policy.
    """
    net, out = nn.mlp([EGO, hidden, hidden], activation="gelu"), head(hidden, TARGETS)

    def init(key: PRNGKey) -> Params:
        keys = jax.random.split(key)
        return {"net": net.init(keys[0]), "head": out.init(keys[1])}

    def apply(params: Params, observation: Observation) -> Fused:
        features = jax.nn.gelu(net.apply(params["net"], ego_features(observation.ego)))
        flat = features.reshape(-1, hidden)
        answer = out.apply(params["head"], flat)
        batch = features.shape[:-1]
        command = DiagonalGaussian(*(leaf.reshape(*batch, TARGETS) for leaf in answer))
        return Fused(command, jnp.zeros((*batch, 0), features.dtype), {})

    return Policy(init, apply, (), {})


def policy(
    kind: str = "concatenation",
    sensors: Sequence[Sensor] = SENSORS,
    *,
    camera: CameraEncoder = "patch",
    lidar: LidarEncoder = "range",
    dim: int = 16,
    hidden: int = 128,
    rig: Rig = RIG,
) -> Policy:
    """Encoders, a fusion and a head.

    Args:
        kind: How the sensors are fused.
        sensors: The sensors that it looks at; without one it is `ego_only`.
        camera: The camera's encoder.
        lidar: The LiDAR's encoder.
        dim: Features of a token.
        hidden: Features of a reader.
        rig: What its observations are measured with.

    Returns:
        The policy.

    Raises:
        UsageError: A sensor is unknown or named twice, the fusion needs others, or the rig's do not fit the encoders;
            on `apply`, the observation is of another rig.

    Example:
        >>> import jax
        >>> drive = policy("gated", dim=4, hidden=8)
        >>> sorted(jax.eval_shape(drive.init, jax.random.key(0))["encoders"])
        ['camera', 'lidar']
    """
    if len(set(sensors)) < len(sensors) or not set(sensors) <= set(SENSORS):
        raise UsageError(f"sensors must be different ones of {', '.join(SENSORS)}, got {', '.join(sensors)}")
    if dim % 4:
        raise UsageError(f"dim must be a multiple of 4 (attention heads), got {dim}")
    if not sensors:
        return ego_only(hidden)
    makers = {
        "camera": lambda: camera_encoder(camera, dim, rig.camera),
        "lidar": lambda: lidar_encoder(lidar, dim, rig.lidar),
    }
    tags = ("_dense", "_attention") if kind == "stacked" else ("",)
    owner: dict[str, Sensor] = {f"{sensor}{tag}": sensor for sensor in sensors for tag in tags}
    encoders = {name: makers[sensor]() for name, sensor in owner.items()}
    fuse = fusion(kind, Sizes({name: encoder.count for name, encoder in encoders.items()}, dim, hidden), rig)

    def init(key: PRNGKey) -> Params:
        keys = jax.random.split(key, len(encoders) + 1)
        encoded = {name: e.model.init(k) for (name, e), k in zip(encoders.items(), keys, strict=False)}
        return {"encoders": encoded, "fusion": fuse.init(keys[-1])}

    def apply(params: Params, observation: Observation) -> Fused:
        batch = observation.ego.shape[:-1]
        _check_shapes(observation, sensors, rig)
        flat: Observation = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[len(batch) :]), observation)
        measured = {"camera": flat.camera, "lidar": flat.lidar}
        tokens = {
            name: encoder.model.apply(params["encoders"][name], measured[owner[name]])
            for name, encoder in encoders.items()
        }
        there = flat.present * delivering(flat, rig.lidar)
        present = jnp.stack([there[:, SENSORS.index(sensor)] for sensor in owner.values()], axis=-1)
        fused = fuse.apply(params["fusion"], Inputs(tokens, ego_features(flat.ego), present, flat.lidar))
        return jax.tree.map(lambda leaf: leaf.reshape(*batch, *leaf.shape[1:]), fused)

    return Policy(init, apply, tuple(sensors), owner)


def _check_shapes(observation: Observation, sensors: Sequence[Sensor], rig: Rig) -> None:
    wanted = {
        "camera": (2, rig.camera.rows, rig.camera.columns),
        "lidar": (2, len(rig.lidar.elevation), rig.lidar.beams),
    }
    for sensor in sensors:
        got = getattr(observation, sensor).shape[-3:]
        if got != wanted[sensor]:
            raise UsageError(
                f"{sensor}: the policy is for measurements of shape {wanted[sensor]}, got {got}; "
                "build it for the sensors that measured: policy(..., rig=Rig(camera, lidar))"
            )


def delivering(observation: Observation, lidar: Lidar = LIDAR) -> Float[Array, "*batch 2"]:
    """Which sensors measured anything: frames without light and sweeps without a return are known to be missing.

    Args:
        observation: The observation.
        lidar: The LiDAR that measured; a beam without a return reads its reach.

    Returns:
        1 for a sensor that delivers, 0 for one that does not (camera, LiDAR).
    """
    light = jnp.max(observation.camera, axis=(-3, -2, -1)) > _DARKEST
    returns = jnp.min(observation.lidar, axis=(-3, -2, -1)) < lidar.reach
    return jnp.stack([light, returns], axis=-1).astype(observation.present.dtype)


def masked(observation: Observation, sensors: Sequence[Sensor]) -> Observation:
    """The observation with every other sensor known to be missing.

    Args:
        observation: The observation.
        sensors: The sensors that stay.

    Returns:
        The observation with `present` changed.
    """
    keep: Float[Array, "2"] = jnp.asarray([float(s in sensors) for s in SENSORS], observation.present.dtype)
    return observation._replace(present=observation.present * jnp.broadcast_to(keep, observation.present.shape))
