"""A spiking network on images, on sensor readings or on spike times."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt

import chainlab
from chainlab.data.config import DatasetConfig
from chainlab.optim.config import OptimizerConfig

if TYPE_CHECKING:
    from chainlab import spiking as sp
    from chainlab.data import Dataset


@chainlab.config
class EncoderConfig:
    """How a value becomes a sequence."""

    name: Literal["constant", "poisson", "latency", "copies", "none"] = "constant"
    """A constant current, Poisson spikes, one spike sooner for a larger value, neurons with a learnt gain and bias on a signal, or none for data that is a sequence of spikes already."""  # noqa: E501
    steps: Annotated[int, Gt(0)] = 25
    """Time steps, for values that are not sequences."""
    tau: Annotated[float, Gt(0)] = 10.0
    """Time constant of the latency code, in steps."""
    threshold: Annotated[float, Gt(0)] = 0.2
    """Values up to it never fire in the latency code."""
    copies: Annotated[int, Gt(0)] = 32
    """Encoding neurons of each signal."""


@chainlab.config
class SurrogateConfig:
    """The derivative of a spike."""

    shape: str = "fast_sigmoid"
    """Its shape, by its name in `chainlab.spiking.shapes`."""
    scale: Annotated[float, Gt(0)] = 10.0
    """Inverse width."""
    height: Annotated[float, Gt(0)] = 1.0
    """Derivative at the threshold."""


@chainlab.config
class NeuronConfig:
    """The hidden neurons."""

    kind: Literal["lif", "current_lif", "adaptive_lif"] = "lif"
    """Leaky integrate-and-fire, with a synaptic current, or with an adaptive threshold."""
    tau_mem: Annotated[float, Gt(0)] = 10.0
    """Time constant of the membrane, in steps."""
    tau_syn: Annotated[float, Gt(0)] = 5.0
    """Time constant of the synaptic current, in steps."""
    reset: Literal["subtract", "zero", "none"] = "subtract"
    """What a spike does to the membrane."""
    timing: Literal["delayed", "immediate", "carried"] = "delayed"
    """When the reset acts."""
    detach: bool = True
    """Whether the reset is a constant to the derivative."""
    normalize: bool = False
    """Whether the membrane takes in one minus its decay of the current."""
    learn: tuple[Literal["decay", "synaptic_decay", "threshold"], ...] = ()
    """Constants that are learnt, one a neuron."""
    spread: Annotated[float, Ge(0)] = 0.0
    """Standard deviation over neurons of the initial log time constants that are learnt."""
    recurrent: Annotated[float, Ge(0)] = 0.0
    """Scale of the recurrent weights; 0 has none."""


@chainlab.config
class NetworkConfig:
    """The network."""

    hidden: tuple[Annotated[int, Gt(0)], ...] = (128,)
    """Neurons of each hidden layer."""
    neuron: NeuronConfig = NeuronConfig()
    """The hidden neurons."""
    surrogate: SurrogateConfig = SurrogateConfig()
    """The derivative of a spike."""
    gain: Annotated[float, Gt(0)] = 1.0
    """Standard deviation of a weight times the root of its layer's inputs."""
    bias: bool = True
    """Whether dense layers have biases."""
    readout: Literal["leaky", "spikes"] = "leaky"
    """Leaky integrators, or neurons that spike."""
    readout_tau: Annotated[float, Gt(0)] = 10.0
    """Time constant of the readout, in steps."""


@chainlab.config
class RuleConfig:
    """How time is differentiated."""

    name: Literal["bptt", "truncated", "checkpointed", "online_trace", "eprop", "ottt", "eventprop"] = "bptt"
    """The learning rule."""
    steps: Annotated[int, Gt(0)] | None = None
    """Length of a chunk, for `truncated` and `checkpointed`."""
    memory: Annotated[float, Gt(0)] | None = None
    """Memory budget in MiB, for `checkpointed`."""


@chainlab.config
class PenaltyConfig:
    """A penalty on firing rates outside a range, in spikes a step."""

    strength: Annotated[float, Ge(0)] = 0.0
    """Its weight; 0 leaves it out."""
    lower: Annotated[float, Ge(0)] = 0.0
    """Lowest rate without a penalty."""
    upper: Annotated[float, Ge(0)] = 1.0
    """Highest rate without a penalty."""


@chainlab.config
class SpikingConfig:
    """A spiking network that is trained by surrogate gradients."""

    data: DatasetConfig = DatasetConfig()
    """What it is trained on; besides the named sets, `braille` (tactile readings) and `timing` (spike times)."""
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
    import jax
    import jax.numpy as jnp

    from chainlab import lab, optim
    from chainlab import spiking as sp

    dataset = _dataset(config)
    signal = len(dataset.features) > 1
    network = _network(config, dataset)
    encoder = config.encoder

    def read(batch: Any, key: Any) -> tuple[Any, Any]:
        x = batch["x"].astype(jnp.float32)
        if signal:
            return jnp.moveaxis(x, 1, 0), batch["y"]
        if encoder.name == "poisson":
            return sp.poisson_rate(x, encoder.steps, jax.random.key(0) if key is None else key), batch["y"]
        if encoder.name == "latency":
            return sp.latency(x, encoder.steps, tau=encoder.tau, threshold=encoder.threshold), batch["y"]
        return sp.constant_current(x, encoder.steps), batch["y"]

    scale = {} if config.loss == "rate_mean_square" else {"scale": config.loss_scale}
    penalty = None
    if config.penalty.strength:
        penalty = sp.rate_bounds(config.penalty.lower, config.penalty.upper, strength=config.penalty.strength)
    objective = sp.Objective(network, sp.losses[config.loss](**scale), read, penalty)

    def evaluate(params: Any, split: Any) -> dict[str, Any]:
        loss, metrics = sp.over_parts(objective, params, split, 500)
        return {"loss": loss, **metrics}

    return lab.supervised(
        network.model,
        objective,
        optim.build(_on_matrices(config.optimizer)),
        dataset.batches(config.batch_size),
        evaluate=evaluate,
        rule=_rule(config.rule),
        panels=lambda state, folder: _panels(config, objective, state.params, dataset),
        subjects=lambda state: _subjects(objective, state.params),
    )


def _dataset(config: SpikingConfig) -> "Dataset":
    from chainlab import spiking as sp

    data = config.data
    shares = {"validation": data.validation, "test": data.test, "seed": data.split}
    if data.name == "braille":
        return sp.braille(data.path, **shares)
    if data.name == "timing":
        return sp.spike_timing(**shares)
    return data.load().flat()


def _network(config: SpikingConfig, dataset: "Dataset") -> "sp.Network":
    """Dense layers and neurons in turn, behind an encoder and before a readout."""
    import jax

    from chainlab import nn
    from chainlab import spiking as sp

    model, cell = config.model, config.model.neuron
    surrogate = sp.Surrogate(model.surrogate.shape, scale=model.surrogate.scale, height=model.surrogate.height)
    how = {"reset": cell.reset, "timing": cell.timing, "normalize": cell.normalize}
    learn = {"learn": cell.learn, "spread": cell.spread}
    decays = {"decay": sp.decay(cell.tau_mem)}
    if cell.kind == "current_lif":
        decays["synaptic_decay"] = sp.decay(cell.tau_syn)
    make = {"lif": sp.lif, "current_lif": sp.current_lif, "adaptive_lif": sp.adaptive_lif}[cell.kind]
    options = {**decays, **learn, **({} if cell.kind == "adaptive_lif" else how)}

    def dense(inputs: int, outputs: int) -> nn.Model:
        weights = jax.nn.initializers.variance_scaling(model.gain**2, "fan_in", "normal")
        return nn.dense(inputs, outputs, bias=model.bias, weight_init=weights)

    inputs = dataset.features[-1]
    layers: dict[str, Any] = {}
    if config.encoder.name == "copies":
        layers["copies"] = sp.copies(inputs, config.encoder.copies)
        inputs *= config.encoder.copies
        layers["encoder"] = sp.lif(inputs, decay=sp.decay(cell.tau_mem), surrogate=surrogate, **how)
    for index, size in enumerate(model.hidden):
        neuron = make(size, surrogate=surrogate, detach=cell.detach, **options)
        if cell.recurrent:
            weights = jax.nn.initializers.variance_scaling(cell.recurrent**2, "fan_in", "normal")
            neuron = sp.recurrent(neuron, size, weight_init=weights)
        layers |= {f"dense{index}": dense(inputs, size), f"hidden{index}": neuron}
        inputs = size
    classes = len(dataset.classes)
    layers["dense_out"] = dense(inputs, classes)
    readout = {"decay": sp.decay(model.readout_tau), "normalize": cell.normalize}
    if model.readout == "leaky":
        layers["readout"] = sp.leaky_integrator(classes, **readout)
    else:
        layers["readout"] = sp.lif(classes, surrogate=surrogate, reset=cell.reset, timing=cell.timing, **readout)
    return sp.Network(layers)


def _rule(config: RuleConfig) -> Any:
    from chainlab import spiking as sp

    if config.name == "truncated":
        return sp.truncated(config.steps or 10)
    if config.name == "checkpointed":
        return sp.checkpointed(config.memory, steps=config.steps)
    return sp.eventprop() if config.name == "eventprop" else getattr(sp, config.name)


def _on_matrices(config: OptimizerConfig) -> OptimizerConfig:
    """The optimiser with its weight decay on matrices only: a decayed time constant or bias means nothing."""
    import jax

    if "weight_decay" not in config.arguments or "mask" in config.arguments:
        return config
    return config.model_copy(update={"mask": lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params)})


def _subjects(objective: "sp.Objective", params: Any) -> "dict[str, chainlab.Subject]":
    """The whole objective, and the spike itself beside the relaxation whose derivative it declares."""
    import jax.numpy as jnp

    spikes = [layer.about["cell"].membrane.surrogate for layer in objective.network.layers.values()
              if "cell" in getattr(layer, "about", {})]  # fmt: skip
    if not spikes:
        return {"objective": chainlab.Subject(objective, params)}
    why = "it goes through spikes, whose derivative is that of a relaxation (see the subject `spike`)"
    return {
        "objective": chainlab.Subject(objective, params, why=why),
        "spike": chainlab.Subject(
            lambda x, batch, key: (jnp.sum(spikes[0](x)), {}),
            jnp.linspace(-0.51, 0.52, 12),
            lambda x, batch, key: (jnp.sum(spikes[0].relaxation(x)), {}),
            "a spike is a step; the derivative is that of its relaxation",
        ),
    }


def _panels(
    config: SpikingConfig, objective: "sp.Objective", params: Any, dataset: "Dataset"
) -> "list[chainlab.Panel]":
    """Raster, membranes, rates, the gradient audit, and classical classifiers where they are asked for."""
    import jax

    from chainlab import spiking as sp

    split = dataset.splits["test"]
    batch = {name: array[:32] for name, array in split.items()}
    batch = dataset.transform(batch) if dataset.transform else batch
    xs, _ = objective.read(batch, jax.random.key(0))
    record = sp.record(objective.network, params, xs)
    panels = [
        chainlab.Panel("Spikes of one test example", sp.raster(record)),
        chainlab.Panel("Membrane potentials", sp.membranes(record, objective.network)),
        chainlab.Panel("Firing rates by layer", rows=sp.firing_rates(record, objective.network), note="spikes a step"),
    ]
    small = {name: array[:8] for name, array in batch.items()}
    rows = sp.audit(objective, params, small, jax.random.key(0))
    panels.append(
        chainlab.Panel("Gradient audit", rows=rows, note="against BPTT, and the exact gradient if there is one")
    )
    if config.baselines:
        rows = sp.classical(dataset.train, split)
        panels.append(chainlab.Panel("Classical classifiers on the same split", rows=rows))
    return panels
