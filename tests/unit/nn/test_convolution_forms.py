"""The product form of a convolution against lax's, with first and second derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab import nn
from chainlab.errors import UsageError
from chainlab.nn.convolution import convolution_form

# kernel, stride, padding, size, features: odd sizes, pixels left over, kernels below the stride, uneven padding
CASES = [
    ((3, 3), (1, 1), "SAME", (5, 4), 3),
    ((3, 3), (1, 1), "SAME", (5, 4), 32),
    ((4, 6), (2, 3), "SAME", (7, 9), 3),
    ((5, 2), (2, 3), "VALID", (8, 7), 3),
    ((3, 5), (2, 2), "SAME", (7, 6), 3),
    ((1, 2), (2, 2), [(1, 0), (0, 2)], (5, 5), 3),
]


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "size", "features"),
    [CASES[4], *(pytest.param(*case, marks=pytest.mark.slow) for case in (*CASES[:4], *CASES[5:]))],
)
def test_the_product_form_is_lax_with_first_and_second_derivatives(kernel, stride, padding, size, features, x64, rng):
    x, w = (jnp.asarray(rng.normal(size=shape)) for shape in ((2, *size, features), (*kernel, features, 2)))

    @jax.jit
    def everything(x, w):
        def of(form):
            y = lambda x, w: nn.convolve(x, w, stride, padding, form=form)  # noqa: E731
            loss = lambda x, w: jnp.sum(jnp.tanh(y(x, w)))  # noqa: E731
            slope = lambda x, w: jnp.sum(jnp.square(jax.grad(loss)(x, w)))  # noqa: E731
            return y(x, w), jax.grad(loss, (0, 1))(x, w), jax.grad(slope, (0, 1))(x, w)

        return of("product"), of("lax")

    product, lax = everything(x, w)
    for got, want in zip(jax.tree.leaves(product), jax.tree.leaves(lax), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12 * np.abs(want).max())


def test_the_form_follows_the_backend(monkeypatch):
    assert convolution_form("auto", "here") == "product"
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert convolution_form("auto", "here") == "lax"
    assert convolution_form("product", "here") == "product"


def test_what_does_not_fit_is_refused():
    x = jnp.ones((1, 4, 4, 3))
    with pytest.raises(UsageError, match="kernel of shape"):
        nn.convolve(x, jnp.ones((2, 2, 1, 1)))
    with pytest.raises(UsageError, match="form must be"):
        nn.convolve(x, jnp.ones((2, 2, 3, 1)), form="fast")


def test_an_image_smaller_than_the_kernel_has_no_output():
    x, w = jnp.ones((2, 1, 5, 1)), jnp.ones((2, 2, 1, 6))
    for form in ("product", "lax"):
        assert nn.convolve(x, w, (3, 1), "VALID", form=form).shape == (2, 0, 4, 6)
