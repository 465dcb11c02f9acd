"""Transposed convolution against lax, and the networks' shapes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab import gan
from chainlab.errors import UsageError

KEY = jax.random.key(0)


@pytest.mark.parametrize("operation", [gan.transposed_convolution, gan.strided_convolution])
@pytest.mark.parametrize(
    ("kernel", "stride", "size"),
    [(4, 2, (6, 4)), *(pytest.param(*case, marks=pytest.mark.slow) for case in ((3, 2, (4, 6)), (5, 3, (6, 3))))],
)
def test_product_form_is_lax_with_first_and_second_derivatives(operation, kernel, stride, size, rng):
    x = jnp.asarray(rng.normal(size=(2, *size, 3)), jnp.float32)
    w = jnp.asarray(rng.normal(size=(kernel, kernel, 3, 2)) / kernel, jnp.float32)

    @jax.jit
    def everything(x, w):
        def of(form):
            y = lambda x, w: operation(x, w, stride, form=form)  # noqa: E731
            loss = lambda x, w: jnp.sum(jnp.tanh(y(x, w)))  # noqa: E731
            penalty = lambda x, w: jnp.sum(jnp.square(jax.grad(loss)(x, w)))  # noqa: E731
            return y(x, w), jax.grad(loss, (0, 1))(x, w), jax.grad(penalty, (0, 1))(x, w)

        return of("product"), of("lax")

    product, lax = everything(x, w)
    for got, want in zip(jax.tree.leaves(product), jax.tree.leaves(lax), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())


def test_transposed_convolution_is_the_transpose_of_the_strided_one(rng):
    w = jnp.asarray(rng.normal(size=(4, 4, 2, 3)), jnp.float32)
    x = jnp.asarray(rng.normal(size=(2, 8, 6, 2)), jnp.float32)
    y = jnp.asarray(rng.normal(size=(2, 4, 3, 3)), jnp.float32)
    forth = jnp.vdot(gan.strided_convolution(x, w, form="product"), y)
    back = jnp.vdot(x, gan.transposed_convolution(y, w.swapaxes(2, 3), form="product"))
    np.testing.assert_allclose(forth, back, rtol=1e-5)


def test_convolutions_refuse_what_does_not_fit():
    x = jnp.ones((1, 4, 4, 3))
    for call in (
        lambda: gan.transposed_convolution(x, jnp.ones((4, 4, 2, 1))),
        lambda: gan.transposed_convolution(x, jnp.ones((1, 1, 3, 1))),
        lambda: gan.strided_convolution(x[:, :3], jnp.ones((4, 4, 3, 1))),
        lambda: gan.strided_convolution(x, jnp.ones((4, 4, 3, 1)), form="fast"),
    ):
        with pytest.raises(UsageError):
            call()


NETWORKS = {
    "mlp": (gan.mlp_generator, gan.mlp_critic),
    "dcgan": (gan.dcgan_generator, gan.dcgan_critic),
    "residual": (gan.residual_generator, gan.residual_critic),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("shape", "classes"), [((8, 8, 1), 10), ((28, 28, 1), 0), ((32, 32, 3), 0)])
def test_shapes_of_any_batch(name, shape, classes):
    make_generator, make_critic = NETWORKS[name]
    generator, critic = make_generator(5, shape, classes=classes), make_critic(shape, classes=classes)
    params_g, params_d = jax.eval_shape(generator.init, KEY), jax.eval_shape(critic.init, KEY)
    for batch in ((3,), (2, 3)):
        labels = (jnp.zeros(batch, jnp.int32),) if classes else ()
        images = jax.eval_shape(generator.apply, params_g, jnp.zeros((*batch, 5)), *labels)
        assert images.shape == (*batch, *shape)
        assert jax.eval_shape(critic.apply, params_d, images, *labels).shape == batch


@pytest.mark.slow
def test_a_label_changes_what_is_made_and_how_it_is_scored():
    generator = gan.mlp_generator(3, (8, 8, 1), hidden=(8,), classes=4)
    critic = gan.mlp_critic((8, 8, 1), hidden=(8,), classes=4)
    params_g, params_d = generator.init(KEY), critic.init(KEY)
    x = generator.apply(params_g, jnp.ones((4, 3)), jnp.arange(4))
    assert np.ptp(np.asarray(x), axis=0).max() > 1e-3
    same = jnp.broadcast_to(x[:1], x.shape)
    assert len(set(np.asarray(critic.apply(params_d, same, jnp.arange(4))).tolist())) == 4


def test_a_skip_connection_adds_a_linear_map_of_the_latent_vector(rng):
    generator = gan.mlp_generator(3, (2,), hidden=(4,), classes=2, skip=True)
    params = jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape), s.dtype), jax.eval_shape(generator.init, KEY))
    z, y = jnp.asarray(rng.normal(size=(5, 3)), jnp.float32), jnp.asarray([0, 1, 1, 0, 1])
    seen = np.concatenate([np.asarray(z), np.eye(2, dtype=np.float32)[np.asarray(y)]], axis=1)
    first, head = (jax.tree.map(np.asarray, layer) for layer in (params["hidden"]["dense0"], params["head"]))
    features = seen @ first["weight"] + first["bias"]
    features = np.where(features > 0, features, 0.2 * features)
    wanted = np.concatenate([features, seen], axis=1) @ head["weight"] + head["bias"]
    np.testing.assert_allclose(generator.apply(params, z, y), wanted, rtol=1e-4, atol=1e-5)
    with pytest.raises(UsageError, match="hidden layers"):
        gan.mlp_generator(3, (2,), hidden=(), skip=True)


@pytest.mark.slow
def test_scores_do_not_mix_examples(rng):
    critic = gan.dcgan_critic((8, 8, 1), width=4)
    params, x = critic.init(KEY), jnp.asarray(rng.normal(size=(3, 8, 8, 1)), jnp.float32)
    together = critic.apply(params, x)
    alone = jnp.stack([critic.apply(params, x[i : i + 1])[0] for i in range(3)])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)


def test_frequencies_are_spaced_between_their_bounds():
    model = gan.frequencies(2, 8, 1.0, 64.0)
    y = model.apply({}, jnp.asarray([[1e-3, 0.0], [0.0, 1e-3]]))
    norms = np.linalg.norm(np.arcsin(np.asarray(y[:, 2:10])) / 1e-3, axis=0)
    np.testing.assert_allclose(norms[[0, -1]], [1, 64], rtol=1e-3)
    with pytest.raises(UsageError):
        gan.frequencies(2, 0, 1.0, 2.0)
