"""A gradient step of a deep ReZero chain in PyTorch: eager, or with torch.utils.checkpoint in sqrt segments."""

import math

import numpy as np
import torch
from deep_net import arrays, growth
from torch.utils.checkpoint import checkpoint
from worker import serve


def prepare(case):
    torch.set_num_threads(1)
    torch.ones(8, 8) @ torch.ones(8, 8)

    def build():
        weight, bias, scale, head, x, y = arrays(case)
        layers = [
            tuple(torch.from_numpy(np.array(part)).requires_grad_() for part in (w, b, s))
            for w, b, s in zip(weight, bias, scale)  # noqa: B905
        ]
        return layers, torch.from_numpy(head).requires_grad_(), torch.from_numpy(x), torch.from_numpy(y)

    def run(h, layers):
        for weight, bias, scale in layers:
            h = h + scale * torch.relu(torch.addmm(bias, h, weight))
        return h

    def step(inputs):
        layers, head, h, y = inputs
        for leaf in [head, *(part for layer in layers for part in layer)]:
            leaf.grad = None
        if case["form"] == "eager":
            h = run(h, layers)
        else:
            size = round(math.sqrt(len(layers)))
            reentrant = case["form"] == "checkpoint, reentrant"
            h = h.clone().requires_grad_() if reentrant else h
            for start in range(0, len(layers), size):
                h = checkpoint(run, h, layers[start : start + size], use_reentrant=reentrant)
        loss = torch.nn.functional.cross_entropy(h @ head, y)
        loss.backward()
        return loss

    if case["measure"] == "memory":
        return (lambda: None), growth(build, step)
    inputs = build()
    loss = step(inputs)
    layers, head, _, _ = inputs
    squares = sum(float(part.grad.pow(2).sum()) for layer in layers for part in layer) + float(head.grad.pow(2).sum())
    return (lambda: step(inputs)), [float(loss), math.sqrt(squares)]


serve(prepare)
