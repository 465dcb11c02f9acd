"""chainlab's driving world and policy under the clock: frame pairs, expert steps, and training steps."""

import jax
import jax.numpy as jnp
import optax
from driving_case import inputs, leaf
from worker import serve

from chainlab import driving


def frames(case):
    """Camera frames and LiDAR sweeps of two moments of each of a batch of fresh scenes, labels included."""
    clear = driving.condition("clear")
    draw = jax.jit(lambda keys: jax.vmap(lambda key: driving.sample(key, clear, "independent"))(keys))
    keys = jax.random.split(jax.random.key(0), case["batch"])
    jax.block_until_ready(draw(keys))
    return lambda: jax.block_until_ready(draw(keys))


def dynamics(case):
    """Expert, kinematic bicycle and traffic, step by step in one scan."""
    route, _ = driving.routes(jax.random.key(0), case["batch"])

    def one(route):
        def step(carry, _):
            ego, traffic, time = carry
            cars = driving.poses(traffic, route.road)
            ego = driving.kinematic(ego, driving.expert(ego, route.road, cars), 0.1)
            return (ego, driving.advance(traffic, route.road, time, 0.1), time + 0.1), None

        return jax.lax.scan(step, (route.ego, route.traffic, jnp.zeros(())), length=case["steps"])[0][0]

    go = jax.jit(jax.vmap(one))
    jax.block_until_ready(go(route))
    return lambda: jax.block_until_ready(go(route))


def training(case):
    """Adam steps of behaviour cloning, many to a dispatch, on one batch."""
    policy = driving.policy("concatenation", dim=case["dim"], hidden=case["hidden"])
    objective, optimizer = driving.cloning(policy, subsets=False), optax.adam(case["learning_rate"])
    camera, lidar, ego, command, health = (jnp.asarray(part) for part in inputs(case["batch"]))
    seen = driving.Observation(camera, lidar, ego, jnp.ones((case["batch"], 2)))
    batch = driving.Sample(seen, command, health, jnp.zeros((case["batch"], 4, 3)))
    shapes = jax.eval_shape(policy.init, jax.random.key(0))
    named = lambda path, shape: jnp.asarray(leaf("/".join(part.key for part in path), shape.shape))  # noqa: E731
    params = jax.tree_util.tree_map_with_path(named, shapes)

    def step(carry, _):
        params, inner = carry
        (loss, _), gradients = jax.value_and_grad(objective, has_aux=True)(params, batch, jax.random.key(0))
        updates, inner = optimizer.update(gradients, inner, params)
        return (optax.apply_updates(params, updates), inner), (loss, optax.tree.norm(gradients))

    block = jax.jit(lambda carry: jax.lax.scan(step, carry, length=case["steps"]), donate_argnums=0)
    held = {}
    held["carry"], (losses, norms) = block((params, optimizer.init(params)))

    def run():
        held["carry"], metrics = block(held["carry"])
        jax.block_until_ready(metrics)

    return run, [float(losses[0]), float(norms[0]), float(losses[-1])]


def prepare(case):
    if case["form"] == "training":
        return training(case)
    return (frames if case["form"] == "frames" else dynamics)(case), []


if __name__ == "__main__":
    serve(prepare)
