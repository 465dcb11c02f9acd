"""Spectra of the input-output Jacobian and of the Hessian, without forming either when they are large."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from chainlab.errors import UsageError
from chainlab.typing import PRNGKey


def jacobian_singular_values(
    f: Callable[[PyTree], PyTree],
    x: PyTree,
    *,
    number: int | None = None,
    exact_up_to: int = 1024,
    key: PRNGKey | None = None,
) -> Float[Array, " number"]:
    r"""Singular values of $J = \partial f / \partial x$, the largest first.

    All of them, from the Jacobian itself, when its smaller side is at most `exact_up_to`; else the `number`
    largest Ritz values of Golub-Kahan-Lanczos bidiagonalisation with full reorthogonalisation, from products with
    $J$ and $J^\top$ alone. A net keeps distances (dynamical isometry) when all are near 1.

    Args:
        f: A function of one argument.
        x: The point, real.
        number: How many; all in the exact case, 16 else. The extreme ones converge first, so Lanczos takes
            twice as many steps as values are asked for.
        exact_up_to: Largest smaller side at which the Jacobian is formed.
        key: Starts Lanczos; `jax.random.key(0)` by default.

    Returns:
        The singular values.

    Raises:
        UsageError: `number` is less than 1 or more than there are.

    Example:
        >>> import jax.numpy as jnp
        >>> jacobian_singular_values(lambda x: jnp.array([3.0, 2.0]) * x, jnp.ones(2)).tolist()
        [3.0, 2.0]

    References:
        Golub and Kahan, 1965; Pennington et al., arXiv:1711.04735, section 2 (isometry).
    """
    flat, unravel = ravel_pytree(x)

    def function(v: Array) -> Array:
        return ravel_pytree(f(unravel(v)))[0]

    outputs = jax.eval_shape(function, flat).shape[0]
    smaller = min(outputs, flat.size)
    wanted = number if number is not None else smaller if smaller <= exact_up_to else min(16, smaller)
    if not 1 <= wanted <= smaller:
        raise UsageError(f"number must be in 1..{smaller} (the smaller side of the Jacobian), got {wanted}")
    if smaller <= exact_up_to:
        jacobian = (jax.jacrev if outputs <= flat.size else jax.jacfwd)(function)(flat)
        return jnp.linalg.svd(jacobian, compute_uv=False)[:wanted]
    from matfree import decomp, eig

    _, product = jax.linearize(function, flat)
    steps = min(2 * wanted + 10, smaller)
    start = jax.random.normal(jax.random.key(0) if key is None else key, flat.shape, flat.dtype)
    _, values, _ = eig.svd_partial(decomp.bidiag(steps))(product, start / jnp.linalg.norm(start))
    return jnp.sort(values)[::-1][:wanted]


def hessian_vector_product(f: Callable[[PyTree], Array], x: PyTree, v: PyTree) -> PyTree:
    r"""$H v$ with $H = \nabla^2 f(x)$, forward over reverse: the cost of a few gradients, no matrix.

    Args:
        f: A scalar function of one argument.
        x: The point.
        v: The direction, a tree like `x`.

    Returns:
        The product, a tree like `x`.

    Example:
        >>> import jax.numpy as jnp
        >>> hessian_vector_product(lambda x: jnp.sum(x**3), jnp.array([1.0, 2.0]), jnp.ones(2)).tolist()
        [6.0, 12.0]

    References:
        Pearlmutter, Fast Exact Multiplication by the Hessian, Neural Computation 6, 1994.
    """
    return jax.jvp(jax.grad(f), (x,), (v,))[1]


def hessian_eigenvalues(
    f: Callable[[PyTree], Array], x: PyTree, *, number: int = 10, steps: int | None = None, key: PRNGKey | None = None
) -> Float[Array, " number"]:
    r"""The eigenvalues of the Hessian of largest magnitude, by Lanczos on Hessian-vector products.

    Args:
        f: A scalar function of one argument, the loss as a function of the parameters.
        x: The point.
        number: How many eigenvalues.
        steps: Lanczos steps, each one Hessian-vector product; by default 4 x `number` + 10.
        key: Starts Lanczos; `jax.random.key(0)` by default.

    Returns:
        The eigenvalues, by decreasing magnitude.

    Raises:
        UsageError: There are fewer than `number`, or `steps` is less than `number`.

    Example:
        >>> import jax.numpy as jnp
        >>> f = lambda x: jnp.sum(jnp.array([4.0, -2.0, 1.0]) * x**2) / 2
        >>> [round(float(value), 4) for value in hessian_eigenvalues(f, jnp.ones(3), number=2)]
        [4.0, -2.0]

    References:
        Ghorbani et al., An Investigation into Neural Net Optimization via Hessian Eigenvalue Density,
        arXiv:1901.10159; the Lanczos process is matfree's.
    """
    from matfree import decomp, eig

    flat, unravel = ravel_pytree(x)
    steps = min(4 * number + 10 if steps is None else steps, flat.size)
    if not 1 <= number <= steps:
        raise UsageError(f"number must be in 1..{steps} (Lanczos steps, at most the parameters), got {number}")

    def product(v: Array) -> Array:
        return jax.jvp(jax.grad(lambda u: f(unravel(u))), (flat,), (v,))[1]

    start = jax.random.normal(jax.random.key(0) if key is None else key, flat.shape, flat.dtype)
    values, _ = eig.eigh_partial(decomp.tridiag_sym(steps))(product, start / jnp.linalg.norm(start))
    return values[jnp.argsort(-jnp.abs(values))][:number]
