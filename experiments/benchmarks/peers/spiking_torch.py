"""What the PyTorch peers share: one layer's gradient, and an Adam step of two layers."""

import spiking_case
import torch
from worker import serve


def serve_torch(total, counts):
    """Serve both cases.

    `total(currents)` is the number of spikes of a LIF layer whose currents are (time, batch, size);
    `counts(layers, x, time)` the spike counts of two linear layers with LIF behind each, on a constant `x`.
    """

    def layer(case):
        x, weight = (torch.tensor(a) for a in spiking_case.layer(case))
        weight.requires_grad_()

        def run():
            weight.grad = None
            value = total((x.reshape(-1, case["size"]) @ weight).reshape(x.shape))
            value.backward()
            return value

        value = run()
        return run, spiking_case.summary(value.item(), weight.grad.numpy())

    def training(case):
        x, y, first, second = (torch.tensor(a) for a in spiking_case.training(case))
        layers = [torch.nn.Linear(784, case["hidden"]), torch.nn.Linear(case["hidden"], 10)]
        with torch.no_grad():
            for linear, weight in zip(layers, (first, second), strict=True):
                linear.weight.copy_(weight.T)
                linear.bias.zero_()
        optimizer = torch.optim.Adam([p for linear in layers for p in linear.parameters()], lr=5e-4)
        cross_entropy = torch.nn.CrossEntropyLoss()

        def step():
            loss = cross_entropy(counts(layers, x, case["time"]), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss.item()

        run = lambda: [step() for _ in range(case["steps"])]  # noqa: E731
        return run, run()[:3]

    def prepare(case):
        torch.set_num_threads(case["threads"])
        return {"layer": layer, "training": training}[case["kind"]](case)

    serve(prepare)
