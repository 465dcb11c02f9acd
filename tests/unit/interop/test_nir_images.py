"""Spiking networks on images to NIR and back: the channels first there, and last here."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab import interop, nn, spiking
from chainlab.errors import UsageError
from chainlab.interop import nir_images

nir = pytest.importorskip("nir")
IMAGE = (7, 6)


def network():
    zero = {"reset": "zero"}
    return spiking.Network(
        {
            "first": nn.convolution(2, 3, (3, 3), stride=(2, 1), padding=((1, 1), (1, 1))),
            "hidden": spiking.lif(3, decay=np.array([0.6, 0.8, 0.9]), threshold=0.7, **zero),
            "pool": spiking.sum_pool(2),
            "second": nn.convolution(3, 4, (1, 1), padding="VALID", bias=False),
            "current": spiking.current_lif(4, **zero),
            "flat": spiking.flatten(),
            "third": nn.dense(24, 3),
            "readout": spiking.leaky_integrator(3),
        }
    )


@pytest.fixture(scope="module")
def params():
    params = network().init(jax.random.key(0))
    params["first"]["bias"] = params["first"]["bias"] + 0.1
    params["second"]["weight"] = jnp.abs(params["second"]["weight"])
    return params


def test_the_graph_has_channels_first(params):
    graph = interop.to_nir(network(), params, image=IMAGE)
    shapes = {name: tuple(int(size) for size in node.output_type["output"]) for name, node in graph.nodes.items()}
    assert shapes["input"] == (2, *IMAGE)
    assert shapes["first"] == shapes["hidden"] == (3, 4, 6)
    assert shapes["pool"] == (3, 2, 3)
    assert shapes["second"] == shapes["current"] == (4, 2, 3)
    assert (shapes["flat"], shapes["output"]) == ((24,), (3,))


@pytest.mark.slow
def test_a_round_trip_through_a_file_keeps_every_output(params, tmp_path):
    net = network()
    nir.write(tmp_path / "net.nir", interop.to_nir(net, params, image=IMAGE))
    again, parameters = interop.from_nir(nir.read(tmp_path / "net.nir"))
    xs = jax.random.normal(jax.random.key(1), (20, 2, *IMAGE, 2)) + 0.5
    want, got = net.apply(params, xs), again.apply(parameters, xs)
    assert float(jnp.std(want)) > 0
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    assert list(again.layers) == list(net.layers)


def test_flattened_weights_go_there_and_back():
    weight = np.arange(2 * 3 * 2 * 5.0).reshape(5, 12)
    first = nir_images.channels_first(weight, 2, (3, 2))
    image = np.random.default_rng(0).normal(size=(3, 2, 2))
    np.testing.assert_allclose(first @ image.transpose(2, 0, 1).ravel(), weight @ image.ravel())
    np.testing.assert_array_equal(nir_images.channels_last(first, 2, (3, 2)), weight)


def test_same_padding_is_written_as_numbers_where_both_sides_are_alike(params):
    node, size = nir_images.convolution_node(nir, "c", nn.convolution(2, 3, (3, 3)).about, params["first"], IMAGE)
    assert (node.padding, size) == ((1, 1), IMAGE)
    assert tuple(node.output_type["output"]) == (3, *IMAGE)


@pytest.mark.parametrize(
    ("layers", "image", "message"),
    [
        ({"c": nn.convolution(1, 2, (3, 3))}, None, r"layer 'c' needs image=\(height, width\)"),
        ({"c": nn.convolution(1, 2, (3, 1))}, IMAGE, "layer 'c' has a kernel of 3 x 1"),
        ({"c": nn.convolution(1, 2, (3, 3), stride=(2, 2))}, (6, 6), r"layer 'c' pads images of \(6, 6\) by"),
        ({"p": spiking.sum_pool(2)}, IMAGE, "layer 'p' needs .* a convolution at the beginning"),
        ({"c": nn.convolution(1, 2, (3, 3)), "d": nn.dense(2, 2)}, IMAGE, "layer 'd' is dense and reads images"),
        (
            {"c": nn.convolution(1, 2, (3, 3)), "f": spiking.flatten(), "l": spiking.lif(84, reset="zero")},
            IMAGE,
            "layer 'l': flatten must be followed by a dense layer",
        ),
        (
            {"c": nn.convolution(1, 2, (3, 3)), "r": spiking.recurrent(spiking.lif(2, reset="zero"), 2)},
            IMAGE,
            "layer 'r' is recurrent on images",
        ),
    ],
)
def test_what_nir_cannot_say_is_named(layers, image, message):
    net = spiking.Network(layers)
    with pytest.raises(UsageError, match=message):
        interop.to_nir(net, net.init(jax.random.key(0)), image=image)


def changed(params, name, **fields):
    graph = interop.to_nir(network(), params, image=IMAGE)
    for field, value in fields.items():
        setattr(graph.nodes[name], field, value)
    return graph


def uneven():
    tau = np.full((3, 4, 6), 1e-3)
    tau[0, 0, 0] = 2e-3
    return tau


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("first", {"dilation": (2, 2)}, "node 'first': dilation must be 1"),
        ("first", {"groups": 2}, "node 'first': groups must be 1"),
        ("pool", {"stride": np.array([1, 1])}, "node 'pool': kernel_size must be square, stride equal to it"),
        ("hidden", {"tau": uneven()}, "node 'hidden': tau must be alike in all pixels"),
        ("flat", {"output_type": {"output": np.array([4, 6])}}, "node 'flat': must make one axis"),
    ],
)
def test_nodes_without_a_counterpart_are_named(params, name, fields, message):
    with pytest.raises(UsageError, match=message):
        interop.from_nir(changed(params, name, **fields))
