import jax
import jax.numpy as jnp
import numpy as np
import optax
from worker import serve

from chainlab.transformer import Optimization, import_state_dict, language_model, next_token, optimizer


def prepare(case):
    """Training by nanoGPT's recipe, several steps to a dispatch; the batches are drawn on the device."""
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
        updates, inner = rule.update(gradient, inner, params)
        return (optax.apply_updates(params, updates), inner), loss

    def random_steps(state, key):
        shape = (case["dispatch"], case["batch"])
        starts = jax.random.randint(key, shape, 0, tokens.size - architecture.context)
        return jax.lax.scan(step, state, starts)

    state = (params, rule.init(params))
    state, losses = jax.jit(lambda state, starts: jax.lax.scan(step, state, starts))(state, jnp.asarray(case["starts"]))
    run = jax.jit(random_steps, donate_argnums=0)
    held = [run(state, jax.random.key(0))[0], jax.random.key(1)]

    def timed():
        held[1] = jax.random.fold_in(held[1], 0)
        held[0], losses = run(held[0], held[1])
        losses.block_until_ready()

    return timed, np.asarray(losses).tolist()


serve(prepare)
