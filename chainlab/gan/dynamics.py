"""The game's Jacobian and its spectrum, and games whose spectrum is known."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Complex, Float

from chainlab.errors import UsageError
from chainlab.gan.game import Game, Players, vector_field
from chainlab.gan.loss import adversarial_loss
from chainlab.typing import Batch, PRNGKey


def game_jacobian(game: Game, players: Players, batch: Batch, key: PRNGKey) -> Float[Array, "params params"]:
    r"""The Jacobian $J = \partial v / \partial \theta$ of the game's vector field, generator first.

    Args:
        game: Two objectives.
        players: Where it is taken; a few thousand parameters at most.
        batch: What both see.
        key: Randomness of both.

    Returns:
        The matrix, not symmetric.
    """
    flat, restore = ravel_pytree(players)
    field = vector_field(game, batch, key)
    return jax.jacfwd(lambda theta: ravel_pytree(field(restore(theta))[0])[0])(flat)


def game_eigenvalues(
    game: Game, players: Players, batch: Batch = None, key: PRNGKey | None = None, *, largest: int | None = None
) -> Complex[np.ndarray, " eigenvalues"]:
    r"""Eigenvalues of the game's Jacobian, by falling modulus.

    A fixed point attracts gradient descent with a small enough step if every eigenvalue has a positive real part. With
    a step $\eta$ it must satisfy $\lvert 1 - \eta \lambda \rvert < 1$: the larger the imaginary part is beside the
    real one, the smaller the step must be.

    Args:
        game: Two objectives.
        players: Where it is taken.
        batch: What both see.
        key: Randomness of both.
        largest: How many of largest modulus, by Arnoldi iteration on Jacobian-vector products; None takes all of them,
            from the whole matrix.

    Returns:
        The eigenvalues.

    Raises:
        UsageError: `largest` is not in 1 .. parameters - 2.

    Example:
        >>> import jax.numpy as jnp
        >>> game_eigenvalues(dirac_gan(), Players(jnp.zeros(()), jnp.zeros(()))).imag.tolist()
        [0.5, -0.5]

    References:
        Mescheder, Nowozin and Geiger, The Numerics of GANs, arXiv:1705.10461, section 3.
    """
    key = jax.random.key(0) if key is None else key
    flat, restore = ravel_pytree(players)
    if largest is None:
        values = np.linalg.eigvals(np.asarray(jax.jit(game_jacobian, static_argnums=0)(game, players, batch, key)))
    else:
        import scipy.sparse.linalg

        if not 1 <= largest <= flat.size - 2:
            raise UsageError(f"largest must be in 1..{flat.size - 2} (parameters - 2), got {largest}")
        field = vector_field(game, batch, key)

        @jax.jit
        def product(u: Array) -> Array:
            along = jax.jvp(lambda p: field(p)[0], (restore(flat),), (restore(u),))[1]
            return ravel_pytree(along)[0]

        def matvec(u: np.ndarray) -> np.ndarray:
            return np.asarray(product(jnp.asarray(u.ravel(), flat.dtype)))

        linalg: Any = scipy.sparse.linalg
        operator = linalg.LinearOperator((flat.size, flat.size), matvec=matvec, dtype=np.dtype(flat.dtype))
        start = np.random.default_rng(0).normal(size=flat.size).astype(flat.dtype)  # ARPACK's own is not repeatable
        values = linalg.eigs(operator, k=largest, v0=start, return_eigenvectors=False)
    return _sorted(values)


def _sorted(values: np.ndarray) -> Complex[np.ndarray, " eigenvalues"]:
    return values[np.lexsort((-np.imag(values), -np.round(np.abs(values), 9)))].astype(complex)


def dirac_gan(loss: str = "non_saturating", r1: float = 0.0, r2: float = 0.0) -> Game:
    r"""The Dirac-GAN: data at 0, a generator at $\theta$, a linear critic $D(x) = \psi x$.

    Its equilibrium is $\theta = \psi = 0$. Without a penalty the eigenvalues of its Jacobian are imaginary there and
    gradient descent circles; R1 and R2 add $\gamma = \gamma_1 + \gamma_2$ to the critic's diagonal:
    $\lambda = \tfrac{\gamma}{2} \pm \sqrt{\tfrac{\gamma^2}{4} - a^2}$ with $a = \tfrac12$ for the cross-entropy and
    relativistic losses and $a = 1$ for the Wasserstein loss.

    Args:
        loss: A key of `chainlab.gan.losses`.
        r1: Weight of R1.
        r2: Weight of R2.

    Returns:
        A game over two scalars; its batch and key are not used.

    References:
        Mescheder, Geiger and Nowozin, arXiv:1801.04406, section 2 and appendix; their Jacobian is that of -v.
    """
    pair = adversarial_loss(loss)

    def scores(psi: Array, theta: Array) -> tuple[Array, Array]:
        return jnp.zeros_like(psi)[None], (psi * theta)[None]

    def discriminator_loss(psi: Array, theta: Array, batch: Any, key: Any) -> tuple[Array, dict[str, Array]]:
        del batch, key
        return pair.discriminator(*scores(psi, theta)) + 0.5 * (r1 + r2) * jnp.square(psi), {}

    def generator_loss(theta: Array, psi: Array, batch: Any, key: Any) -> tuple[Array, dict[str, Array]]:
        del batch, key
        return pair.generator(*scores(psi, theta)), {}

    return Game(discriminator_loss, generator_loss)


def bilinear_game(matrix: Float[np.ndarray | Array, "generator discriminator"]) -> Game:
    r"""The zero-sum game $L_g = g^\top A d = -L_d$; its eigenvalues are $\pm i$ times the singular values of $A$.

    Args:
        matrix: $A$.

    Returns:
        A game over two vectors; its batch and key are not used.
    """
    a = jnp.asarray(matrix)
    return Game(
        lambda d, g, batch, key: (-jnp.vdot(g, a @ d), {}),
        lambda g, d, batch, key: (jnp.vdot(g, a @ d), {}),
    )
