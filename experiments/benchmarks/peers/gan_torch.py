"""The same discriminator and generator step, and the same transposed convolution, in PyTorch."""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from gan_case import draw
from worker import serve


def image_weights(arrays, kind):
    """Weights in PyTorch's layout: (outputs, inputs, ...) or, transposed, (inputs, outputs, ...)."""
    result = []
    for array in arrays:
        if array.ndim == 2:
            result.append(array)
        else:
            result.append(array.transpose(2, 3, 0, 1) if kind == "generator" else array.transpose(3, 2, 0, 1))
    return [torch.tensor(np.ascontiguousarray(array), requires_grad=True) for array in result]


def networks(case):
    """Generator and critic as functions of (weights, biases, input)."""

    def perceptron(p, x):
        for index in range(len(p) // 2):
            x = torch.addmm(p[2 * index + 1], x, p[2 * index])
            x = F.leaky_relu(x, 0.2) if index < len(p) // 2 - 1 else x
        return x

    def generator(p, z):
        if case["network"] == "mlp":
            return perceptron(p, z)
        h = torch.addmm(p[1], z, p[0]).reshape(len(z), 7, 7, -1).permute(0, 3, 1, 2)
        h = F.conv_transpose2d(F.leaky_relu(h, 0.2), p[2], p[3], 2, 1)
        return torch.tanh(F.conv_transpose2d(F.leaky_relu(h, 0.2), p[4], p[5], 2, 1))

    def critic(p, x):
        if case["network"] == "mlp":
            return perceptron(p, x)[:, 0]
        h = F.leaky_relu(F.conv2d(x, p[0], p[1], 2, 1), 0.2)
        h = F.leaky_relu(F.conv2d(h, p[2], p[3], 2, 1), 0.2)
        return torch.addmm(p[5], h.permute(0, 2, 3, 1).reshape(len(x), -1), p[4])[:, 0]

    return generator, critic


def with_biases(weights, kind):
    """Weights and zero biases in turn."""
    result = []
    for weight in weights:
        outputs = weight.shape[1] if weight.ndim == 2 or kind == "generator" else weight.shape[0]
        result += [weight, torch.zeros(outputs, requires_grad=True)]
    return result


def whole_step(case):
    """`case["steps"]` alternating steps a call."""
    players, examples, z = draw(case)
    generator, critic = networks(case)
    g = with_biases(image_weights(players[0], "generator"), "generator")
    d = with_biases(image_weights(players[1], "critic"), "critic")
    x, z = torch.from_numpy(examples), torch.from_numpy(z)
    if x.ndim == 4:
        x = x.permute(0, 3, 1, 2).contiguous()
    penalties, wasserstein = case["penalties"], case["loss"] == "wasserstein"
    compiled = case["form"] == "compile"

    def squared_slope(d, x):
        """Squared input gradient of every example, with a graph of its own."""
        if compiled:
            slope = torch.func.grad(lambda x: critic(d, x).sum())(x)
        else:
            x = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(critic(d, x).sum(), x, create_graph=True)
        return slope.flatten(1).square().sum(1)

    def critic_loss(d, x, fake):
        if compiled or wasserstein:
            real_scores, fake_scores = critic(d, x), critic(d, fake)
            if wasserstein:
                weight = torch.rand(len(x), *[1] * (x.ndim - 1))
                norm = squared_slope(d, fake + weight * (x - fake)).sqrt()
                return fake_scores.mean() - real_scores.mean() + 0.1 * (norm - 1).square().mean()
            extra = 0.0
            for name, where in (("r1", x), ("r2", fake)):
                if name in penalties:
                    extra = extra + 0.05 * squared_slope(d, where).mean()
            return F.softplus(fake_scores - real_scores).mean() + extra
        # eager: every forward pass is made once and shared by the scores and the penalty
        inputs = [x.detach().requires_grad_("r1" in penalties), fake.detach().requires_grad_("r2" in penalties)]
        scores = [critic(d, part) for part in inputs]
        loss = F.softplus(scores[1] - scores[0]).mean()
        for part, score in zip(inputs, scores, strict=True):
            if part.requires_grad:
                (slope,) = torch.autograd.grad(score.sum(), part, create_graph=True)
                loss = loss + 0.05 * slope.flatten(1).square().sum(1).mean()
        return loss

    def generator_loss(g, d, x, z):
        fake_scores = critic(d, generator(g, z))
        return -fake_scores.mean() if wasserstein else F.softplus(critic(d, x) - fake_scores).mean()

    adam = {"lr": 2e-4, "betas": (0.0, 0.99), **case.get("adam", {})}
    optimizer_g, optimizer_d = torch.optim.Adam(g, **adam), torch.optim.Adam(d, **adam)
    if compiled:
        critic_loss, generator_loss = torch.compile(critic_loss), torch.compile(generator_loss)

    def call():
        for _ in range(case["steps"]):
            with torch.no_grad():
                fake = generator(g, z)
            gradients = torch.autograd.grad(critic_loss(d, x, fake), d, allow_unused=True)
            for parameter, gradient in zip(d, gradients, strict=True):
                parameter.grad = gradient
            optimizer_d.step()
            gradients = torch.autograd.grad(generator_loss(g, d, x, z), g)
            for parameter, gradient in zip(g, gradients, strict=True):
                parameter.grad = gradient
            optimizer_g.step()

    call()
    return call, [float(parameter.detach().norm()) for parameter in [*g[::2], *d[::2]]]


def transposed(case):
    """The gradient, or the gradient of the squared input gradient, of a transposed convolution 7x7 to 14x14."""
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.normal(size=(64, 7, 7, 128)).astype(np.float32).transpose(0, 3, 1, 2).copy())
    w = torch.tensor((rng.normal(size=(4, 4, 128, 64)) / 32).astype(np.float32).transpose(2, 3, 0, 1).copy())
    x.requires_grad_(), w.requires_grad_()

    def call():
        loss = torch.tanh(F.conv_transpose2d(x, w, None, 2, 1)).sum()
        if case["order"] == 2:
            (slope,) = torch.autograd.grad(loss, x, create_graph=True)
            loss = slope.square().sum()
        return torch.autograd.grad(loss, (x, w))

    return call, [float(part.norm()) for part in call()]


def prepare(case):
    """Build and warm up; report the norms of what came out."""
    torch.set_num_threads(case["threads"])
    return whole_step(case) if "network" in case else transposed(case)


serve(prepare)
