"""Weights and data of a benchmark case, the same on every side: numpy alone."""

import numpy as np


def layers(case):
    """Shapes of the weights of the generator and of the critic, by layer, inputs before outputs."""
    if case["network"] == "mlp":
        width = case["width"]
        return [(20, width), (width, width), (width, width), (width, 2)], [
            (2, width),
            (width, width),
            (width, width),
            (width, 1),
        ]
    width = case["width"]
    return (
        [(64, 49 * 2 * width), (4, 4, 2 * width, width), (4, 4, width, 1)],
        [(4, 4, 1, width), (4, 4, width, 2 * width), (49 * 2 * width, 1)],
    )


def draw(case):
    """Weights of both players, one batch of examples, and one of latent vectors for each player."""
    rng = np.random.default_rng(0)
    normal = lambda shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    players = [
        [normal(shape) * np.float32(np.sqrt(1 / np.prod(shape[:-1]))) for shape in shapes] for shapes in layers(case)
    ]
    examples = (case["batch"], 2) if case["network"] == "mlp" else (case["batch"], 28, 28, 1)
    return players, normal(examples), normal((case["batch"], layers(case)[0][0][0]))
