"""A spiking network on images, on sensor readings or on spike times."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Gt

import chainlab
from chainlab.data.config import DatasetConfig
from chainlab.optim.config import OptimizerConfig
from chainlab.spiking.config import EncoderConfig, NetworkConfig, PenaltyConfig, RuleConfig

if TYPE_CHECKING:
    from chainlab import spiking as sp
    from chainlab.data import Dataset


@chainlab.config
class SpikingConfig:
    """A spiking network that is trained by surrogate gradients."""

    data: DatasetConfig = DatasetConfig()
    """What it is trained on; besides the named sets, `braille` (tactile readings), `shd` and `ssc` (spoken words) and `timing` (spike times)."""  # noqa: E501
    encoder: EncoderConfig = EncoderConfig()
    """How a value becomes a sequence."""
    model: NetworkConfig = NetworkConfig()
    """The network."""
    loss: Literal[
        "count_cross_entropy", "mean_cross_entropy", "step_cross_entropy", "rate_mean_square", "max_membrane",
        "first_spike_time",
    ] = "mean_cross_entropy"  # fmt: skip
    """What is minimised."""
    loss_scale: Annotated[float, Gt(0)] = 1.0
    """What logits are multiplied by."""
    penalty: PenaltyConfig = PenaltyConfig()
    """A penalty on firing rates."""
    rule: RuleConfig = RuleConfig()
    """How time is differentiated."""
    optimizer: OptimizerConfig = OptimizerConfig(name="adamw", learning_rate=1e-3)
    """Any optimiser of optax; weight decay acts on matrices only."""
    batch_size: Annotated[int, Gt(0)] = 128
    """Examples in a batch."""
    baselines: bool = False
    """Whether the report trains classical classifiers on the same data."""


@chainlab.experiment
def spiking(config: SpikingConfig) -> "chainlab.Task":
    """Train a spiking network."""
    import jax.numpy as jnp

    from chainlab import lab, optim
    from chainlab import spiking as sp

    dataset = _dataset(config)
    network = config.model.build(dataset.features[-1], len(dataset.classes), config.encoder)
    scale = {} if config.loss == "rate_mean_square" else {"scale": config.loss_scale}

    def read(batch: Any, key: Any) -> tuple[Any, Any]:
        return config.encoder.encode(batch["x"].astype(jnp.float32), key), batch["y"]

    objective = sp.Objective(network, sp.losses[config.loss](**scale), read, config.penalty.build())

    def evaluate(params: Any, split: Any) -> dict[str, Any]:
        loss, metrics = sp.over_parts(objective, params, split, 500)
        return {"loss": loss, **metrics}

    return lab.supervised(
        network.model,
        objective,
        optim.build(_on_matrices(config.optimizer)),
        dataset.batches(config.batch_size),
        evaluate=evaluate,
        rule=config.rule.build(),
        panels=lambda state, folder: _panels(config, objective, state.params, dataset),
        subjects=lambda state: _subjects(config, objective, state.params),
    )


def _dataset(config: SpikingConfig) -> "Dataset":
    from chainlab import spiking as sp

    data = config.data
    shares = {"validation": data.validation, "test": data.test, "seed": data.split}
    if data.name == "braille":
        return sp.braille(data.path, **shares)
    if data.name in ("shd", "ssc"):
        return sp.heidelberg(data.name, data.path, validation=data.validation, seed=data.split)
    if data.name == "timing":
        return sp.spike_timing(**shares)
    return data.load().flat()


def _on_matrices(config: OptimizerConfig) -> OptimizerConfig:
    """The optimiser with its weight decay on matrices only: a decayed time constant or bias means nothing."""
    import jax

    if "weight_decay" not in config.arguments or "mask" in config.arguments:
        return config
    return config.model_copy(update={"mask": lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params)})


def _subjects(config: SpikingConfig, objective: "sp.Objective", params: Any) -> "dict[str, chainlab.Subject]":
    """The whole objective, and the spike itself beside the relaxation whose derivative it declares."""
    import jax.numpy as jnp

    if not any(getattr(layer, "spikes", False) for layer in objective.network.layers.values()):
        return {"objective": chainlab.Subject(objective, params)}
    spike = config.model.surrogate.build()
    why = "it goes through spikes, whose derivative is that of a relaxation (see the subject `spike`)"
    return {
        "objective": chainlab.Subject(objective, params, why=why),
        "spike": chainlab.Subject(
            lambda x, batch, key: (jnp.sum(spike(x)), {}),
            jnp.linspace(-0.51, 0.52, 12),
            lambda x, batch, key: (jnp.sum(spike.relaxation(x)), {}),
            "a spike is a step; the derivative is that of its relaxation",
        ),
    }


def _panels(
    config: SpikingConfig, objective: "sp.Objective", params: Any, dataset: "Dataset"
) -> "list[chainlab.Panel]":
    """Raster, membranes, rates, the gradient audit, and classical classifiers where they are asked for."""
    from dataclasses import replace

    import jax

    from chainlab import spiking as sp

    split = dataset.splits["test"]
    batch = {name: array[:32] for name, array in split.items()}
    batch = dataset.transform(batch) if dataset.transform else batch
    xs, _ = objective.read(batch, jax.random.key(0))
    record = sp.record(objective.network, params, xs)
    own, sizes = config.model.surrogate, (dataset.features[-1], len(dataset.classes))
    others = {
        shape: config.model.build(*sizes, config.encoder, replace(own, shape=shape).build())
        for shape in ("arctan", "triangular", "straight_through")
        if shape != own.shape
    }
    variants = {shape: replace(objective, network=network) for shape, network in others.items()}
    small = {name: array[:8] for name, array in batch.items()}
    rows = sp.audit(objective, params, small, jax.random.key(0), variants=variants)
    panels = [
        chainlab.Panel("Spikes of one test example", sp.raster(record)),
        chainlab.Panel("Membrane potentials", sp.membranes(record, objective.network)),
        chainlab.Panel("Firing rates by layer", rows=sp.firing_rates(record, objective.network), note="spikes a step"),
        chainlab.Panel("Gradient audit", rows=rows, note="against BPTT, and the exact gradient if there is one"),
    ]
    if config.baselines:
        rows = sp.classical(dataset.train, split)
        panels.append(chainlab.Panel("Classical classifiers on the same split", rows=rows))
    return panels
