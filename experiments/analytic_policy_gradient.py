"""Analytic policy gradient against the behaviour cloning that it starts from, at equal simulated steps."""

from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt

import chainlab
from chainlab.optim.config import OptimizerConfig


@chainlab.config
class AnalyticPolicyGradientConfig:
    """Two copies of a policy, one cloned from the expert, one improved through the world."""

    observes: Literal["state", "sensors"] = "state"
    """Privileged state through a perceptron, or camera and LiDAR through a fusing policy."""
    hidden: Annotated[int, Gt(0)] = 64
    """Features of the hidden layers."""
    worlds: Annotated[int, Gt(0)] = 32
    """Drives in progress; cloning sees `worlds` times `ticks` labelled states instead."""
    ticks: Annotated[int, Gt(0)] = 30
    """Length of the stretch that every drive goes on by in a step, in ticks of 0.2 s."""
    truncation: Annotated[int, Gt(0)] | None = None
    """Ticks after which the gradient through the state is cut; null never cuts."""
    imitation: Annotated[float, Ge(0)] = 0.0
    """Weight of cloning in the second policy's objective; 0 learns from the world alone."""
    closeness: Annotated[float, Ge(0)] = 0.3
    """Weight of being nearer to the car ahead than a late driver can stop behind."""
    conditions: tuple[str, ...] = ("clear",)
    """The conditions to judge in."""
    routes: Annotated[int, Gt(0)] = 512
    """Routes of each evaluation."""
    vehicle: Literal["kinematic", "dynamic"] = "kinematic"
    """Model of the vehicle."""
    optimizer: OptimizerConfig = OptimizerConfig(name="adam", learning_rate=3e-3, clip_norm=1.0)
    """Optimiser of either policy."""


@chainlab.experiment
def analytic_policy_gradient(config: AnalyticPolicyGradientConfig) -> "chainlab.Task":
    """Train both policies side by side and drive with either."""
    import jax
    import jax.numpy as jnp
    import optax

    from chainlab import data, driving, optim

    optimizer, states = optim.build(config.optimizer), config.worlds * config.ticks
    vehicle = driving.kinematic if config.vehicle == "kinematic" else driving.dynamic
    if config.observes == "state":
        net = driving.privileged_network(config.hidden)
        init_policy, driver, cloning = net.init, driving.privileged_driver(net), driving.privileged_cloning(net)
        draw = lambda key: driving.sample_scenes(key, states)  # noqa: E731
    else:
        policy = driving.policy("concatenation", hidden=config.hidden)
        init_policy, driver = policy.init, driving.network_driver(policy)
        cloning = driving.cloning(policy, subsets=False)
        draw = lambda key: driving.draw(key, states, "following")  # noqa: E731
    improve = driving.analytic_policy_gradient(
        driver, ticks=config.ticks, truncation=config.truncation, closeness=config.closeness, vehicle=vehicle
    )

    def sample(key: Any) -> dict[str, Any]:
        label_key, noise_key = jax.random.split(key)
        return {"labelled": draw(label_key), "noise": jax.random.split(noise_key, config.worlds)}

    def cloned(params: Any, batch: Any, key: Any) -> tuple[Any, dict[str, Any]]:
        loss, _ = cloning(params, batch["labelled"], key)
        return loss, {"cloning_loss": loss}

    def improved(params: Any, batch: Any, key: Any) -> tuple[Any, dict[str, Any]]:
        cost, (fleet, metrics) = improve(params, (batch["fleet"], batch["noise"]), key)
        loss = cost + (config.imitation * cloning(params, batch["labelled"], key)[0] if config.imitation else 0.0)
        return loss, {"cost": cost, "driven_lateral": metrics["lateral"], "fleet": fleet}

    objectives = {"cloning": cloned, "policy_gradient": improved}

    def init(key: Any) -> Any:
        params_key, fleet_key, clock_key = jax.random.split(key, 3)
        params = init_policy(params_key)
        copies = {name: jax.tree.map(jnp.copy, params) for name in objectives}
        fleet = driving.stagger(driving.fleet(fleet_key, config.worlds), clock_key)
        return {
            "params": copies,
            "optimizer": {name: optimizer.init(p) for name, p in copies.items()},
            "fleet": fleet,
        }

    def step(state: Any, batch: Any, key: Any) -> tuple[Any, dict[str, Any]]:
        after: dict[str, Any] = {"params": {}, "optimizer": {}}
        found: dict[str, Any] = {}
        batch, (key, renew_key) = {**batch, "fleet": state["fleet"]}, jax.random.split(key)
        for name, objective in objectives.items():
            params = state["params"][name]
            (_, metrics), gradients = jax.value_and_grad(objective, has_aux=True)(params, batch, key)
            updates, after["optimizer"][name] = optimizer.update(gradients, state["optimizer"][name], params)
            after["params"][name] = optax.apply_updates(params, updates)
            found |= {**metrics, f"{name}_gradient_norm": optax.tree.norm(gradients)}
        after["fleet"] = driving.renew(found.pop("fleet"), renew_key)
        return after, found

    figures = "lateral", "collision", "driving_score"

    def evaluate(state: Any, condition: Any) -> dict[str, Any]:
        drivers = {name: (driver, params) for name, params in state["params"].items()}
        found = driving.closed_loop(drivers, condition, jax.random.key(2), config.routes, 20.0)
        after, before = ({name: found[f"{who}_{name}"] for name in figures} for who in ("policy_gradient", "cloning"))
        found["lateral_ratio"] = after["lateral"] / before["lateral"]
        found["collision_rise"] = after["collision"] - before["collision"]
        found["score_rise"] = after["driving_score"] - before["driving_score"]
        return found

    def subject(state: Any, name: str) -> "chainlab.Subject":
        def objective(params: Any, batch: Any, key: Any) -> tuple[Any, dict[str, Any]]:
            precise = jax.tree.leaves(params)[0].dtype  # a check may ask in float64
            real = lambda leaf: jnp.issubdtype(leaf.dtype, jnp.floating)  # noqa: E731
            fleet = jax.tree.map(lambda leaf: leaf.astype(precise) if real(leaf) else leaf, state["fleet"])
            loss, metrics = objectives[name](params, {**batch, "fleet": fleet}, key)
            return loss, {name: value for name, value in metrics.items() if name != "fleet"}

        return chainlab.Subject(objective, state["params"][name])

    def subjects(state: Any) -> "dict[str, chainlab.Subject]":
        return {name: subject(state, name) for name in objectives}

    splits = {name: driving.condition(name) for name in config.conditions}
    batches = data.sampled(sample, splits=splits, origin=data.Origin("driving, following layout"))
    return chainlab.Task(init, step, evaluate, batches, subjects=subjects)
