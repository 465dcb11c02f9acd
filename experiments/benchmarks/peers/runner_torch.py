"""The MLP training step in PyTorch: eager or compiled, with the optimiser that is fastest there."""

import numpy as np
import torch
from worker import serve


def prepare(case):
    """Build, warm up, and report the parameter norms after `case["steps"]` steps."""
    torch.set_num_threads(case["threads"])
    sizes, rng = case["sizes"], np.random.default_rng(0)
    weights = [rng.normal(size=(a, b)).astype(np.float32) * np.sqrt(2 / a) for a, b in zip(sizes, sizes[1:])]  # noqa: B905, RUF007
    x = torch.from_numpy(rng.normal(size=(case["examples"], sizes[0])).astype(np.float32))
    y = torch.from_numpy(rng.integers(0, sizes[-1], case["examples"]).astype(np.int64))
    layers = []
    for weight in weights:
        layer = torch.nn.Linear(*weight.shape)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight.T))
            layer.bias.zero_()
        layers += [layer, torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.Adam(model.parameters(), lr=case["learning_rate"], **case.get("adam", {}))
    loss_of = torch.nn.functional.cross_entropy
    forward = torch.compile(model) if case["form"] == "compile" else model
    batch, count, position = case["batch"], case["examples"] // case["batch"], [0]

    def step():
        for _ in range(case["steps"]):
            start = position[0] % count * batch
            position[0] += 1
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(forward(x[start : start + batch]), y[start : start + batch])
            loss.backward()
            optimizer.step()

    step()
    norms = [float(torch.sqrt(l.weight.pow(2).sum() + l.bias.pow(2).sum())) for l in layers if hasattr(l, "weight")]  # noqa: E741
    return step, norms


serve(prepare)
