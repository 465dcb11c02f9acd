"""What the JAX peers and chainlab share: one layer's gradient, and an Adam step."""

import jax
import jax.numpy as jnp
import optax
import spiking_case


def layer(compiled, start, x, weight_gradient):
    """Runs `compiled(start, x) -> (spikes, gradient)`; `weight_gradient` makes of its gradient that of the weights."""
    run = lambda: jax.block_until_ready(compiled(start, x))  # noqa: E731
    total, gradient = run()
    return run, spiking_case.summary(total, weight_gradient(gradient))


def images(case):
    """Images, labels and the two layers' weights."""
    x, y, first, second = (jnp.asarray(a) for a in spiking_case.training(case))
    return x, y.astype(jnp.int32), first, second


def cross_entropy(counts, labels):
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(counts, labels))


def adam(value_and_grad, params, steps, unit=1.0):
    """Adam steps of `value_and_grad(params) -> (loss, gradients)`, `steps` of them to a dispatch, as a runner does it.

    `unit` is how many times larger than ours the parameters are: theirs must move by as much more.
    """
    optimizer = optax.adam(5e-4 * unit, eps=1e-8 / unit)

    def update(carry, _):
        params, inner = carry
        loss, gradients = value_and_grad(params)
        updates, inner = optimizer.update(gradients, inner, params)
        return (optax.apply_updates(params, updates), inner), loss

    compiled = jax.jit(lambda carry: jax.lax.scan(update, carry, length=steps), donate_argnums=0)
    state = [(params, optimizer.init(params))]

    def run():
        state[0], losses = compiled(state[0])
        return losses.tolist()

    return run, run()[:3]
