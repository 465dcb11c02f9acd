"""snnTorch's side: its Leaky in the documented time loop, or with what does not change taken out of it."""

import os

import snntorch
import torch
from spiking_torch import serve_torch

HOISTED = os.environ.get("SPIKING_VARIANT") != "tutorial"


def total(currents):
    neuron = snntorch.Leaky(beta=0.95)
    state, spikes_so_far = torch.zeros_like(currents[0]), 0.0
    # unbind rather than indexing: the backward pass of currents[t] fills a whole array of zeros at each step
    for current in torch.unbind(currents):
        spikes, state = neuron(current, state)
        spikes_so_far = spikes_so_far + spikes.sum()
    return spikes_so_far


def counts(layers, x, time):
    neurons = [snntorch.Leaky(beta=0.95) for _ in layers]
    states = [torch.zeros(len(x), linear.out_features) for linear in layers]
    constant = layers[0](x) if HOISTED else None
    recorded = []
    for _ in range(time):
        current = constant if HOISTED else layers[0](x)
        spikes, states[0] = neurons[0](current, states[0])
        spikes, states[1] = neurons[1](layers[1](spikes), states[1])
        recorded.append(spikes)
    return torch.stack(recorded).sum(0)


serve_torch(total, counts)
