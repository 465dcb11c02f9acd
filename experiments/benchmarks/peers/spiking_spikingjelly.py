"""SpikingJelly's side: multi-step LIF nodes of its PyTorch backend, soft reset at once and detached."""

import spiking_case
import torch
from spikingjelly.activation_based import functional, neuron, surrogate
from worker import serve


def node():
    return neuron.LIFNode(
        tau=20.0,  # decay 1 - 1 / tau = 0.95
        decay_input=False,
        v_reset=None,
        surrogate_function=surrogate.ATan(alpha=2.0),
        detach_reset=True,
        step_mode="m",
    )


def layer(case):
    x, weight = (torch.tensor(a) for a in spiking_case.layer(case))
    weight.requires_grad_()
    lif = node()

    def run():
        weight.grad = None
        functional.reset_net(lif)
        total = lif((x.reshape(-1, case["size"]) @ weight).reshape(x.shape)).sum()
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
    hidden, out = node(), node()
    optimizer = torch.optim.Adam([p for linear in layers for p in linear.parameters()], lr=5e-4)
    cross_entropy = torch.nn.CrossEntropyLoss()

    def run():
        functional.reset_net(hidden)
        functional.reset_net(out)
        current = layers[0](x).expand(case["time"], -1, -1)  # the first product once
        spikes = hidden(current)
        loss = cross_entropy(out(layers[1](spikes.flatten(0, 1)).reshape(case["time"], -1, 10)).sum(0), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return run, [run() for _ in range(3)]


def prepare(case):
    torch.set_num_threads(case["threads"])
    return {"layer": layer, "training": training}[case["kind"]](case)


serve(prepare)
