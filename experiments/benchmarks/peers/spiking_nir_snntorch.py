"""A NIR graph run by snnTorch: `python spiking_nir_snntorch.py GRAPH.nir INPUTS.npy SPIKES.npy`."""

import sys

import nir
import numpy as np
import torch
from snntorch.import_nir import import_from_nir


def main(graph, inputs, target):
    net = import_from_nir(nir.read(graph))
    xs, state, spikes = torch.tensor(np.load(inputs)), None, []
    for x in torch.unbind(xs):
        spike, state = net(x, state) if state is not None else net(x)
        spikes.append(spike)
    np.save(target, torch.stack(spikes).detach().numpy())


if __name__ == "__main__":
    main(*sys.argv[1:])
