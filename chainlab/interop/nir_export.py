r"""Spiking networks as graphs of NIR, the Neuromorphic Intermediate Representation.

NIR describes neurons in continuous time, $\tau \dot v = (v_{leak} - v) + R I$ with a reset to $v_{reset}$. Libraries
that read it step by forward Euler, $v_t = (1 - \Delta t / \tau) v_{t-1} + (R\,\Delta t / \tau) I_t$; so do we, which
makes a decay of $\beta$ a time constant of $\Delta t / (1 - \beta)$ and the exchange exact at the same step.

References:
    Pedersen et al., Neuromorphic Intermediate Representation, Nature Communications 15, 8122, 2024
    (arXiv:2311.14641), table 1.
"""

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from chainlab import spiking
from chainlab.errors import UsageError
from chainlab.interop import nir_images as images
from chainlab.interop.nir_library import library
from chainlab.nn.convolution import Sliding
from chainlab.spiking.layers import Flattening, Pooling
from chainlab.typing import Params

if TYPE_CHECKING:
    import nir


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
    nir = library(dt)
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
