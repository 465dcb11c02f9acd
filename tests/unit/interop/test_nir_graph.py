import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab import interop, nn, spiking
from chainlab.errors import UsageError

nir = pytest.importorskip("nir")


def network():
    zero = {"reset": "zero"}
    return spiking.Network(
        {
            "first": nn.dense(5, 4),
            "lif": spiking.lif(4, decay=0.8, threshold=0.7, **zero),
            "axon": spiking.delay(4, 3),
            "second": nn.dense(4, 4, bias=False),
            "current": spiking.recurrent(
                spiking.current_lif(4, learn=("decay", "threshold"), spread=0.3, normalize=True, **zero), 4
            ),
            "third": nn.dense(4, 3),
            "fires": spiking.integrate_and_fire(3, **zero),
            "fourth": nn.dense(3, 2),
            "readout": spiking.leaky_integrator(2, decay=0.9),
        }
    )


@pytest.mark.slow
def test_a_round_trip_through_a_file_keeps_every_output(tmp_path, key):
    net = network()
    params = net.init(key)
    for name in ("first", "second", "third"):  # every layer fires
        params[name]["weight"] = 3 * jnp.abs(params[name]["weight"])
    nir.write(tmp_path / "net.nir", interop.to_nir(net, params, dt=1e-3))
    again, parameters = interop.from_nir(nir.read(tmp_path / "net.nir"), dt=1e-3)
    xs = jax.random.normal(jax.random.key(1), (30, 2, 5)) + 0.5
    want, got = net.apply(params, xs), again.apply(parameters, xs)
    assert float(jnp.std(want)) > 0
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    assert list(again.layers) == list(net.layers)


def test_a_resistance_is_folded_into_the_weights(key):
    net = spiking.Network({"dense": nn.dense(3, 2), "lif": spiking.lif(2, decay=0.9, reset="zero")})
    graph = interop.to_nir(net, net.init(key))
    graph.nodes["lif"].r = 0.5 * graph.nodes["lif"].r
    _, params = interop.from_nir(graph)
    np.testing.assert_allclose(params["dense"]["weight"], 0.5 * graph.nodes["dense"].weight.T, rtol=1e-5)


def lif(**changes):
    fields = {"tau": 1e-2, "r": 1.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0, **changes}
    return nir.LIF(**{name: np.full(2, value) for name, value in fields.items()})


def graph(node, edges=(("input", "node"), ("node", "output"))):
    size = {"input": np.array([2])}, {"output": np.array([2])}
    return nir.NIRGraph({"input": nir.Input(size[0]), "node": node, "output": nir.Output(size[1])}, list(edges))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: graph(nir.Threshold(np.ones(2))), "node 'node' is a Threshold; wanted one of Affine"),
        (lambda: graph(lif(v_leak=0.1)), "node 'node': v_leak must be 0"),
        (lambda: graph(lif(v_reset=0.1)), "node 'node': v_reset must be 0"),
        (lambda: graph(lif(tau=-1.0)), "node 'node': tau must be greater than dt"),
        (lambda: graph(lif(r=3.0)), "node 'node' has a resistance to fold"),
    ],
)
def test_unsupported_nodes_are_named(build, message):
    with pytest.raises(UsageError, match=message):
        interop.from_nir(build())


def test_layers_without_a_node_are_named(key):
    for layer, message in (
        (spiking.adaptive_lif(2), "'neuron' is a adaptive_lif neuron"),
        (spiking.lif(2), "'neuron' has reset='subtract'"),
        (spiking.integrate_and_fire(2, reset="none"), "'neuron' has reset='none'"),
        (spiking.leaky_integrator(2, decay=1.0), "'neuron' has a decay of 1"),
        (nn.layer_norm(2), "'neuron' has no NIR node"),
    ):
        net = spiking.Network({"dense": nn.dense(2, 2), "neuron": layer})
        with pytest.raises(UsageError, match=message):
            interop.to_nir(net, net.init(key))
