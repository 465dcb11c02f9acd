"""Optimisers of a transformer: which rule, rate and decay each kind of parameter gets."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from chainlab.optim import clip_by_global_norm
from chainlab.transformer.architecture import Architecture
from chainlab.transformer.optimization import Optimization
from chainlab.typing import Params

_SAFETY = 1.01  # the coefficients are optimal for singular values up to 1; rounding may pass it
_POLAR_EXPRESS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
    (1.875, -1.25, 0.375),
)


def polar_coefficients(iterations: int) -> tuple[tuple[float, float, float], ...]:
    r"""Coefficients $(a, b, c)$ of the iteration $X \leftarrow a X + b X X^\top X + c (X X^\top)^2 X$.

    Each polynomial is the best for the interval that the ones before it leave, so that a few iterations
    already bring the singular values near 1.

    Args:
        iterations: How many iterations.

    Returns:
        One triple an iteration; the last one repeats.

    References:
        Amsel et al., The Polar Express, arXiv:2505.16932, algorithm 1 and section 4.4 (safety factor).
    """
    last = len(_POLAR_EXPRESS) - 1
    safe = [(a / _SAFETY, b / _SAFETY**3, c / _SAFETY**5) for a, b, c in _POLAR_EXPRESS[:last]]
    return tuple([*safe, *([_POLAR_EXPRESS[last]] * iterations)][:iterations])


def kinds(params: Params) -> PyTree:
    """Sort the parameters of a language model by how they are optimised.

    Args:
        params: Parameters of a `language_model`.

    Returns:
        The same tree with a name for each leaf: `embedding` (tables), `matrix` (weights of the blocks whose
        both sides grow with the width), `head` (weights with one side of fixed size) or `vector`.
    """

    def kind(path: tuple[Any, ...], leaf: Any) -> str:
        del leaf
        names = [str(entry.key) for entry in path]
        if names[-1] == "table":
            return "embedding"
        if names[-1] != "weight":
            return "vector"
        return "head" if names[-2] in ("head", "router", "decay") else "matrix"

    return jax.tree_util.tree_map_with_path(kind, params)


def schedule(config: Optimization) -> optax.Schedule:
    """The learning rate of the unit peak by step: linear warm-up, then decay to `final`.

    Args:
        config: The optimisation.

    Returns:
        An optax schedule; step 0 has the rate `1 / (warmup + 1)`, as in nanoGPT.
    """
    length = config.steps - config.warmup
    after = {
        "cosine": lambda: optax.cosine_decay_schedule(1.0, length, config.final),
        "linear": lambda: optax.linear_schedule(1.0, config.final, length),
        "none": lambda: optax.constant_schedule(1.0),
    }[config.decay]()
    rise = optax.linear_schedule(1 / (config.warmup + 1), 1.0, config.warmup)
    return optax.join_schedules([rise, after], [config.warmup]) if config.warmup else after


def optimizer(config: Optimization, architecture: Architecture) -> optax.GradientTransformation:
    r"""The optimiser of a language model's parameters.

    Under muP (`architecture.base_dim`) the rate of the matrices is divided by the width ratio for AdamW and
    Lion; Muon's needs no correction, since its updates have unit spectral norm at every width.

    Args:
        config: The optimisation.
        architecture: The shape of the model.

    Returns:
        An optax transformation.

    References:
        Loshchilov and Hutter, Decoupled Weight Decay Regularization, arXiv:1711.05101, algorithm 2.
        Chen et al., Symbolic Discovery of Optimization Algorithms, arXiv:2302.06675, algorithm 2 (Lion).
        Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024.
        Yang et al., Tensor Programs V, arXiv:2203.03466, table 8 (rates under muP).
    """
    rate = schedule(config)
    clip = [] if config.clip is None else [clip_by_global_norm(config.clip)]
    factors = {"embedding": config.embedding_scale, "head": 1.0, "matrix": 1.0, "vector": 1.0}

    def decayed(params: Params) -> PyTree:
        return jax.tree.map(lambda kind: kind != "vector", kinds(params))

    def adam_rate(step: Any) -> Any:
        return config.learning_rate * rate(step)

    if config.name == "muon":
        # weights are (..., inputs, outputs): stacked layers and experts are orthogonalised one by one
        axes = optax.contrib.MuonDimensionNumbers(reduction_axis=-2, output_axis=-1)
        rule = optax.contrib.muon(
            lambda step: config.matrix_learning_rate * rate(step),
            polar_coefficients(config.iterations),
            config.iterations,
            config.momentum,
            config.eps,
            config.weight_decay,
            adam_b1=config.b1,
            adam_b2=config.b2,
            adam_weight_decay=0.0,
            adam_learning_rate=adam_rate,
            muon_weight_dimension_numbers=lambda params: jax.tree.map(
                lambda kind: axes if kind == "matrix" else None, kinds(params)
            ),
        )
        return optax.chain(*clip, rule, _scale_kinds(factors))
    factors["matrix"] = 1 / architecture.width_ratio
    rule = {
        "adamw": optax.scale_by_adam(config.b1, config.b2, config.eps),
        "lion": optax.scale_by_lion(config.b1, config.b2),
    }
    decay = [optax.add_decayed_weights(config.weight_decay, decayed)] if config.weight_decay else []
    return optax.chain(*clip, rule[config.name], *decay, _scale_kinds(factors), optax.scale_by_learning_rate(adam_rate))


def _scale_kinds(factors: Mapping[str, float]) -> optax.GradientTransformation:
    """Multiply the update of each kind of parameter by its factor."""

    def update(updates: Params, state: Any, params: Params | None = None) -> tuple[Params, Any]:
        del params
        return jax.tree.map(lambda kind, u: u * jnp.asarray(factors[kind], u.dtype), kinds(updates), updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
