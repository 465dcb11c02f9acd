"""Graphs of NIR as spiking networks; `nir_export` says how the two describe a neuron."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from chainlab import nn, spiking
from chainlab.errors import UsageError
from chainlab.interop import nir_images as images
from chainlab.interop.nir_library import library
from chainlab.typing import Params

if TYPE_CHECKING:
    import nir

Surrogate = Callable[[Array], Array]


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
    nir = library(dt)
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
