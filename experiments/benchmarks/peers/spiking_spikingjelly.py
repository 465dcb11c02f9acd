"""SpikingJelly's side: multi-step LIF nodes of its PyTorch backend, soft reset at once and detached."""

from spiking_torch import serve_torch
from spikingjelly.activation_based import neuron, surrogate


def node():
    return neuron.LIFNode(
        tau=20.0,  # decay 1 - 1 / tau = 0.95
        decay_input=False,
        v_reset=None,
        surrogate_function=surrogate.ATan(alpha=2.0),
        detach_reset=True,
        step_mode="m",
    )


def counts(layers, x, time):
    current = layers[0](x).expand(time, -1, -1)  # the first product once
    spikes = node()(current)
    return node()(layers[1](spikes.flatten(0, 1)).reshape(time, len(x), -1)).sum(0)


serve_torch(lambda currents: node()(currents).sum(), counts)
