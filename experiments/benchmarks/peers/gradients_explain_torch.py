"""TorchLens with the adjoint of every operation, and the plain gradient of the same loss in PyTorch."""

import warnings

import numpy as np
import torch
from worker import serve

warnings.filterwarnings("ignore")


class Loss(torch.nn.Module):
    """Mean square of an MLP's output."""

    def __init__(self, rng, width=256, depth=4):
        super().__init__()
        layers = []
        for _ in range(depth):
            layer = torch.nn.Linear(width, width)
            with torch.no_grad():
                weight = (rng.normal(size=(width, width)) * np.sqrt(2 / width)).astype(np.float32)
                layer.weight.copy_(torch.from_numpy(weight.T))
                layer.bias.zero_()
            layers += [layer, torch.nn.ReLU()]
        self.layers = torch.nn.Sequential(*layers[:-1])

    def forward(self, x):
        return self.layers(x).square().mean()


def prepare(case):
    """Warm up, and report the norm of every parameter's gradient in the order of chainlab's leaves."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    loss = Loss(rng)
    x = torch.from_numpy(rng.normal(size=(64, 256)).astype(np.float32))

    def plain():
        loss.zero_grad(set_to_none=True)
        loss(x).backward()

    def lens():
        import torchlens
        from torchlens.options import CaptureOptions

        loss.zero_grad(set_to_none=True)
        record = torchlens.trace(loss, x, capture=CaptureOptions(save_grads=True))
        record.log_backward(record.layer_list[-1].out)

    step = {"gradient": plain, "torchlens": lens}[case["form"]]
    for _ in range(3):
        step()
    return step, [float(p.grad.norm()) for m in loss.layers if hasattr(m, "bias") for p in (m.bias, m.weight)]


serve(prepare)
