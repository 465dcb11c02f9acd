r"""Field transforms: the direction in which a game is played, from its vector field.

A transform takes a vector field $v$ and gives another one; the optimisers descend along it. With plain gradient
descent of rate $\eta$ each is the algorithm that its reference names; with Adam it is that algorithm preconditioned.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from chainlab.errors import UsageError
from chainlab.gan.critic_game import Scale, value_at
from chainlab.gan.game import Game, Players, VectorField
from chainlab.typing import Batch, Metrics, Params, PRNGKey


class FieldTransform(NamedTuple):
    """A field transform with a memory.

    Attributes:
        init: `init(players) -> memory`.
        apply: `apply(field, players, memory, step) -> (direction, metrics, memory)`.
    """

    init: Callable[[Players], Any]
    apply: Callable[[VectorField, Players, Any, Int[Array, ""]], tuple[Players, Metrics, Any]]


def _stateless(
    direction: Callable[[VectorField, Players, Int[Array, ""]], tuple[Players, Metrics]],
) -> FieldTransform:
    return FieldTransform(
        lambda players: (), lambda field, players, memory, step: (*direction(field, players, step), ())
    )


def _plus(a: Players, scale: Any, b: Players) -> Players:
    return jax.tree.map(lambda a, b: a + jnp.asarray(scale, a.dtype) * b, a, b)


def _check(name: str, scale: Scale) -> None:
    if not callable(scale) and not scale > 0:
        raise UsageError(f"{name} needs a scale > 0, got {scale}")


def simultaneous() -> FieldTransform:
    r"""The field itself, $v$: both players move at once.

    Returns:
        The transform.

    References:
        Mescheder, Nowozin and Geiger, The Numerics of GANs, arXiv:1705.10461, algorithm 1.
    """
    return _stateless(lambda field, players, step: field(players))


def extragradient(rate: Scale) -> FieldTransform:
    r"""Look ahead, then move: $v(\theta - \eta v(\theta))$.

    Args:
        rate: Step $\eta$ of the look-ahead, a number or a schedule.

    Returns:
        The transform.

    References:
        Korpelevich, Matecon 12, 1976; Gidel et al., arXiv:1802.10551, equations 12 and 13.
    """
    _check("extragradient", rate)

    def direction(field: VectorField, players: Players, step: Int[Array, ""]) -> tuple[Players, Metrics]:
        ahead, _ = field(players)
        return field(_plus(players, -value_at(rate, step), ahead))

    return _stateless(direction)


def optimistic() -> FieldTransform:
    r"""Extrapolate from the past, $2 v_t - v_{t-1}$; one evaluation a step.

    Returns:
        The transform; its memory is the previous field, at first the present one.

    References:
        Daskalakis et al., Training GANs with Optimism, arXiv:1711.00141, equation 5.
    """

    def init(players: Players) -> Any:
        return jax.tree.map(jnp.zeros_like, players), jnp.zeros((), bool)

    def apply(field: VectorField, players: Players, memory: Any, step: Int[Array, ""]) -> tuple[Players, Metrics, Any]:
        del step
        previous, started = memory
        now, metrics = field(players)
        direction = jax.tree.map(lambda v, old: jnp.where(started, 2 * v - old, v), now, previous)
        return direction, metrics, (now, jnp.ones((), bool))

    return FieldTransform(init, apply)


def consensus(weight: Scale) -> FieldTransform:
    r"""Consensus optimisation, $v + c J^\top v$: also descend $\tfrac12 \lVert v \rVert^2$.

    Args:
        weight: $c$, a number or a schedule.

    Returns:
        The transform.

    References:
        Mescheder, Nowozin and Geiger, The Numerics of GANs, arXiv:1705.10461, equation 12.
    """
    _check("consensus", weight)

    def direction(field: VectorField, players: Players, step: Int[Array, ""]) -> tuple[Players, Metrics]:
        v, pullback, metrics = jax.vjp(field, players, has_aux=True)
        return _plus(v, value_at(weight, step), pullback(v)[0]), metrics

    return _stateless(direction)


def symplectic(weight: Scale, *, align: bool = True) -> FieldTransform:
    r"""Symplectic gradient adjustment, $v + \lambda A^\top v$ with $A = \tfrac12 (J - J^\top)$.

    Args:
        weight: $\lambda > 0$, a number or a schedule.
        align: Whether the sign of $\lambda$ is chosen so that the adjustment is attracted by stable fixed points
            and repelled by unstable ones: that of
            $\tfrac1n \langle v, h \rangle \langle A^\top v, h \rangle + 0.1$ with $h = J^\top v$ and $n$ parameters.

    Returns:
        The transform.

    References:
        Balduzzi et al., The Mechanics of n-Player Differentiable Games, arXiv:1802.05642, algorithm 1.
    """
    _check("symplectic", weight)

    def direction(field: VectorField, players: Players, step: Int[Array, ""]) -> tuple[Players, Metrics]:
        v, pullback, metrics = jax.vjp(field, players, has_aux=True)
        slope = pullback(v)[0]
        _, forward, _ = jax.jvp(field, (players,), (v,), has_aux=True)
        adjustment = jax.tree.map(lambda a, b: 0.5 * (a - b), slope, forward)
        sign: Any = 1.0
        if align:
            product: Any = optax.tree.vdot(v, slope) * optax.tree.vdot(adjustment, slope)
            sign = jnp.where(product / optax.tree.size(players) + 0.1 >= 0, 1.0, -1.0)
        return _plus(v, sign * value_at(weight, step), adjustment), metrics

    return _stateless(direction)


def _solved(name: str, rate: Scale, iterations: int, *, diagonal: bool) -> FieldTransform:
    r"""$(I + \eta J)^{-1} v$ by GMRES, with or without the blocks of $J$ on the diagonal."""
    _check(name, rate)
    if iterations < 1:
        raise UsageError(f"{name} needs iterations >= 1, got {iterations}")

    def direction(field: VectorField, players: Players, step: Int[Array, ""]) -> tuple[Players, Metrics]:
        v, metrics = field(players)
        eta = value_at(rate, step)
        zeros = jax.tree.map(jnp.zeros_like, players)

        def jacobian(u: Players) -> Players:
            along = lambda tangent: jax.jvp(field, (players,), (tangent,), has_aux=True)[1]  # noqa: E731
            if diagonal:
                return along(u)
            generator = along(Players(zeros.generator, u.discriminator)).generator
            return Players(generator, along(Players(u.generator, zeros.discriminator)).discriminator)

        def operator(u: Players) -> Players:
            return _plus(u, eta, jacobian(u))

        solution, _ = jax.scipy.sparse.linalg.gmres(
            operator, v, x0=v, restart=iterations, maxiter=1, tol=0.0, solve_method="incremental"
        )
        return solution, metrics

    return _stateless(direction)


def competitive(rate: Scale, iterations: int = 5) -> FieldTransform:
    r"""Competitive gradient descent: the Nash equilibrium of the bilinear local game, $(I + \eta J_{off})^{-1} v$.

    $J_{off}$ holds the mixed blocks $D^2_{gd} L_g$ and $D^2_{dg} L_d$ of the game's Jacobian.

    Args:
        rate: $\eta$, the learning rate; a number or a schedule.
        iterations: GMRES iterations.

    Returns:
        The transform.

    Raises:
        UsageError: The rate is not positive or there is no iteration.

    References:
        Schäfer and Anandkumar, Competitive Gradient Descent, arXiv:1905.12103, equation 3.
    """
    return _solved("competitive", rate, iterations, diagonal=False)


def implicit(rate: Scale, iterations: int = 5) -> FieldTransform:
    r"""Linearised implicit gradient descent, $(I + \eta J)^{-1} v$: one Newton step of $\theta' = \theta - \eta v(\theta')$.

    Args:
        rate: $\eta$, the learning rate; a number or a schedule.
        iterations: GMRES iterations.

    Returns:
        The transform.

    Raises:
        UsageError: The rate is not positive or there is no iteration.

    References:
        Schäfer, Zheng and Anandkumar, Implicit competitive regularization in GANs, arXiv:1910.05852, section 3.
    """  # noqa: E501
    return _solved("implicit", rate, iterations, diagonal=True)


def unrolled(game: Game, steps: int, rate: float) -> Game:
    r"""The generator sees the discriminator after $k$ steps: $L_g(g, d_k(g))$, $d_{i+1} = d_i - \eta \nabla_d L_d(d_i, g)$.

    The gradient flows through the steps; the discriminator's own objective is unchanged.

    Args:
        game: Two objectives.
        steps: $k$.
        rate: $\eta$.

    Returns:
        The game.

    Raises:
        UsageError: `steps` is less than 1 or the rate is not positive.

    References:
        Metz et al., Unrolled Generative Adversarial Networks, arXiv:1611.02163, equations 3 to 6.
    """  # noqa: E501
    _check("unrolled", rate)
    if steps < 1:
        raise UsageError(f"unrolled needs steps >= 1, got {steps}")

    def generator_loss(params_g: Params, params_d: Params, batch: Batch, key: PRNGKey) -> tuple[Array, Metrics]:
        def descend(d: Params, inner: PRNGKey) -> tuple[Params, None]:
            gradient = jax.grad(lambda d: game.discriminator_loss(d, params_g, batch, inner)[0])(d)
            return jax.tree.map(lambda d, slope: d - jnp.asarray(rate, d.dtype) * slope, d, gradient), None

        keys = jax.random.split(jax.random.fold_in(key, 1), steps)
        return game.generator_loss(params_g, jax.lax.scan(descend, params_d, keys)[0], batch, key)

    return Game(game.discriminator_loss, generator_loss)
