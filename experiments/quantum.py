"""Hybrid quantum-classical classifiers, and the twins that they must be held against."""

from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt

import chainlab
from chainlab.data.config import DatasetConfig
from chainlab.optim.config import OptimizerConfig

if TYPE_CHECKING:
    from chainlab.data import Dataset


@chainlab.config
class TwoClassesConfig:
    """Two classes of a data set, projected on their principal components."""

    name: Literal["digits", "breast_cancer"] = "digits"
    """scikit-learn's data set."""
    classes: tuple[int, int] = (3, 5)
    """The two classes, by label."""
    components: Annotated[int, Gt(0)] = 4
    """Principal components, fitted on the training examples and scaled to unit variance."""


@chainlab.config
class ClassifierConfig:
    """The classifier."""

    name: Literal["dressed", "reuploading"] = "dressed"
    """A circuit between two dense layers, or one that takes the data up again in every layer."""
    twin: Literal["none", "separable", "mlp"] = "none"
    """In its place the same without entanglement, or an MLP with as many parameters."""
    qubits: Annotated[int, Gt(0)] = 4
    """Qubits of the circuit."""
    layers: Annotated[int, Gt(0)] = 2
    """Layers of the circuit."""


@chainlab.config
class DeviceConfig:
    """A PennyLane device."""

    name: str
    """Its name, such as `lightning.qubit`, `default.mixed` or that of any installed plug-in."""
    options: dict[str, Any] = field(default_factory=dict)
    """Its arguments."""


@chainlab.config
class QuantumConfig:
    """A hybrid classifier, trained by cross-entropy."""

    data: TwoClassesConfig = TwoClassesConfig()
    """What is told apart."""
    model: ClassifierConfig = ClassifierConfig()
    """The classifier."""
    gradient: Literal["parameter-shift", "backprop", "adjoint", "hadamard", "spsa", "finite-diff"] = "parameter-shift"
    """How the circuit is differentiated."""
    shots: Annotated[int, Ge(1)] | None = None
    """Shots of each circuit; null for exact expectations."""
    device: DeviceConfig | None = None
    """Device that runs the circuits; null simulates them in JAX."""
    optimizer: OptimizerConfig = OptimizerConfig(name="adam", learning_rate=0.02)
    """Any optimiser of optax, by its name and with its own arguments."""
    batch_size: Annotated[int, Gt(0)] = 32
    """Examples in a batch."""


@chainlab.experiment
def quantum(config: QuantumConfig) -> chainlab.Task:
    """Train a hybrid classifier or one of its twins."""
    import jax.numpy as jnp
    import optax

    from chainlab import data, lab, optim

    whole = DatasetConfig(name=config.data.name, validation=0.0).load()
    pair = data.keep_classes(whole, config.data.classes if config.data.name == "digits" else (0, 1))
    dataset = data.principal_components(pair, config.data.components)
    model, exact = _classifier(config), _classifier(config, exact=True)
    random = config.shots is not None or config.gradient == "spsa"

    def loss(model: Any, params: Any, batch: Any, key: Any = None) -> tuple[Any, dict[str, Any]]:
        logits = model.apply(params, batch["x"], key=key)
        value = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"]))
        accuracy = jnp.mean((jnp.argmax(logits, axis=-1) == batch["y"]).astype(jnp.float32))
        return value, {"loss": value, "accuracy": accuracy}

    def objective(params: Any, batch: Any, key: Any) -> tuple[Any, dict[str, Any]]:
        return loss(model, params, batch, key if random else None)

    return lab.supervised(
        model,
        objective,
        optim.build(config.optimizer),
        dataset.batches(config.batch_size),
        evaluate=lambda params, split: loss(exact, params, split)[1],
        panels=(lambda state, _: _panels(config, dataset, objective, state)) if config.model.twin != "mlp" else None,
    )


def _classifier(config: QuantumConfig, *, exact: bool = False) -> Any:
    """The model that the config names; `exact` evaluates it without shots and without a device."""
    from chainlab import quantum

    model, features = config.model, config.data.components
    options: dict[str, Any] = {"qubits": model.qubits, "layers": model.layers, "entangled": model.twin != "separable"}
    if not exact:
        options |= {"gradient": config.gradient, "shots": config.shots}
        if config.device:
            options |= {"device": config.device.name, "device_options": config.device.options}
    hybrid = (quantum.dressed if model.name == "dressed" else quantum.reuploading)(features, 2, **options)
    return quantum.equal_mlp(features, 2, hybrid) if model.twin == "mlp" else hybrid


def _panels(config: QuantumConfig, dataset: "Dataset", objective: Any, state: Any) -> list[chainlab.Panel]:
    """The circuit, a slice of the landscape, the gradient's variance by angle, and what a step costs."""
    import jax
    import jax.numpy as jnp

    from chainlab import quantum

    model, params, key = config.model, state.params, jax.random.key(0)
    size: dict[str, Any] = {"qubits": model.qubits, "layers": model.layers, "entangled": model.twin != "separable"}
    batch = {name: jnp.asarray(leaf[: config.batch_size]) for name, leaf in dataset.train.items()}
    if model.name == "dressed":
        circuit = quantum.dressed_circuit(**size)
        arguments = (jnp.zeros(model.qubits), params["angles"])
    else:
        circuit = quantum.reuploading_circuit(config.data.components, **size)
        arguments = (batch["x"][0], params["scales"], params["angles"])

    def loss(angles: Any) -> Any:
        return objective({**params, "angles": angles}, batch, key)[0]

    draws = jax.random.uniform(key, (4 if config.device else 32, *params["angles"].shape), maxval=2 * jnp.pi)
    gradients = jax.lax.map(jax.grad(loss), draws).reshape(len(draws), -1)
    step = jax.value_and_grad(lambda p: objective(p, batch, key)[0])
    cost = [{"circuits in a step": quantum.executions(step, params), "examples": config.batch_size}]
    panels = [
        chainlab.Panel("Circuit", quantum.draw_circuit(circuit, *arguments)),
        chainlab.Panel("Gradient by angle", quantum.variance_bars(gradients), note=f"Over {len(draws)} random points."),
        chainlab.Panel("Circuits executed", rows=cost, note=f"By {config.gradient}; shots: {config.shots or 'exact'}."),
    ]
    if not config.device and not config.shots:
        panels.insert(1, chainlab.Panel("Landscape", quantum.landscape(loss, params["angles"], key)))
    return panels
