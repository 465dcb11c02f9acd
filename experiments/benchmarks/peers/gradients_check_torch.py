"""`torch.autograd.gradcheck` on the planted mistakes and controls that have a PyTorch form, in float64."""

import time
import warnings

import torch
from worker import serve


def rule(forward, backward):
    """A function whose backward is `backward(args, cotangent) -> cotangents`."""

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *args):
            ctx.save_for_backward(*args)
            return forward(*args)

        @staticmethod
        def backward(ctx, ct):
            return backward(ctx.saved_tensors, ct)

    return Function.apply


def cases():
    """Function and arguments by the name of the case."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x, v, matrix, batch, many = normal(6), normal(30), normal(4, 4), normal(8, 5), normal(20_000)
    off = torch.ones(30, dtype=torch.float64)
    off[17] = 1.001
    large = torch.ones(20_000, dtype=torch.float64)
    large[12_345] = 1.01

    def lone(f, g):
        function = rule(f, g)
        return lambda *args: function(*args).sum()

    normalise = rule(lambda x: x / x.norm(), lambda r, ct: (ct / r[0].norm(),))
    softmax = rule(lambda x: torch.softmax(x, -1), lambda r, ct: (torch.softmax(r[0], -1) * ct,))
    weights = torch.cos(torch.arange(6, dtype=torch.float64))
    bias = rule(lambda x, b: x + b[None], lambda r, ct: (ct, ct.mean(0)))
    first = rule(lambda x, b: x + b[None], lambda r, ct: (ct, ct[0]))
    product = rule(lambda a, b: a @ b, lambda r, ct: (r[1] @ ct.T, r[0].T @ ct))
    weight = rule(lambda w, c: w @ c, lambda r, ct: ((ct @ r[1].T).T, r[0].T @ ct))
    spike = rule(lambda u: (u > 0).to(u.dtype), lambda r, ct: (ct / (1 + r[0].abs()) ** 2,))
    region = [torch.tensor([0.2, 1.5, -1.0, 0.4], dtype=torch.float64)]
    signed = [torch.tensor([1.0, -2.0, 3.0, -0.5], dtype=torch.float64)]
    tanh = rule(torch.tanh, lambda r, ct: (ct * (1 - torch.tanh(r[0]) ** 2),))
    beyond = [torch.tensor([0.2, 0.5, 0.9, 0.4], dtype=torch.float64)]
    wrong_region = lone(torch.sin, lambda r, ct: (ct * torch.where(r[0] > 1, 1.0, torch.cos(r[0])),))
    return {
        "missing factor 3 (x^3)": (lone(lambda x: x**3, lambda r, ct: (ct * r[0] ** 2,)), [x]),
        "wrong sign (cos)": (lone(torch.cos, lambda r, ct: (ct * torch.sin(r[0]),)), [x]),
        "one of 30 off by 0.1 %": (lone(torch.sin, lambda r, ct: (ct * torch.cos(r[0]) * off,)), [v]),
        "one of 20,000 off by 1 %": (lone(torch.sin, lambda r, ct: (ct * torch.cos(r[0]) * large,)), [many]),
        "broadcast bias averaged": (lambda x, b: (bias(x, b) ** 2).sum(), [batch, normal(5)]),
        "broadcast bias takes the first row": (lambda x, b: (first(x, b) ** 2).sum(), [batch, normal(5)]),
        "matmul: left cotangent transposed": (lambda a, b: torch.sin(product(a, b)).sum(), [matrix, normal(4, 4)]),
        "matmul weight gradient transposed": (lambda w: torch.sin(weight(w, matrix)).sum(), [normal(4, 4)]),
        "product: cotangents swapped": (
            lone(lambda a, b: a * b, lambda r, ct: (ct * r[0], ct * r[1])),
            [x, normal(6)],
        ),
        "softmax without its second term": (lambda x: (softmax(x) * weights).sum(), [x]),
        "normalise without its projection": (lambda x: (normalise(x) * weights).sum(), [x]),
        "wrong where x > 1": (wrong_region, region),
        "wrong only away from the arguments": (wrong_region, beyond),
        "abs without its sign": (lone(torch.abs, lambda r, ct: (ct,)), signed),
        "leaky slope of the negative side": (
            lone(lambda x: torch.where(x > 0, x, 0.2 * x), lambda r, ct: (torch.where(r[0] > 0, ct, 0.1 * ct),)),
            signed,
        ),
        "residual of the neighbour": (lone(lambda x: x**2, lambda r, ct: (2 * r[0].roll(1) * ct,)), [x]),
        "axis reversed": (lone(torch.exp, lambda r, ct: (torch.exp(r[0].flip(0)) * ct,)), [x]),
        "tanh with its input as residual": (lone(torch.tanh, lambda r, ct: (ct * (1 - r[0] ** 2),)), [x]),
        "residual rounded": (lone(lambda x: x**2, lambda r, ct: (2 * r[0].round() * ct,)), [x]),
        "bias behind round": (lambda b: ((batch[:, :3] + (4 * b).round()) ** 2).mean(), [normal(3)]),
        "undeclared surrogate spike": (lambda w: spike(batch @ w).sum(), [normal(5)]),
        "nan through where (sqrt)": (
            lambda x: torch.where(x > 0, x.sqrt(), x**2).sum(),
            [torch.tensor([0.5, -1.0, 0.0, 2.0, -3.0, 1.0], dtype=torch.float64)],
        ),
        "norm at zero": (lambda x: (x**2).sum().sqrt(), [torch.zeros(3, dtype=torch.float64)]),
        "relu at its kink": (lambda x: torch.relu(x).sum(), [torch.zeros(4, dtype=torch.float64)]),
        "abs at its kink": (lambda x: x.abs().sum(), [torch.tensor([0.0, 1.0, -2.0], dtype=torch.float64)]),
        "maximum with ties": (lambda x: x.amax(), [torch.tensor([1.0, 1.0, 1.0, 0.5], dtype=torch.float64)]),
        "minimum(x, y) at equality": (lambda x, y: torch.minimum(x, y).sum(), [x, x.clone()]),
        "relu just beside its kink": (
            lambda x: torch.relu(x).sum(),
            [torch.tensor([1e-7, -1e-7, 1e-4, 1.0], dtype=torch.float64)],
        ),
        "clip at its edge": (
            lambda x: (x.clamp(0, 1) ** 2).sum(),
            [torch.tensor([0.0, 1.0, 0.5, 2.0], dtype=torch.float64)],
        ),
        "sum of 100,000 in float32": (lambda x: x.sum(), [torch.full((100_000,), 0.1, dtype=torch.float32)]),
        "cast through bfloat16": (lambda x: (x.to(torch.bfloat16).to(x.dtype) ** 2).sum(), [x]),
        "sqrt near zero": (lambda x: x.sqrt().sum(), [torch.tensor([1e-12, 1e-6, 1.0], dtype=torch.float64)]),
        "logsumexp": (
            lambda x: x.logsumexp(0),
            [torch.tensor([1000.0, 1000.5, -1000.0], dtype=torch.float64)],
        ),
        "custom rule (tanh)": (lambda x: tanh(x).sum(), [x]),
        "high frequency": (lambda x: torch.sin(1e4 * x).sum(), [x]),
        "value 1e8 times its slope": (lambda x: 1e8 + (x**2).sum(), [x]),
        "saturated tanh": (lambda x: x.tanh().sum(), [torch.tensor([20.0, -15.0, 0.1], dtype=torch.float64)]),
        "complex input": (lambda z: ((1j * z).exp().abs() ** 2).sum(), [torch.complex(x, normal(6))]),
        "cholesky and log determinant": (
            lambda a: torch.linalg.slogdet(a @ a.T + torch.eye(4, dtype=a.dtype))[1],
            [normal(4, 4)],
        ),
    }


def prepare(case):
    """Run every case; the outputs are the outcomes by name."""
    outcomes = {}
    for name, (f, args) in cases().items():
        inputs = [a.clone().requires_grad_() for a in args]
        began = time.perf_counter()
        slow = sum(a.numel() for a in inputs) > 1000
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                # above 1,000 coordinates the slow mode takes minutes: `fast_mode` projects on a random vector
                torch.autograd.gradcheck(f, inputs, fast_mode=slow)
            failed = False
        except Exception:
            failed = True
        outcomes[name] = {"failed": failed, "seconds": time.perf_counter() - began}
    return (lambda: None), outcomes


serve(prepare)
