"""The driving policy's training step in PyTorch, eager or compiled: the same network, loss and Adam."""

import math

import torch
from driving_case import BEAMS, COLUMNS, REACH, RINGS, ROWS, inputs, leaf
from torch.nn.functional import binary_cross_entropy_with_logits, gelu
from worker import serve


def parameter(path, *shape):
    return torch.nn.Parameter(torch.from_numpy(leaf(path, shape)))


class Dense(torch.nn.Module):
    def __init__(self, path, inputs, outputs):
        super().__init__()
        self.weight = parameter(f"{path}/weight", inputs, outputs)
        self.bias = parameter(f"{path}/bias", outputs)

    def forward(self, x):
        return x @ self.weight + self.bias


def act(x):
    return gelu(x, approximate="tanh")


class Tokens(torch.nn.Module):
    def __init__(self, path, count, values, dim):
        super().__init__()
        self.embed, self.mix = Dense(f"{path}/embed", values, dim), Dense(f"{path}/mix", dim, dim)
        self.place = parameter(f"{path}/place", count, dim)

    def forward(self, x):
        return self.mix(act(self.embed(x) + self.place))


class Reader(torch.nn.Module):
    def __init__(self, path, count, dim, ego, hidden):
        super().__init__()
        self.null = parameter(f"{path}/null", count, dim)
        self.first = Dense(f"{path}/net/dense0", count * dim + ego, hidden)
        self.second = Dense(f"{path}/net/dense1", hidden, hidden)

    def forward(self, tokens, present, ego):
        flat = (self.null + present[..., None] * (tokens - self.null)).flatten(1)
        return act(self.second(act(self.first(torch.cat([flat, ego], 1)))))


def patches(x, high, wide):
    """(batch, rows, columns, features) to (batch, patches, values)."""
    batch, rows, columns, dim = x.shape
    cut = x.reshape(batch, rows // high, high, columns // wide, wide, dim).permute(0, 1, 3, 2, 4, 5)
    return cut.reshape(batch, -1, high * wide * dim)


class Policy(torch.nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.counts = {"camera": ROWS * COLUMNS // 16, "lidar": BEAMS // 4}
        self.camera = Tokens("encoders/camera", self.counts["camera"], 32, dim)
        self.lidar = Tokens("encoders/lidar", self.counts["lidar"], RINGS * 16, dim)
        self.read = Reader("fusion/read", sum(self.counts.values()), dim, 3, hidden)
        self.head = Dense("fusion/head", hidden, 4)
        self.summary = torch.nn.ModuleDict(
            {n: Reader(f"fusion/summary_{n}", 1, dim, 0, hidden // 4) for n in self.counts}
        )
        self.health = torch.nn.ModuleDict({n: Dense(f"fusion/health_{n}", hidden // 4, 1) for n in self.counts})

    def forward(self, camera, lidar, ego):
        frames = patches((camera.permute(0, 2, 3, 1) - 0.4) * 4, 4, 4)
        before, now = lidar[:, 0], lidar[:, 1]
        returned = (now < REACH).float()
        approach = (before < REACH).float() * returned * torch.tanh((before - now) / 3)
        image = torch.stack([1 - now / REACH, 4 / (now + 2), approach, returned], -1)
        tokens = {"camera": self.camera(frames), "lidar": self.lidar(patches(image, RINGS, 4))}
        motion = torch.stack([(ego[:, 0] - 8) / 4, ego[:, 1] / 2, ego[:, 2] / 0.15], 1)
        ones = torch.ones_like(ego[:, :1])
        middle = {n: t.mean(1, keepdim=True) for n, t in tokens.items()}
        odds = torch.cat([self.health[n](self.summary[n](m, ones, ego[:, :0])) for n, m in middle.items()], 1)
        sound = torch.sigmoid(odds + 2)
        present = torch.cat([sound[:, i : i + 1].expand(-1, n) for i, n in enumerate(self.counts.values())], 1)
        out = self.head(self.read(torch.cat(list(tokens.values()), 1), present, motion))
        mean, log_variance = out.chunk(2, 1)
        return mean, 6 * torch.tanh(log_variance / 6), odds


def prepare(case):
    torch.set_num_threads(case["threads"])
    policy = Policy(case["dim"], case["hidden"])
    camera, lidar, ego, command, health = (torch.from_numpy(part) for part in inputs(case["batch"]))
    wanted = command / torch.tensor([0.07, 2.0])

    def loss_of():
        mean, log_variance, odds = policy(camera, lidar, ego)
        square = (mean - wanted) ** 2
        likelihood = (0.5 * (log_variance + square * torch.exp(-log_variance)) + 0.5 * square).mean()
        return likelihood + 0.1 * binary_cross_entropy_with_logits(odds, health)

    loss_of = torch.compile(loss_of) if case["form"] == "compile" else loss_of
    optimizer = torch.optim.Adam(policy.parameters(), lr=case["learning_rate"], **case.get("adam", {}))

    def steps():
        losses, norm = [], None
        for _ in range(case["steps"]):
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of()
            loss.backward()
            if norm is None:
                norm = math.sqrt(sum(float((p.grad**2).sum()) for p in policy.parameters() if p.grad is not None))
            optimizer.step()
            losses.append(loss)
        return float(losses[0]), norm, float(losses[-1])

    outputs = steps()

    def step():
        for _ in range(case["steps"]):
            optimizer.zero_grad(set_to_none=True)
            loss_of().backward()
            optimizer.step()

    return step, list(outputs)


if __name__ == "__main__":
    serve(prepare)
