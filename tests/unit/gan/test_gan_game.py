"""Games, losses, penalties and steps against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from chainlab import gan, nn
from chainlab.errors import UsageError

pytestmark = pytest.mark.usefixtures("standard_promotion")
KEY = jax.random.key(0)


def test_r1_of_a_quadratic_critic_is_the_closed_form(x64, rng):
    a, b = rng.normal(size=(3, 3)), rng.normal(size=3)
    x = rng.normal(size=(7, 3))
    r1 = lambda p: gan.zero_centered(lambda x: jnp.einsum("ni,ij,nj->n", x, p[0], x) + x @ p[1], jnp.asarray(x))  # noqa: E731
    value, (da, db) = jax.value_and_grad(r1)((jnp.asarray(a), jnp.asarray(b)))
    slope = x @ (a + a.T) + b[None, :]
    outer = np.einsum("ni,nj->ij", slope, x) / 7
    np.testing.assert_allclose(value, 0.5 * np.mean(np.sum(slope**2, axis=1)), rtol=1e-12)
    np.testing.assert_allclose(da, outer + outer.T, atol=1e-12)
    np.testing.assert_allclose(db, slope.mean(axis=0), atol=1e-12)


def test_norm_at_zero_has_a_finite_derivative():
    x = jnp.zeros((2, 3))
    assert np.all(np.isfinite(jax.grad(lambda x: gan.safe_norm(x).sum())(x)))
    assert np.all(np.isfinite(jax.jit(jax.hessian(lambda x: gan.safe_norm(x).sum()))(x)))


@pytest.mark.parametrize("name", ["gradient_penalty", "dragan", "max_gradient"])
def test_penalties_on_norms_are_their_value_for_a_linear_critic(name, rng):
    w = jnp.asarray(rng.normal(size=3), jnp.float32)
    real, fake = (jnp.asarray(rng.normal(size=(5, 3)), jnp.float32) for _ in range(2))
    got = gan.penalties[name](lambda x: x @ w, real, fake, KEY)
    norm = np.linalg.norm(w)
    np.testing.assert_allclose(got, norm**2 if name == "max_gradient" else (norm - 1) ** 2, rtol=1e-5)


def test_path_length_of_a_linear_generator_is_the_closed_form(x64, rng):
    a = jnp.asarray(rng.normal(size=(4, 6)))
    z = jnp.asarray(rng.normal(size=(3, 4)))
    penalty, mean = gan.path_length(lambda z: z @ a, z, KEY, jnp.asarray(0.5))
    y = jax.random.normal(KEY, (3, 6), jnp.float64) / np.sqrt(6)
    lengths = np.linalg.norm(y @ a.T, axis=1)
    np.testing.assert_allclose(penalty, np.mean((lengths - 0.5) ** 2), rtol=1e-12)
    np.testing.assert_allclose(mean, lengths.mean(), rtol=1e-12)
    np.testing.assert_allclose(gan.path_length(lambda z: z @ a, z, KEY)[0], lengths.var(), rtol=1e-12)


@pytest.mark.parametrize(
    ("loss", "slope"), [("non_saturating", 0.5), ("minimax", 0.5), ("relativistic", 0.5), ("wasserstein", 1)]
)
@pytest.mark.parametrize("gammas", [(0.0, 0.0), (0.3, 0.0), (0.5, 0.9), (1.5, 2.0)])
def test_dirac_gan_eigenvalues(x64, loss, slope, gammas):
    g = sum(gammas)
    root = np.sqrt(complex(g**2 / 4 - slope**2))
    wanted = np.array([g / 2 + root, g / 2 - root])
    got = gan.game_eigenvalues(gan.dirac_gan(loss, *gammas), gan.Players(jnp.zeros(()), jnp.zeros(())))
    assert max(np.abs(got - w).min() for w in wanted) <= 1e-12
    assert len(got) == 2


def test_bilinear_game_eigenvalues_exact_and_krylov(x64, rng):
    a = rng.normal(size=(5, 4))
    players = gan.Players(jnp.ones(5), jnp.ones(4))
    singular = np.linalg.svd(a, compute_uv=False)
    got = gan.game_eigenvalues(gan.bilinear_game(a), players)
    np.testing.assert_allclose(np.sort(got.imag), np.sort([*singular, *-singular, 0]), atol=1e-12)
    np.testing.assert_allclose(got.real, 0, atol=1e-12)
    krylov = gan.game_eigenvalues(gan.bilinear_game(a), players, largest=4)
    np.testing.assert_allclose(krylov, got[:4], atol=1e-9)
    with pytest.raises(UsageError, match="largest"):
        gan.game_eigenvalues(gan.bilinear_game(a), players, largest=8)


def small_game(loss="relativistic", penalties=None, **options):
    rng = np.random.default_rng(1)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    generator = nn.Model(lambda key: {}, lambda p, z: jnp.tanh(z @ p["w"]))
    critic = nn.Model(lambda key: {}, lambda p, x: jnp.tanh(x @ p["w"]) @ p["v"])
    penalties = {"r1": 0.1, "r2": 0.1} if penalties is None else penalties
    game = gan.adversarial(generator, critic, gan.latent(2, 1), loss=loss, penalties=penalties, **options)
    return game, gan.Players({"w": draw(3, 2)}, {"w": draw(2, 4), "v": draw(4)}), {"x": draw(6, 2)}


@pytest.mark.slow
def test_path_length_is_weighed_in_the_generators_loss_alone():
    (plain, players, batch), (regular, _, _) = small_game(), small_game(path_length=lambda step: 0.1 * step)
    g, d = players
    one, other = plain(jnp.int32(5)), regular(jnp.int32(5))
    assert one.discriminator_loss(d, g, batch, KEY)[0] == other.discriminator_loss(d, g, batch, KEY)[0]
    (without, nothing), (loss, metrics) = (rules.generator_loss(g, d, batch, KEY) for rules in (one, other))
    assert nothing == {}
    assert metrics["path_length"] > 1e-3
    np.testing.assert_allclose(loss - without, 0.5 * metrics["path_length"], rtol=1e-5)


@pytest.mark.slow
def test_snapshots_are_the_averages_of_their_steps():
    game, players, batch = small_game()
    optimizers = (optax.sgd(0.1), optax.sgd(0.1))
    step = gan.make_step(game, optimizers, average_half_life=2.0)
    start = gan.game_state(players, optimizers, snapshots=3)

    @jax.jit
    def run(state):
        def body(state, key):
            state, _ = step(state, batch, key)
            return state, state.average["w"]

        return jax.lax.scan(body, state, jax.random.split(KEY, 20))

    state, averages = run(start)
    steps = gan.snapshot_steps(3, 20)
    assert steps == [3, 15, 20]
    np.testing.assert_array_equal(state.snapshots["w"], averages[np.array(steps) - 1])
    assert gan.snapshot_steps(2, 20) == [3, 20]  # the last slot holds the latest
    assert gan.snapshot_steps(0, 20) == gan.snapshot_steps(4, 0) == []


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("update", [gan.Alternating(), pytest.param(gan.simultaneous(), marks=pytest.mark.slow)])
def test_no_player_moves_the_other(update):
    game, players, batch = small_game()

    @jax.jit
    def after(*rates):
        optimizers = tuple(optax.sgd(rate) for rate in rates)
        return gan.make_step(game, optimizers, update=update)(gan.game_state(players, optimizers, update), batch, KEY)[
            0
        ]

    for still, rates in enumerate([(0.0, 0.1), (0.1, 0.0)]):
        moved = after(*rates).players
        assert bits(moved[still]) == bits(players[still])
        assert bits(moved[1 - still]) != bits(players[1 - still])


def test_mixed_derivatives_are_not_detached():
    game, players, batch = small_game()
    jacobian = jax.jit(gan.game_jacobian, static_argnums=0)(game(jnp.asarray(0)), players, batch, KEY)
    size = sum(leaf.size for leaf in jax.tree.leaves(players.generator))
    assert np.abs(jacobian[:size, size:]).max() > 1e-3
    assert np.abs(jacobian[size:, :size]).max() > 1e-3


def test_step_is_the_gradient_step_by_hand():
    game, players, batch = small_game("hinge", {})
    rules = game(jnp.asarray(0))
    sgd = optax.sgd(0.1)
    state, _ = jax.jit(gan.make_step(game, (sgd, sgd)))(gan.game_state(players, (sgd, sgd)), batch, KEY)
    key_d, key_g = jax.random.split(KEY)
    descend = lambda p, g: jax.tree.map(lambda p, g: p - 0.1 * g, p, g)  # noqa: E731

    @jax.jit
    def by_hand(g, d):
        d = descend(d, jax.grad(lambda d: rules.discriminator_loss(d, g, batch, key_d)[0])(d))
        return gan.Players(descend(g, jax.grad(lambda g: rules.generator_loss(g, d, batch, key_g)[0])(g)), d)

    wanted = by_hand(*players)
    for got, want in zip(jax.tree.leaves(state.players), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)


def test_critic_steps_cut_the_batch_and_are_counted():
    game, players, batch = small_game("hinge", {})
    optimizers = (optax.sgd(0.0), optax.chain(optax.scale_by_schedule(lambda count: 1.0), optax.sgd(0.1)))
    update = gan.Alternating(critic_steps=3)
    step = jax.jit(gan.make_step(game, optimizers, update=update))
    state, _ = step(gan.game_state(players, optimizers, update), batch, KEY)
    assert int(state.optimizers.discriminator[0].count) == 3
    with pytest.raises(UsageError, match="divide"):
        gan.make_step(game, optimizers, update=gan.Alternating(4))(state, batch, KEY)


def test_average_halves_its_distance_in_a_half_life():
    saddle = gan.Game(lambda d, g, batch, key: (0.0 * d, {}), lambda g, d, batch, key: (0.0 * g, {}))
    state = gan.game_state(gan.Players(jnp.zeros(()), jnp.zeros(())), (optax.sgd(0.1),) * 2)
    state = state.replace(players=gan.Players(jnp.ones(()), jnp.zeros(())))
    step = jax.jit(gan.make_step(saddle, (optax.sgd(0.1),) * 2, average_half_life=5.0))
    for _ in range(5):
        state, _ = step(state, None, KEY)
    np.testing.assert_allclose(state.average, 0.5, rtol=1e-6)


A = np.array([[1.0, 0.4], [-0.3, 0.8]])
S = np.diag([0.2, 0.1])


def quadratic():
    """L_g = g'Ad + g'Sg/2, L_d = -g'Ad: every transform has a closed form."""
    a, s = jnp.asarray(A), jnp.asarray(S)
    return gan.Game(
        lambda d, g, batch, key: (-g @ a @ d, {}), lambda g, d, batch, key: (g @ a @ d + 0.5 * g @ s @ g, {})
    )


@pytest.mark.parametrize(
    "name", ["simultaneous", "extragradient", "consensus", "symplectic", "competitive", "implicit", "optimistic"]
)
def test_field_transforms_are_their_closed_forms(x64, name):
    zero = np.zeros((2, 2))
    J, off = np.block([[S, A], [-A.T, zero]]), np.block([[zero, A], [-A.T, zero]])
    theta = np.array([0.3, -0.7, 0.5, 1.1])
    v, eye, c = J @ theta, np.eye(4), 0.3
    wanted = {
        "simultaneous": v,
        "extragradient": J @ (theta - c * v),
        "consensus": v + c * J.T @ v,
        "symplectic": v + c * 0.5 * (J.T - J) @ v,
        "competitive": np.linalg.solve(eye + c * off, v),
        "implicit": np.linalg.solve(eye + c * J, v),
        "optimistic": 2 * v - J @ (theta + 1),
    }[name]
    make = getattr(gan, name)
    transform = make() if name in ("simultaneous", "optimistic") else make(c)
    players = gan.Players(jnp.asarray(theta[:2]), jnp.asarray(theta[2:]))
    field = gan.vector_field(quadratic(), None, KEY)
    memory = transform.init(players)
    if name == "optimistic":
        _, _, memory = transform.apply(field, jax.tree.map(lambda p: p + 1, players), memory, jnp.asarray(0))
    got = jax.jit(lambda players, memory: transform.apply(field, players, memory, jnp.asarray(0))[0])(players, memory)
    np.testing.assert_allclose(np.concatenate(got), wanted, atol=1e-10)


def test_symplectic_sign_turns_where_the_field_is_repelled(x64):
    # v = -theta + rotation: unstable; alignment must flip the adjustment
    game = gan.Game(
        lambda d, g, b, k: (-0.5 * d @ d - 0.5 * g @ d, {}), lambda g, d, b, k: (-0.5 * g @ g + 0.5 * g @ d, {})
    )
    players = gan.Players(jnp.array([3.0]), jnp.array([4.0]))
    field = gan.vector_field(game, None, KEY)
    J = np.array([[-1.0, 0.5], [-0.5, -1.0]])
    v = J @ np.array([3.0, 4.0])
    got, _, _ = gan.symplectic(0.3).apply(field, players, (), jnp.asarray(0))
    np.testing.assert_allclose(np.concatenate(got), v - 0.3 * 0.5 * (J.T - J) @ v, atol=1e-12)
    # near a fixed point the bias of 0.1 decides: the products' mean over the two parameters is -0.075
    near = 0.1574
    players = jax.tree.map(lambda p: near * p, players)
    got, _, _ = gan.symplectic(0.3).apply(field, players, (), jnp.asarray(0))
    np.testing.assert_allclose(np.concatenate(got), near * (v + 0.3 * 0.5 * (J.T - J) @ v), atol=1e-12)


def test_unrolled_gradient_is_the_one_through_the_steps(x64):
    rate, game = 0.3, quadratic()
    g, d = jnp.array([0.3, -0.7]), jnp.array([0.5, 1.1])
    got = jax.grad(lambda g: gan.unrolled(game, 2, rate).generator_loss(g, d, None, KEY)[0])(g)
    # d_2 = d + 2 rate A'g, so that L = g'Ad + 2 rate |A'g|^2 + g'Sg/2
    np.testing.assert_allclose(got, A @ d + 4 * rate * A @ A.T @ g + S @ g, atol=1e-12)


def test_dirac_gan_converges_as_its_spectrum_says():
    def distance(update, loss="non_saturating", r1=0.0):
        optimizers = (optax.sgd(0.1), optax.sgd(0.1))
        state = gan.game_state(gan.Players(jnp.ones(()), jnp.ones(())), optimizers, update)
        step = gan.make_step(gan.dirac_gan(loss, r1), optimizers, update=update)
        run = jax.jit(lambda state: jax.lax.scan(lambda s, k: step(s, None, k), state, jax.random.split(KEY, 300))[0])
        return float(np.hypot(*run(state).players))

    assert distance(gan.simultaneous(), "wasserstein") > 2 > np.sqrt(2)  # the start: imaginary eigenvalues
    assert distance(gan.consensus(1.0)) < 1e-2
    assert distance(gan.Alternating(), r1=1.0) < 1e-3


def test_latent_schedules_and_gamma():
    z = gan.latent(2, 3)(KEY, 1000)
    assert set(np.unique(z[:, 2:])) == {-1.0, 1.0}
    weight = gan.geometric_cosine(0.3, 0.03, 10)
    np.testing.assert_allclose([weight(jnp.asarray(s)) for s in (0, 10, 20)], [0.3, 0.03, 0.03], rtol=1e-5)
    # scaling the data by s scales gamma by s^2, upsampling by k^2 scales it by k^2
    assert gan.absolute_gamma(12, 2.0) == pytest.approx(4 * gan.absolute_gamma(12, 1.0))
    assert gan.absolute_gamma(48, 1.0) == pytest.approx(4 * gan.absolute_gamma(12, 1.0))


def test_scale_free_gamma_makes_r1_independent_of_the_scale_and_of_upsampling(rng):
    w = jnp.asarray(rng.normal(size=4), jnp.float32)
    x = jnp.asarray(rng.normal(size=(8, 4)), jnp.float32)
    critic = lambda x: jnp.tanh(x @ w)  # noqa: E731
    base = gan.absolute_gamma(4, 1.0) * gan.zero_centered(critic, x)
    scaled = gan.absolute_gamma(4, 3.0) * gan.zero_centered(lambda x: critic(x / 3), 3 * x)
    repeated = gan.absolute_gamma(8, 1.0) * gan.zero_centered(
        lambda x: critic(x.reshape(-1, 4, 2).mean(-1)), jnp.repeat(x, 2, axis=1)
    )
    np.testing.assert_allclose([scaled, repeated], base, rtol=1e-5)


@pytest.mark.slow
def test_spectral_norm_and_its_gradient(x64, rng):
    w = jnp.asarray(rng.normal(size=(6, 4)))
    exact = lambda w: jnp.linalg.norm(w, 2)  # noqa: E731
    ours = jax.jit(lambda w: gan.spectral_norm(w, 200))
    np.testing.assert_allclose(ours(w), exact(w), rtol=1e-10)
    np.testing.assert_allclose(jax.grad(ours)(w), jax.grad(exact)(w), atol=1e-7)
    model = gan.spectrally_normalized(gan.mlp_critic((4,), hidden=(5,)), 100)
    x = jnp.asarray(rng.normal(size=(9, 4)))
    params = jax.tree.map(lambda p: 10 * p.astype(jnp.float64), gan.mlp_critic((4,), hidden=(5,)).init(KEY))
    slopes = gan.safe_norm(gan.input_gradient(lambda x: model.apply(params, x), x))
    assert slopes.max() <= 1 + 1e-6


BAD = {
    "an unknown loss": lambda: small_game("hindge"),
    "an unknown penalty": lambda: small_game(penalties={"r3": 1.0}),
    "path length is no penalty on the critic": lambda: small_game(penalties={"path_length": 1.0}),
    "a negative path length": lambda: small_game(path_length=-1.0),
    "a negative weight": lambda: small_game(penalties={"r1": -1.0}),
    "a latent size of 0": lambda: gan.mlp_generator(0, (2,)),
    "no latent coordinate": lambda: gan.latent(0, 0),
    "no critic step": lambda: gan.Alternating(critic_steps=0),
    "images that 4 does not divide": lambda: gan.dcgan_critic((9, 9, 1)),
    "a flat shape for images": lambda: gan.dcgan_generator(4, (64,)),
    "a consensus weight of 0": lambda: gan.consensus(0.0),
    "no unrolled step": lambda: gan.unrolled(gan.dirac_gan(), 0, 0.1),
    "no power iteration": lambda: gan.spectral_norm(jnp.ones((2, 2)), 0),
    "a negative half-life": lambda: gan.make_step(gan.dirac_gan(), (optax.sgd(0.1),) * 2, average_half_life=-1.0),
    "a grid that is no square": lambda: gan.grid(24),
    "gamma without a deviation": lambda: gan.absolute_gamma(3, 0.0),
    "a schedule to zero": lambda: gan.geometric_cosine(1.0, 0.0, 10),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input(what):
    with pytest.raises(UsageError):
        BAD[what]()


def test_examples_of_another_shape_are_refused():
    game, players, _ = small_game()
    with pytest.raises(UsageError, match="shape"):
        game(jnp.asarray(0)).discriminator_loss(players.discriminator, players.generator, {"x": jnp.ones((6, 3))}, KEY)


def stress(losses, names, rates, steps):
    """Non-finite values of short runs: losses, and vmapped penalties, learning rates and critics of zero gradient."""
    _, players, batch = small_game()
    bad = 0
    for loss in losses:

        @jax.jit
        @jax.vmap
        def run(rate, scale, weights, loss=loss):
            penalties = {name: lambda step, i=i: weights[i] for i, name in enumerate(names)}
            game, _, _ = small_game(loss, penalties)
            optimizers = (optax.adam(rate, b1=0.0), optax.adam(rate, b1=0.0))
            critic = jax.tree.map(lambda p: p * scale, players.discriminator)
            state = gan.game_state(gan.Players(players.generator, critic), optimizers)
            step = gan.make_step(game, optimizers)
            return jax.lax.scan(lambda s, k: step(s, batch, k), state, jax.random.split(KEY, steps))

        grid = np.meshgrid(np.arange(len(rates)), [0.0, 1.0], np.arange(len(names)), indexing="ij")
        rate, scale, which = (axis.ravel() for axis in grid)
        weights = jax.nn.one_hot(which.astype(int), len(names))
        state, metrics = run(jnp.asarray(rates)[rate.astype(int)], jnp.asarray(scale, jnp.float32), weights)
        bad += sum(int(np.sum(~np.isfinite(leaf))) for leaf in jax.tree.leaves((state.players, metrics)))
    return bad


@pytest.mark.slow
def test_stress_few():
    assert stress(["relativistic"], ["gradient_penalty"], [1e-4, 1e-1, 1.0], 20) == 0


@pytest.mark.slow
def test_stress_all():
    assert stress(gan.losses, list(gan.penalties), [1e-5, 1e-3, 1e-2, 1e-1, 1.0], 50) == 0
