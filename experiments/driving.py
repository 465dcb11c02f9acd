"""Driving by camera and LiDAR: cloning an expert under sensor failures, open loop and closed loop."""

from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

import chainlab
from chainlab.optim.config import OptimizerConfig


@chainlab.config
class PolicyConfig:
    """The network that drives."""

    fusion: Literal["concatenation", "gated", "attention", "lift_splat", "experts", "late", "stacked"] = "stacked"
    """How the sensors are fused."""
    sensors: tuple[Literal["camera", "lidar"], ...] = ("camera", "lidar")
    """The sensors that it looks at; none leaves the ego's own motion."""
    camera: Literal["patch", "convolution"] = "patch"
    """Encoder of the camera."""
    lidar: Literal["range", "histogram", "pillars"] = "range"
    """Encoder of the LiDAR."""
    dim: Annotated[int, Gt(0)] = 16
    """Features of a token."""
    hidden: Annotated[int, Gt(0)] = 128
    """Features of a reader."""


@chainlab.config
class DrivingConfig:
    """A policy that clones the expert."""

    policy: PolicyConfig = PolicyConfig()
    """The network that drives."""
    layout: Literal["independent", "following"] = "independent"
    """Cars that tell nothing about the road (for tables of failures), or traffic that follows it."""
    learning: Literal["cloning", "dagger"] = "cloning"
    """Independent states alone, or half of every batch from drives of the policy itself, labelled by the expert."""
    expert_half_life: Annotated[float, Gt(0)] = 200.0
    """Steps in which the share of ticks that the expert drives in DAgger halves."""
    subsets: bool = True
    """Whether the policy must also answer from each sensor alone (stacked fusion always does)."""
    dropout: Annotated[float, Ge(0), Le(1)] = 0.0
    """Probability that a sensor is taken away from an example."""
    conditions: tuple[str, ...] | Literal["trained", "unseen", "all"] = "trained"
    """The conditions to judge in: those trained on, those never trained on, all, or a list of names."""
    states: Annotated[int, Gt(0)] = 1024
    """States of the open-loop evaluation of each condition."""
    routes: Annotated[int, Ge(0)] = 0
    """Routes of the closed-loop evaluation of each condition; 0 leaves it out."""
    seconds: Annotated[float, Gt(0)] = 20.0
    """Length of a route."""
    optimizer: OptimizerConfig = OptimizerConfig(name="adam", learning_rate=3e-3, clip_norm=1.0)
    """Any optimiser of optax, by its name and with its own arguments."""
    batch_size: Annotated[int, Gt(1)] = 64
    """States in a batch."""


@chainlab.experiment
def driving(config: DrivingConfig) -> "chainlab.Task":
    """Train a policy on labelled states and judge it under every condition."""
    import jax
    import jax.numpy as jnp
    import optax

    from chainlab import data, driving, optim

    options = dict(vars(config.policy))
    policy = driving.policy(options.pop("fusion"), options.pop("sensors"), **options)
    ego = driving.policy(sensors=(), hidden=32)
    cloning = driving.cloning(policy, subsets=config.subsets and not _stacked(config), dropout=config.dropout)
    ego_cloning, optimizer = driving.cloning(ego), optim.build(config.optimizer)
    on_policy = config.batch_size // 2 if config.learning == "dagger" else 0

    def init(key: Any) -> Any:
        keys = jax.random.split(key, 3)
        params = {"policy": policy.init(keys[0]), "ego": ego.init(keys[1])}
        drives = driving.fleet(keys[2], on_policy) if on_policy else None
        return {"params": params, "optimizer": optimizer.init(params), "fleet": drives, "step": jnp.zeros(())}

    def objective(params: Any, batch: Any, key: Any) -> tuple[Any, dict[str, Any]]:
        loss, metrics = cloning(params["policy"], batch, key)
        return loss + ego_cloning(params["ego"], batch, key)[0], dict(metrics)

    def step(state: Any, batch: Any, key: Any) -> tuple[Any, dict[str, Any]]:
        see, act, drop = jax.random.split(key, 3)
        params, drives = state["params"], state["fleet"]
        if on_policy:
            reached = driving.label_fleet(drives, see)
            answer = policy.apply(params["policy"], reached.observation).command.mean
            share = 0.5 ** (state["step"] / config.expert_half_life)
            drives = driving.advance_fleet(drives, answer, reached.command, share, act)
            batch = jax.tree.map(lambda own, other: jnp.concatenate([own[: -len(other)], other]), batch, reached)
        (loss, metrics), gradients = jax.value_and_grad(objective, has_aux=True)(params, batch, drop)
        updates, inner = optimizer.update(gradients, state["optimizer"], params)
        params = optax.apply_updates(params, updates)
        after = {"params": params, "optimizer": inner, "fleet": drives, "step": state["step"] + 1}
        return after, {"loss": loss, **metrics}

    def evaluate(state: Any, condition: Any) -> dict[str, Any]:
        params, key = state["params"], jax.random.key(2)
        found = driving.open_loop(policy, params["policy"], ego, params["ego"], condition, config.layout, config.states)
        if config.routes:
            drivers = {name: (part, params["policy"]) for name, part in driving.drivers(policy).items()}
            drivers["ego"] = driving.network_driver(ego), params["ego"]
            found |= driving.closed_loop(drivers, condition, key, config.routes, config.seconds)
        return found

    named = {"trained": driving.CONDITIONS, "unseen": driving.UNSEEN}
    named["all"] = {**driving.CONDITIONS, **driving.UNSEEN}
    names = named.get(config.conditions, config.conditions) if isinstance(config.conditions, str) else config.conditions
    batches = data.sampled(
        lambda key: driving.draw(key, config.batch_size, config.layout),
        splits={name: driving.condition(name) for name in names},
        origin=data.Origin(f"driving, {config.layout} layout"),
    )

    def panels(state: Any, folder: Any) -> "list[chainlab.Panel]":
        drawn = driving.report(policy, state["params"]["policy"], names, config.layout, folder)
        return [chainlab.Panel(title, figure, rows, note) for title, figure, rows, note in drawn]

    subjects = lambda state: {"objective": chainlab.Subject(objective, state["params"])}  # noqa: E731
    return chainlab.Task(init, step, evaluate, batches, subjects=subjects, panels=panels)


def _stacked(config: DrivingConfig) -> bool:
    return config.policy.fusion == "stacked"
