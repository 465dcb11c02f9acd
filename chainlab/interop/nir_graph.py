r"""Spiking networks to and from NIR, the Neuromorphic Intermediate Representation.

NIR describes neurons in continuous time, $\tau \dot v = (v_{leak} - v) + R I$ with a reset to $v_{reset}$. Libraries
that read it step by forward Euler, $v_t = (1 - \Delta t / \tau) v_{t-1} + (R\,\Delta t / \tau) I_t$; so do we, which
makes a decay of $\beta$ a time constant of $\Delta t / (1 - \beta)$ and the exchange exact at the same step.

References:
    Pedersen et al., Neuromorphic Intermediate Representation, Nature Communications 15, 8122, 2024
    (arXiv:2311.14641), table 1.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from chainlab import nn, spiking
from chainlab.errors import MissingDependencyError, UsageError
from chainlab.interop import nir_images as images
from chainlab.nn.convolution import Sliding
from chainlab.spiking.layers import Flattening, Pooling
from chainlab.typing import Params

if TYPE_CHECKING:
    import nir

Surrogate = Callable[[Array], Array]


def _library() -> Any:
    try:
        import nir
    except ImportError as error:
        raise MissingDependencyError("nir", "spiking", "Reading and writing NIR graphs") from error
    return nir


def to_nir(
    network: spiking.Network, params: Params, *, dt: float = 1e-4, image: tuple[int, int] | None = None
) -> "nir.NIRGraph":
    """A spiking network as a NIR graph; `nir.write(path, graph)` writes it.

    Args:
        network: Dense layers, convolutions, `sum_pool`, `flatten`, delays, and `lif`, `current_lif`,
            `integrate_and_fire` or `leaky_integrator` neurons, recurrent or not. Neurons that fire must reset to zero,
            the only reset that NIR has.
        params: Its parameters; learnt constants are written at their values.
        dt: Length of a step, in seconds; it is what ours and NIR's time constants differ by.
        image: Height and width of the input of a network that begins with a convolution, in pixels.

    Returns:
        The graph, with the channels of images first.

    Raises:
        UsageError: A layer has no NIR node; names it.
        MissingDependencyError: The library `nir` is not installed.
    """
    nir = _library()
    if not dt > 0:
        raise UsageError(f"dt must be a positive time, got {dt}")
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []
    last, size = "input", 0
    flat: tuple[int, tuple[int, int]] | None = None  # the image that the next dense layer reads flattened
    for name, layer in network.layers.items():
        about, recurrent = layer.about, None
        if flat and not _is_dense(params[name]):
            raise UsageError(f"to_nir: layer {name!r}: flatten must be followed by a dense layer")
        if isinstance(about, Sliding | Pooling | Flattening) and not (image and (nodes or isinstance(about, Sliding))):
            raise UsageError(f"to_nir: layer {name!r} needs image=(height, width), and a convolution at the beginning")
        if isinstance(layer, spiking.Neuron):
            node, recurrent = _neuron_node(nir, name, layer, params[name], size, dt)
            if image and recurrent is not None:
                raise UsageError(f"to_nir: layer {name!r} is recurrent on images, for which there is no NIR node")
            node = images.over_image(node, image) if image else node
        elif isinstance(about, Sliding):
            assert image is not None
            node, image = images.convolution_node(nir, name, about, params[name], image)
            size = node.weight.shape[0]
        elif isinstance(about, Pooling):
            assert image is not None
            node, image = images.pooling_node(nir, about.window), (image[0] // about.window, image[1] // about.window)
        elif isinstance(about, Flattening):
            assert image is not None
            node, flat, image = nir.Flatten(np.array([size, *image]), 0, -1), (size, image), None
        else:
            node, flat = _dense_node(nir, name, params[name], flat, image), None
            size = node.weight.shape[0]
        if not nodes:
            nodes["input"] = nir.Input(node.input_type)
        nodes[name] = node
        edges.append((last, name))
        if recurrent is not None:
            nodes[f"{name}_recurrent"] = nir.Linear(recurrent)
            edges += [(name, f"{name}_recurrent"), (f"{name}_recurrent", name)]
        last = name
    nodes["output"] = nir.Output({"output": None})  # the library infers it, of which only it knows poolings' sizes
    edges.append((last, "output"))
    return nir.NIRGraph(nodes, edges)


def _is_dense(params: Params) -> bool:
    return set(params) <= {"weight", "bias"} and np.ndim(params.get("weight")) == 2


def _dense_node(nir: Any, name: str, params: Params, flat: Any, image: Any) -> Any:
    if not _is_dense(params):
        wanted = "a dense layer, a convolution, sum_pool, flatten, a delay or a neuron"
        raise UsageError(f"to_nir: layer {name!r} has no NIR node; wanted {wanted}")
    if image:
        raise UsageError(f"to_nir: layer {name!r} is dense and reads images: put spiking.flatten() before it")
    weight = np.asarray(params["weight"]).T
    weight = images.channels_first(weight, *flat) if flat else weight
    return nir.Affine(weight, np.asarray(params["bias"])) if "bias" in params else nir.Linear(weight)


def _neuron_node(nir: Any, name: str, layer: spiking.Neuron, params: Params, size: int, dt: float) -> tuple[Any, Any]:
    """The node of a neuron layer, and its recurrent weights if it has any."""
    recurrent = None
    if layer.about["kind"] == "recurrent":
        recurrent = np.asarray(params["weight"]).T
        layer, params = layer.about["neuron"], params["neuron"]
    about = layer.about
    kind = about["kind"]
    if kind == "delay":
        return nir.Delay(dt * np.clip(np.asarray(params["delay"]), 0, about["longest"])), recurrent
    if kind not in ("lif", "current_lif", "if", "leaky_integrator"):
        raise UsageError(f"to_nir: layer {name!r} is a {kind} neuron, which has no NIR node")
    values = about["values"]
    if "cell" in about and about["cell"].membrane.reset != "zero":
        reset = about["cell"].membrane.reset
        raise UsageError(f"to_nir: layer {name!r} has reset={reset!r}; NIR's neurons reset to a value: use 'zero'")
    size = values.size
    read = values.read(params, jnp.zeros((size,)))
    constant = {key: np.broadcast_to(np.asarray(value), (size,)).astype(np.float32) for key, value in read.items()}
    zeros = np.zeros(size, np.float32)
    if kind == "if":
        return nir.IF(np.full(size, 1 / dt, np.float32), constant["threshold"], zeros), recurrent
    tau = _time_constant(name, constant["decay"], dt)
    normalize = about["cell"].normalize if "cell" in about else about["normalize"]
    r = np.ones_like(tau) if normalize else tau / dt
    if kind == "leaky_integrator":
        return nir.LI(tau, r, zeros), recurrent
    if kind == "lif":
        return nir.LIF(tau, r, zeros, constant["threshold"], zeros), recurrent
    tau_syn = _time_constant(name, constant["synaptic_decay"], dt)
    node = nir.CubaLIF(
        tau_syn=tau_syn,
        tau_mem=tau,
        r=r,
        v_leak=zeros,
        v_threshold=constant["threshold"],
        v_reset=zeros,
        w_in=tau_syn / np.float32(dt),
    )
    return node, recurrent


def _time_constant(name: str, decay: np.ndarray, dt: float) -> np.ndarray:
    if np.any(decay >= 1):
        raise UsageError(f"to_nir: layer {name!r} has a decay of 1, which is no finite time constant: use an IF neuron")
    return (dt / (1 - decay.astype(np.float64))).astype(np.float32)


def from_nir(
    graph: "nir.NIRGraph", *, dt: float = 1e-4, surrogate: Surrogate = spiking.arctan
) -> tuple[spiking.Network, Params]:
    """A NIR graph as a spiking network; `nir.read(path)` reads one.

    Args:
        graph: A chain of `Affine`, `Linear`, `Conv2d`, `SumPool2d`, `Flatten`, `LIF`, `CubaLIF`, `IF`, `LI` and `Delay`
            nodes; a neuron may have one `Affine` or `Linear` node from its output to its input.
        dt: Length of a step, in seconds.
        surrogate: The spike of the neurons, which NIR does not describe.

    Returns:
        The network, with names from the graph, and its parameters. Constants are fixed, not learnt; a resistance is
        multiplied into the weights before it. Images have their channels last, as everywhere here.

    Raises:
        UsageError: A node or connection has no counterpart; names it and its field.
        MissingDependencyError: The library `nir` is not installed.
    """
    nir = _library()
    if not dt > 0:
        raise UsageError(f"dt must be a positive time, got {dt}")
    layers: dict[str, Any] = {}
    params: dict[str, Any] = {}
    weights: str | None = None
    flat: tuple[int, tuple[int, int]] | None = None
    for name, feedback in _chain(nir, graph):
        node: Any = graph.nodes[name]
        if flat and not isinstance(node, nir.Affine | nir.Linear):
            raise UsageError(f"from_nir: node {name!r}: a Flatten node must lead to an Affine or Linear one")
        if isinstance(node, nir.Flatten):
            layers[name], params[name], weights, flat = spiking.flatten(), {}, None, images.flattened(name, node)
            continue
        if isinstance(node, nir.SumPool2d):
            layers[name], params[name] = images.from_pooling(name, node), {}
            continue
        if isinstance(node, nir.Conv2d):
            layers[name], params[name] = images.from_convolution(name, node)
            weights = name
            continue
        if isinstance(node, nir.Affine | nir.Linear):
            matrix = np.asarray(node.weight, np.float32)
            weight, flat = jnp.asarray((images.channels_last(matrix, *flat) if flat else matrix).T), None
            layers[name] = nn.dense(*weight.shape, bias=isinstance(node, nir.Affine))
            params[name] = {"weight": weight}
            if isinstance(node, nir.Affine):
                params[name] = {"bias": jnp.asarray(np.asarray(node.bias, np.float32)), **params[name]}
            weights = name
            continue
        if isinstance(node, nir.Delay):
            steps = images.by_channel(name, "delay", node.delay).astype(np.float32) / np.float32(dt)
            layers[name] = spiking.delay(steps.size, max(1, int(np.ceil(steps.max()))))
            params[name] = {"delay": jnp.asarray(steps)}
            weights = None
            continue
        neuron, gain = _neuron(nir, name, node, dt, surrogate)
        if np.any(gain != 1):
            if weights is None or feedback:
                raise UsageError(f"from_nir: node {name!r} has a resistance to fold into weights, and none before it")
            params[weights] = {key: leaf * jnp.broadcast_to(gain, leaf.shape) for key, leaf in params[weights].items()}
        layers[name], params[name], weights = neuron, {}, None
        if feedback:
            back: Any = graph.nodes[feedback]
            if isinstance(back, nir.Affine) and np.any(np.asarray(back.bias) != 0):
                raise UsageError(f"from_nir: node {feedback!r}: a recurrent connection must have no bias")
            weight = jnp.asarray(np.asarray(back.weight, np.float32).T)
            layers[name] = spiking.recurrent(neuron, weight.shape[0])
            params[name] = {"neuron": {}, "weight": weight}
    return spiking.Network(layers), params


def _chain(nir: Any, graph: Any) -> list[tuple[str, str | None]]:
    """The nodes in order, each with the node of its recurrent connection, from input to output."""
    weighted = (nir.Affine, nir.Linear, nir.Conv2d, nir.SumPool2d, nir.Flatten)
    known = (*weighted, nir.Delay, nir.LIF, nir.CubaLIF, nir.IF, nir.LI)
    names = {"input": [], "output": []}
    for name, node in graph.nodes.items():
        if isinstance(node, nir.Input):
            names["input"].append(name)
        elif isinstance(node, nir.Output):
            names["output"].append(name)
        elif not isinstance(node, known):
            wanted = ", ".join(cls.__name__ for cls in known)
            raise UsageError(f"from_nir: node {name!r} is a {type(node).__name__}; wanted one of {wanted}")
    for what, found in names.items():
        if len(found) != 1:
            raise UsageError(f"from_nir: wanted one {what} node, got {len(found)}: {', '.join(found) or 'none'}")
    after: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for source, target in set(map(tuple, graph.edges)):
        after[source].append(target)
    order: list[tuple[str, str | None]] = []
    seen, name = set[str](), names["input"][0]
    while True:
        feedback = [other for other in after[name] if after[other] == [name]]
        onward = [other for other in after[name] if other not in feedback]
        if len(onward) != 1 or len(feedback) > 1 or onward[0] in seen:
            raise UsageError(f"from_nir: node {name!r} must lead to one node, got {', '.join(after[name]) or 'none'}")
        if order:
            order[-1] = (name, feedback[0] if feedback else None)
        elif feedback:
            raise UsageError(f"from_nir: node {name!r} must not be recurrent")
        (name,) = onward
        seen.add(name)
        if name == names["output"][0]:
            return order
        order.append((name, None))


def _neuron(nir: Any, name: str, node: Any, dt: float, surrogate: Surrogate) -> tuple[spiking.Neuron, Any]:
    """A neuron, and what its input must be multiplied by besides."""

    def field(key: str) -> np.ndarray:
        return images.by_channel(name, key, getattr(node, key))

    for key in ("v_leak", "v_reset"):
        if hasattr(node, key) and np.any(field(key) != 0):
            raise UsageError(f"from_nir: node {name!r}: {key} must be 0, got {field(key).ravel()[0]}")
    size = field("r").size
    constants: Mapping[str, Any] = {"surrogate": surrogate, "reset": "zero"}
    if isinstance(node, nir.IF):
        neuron = spiking.integrate_and_fire(size, threshold=_alike(field("v_threshold")), **constants)
        return neuron, _unit(field("r") * dt)
    tau = _positive(name, "tau_mem" if isinstance(node, nir.CubaLIF) else "tau", node, dt)
    gain, normalize = field("r") * dt / tau, bool(np.all(field("r") == 1))
    decay = _alike(1 - dt / tau)
    gain = np.ones_like(gain) if normalize else gain
    if isinstance(node, nir.LI):
        return spiking.leaky_integrator(size, decay=decay, normalize=normalize), _unit(gain)
    threshold = _alike(field("v_threshold"))
    if isinstance(node, nir.LIF):
        neuron = spiking.lif(size, decay=decay, threshold=threshold, normalize=normalize, **constants)
        return neuron, _unit(gain)
    tau_syn = _positive(name, "tau_syn", node, dt)
    neuron = spiking.current_lif(
        size,
        decay=decay,
        synaptic_decay=_alike(1 - dt / tau_syn),
        threshold=threshold,
        normalize=normalize,
        **constants,
    )
    return neuron, _unit(gain * field("w_in") * dt / tau_syn)


def _positive(name: str, key: str, node: Any, dt: float) -> np.ndarray:
    tau = images.by_channel(name, key, getattr(node, key))
    if not np.all(tau > dt):
        raise UsageError(f"from_nir: node {name!r}: {key} must be greater than dt={dt} s, got {tau.min()}")
    return tau


def _alike(values: np.ndarray) -> Any:
    """One number where all neurons have the same, else an array."""
    return float(values[0]) if np.all(values == values[0]) else values.astype(np.float32)


def _unit(gain: np.ndarray) -> np.ndarray:
    """Gains that are 1 up to rounding as exactly 1."""
    return np.where(np.isclose(gain, 1, rtol=1e-5), 1, gain).astype(np.float32)
