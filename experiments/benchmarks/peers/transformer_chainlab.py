import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec
from worker import serve

from chainlab.transformer import Optimization, import_state_dict, language_model, next_token, optimizer


def prepare(case):
    """Training by nanoGPT's recipe, several steps to a dispatch; the batches are drawn on the device.

    With `$CHAINLAB_DEVICES` CPU devices the batch is divided between them and the gradients are averaged.
    """
    devices = int(os.environ.get("CHAINLAB_DEVICES", "1"))
    jax.config.update("jax_num_cpu_devices", devices)
    mesh = jax.sharding.Mesh(jax.devices(), ("data",))
    architecture, params = import_state_dict(dict(np.load(case["weights"])), heads=case["heads"])
    objective = next_token(language_model(architecture, params["tokens"]["table"].shape[0]))
    rule = optimizer(Optimization(), architecture)
    tokens = jnp.asarray(np.load(case["tokens"]), jnp.int32)
    offsets = jnp.arange(architecture.context + 1)

    def step(state, start):
        params, inner = state
        window = tokens[start[:, None] + offsets]
        batch = {"x": window[:, :-1], "y": window[:, 1:]}
        (loss, _), gradient = jax.value_and_grad(objective, has_aux=True)(params, batch, None)
        if devices > 1:
            loss, gradient = jax.lax.pmean((loss, gradient), "data")
        updates, inner = rule.update(gradient, inner, params)
        return (optax.apply_updates(params, updates), inner), loss

    def steps(state, starts):
        return jax.lax.scan(step, state, starts)

    if devices > 1:
        whole, divided = PartitionSpec(), PartitionSpec(None, "data")
        steps = jax.shard_map(steps, mesh=mesh, in_specs=(whole, divided), out_specs=whole, check_vma=False)

    def random_steps(state, key):
        shape = (case["dispatch"], case["batch"])
        return steps(state, jax.random.randint(key, shape, 0, tokens.size - architecture.context))

    state = (params, rule.init(params))
    state, losses = jax.jit(steps)(state, jnp.asarray(case["starts"]))
    run = jax.jit(random_steps, donate_argnums=0)
    held = [run(state, jax.random.key(0))[0], jax.random.key(1)]

    def timed():
        held[1] = jax.random.fold_in(held[1], 0)
        held[0], losses = run(held[0], held[1])
        losses.block_until_ready()

    return timed, np.asarray(losses).tolist()


serve(prepare)
