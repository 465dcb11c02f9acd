"""Diagnose: the statistics are those of the values, the gradient is jax.grad's, and each phase gets its name."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import chainlab
from chainlab.autodiff import diagnosis
from chainlab.autodiff.diagnosis.phase import rate
from chainlab.errors import UsageError


def chain(phi, *, residual=False):
    def f(params, x):
        weights, scales, head = params

        def layer(h, inputs):
            weight, scale = inputs
            branch = scale * phi(h @ weight)
            return (h + branch if residual else branch), None

        h, _ = jax.lax.scan(layer, x, (weights, scales))
        return jnp.mean(h @ head)

    return f


def setup(sigma, depth=200, width=64, batch=16, scale=1.0):
    keys = jax.random.split(jax.random.key(3), 3)
    weights = sigma / width**0.5 * jax.random.normal(keys[0], (depth, width, width))
    head = jax.random.normal(keys[1], (width, 10)) / width**0.5
    return (weights, jnp.full(depth, scale), head), jax.random.normal(keys[2], (batch, width))


@pytest.mark.slow
def test_the_gradient_and_the_statistics_are_those_of_the_plain_program():
    """Against jax.grad, and against adjoints by hand: additive dummies after every product of an unrolled net."""
    keys = jax.random.split(jax.random.key(0), 4)
    weights = [jax.random.normal(k, (5, 5)) for k in keys[:3]]
    x = jax.random.normal(keys[3], (7, 5))

    def f(weights, x, dummies=(0.0, 0.0, 0.0)):
        for weight, dummy in zip(weights, dummies, strict=True):
            x = jnp.maximum(x @ weight + dummy, 0)
        return jnp.sum(x**2)

    found = chainlab.diagnose(f)(weights, x)
    for got, want in zip(found.gradients, jax.grad(f)(weights, x), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)
    np.testing.assert_allclose(found.value, f(weights, x), rtol=1e-6)

    adjoints = jax.grad(f, argnums=2)(weights, x, [jnp.zeros((7, 5))] * 3)
    products = [layer for layer in found.layers if layer.kind == "product"]
    assert len(products) == 3
    for layer, adjoint in zip(products, adjoints, strict=True):
        statistics = layer.statistics
        np.testing.assert_allclose(statistics["adjoint_rms"], np.sqrt(np.mean(adjoint**2)), rtol=1e-5)
        np.testing.assert_allclose(statistics["adjoint_largest"], np.max(np.abs(adjoint)), rtol=1e-6)
        np.testing.assert_allclose(statistics["adjoint_zeros"], np.mean(adjoint == 0), rtol=1e-6)
        np.testing.assert_allclose(statistics["adjoint_zero_rows"], np.mean(np.all(adjoint == 0, axis=1)), atol=1e-7)
    value = x
    for layer, weight in zip([a for a in found.layers if a.kind == "activation"], weights, strict=True):
        value = jnp.maximum(value @ weight, 0)
        np.testing.assert_allclose(layer.statistics["rms"], np.sqrt(np.mean(value**2)), rtol=1e-5)
        np.testing.assert_allclose(layer.statistics["zeros"], np.mean(value == 0), rtol=1e-6)
        np.testing.assert_allclose(layer.statistics["dead"], np.mean(np.all(value == 0, axis=0)), atol=1e-7)


@pytest.mark.slow
def test_every_index_of_a_scan_is_a_layer_in_the_order_of_execution():
    params, x = setup(1.0, depth=5, width=8)

    def f(params, x):
        h, _ = jax.lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x, params[0], reverse=True)
        return jnp.sum(h)

    found = chainlab.diagnose(f)(params, x)
    names = [layer.name for layer in found.layers if layer.kind == "activation"]
    assert names == [f"scan[{i}]/tanh" for i in range(4, -1, -1)]
    h, sizes = x, []
    for weight in params[0][::-1]:
        h = jnp.tanh(h @ weight)
        sizes.append(float(jnp.sqrt(jnp.mean(h**2))))
    np.testing.assert_allclose([a.statistics["rms"] for a in found.layers if a.kind == "activation"], sizes, rtol=1e-5)


@pytest.mark.parametrize(
    ("sigma", "phase", "verdict"),
    [(0.8, "ordered", "vanishing"), (1.0, "critical", None), (1.8, "chaotic", "exploding")],
)
def test_phases_of_tanh_nets(sigma, phase, verdict):
    params, x = setup(sigma)
    found = chainlab.diagnose(chain(jnp.tanh))(params, x)
    assert found.phase == phase
    assert verdict is None or found.verdict == verdict
    slope = {"ordered": np.log(sigma), "critical": 0.0, "chaotic": 0.12}[phase]  # mean-field theory
    assert abs(found.rate.per_layer - slope) < 0.05


@pytest.mark.slow
def test_underflow_is_called_vanishing_and_not_a_missing_gradient():
    params, x = setup(0.5, depth=250)
    found = chainlab.diagnose(chain(jnp.tanh))(params, x)
    assert np.all(found.gradients[0][0] == 0)
    finding = found.findings[0]
    assert (finding.problem, finding.side) == ("vanishing", "adjoint")
    assert "exactly 0: it underflows in float32" in finding.message
    assert finding.layer in finding.message
    assert all(advice.source for advice in finding.advice)
    assert int(finding.layer.split("[")[1].split("]")[0]) > 230  # seen from the output, 10^4 are lost in 13 layers


@pytest.mark.slow
def test_collapse_saturation_death_and_rezero():
    params, x = setup(2**0.5, depth=300)
    found = chainlab.diagnose(chain(jax.nn.relu))(params, x)
    assert found.verdict == "collapsed"
    assert "constant prediction" in found.findings[0].message
    params, x = setup(2**0.5, depth=300, scale=0.0)
    healthy = chainlab.diagnose(chain(jax.nn.relu, residual=True))(params, x)
    assert (healthy.verdict, healthy.phase) == ("healthy", "critical")
    params, x = setup(40.0, depth=2)
    assert "saturated" in [f.problem for f in chainlab.diagnose(chain(jnp.tanh))(params, x).findings]

    def dead(w, x):
        return jnp.sum(jax.nn.relu(x @ w - 1e4) @ w)

    assert chainlab.diagnose(dead)(params[0][0], x).findings[0].problem in {"dead", "vanishing"}
    assert "dead" in [f.problem for f in chainlab.diagnose(dead)(params[0][0], x).findings]


def test_nonfinite_values_and_adjoints_are_placed():
    def bad_value(w, x):
        h = jnp.tanh(x @ w[0])
        h = jnp.log(h - 2) @ w[1]
        return jnp.sum(h @ w[2])

    def bad_adjoint(w, x):
        h = jnp.tanh(x @ w[0])
        return jnp.sum(jnp.sqrt(0 * h) @ w[1])

    w, x = jnp.stack([jnp.eye(4)] * 3), jnp.ones((3, 4))
    found = chainlab.diagnose(bad_value)(w, x).findings[0]
    assert (found.problem, found.side, found.layer) == ("non-finite", "value", "dot_general.2")
    assert "test_diagnose.py" in found.source
    found = chainlab.diagnose(bad_adjoint)(w, x).findings[0]
    assert (found.problem, found.side) == ("non-finite", "adjoint")


@pytest.mark.slow
def test_jit_remat_cond_scopes_and_custom_derivatives():
    @jax.custom_vjp
    def square(x, w):
        return (x @ w) ** 2

    square.defvjp(lambda x, w: (square(x, w), (x, w)), lambda r, g: (g * 0.5, jnp.zeros_like(r[1])))

    def f(w, x, flag):
        with jax.named_scope("block"):
            h = jax.jit(lambda h: jax.checkpoint(lambda h: jnp.tanh(h @ w))(h))(x)
        h = jax.lax.cond(flag, lambda h: h @ w, lambda h: jnp.tanh(h @ w @ w), h)
        return jnp.sum(square(chainlab.tap(h, "mine"), w))

    w, x = 0.5 * jnp.eye(3), jnp.ones((2, 3))
    diagnose = chainlab.diagnose(f)
    for flag, products in ((True, 1), (False, 2)):
        found = diagnose(w, x, jnp.asarray(flag))
        np.testing.assert_allclose(found.gradients, jax.grad(f)(w, x, jnp.asarray(flag)), rtol=1e-6)
        names = [layer.name for layer in found.layers]
        assert any(name.startswith("block/") for name in names)
        assert "mine" in names
        assert any("custom_vjp_call" in name for name in names)
        assert sum("dot_general" in name for name in names) == 1 + products


def test_only_layers_on_the_way_of_the_gradient_are_watched():
    def f(head, body, x):
        h = jnp.tanh(x @ body)
        probe = h @ head
        return jnp.sum(jax.lax.stop_gradient(probe)) + jnp.sum(probe), jnp.sum(probe @ probe.T)

    x, w = jnp.ones((2, 3)), jnp.eye(3)
    found = chainlab.diagnose(f, has_aux=True)(w, w, x)
    assert [layer.kind for layer in found.layers] == ["product"]
    assert [layer.kind for layer in chainlab.diagnose(f, argnums=1, has_aux=True)(w, w, x).layers] == [
        "product",
        "activation",
        "product",
    ]


def test_sparse_adjoints_are_counted_and_features_may_be_the_first_axis():
    """Rows that an expert does not get have an adjoint of exactly 0; vmap of W x has features first."""
    keep = jnp.array([1.0, 0.0, 0.0, 1.0])

    def f(w, x):
        return jnp.sum(jnp.tanh(jax.vmap(lambda x: w @ x)(x)) * keep[:, None])

    layer = chainlab.diagnose(f)(jnp.eye(3, 5), jnp.ones((4, 5))).layers[0]
    assert layer.statistics["adjoint_zero_rows"] == 0.5
    assert layer.statistics["adjoint_zeros"] == 0.5


@pytest.mark.slow
def test_dtypes_float64_bfloat16_and_complex(x64):
    w64, x64_ = jnp.eye(3, dtype=jnp.float64) * 1e-200, jnp.ones((2, 3), jnp.float64)
    found = chainlab.diagnose(lambda w, x: jnp.sum(x @ w))(w64, x64_)
    assert found.layers[0].statistics["rms"] == pytest.approx(1e-200 / 3**0.0, rel=1e-6)
    half = chainlab.diagnose(lambda w, x: jnp.sum((x @ w).astype(jnp.float32)))(
        jnp.eye(3, dtype=jnp.bfloat16), jnp.ones((2, 3), jnp.bfloat16)
    )
    assert half.layers[0].statistics["adjoint_rms"] == 1.0
    wave = jnp.eye(3, dtype=jnp.complex128)
    spin = chainlab.diagnose(lambda w, x: jnp.sum(jnp.abs(x @ w) ** 2))(wave, jnp.ones((2, 3), jnp.complex128))
    assert spin.layers[0].statistics["rms"] == 1.0


def test_bad_input_says_what_to_do():
    w, x = jnp.eye(3), jnp.ones((2, 3))
    with pytest.raises(UsageError, match=r"float32\[2, 3\].*cotangent"):
        chainlab.diagnose(lambda w, x: x @ w)(w, x)
    with pytest.raises(UsageError, match=r"argument 0\['n'\] has type int32"):
        chainlab.diagnose(lambda p, x: jnp.sum(x @ p["w"]))({"n": jnp.arange(3), "w": w}, x)
    with pytest.raises(UsageError, match="no layer"):
        chainlab.diagnose(lambda w: jnp.sum(jnp.sin(w)))(w)
    with pytest.raises(UsageError, match=r"shape \(2, 3\), got \(3, 2\)"):
        chainlab.diagnose(lambda w, x: x @ w, cotangent=jnp.ones((3, 2)))(w, x)
    with pytest.raises(UsageError, match="argnums=4"):
        chainlab.diagnose(lambda w, x: x @ w, argnums=4)(w, x)
    found = chainlab.diagnose(lambda w, x: x @ w, cotangent=jnp.ones((2, 3)))(w, x)
    np.testing.assert_array_equal(found.gradients, jnp.full((3, 3), 2.0))


def test_outputs_text_json_and_figure():
    params, x = setup(0.6, depth=60, width=16)
    found = chainlab.diagnose(chain(jnp.tanh))(params, x)
    text = found.to_text()
    assert "vanishing" in text
    assert "arXiv:1611.01232" in text
    content = json.loads(found.to_json())
    assert content["verdict"] == "vanishing"
    assert len(content["statistics"]["rms"]) == len(content["layers"]) == len(found.names)
    assert found.figure().axes[0].get_yscale() == "log"


def test_rate_does_not_take_finite_width_for_a_phase():
    rng = np.random.default_rng(0)
    walk = np.exp(np.cumsum(rng.normal(0.005, 0.09, 1000)))  # a critical net of width 128
    assert rate(walk, 128).phase == "critical"
    assert rate(np.exp(0.05 * np.arange(1000)), 128).phase == "ordered"
    assert rate(np.exp(-0.05 * np.arange(1000)), 128).phase == "chaotic"
    assert rate(np.arange(1.0, 1000.0) ** 2, 128).phase == "critical"  # a power law
    assert rate(np.ones(5), 128) is None


@pytest.mark.slow
def test_curves_can_be_scanned_and_drawn():
    params, x = setup(1.0, depth=6, width=8)
    f = chain(jnp.tanh)
    names, curves = diagnosis.layer_curves(f, (params, x))
    assert len(names) == 6

    def step(params, _):
        gradients = jax.grad(f)(params, x)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradients), curves(params, x)

    _, history = jax.jit(lambda p: jax.lax.scan(step, p, None, length=3))(params)
    assert history["adjoint_rms"].shape == (3, 6)
    figure = diagnosis.heat_map([0, 10, 20], jax.tree.map(np.asarray, history), bins=4)
    assert figure.axes[0].get_title() == "rms"
    with pytest.raises(UsageError, match=r"\(2, layers\)"):
        diagnosis.heat_map([0, 1], jax.tree.map(np.asarray, history))


@pytest.mark.slow
def test_jacobian_spectrum_exact_and_by_lanczos():
    matrix = jax.random.normal(jax.random.key(0), (30, 40))

    def f(x):
        return {"y": matrix @ x["x"]}

    exact = jnp.linalg.svd(matrix, compute_uv=False)
    x = {"x": jnp.ones(40)}
    np.testing.assert_allclose(diagnosis.jacobian_singular_values(f, x), exact, rtol=1e-5)
    lanczos = diagnosis.jacobian_singular_values(f, x, number=5, exact_up_to=8)
    np.testing.assert_allclose(lanczos, exact[:5], rtol=1e-2)
    with pytest.raises(UsageError, match=r"1\.\.30"):
        diagnosis.jacobian_singular_values(f, x, number=31)


@pytest.mark.slow
def test_hessian_products_and_eigenvalues():
    matrix = jax.random.normal(jax.random.key(0), (20, 20))
    symmetric = matrix + matrix.T

    def f(x):
        return x["a"] @ symmetric @ x["a"] / 2

    x = {"a": jnp.ones(20)}
    np.testing.assert_allclose(diagnosis.hessian_vector_product(f, x, x)["a"], symmetric @ x["a"], rtol=1e-4, atol=1e-4)
    want = np.linalg.eigvalsh(symmetric)
    want = want[np.argsort(-np.abs(want))][:3]
    np.testing.assert_allclose(diagnosis.hessian_eigenvalues(f, x, number=3), want, rtol=1e-3)


@pytest.mark.slow
def test_noise_scale_is_unbiased_and_by_leaf():
    """f = mean (w x): example gradients are x itself, whose mean and covariance are known."""
    mean = jnp.array([2.0, 0.0, 1.0])

    def objective(params, batch, key):
        return jnp.mean(batch @ params["w"]), {}

    def estimate(key):
        x = mean[None, :] + jax.random.normal(key, (64, 3))
        return diagnosis.gradient_noise_scale(objective, {"w": jnp.ones(3)}, x, key)

    found = jax.vmap(estimate)(jax.random.split(jax.random.key(0), 400))
    np.testing.assert_allclose(jnp.mean(found.squared_norm), 5.0, rtol=0.03)
    np.testing.assert_allclose(jnp.mean(found.trace), 3.0, rtol=0.05)
    np.testing.assert_allclose(found.by_leaf["w"], found.scale, rtol=1e-5)
    with pytest.raises(UsageError, match="divide the batch of 64, got 5"):
        diagnosis.gradient_noise_scale(objective, {"w": jnp.ones(3)}, jnp.ones((64, 3)), jax.random.key(0), parts=5)


def test_update_ratio_of_stacked_layers():
    params = {"stack": jnp.ones((4, 3)), "head": jnp.ones(2)}
    updates = {"stack": 0.1 * jnp.arange(4.0)[:, None] * jnp.ones((4, 3)), "head": jnp.full(2, 0.5)}
    found = diagnosis.update_ratio(params, updates, layers=4)
    np.testing.assert_allclose(found["stack"], [0, 0.1, 0.2, 0.3], rtol=1e-6)
    np.testing.assert_allclose(found["head"], 0.5, rtol=1e-6)
