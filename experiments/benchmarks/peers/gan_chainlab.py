"""A discriminator and a generator step, or a transposed convolution and its derivatives, in chainlab."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from gan_case import draw
from worker import serve

from chainlab import gan


def named(shapes, arrays):
    """Weights put into the parameters of a model, in the order of its layers that have any."""
    params = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    weights = iter(arrays)
    for name in params:
        if params[name]:
            params[name]["weight"] = jnp.asarray(next(weights)).reshape(params[name]["weight"].shape)
    return params


def whole_step(case):
    """`case["steps"]` alternating steps a call, as one scan."""
    players, examples, z = draw(case)
    if case["network"] == "mlp":
        hidden = (case["width"],) * 3
        generator, critic = gan.mlp_generator(20, (2,), hidden=hidden), gan.mlp_critic((2,), hidden=hidden)
    else:
        generator = gan.dcgan_generator(64, (28, 28, 1), width=case["width"])
        critic = gan.dcgan_critic((28, 28, 1), width=case["width"])
    start = gan.Players(
        *(
            named(jax.eval_shape(model.init, jax.random.key(0)), arrays)
            for model, arrays in zip((generator, critic), players, strict=True)
        )
    )
    noise = jnp.asarray(z)
    game = gan.adversarial(
        generator,
        critic,
        lambda key, count: noise,
        loss=case["loss"],
        penalties=dict.fromkeys(case["penalties"], 0.1),
    )
    optimizers = (optax.adam(2e-4, b1=0.0, b2=0.99), optax.adam(2e-4, b1=0.0, b2=0.99))
    step = gan.make_step(game, optimizers)
    batch = {"x": jnp.asarray(examples)}

    def block(state):
        return jax.lax.scan(
            lambda s, k: (step(s, batch, k)[0], None), state, jax.random.split(jax.random.key(1), case["steps"])
        )[0]

    run = jax.jit(block, donate_argnums=0)
    held = {"state": gan.game_state(start, optimizers)}

    def call():
        held["state"] = jax.block_until_ready(run(held["state"]))

    call()
    return call, [
        float(jnp.sqrt(jnp.sum(jnp.square(leaf["weight"]))))
        for player in held["state"].players
        for leaf in player.values()
        if leaf
    ]


def transposed(case):
    """The gradient, or the gradient of the squared input gradient, of a transposed convolution 7x7 to 14x14."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(64, 7, 7, 128)), jnp.float32)
    w = jnp.asarray(rng.normal(size=(4, 4, 128, 64)) / 32, jnp.float32)
    loss = lambda x, w: jnp.sum(jnp.tanh(gan.transposed_convolution(x, w, form=case["form"])))  # noqa: E731
    penalty = lambda x, w: jnp.sum(jnp.square(jax.grad(loss)(x, w)))  # noqa: E731
    gradient = jax.jit(jax.grad(loss if case["order"] == 1 else penalty, (0, 1)))
    call = lambda: jax.block_until_ready(gradient(x, w))  # noqa: E731
    return call, [float(jnp.sqrt(jnp.sum(jnp.square(part)))) for part in call()]


def prepare(case):
    """Compile and warm up; report the norms of what came out."""
    return whole_step(case) if "network" in case else transposed(case)


serve(prepare)
