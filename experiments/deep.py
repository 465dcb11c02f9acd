"""Chains of any depth on images, with a frozen control and the accuracy that bypasses the chain."""

from typing import Annotated, Any

from annotated_types import Gt

import chainlab
from chainlab.data.config import DatasetConfig
from chainlab.deep.config import ChainConfig
from chainlab.optim.config import OptimizerConfig


@chainlab.config
class DeepConfig:
    """A deep chain between a linear input and a linear output layer, trained by cross-entropy."""

    data: DatasetConfig = DatasetConfig(scale="none")
    """What it is trained and evaluated on; inputs are centred by the training mean and scaled by one number."""
    flip: bool = False
    """Whether every example comes twice, as (x, y) and as (-x, y), so that any linear classifier is at chance."""
    chain: ChainConfig = ChainConfig()
    """The chain."""
    frozen: bool = False
    """Whether the chain stays as it is initialised and only the input and output layers learn: the control."""
    optimizer: OptimizerConfig = OptimizerConfig(name="adam", learning_rate=1e-3, clip_norm=1.0)
    """Any optimiser of optax, by its name and with its own arguments."""
    scale_rate: Annotated[float, Gt(0)] = 1.0
    """Factor on the steps of the chain's scalars (`rezero`, `skipinit`, `fixup`), smaller for deeper chains."""
    agc: Annotated[float, Gt(0)] | None = None
    """Largest ratio of a unit's gradient to its weights (adaptive gradient clipping); null does not clip so."""
    batch_size: Annotated[int, Gt(0)] = 128
    """Examples in a batch."""


@chainlab.experiment
def deep(config: DeepConfig) -> "chainlab.Task":
    """Train a chain of thousands of layers."""
    import jax
    import jax.numpy as jnp
    import optax

    from chainlab import data, deep, lab, nn, optim

    options, dataset = config.chain, config.data.load()
    arrays, splits = _prepare(dataset, options.kind, flip=config.flip)
    features, classes = arrays["x"].shape[-1], len(dataset.classes)
    positions = 1 if options.kind == "mlp" else int(arrays["x"][0].size // features)
    settings = {name: value for name, value in vars(options).items() if name not in ("width", "memory")}
    layer = deep.layer(**settings, dim=options.width, residual=options.memory != "reversible")
    initial = jax.nn.initializers
    parts = {
        "embed": nn.dense(features, options.width, weight_init=initial.orthogonal()),
        "chain": deep.chain(layer, options.depth, memory=options.memory),
        "head": nn.dense(options.width * positions, classes, weight_init=initial.lecun_normal()),
    }

    def init(key: Any) -> Any:
        keys = jax.random.split(key, len(parts) + 1)
        params = {name: part.init(k) for (name, part), k in zip(parts.items(), keys, strict=False)}
        if options.kind == "transformer":
            params["position"] = 0.02 * jax.random.normal(keys[-1], (positions, options.width))
        return params

    def logits(params: Any, x: Any, *, bypass: bool = False) -> Any:
        h = parts["embed"].apply(params["embed"], x)
        if "position" in params:
            h = h + jnp.broadcast_to(params["position"], h.shape)
        h = h if bypass else parts["chain"].apply(params["chain"], h)
        return parts["head"].apply(params["head"], h.reshape(len(x), -1))

    def accuracy(output: Any, y: Any) -> Any:
        return jnp.mean((jnp.argmax(output, axis=-1) == y).astype(jnp.float32))

    def objective(params: Any, batch: Any, key: Any) -> tuple[Any, dict[str, Any]]:
        if config.frozen:
            params = {**params, "chain": jax.lax.stop_gradient(params["chain"])}
        output = logits(params, batch["x"])
        loss = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(output, batch["y"]))
        return loss, {"accuracy": accuracy(output, batch["y"])}

    def evaluate(params: Any, split: Any) -> dict[str, Any]:
        loss, metrics = objective(params, split, None)
        bypass = accuracy(logits(params, split["x"], bypass=True), split["y"])
        return {"loss": loss, **metrics, "bypass_accuracy": bypass}

    stages = [optim.build(config.optimizer)]
    if config.agc is not None:
        stages.insert(0, optax.adaptive_grad_clip(config.agc))
    if config.scale_rate != 1:
        stages.append(optax.masked(optax.scale(config.scale_rate), _scalars))
    return lab.supervised(
        nn.Model(init, logits),
        objective,
        optax.chain(*stages),
        data.in_memory(arrays, config.batch_size, splits=splits, origin=dataset.origin),
        evaluate=evaluate,
    )


def _prepare(dataset: Any, kind: str, *, flip: bool) -> tuple[Any, dict[str, Any]]:
    """Centre by the training mean, divide by one standard deviation, shape for the kind, and mirror."""
    import math

    import numpy as np

    from chainlab.errors import UsageError

    examples = dataset.transform or (lambda batch: batch)
    train = np.asarray(examples(dataset.train)["x"], np.float32)
    mean, deviation = train.mean(0), train.std()

    def prepare(split: Any) -> dict[str, Any]:
        x = (np.asarray(examples(split)["x"], np.float32) - mean) / deviation
        side = math.isqrt(mean.size)
        if kind == "mlp":
            x = x.reshape(len(x), -1)
        elif x.ndim == 2 and side**2 != mean.size:
            raise UsageError(f"chain.kind: {kind} wants images, got {mean.size} features, which are no square")
        elif x.ndim == 2:
            x = x.reshape(len(x), side, side)
        x = x[..., None] if kind == "convolution" and x.ndim == 3 else x
        y = np.asarray(split["y"], np.int32)
        return {"x": np.concatenate([x, -x]), "y": np.concatenate([y, y])} if flip else {"x": x, "y": y}

    return prepare(dataset.train), {name: prepare(split) for name, split in dataset.splits.items()}


def _scalars(params: Any) -> Any:
    """Which parameters are scalars of a connection."""
    import jax

    names = {"scale", "before", "after"}
    return jax.tree_util.tree_map_with_path(lambda path, _: getattr(path[-1], "key", None) in names, params)
