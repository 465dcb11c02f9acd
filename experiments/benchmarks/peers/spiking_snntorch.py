"""snnTorch's side: its Leaky in the documented time loop, or with what does not change taken out of it."""

import os

import snntorch
import spiking_case
import torch
from worker import serve

HOISTED = os.environ.get("SPIKING_VARIANT") != "tutorial"


def layer(case):
    x, weight = (torch.tensor(a) for a in spiking_case.layer(case))
    weight.requires_grad_()
    neuron = snntorch.Leaky(beta=0.95)

    def run():
        weight.grad = None
        # unbind rather than indexing: the backward pass of cur[t] fills a whole array of zeros at each step
        currents = torch.unbind((x.reshape(-1, case["size"]) @ weight).reshape(x.shape))
        state, total = torch.zeros(case["batch"], case["size"]), 0.0
        for current in currents:
            spikes, state = neuron(current, state)
            total = total + spikes.sum()
        total.backward()
        return total

    total = run()
    return run, spiking_case.summary(total.item(), weight.grad.numpy())


def training(case):
    x, y, first, second = (torch.tensor(a) for a in spiking_case.training(case))
    layers = [torch.nn.Linear(784, case["hidden"]), torch.nn.Linear(case["hidden"], 10)]
    with torch.no_grad():
        for linear, weight in zip(layers, (first, second), strict=True):
            linear.weight.copy_(weight.T)
            linear.bias.zero_()
    hidden, out = snntorch.Leaky(beta=0.95), snntorch.Leaky(beta=0.95)
    optimizer = torch.optim.Adam([p for linear in layers for p in linear.parameters()], lr=5e-4)
    cross_entropy = torch.nn.CrossEntropyLoss()

    def run():
        states = [torch.zeros(case["batch"], case["hidden"]), torch.zeros(case["batch"], 10)]
        recorded = []
        constant = layers[0](x) if HOISTED else None
        for _ in range(case["time"]):
            current = constant if HOISTED else layers[0](x)
            spikes, states[0] = hidden(current, states[0])
            spikes, states[1] = out(layers[1](spikes), states[1])
            recorded.append(spikes)
        loss = cross_entropy(torch.stack(recorded).sum(0), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return run, [run() for _ in range(3)]


def prepare(case):
    torch.set_num_threads(case["threads"])
    return {"layer": layer, "training": training}[case["kind"]](case)


serve(prepare)
