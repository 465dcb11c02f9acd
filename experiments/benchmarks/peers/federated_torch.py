"""A round of FedAvg in PyTorch: written by hand on tensors, or with modules and torch.optim."""

import copy
import os

import torch
from federated_case import draw, summary
from worker import serve

torch.set_num_threads(1)


def by_hand(layers, x, y, case):
    """Local SGD on leaf tensors, updated in place."""
    params = [p.clone().requires_grad_() for layer in layers for p in layer]
    for _ in range(case["epochs"]):
        for at in range(0, len(y), case["batch"]):
            h = x[at : at + case["batch"]]
            for index in range(0, len(params), 2):
                h = torch.addmm(params[index + 1], h if index == 0 else torch.relu(h), params[index])
            loss = torch.nn.functional.cross_entropy(h, y[at : at + case["batch"]])
            gradients = torch.autograd.grad(loss, params)
            with torch.no_grad():
                torch._foreach_add_(params, gradients, alpha=-case["rate"])
    return [(params[i].detach(), params[i + 1].detach()) for i in range(0, len(params), 2)]


def with_modules(layers, x, y, case):
    """Local SGD of an nn.Sequential."""
    modules = []
    for w, b in layers:
        linear = torch.nn.Linear(*w.shape)
        with torch.no_grad():
            linear.weight.copy_(w.T)
            linear.bias.copy_(b)
        modules += [linear, torch.nn.ReLU()]
    model = torch.nn.Sequential(*modules[:-1])
    optimizer = torch.optim.SGD(model.parameters(), lr=case["rate"])
    for _ in range(case["epochs"]):
        for at in range(0, len(y), case["batch"]):
            optimizer.zero_grad(set_to_none=True)
            loss = torch.nn.functional.cross_entropy(model(x[at : at + case["batch"]]), y[at : at + case["batch"]])
            loss.backward()
            optimizer.step()
    return [(linear.weight.detach().T, linear.bias.detach()) for linear in modules[::2]]


def prepare(case):
    """Draw the clients, run one round and report the change."""
    layers, clients = draw(case)
    clients = [(torch.from_numpy(x), torch.from_numpy(y).long()) for x, y in clients]
    total = sum(len(y) for _, y in clients)
    local = with_modules if os.environ.get("FEDERATED_VARIANT") == "modules" else by_hand
    start = [tuple(torch.from_numpy(part) for part in layer) for layer in layers]
    held = {"layers": start}

    def step():
        server = [p for layer in held["layers"] for p in layer]
        mean = [torch.zeros_like(p) for p in server]
        for x, y in clients:
            own = [p for layer in local(held["layers"], x, y, case) for p in layer]
            torch._foreach_add_(mean, torch._foreach_sub(own, server), alpha=len(y) / total)
        new = torch._foreach_add(server, mean)
        held["layers"] = [(new[i], new[i + 1]) for i in range(0, len(new), 2)]

    held["layers"] = copy.deepcopy(start)
    step()
    return step, summary(layers, [[p.numpy() for p in layer] for layer in held["layers"]])


serve(prepare)
