"""Reference vectors of snnTorch's neurons: `python spiking_parity_snntorch.py CASE.npz RESULT.npz`.

Reads currents and a weight of the spikes, and writes the spikes and the gradient with respect to the currents of
every reset mode.
"""

import sys

import numpy as np
import snntorch
import torch


def main(source, target):
    case = dict(np.load(source))
    results = {}
    for timing, delayed in (("delayed", True), ("carried", False)):
        for reset in ("subtract", "zero", "none"):
            for kind in ("leaky", "synaptic"):
                if kind == "synaptic" and timing == "carried":
                    continue
                options = {"threshold": float(case["threshold"]), "reset_mechanism": reset}
                if kind == "leaky":
                    neuron = snntorch.Leaky(beta=float(case["decay"]), reset_delay=delayed, **options)
                else:
                    decays = {"alpha": float(case["synaptic_decay"]), "beta": float(case["decay"])}
                    neuron = snntorch.Synaptic(**decays, **options)
                currents = torch.tensor(case["currents"], requires_grad=True)
                state = [torch.zeros_like(currents[0])] * (1 if kind == "leaky" else 2)
                spikes = []
                for current in torch.unbind(currents):
                    spike, *state = neuron(current, *state)
                    spikes.append(spike)
                spikes = torch.stack(spikes)
                (spikes * torch.tensor(case["weight"])).sum().backward()
                results[f"{kind}-{timing}-{reset}-spikes"] = spikes.detach().numpy()
                results[f"{kind}-{timing}-{reset}-gradient"] = currents.grad.numpy()
    np.savez(target, **results)


if __name__ == "__main__":
    main(*sys.argv[1:])
