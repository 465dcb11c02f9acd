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

    name: Literal[
        "dressed", "dressed-separable", "dressed-mlp", "reuploading", "reuploading-separable", "reuploading-mlp"
    ] = "dressed"
    """A circuit between two dense layers, or one that takes the data up again in every layer; the same without entanglement; or an MLP with as many parameters."""  # noqa: E501
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

    from chainlab import lab, optim

    dataset = _two_classes(config.data)
    model = _classifier(config)
    random = config.shots is not None or config.gradient == "spsa"

    def objective(params: Any, batch: Any, key: Any) -> tuple[Any, dict[str, Any]]:
        logits = model.apply(params, batch["x"], key=key if random else None)
        loss = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"]))
        return loss, {"accuracy": jnp.mean((jnp.argmax(logits, axis=-1) == batch["y"]).astype(jnp.float32))}

    exact = _classifier(config, exact=True)

    def evaluate(params: Any, split: Any) -> dict[str, Any]:
        logits = exact.apply(params, split["x"])
        loss = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, split["y"]))
        return {"loss": loss, "accuracy": jnp.mean((jnp.argmax(logits, axis=-1) == split["y"]).astype(jnp.float32))}

    return lab.supervised(
        model,
        objective,
        optim.build(config.optimizer),
        dataset.batches(config.batch_size),
        evaluate=evaluate,
        panels=None
        if config.model.name.endswith("mlp")
        else lambda state, _: _panels(config, dataset, objective, state),
    )


def _two_classes(config: TwoClassesConfig) -> "Dataset":
    """Two classes on standardised principal components of the training examples."""
    import dataclasses

    import numpy as np
    from sklearn.decomposition import PCA

    whole = DatasetConfig(name=config.name, validation=0.0).load().flat()
    labels = list(config.classes if config.name == "digits" else (0, 1))

    def chosen(arrays: Any) -> tuple[Any, Any]:
        keep = np.isin(arrays["y"], labels)
        return np.asarray(arrays["x"], np.float64)[keep], np.searchsorted(labels, arrays["y"][keep]).astype(np.int32)

    x, y = chosen(whole.train)
    project = PCA(config.components, whiten=True, random_state=0).fit(x)
    splits = {}
    for name, arrays in {"train": whole.train, **whole.splits}.items():
        x, y = chosen(arrays)
        splits[name] = {"x": project.transform(x).astype(np.float32), "y": y}
    names = tuple(whole.classes[label] for label in labels)
    return dataclasses.replace(whole, train=splits.pop("train"), splits=splits, classes=names, transform=None)


def _classifier(config: QuantumConfig, *, exact: bool = False) -> Any:
    """The model that the config names; `exact` evaluates it without shots and without a device."""
    from chainlab import quantum

    kind, _, twin = config.model.name.partition("-")
    options: dict[str, Any] = {"qubits": config.model.qubits, "layers": config.model.layers}
    if not exact and twin != "mlp":
        options |= {"gradient": config.gradient, "shots": config.shots}
        if config.device:
            options |= {"device": config.device.name, "device_options": config.device.options}
    build = quantum.dressed if kind == "dressed" else quantum.reuploading
    hybrid = build(config.data.components, 2, entangled=twin != "separable", **options)
    return quantum.equal_mlp(config.data.components, 2, hybrid) if twin == "mlp" else hybrid


def _panels(config: QuantumConfig, dataset: "Dataset", objective: Any, state: Any) -> list[chainlab.Panel]:
    """The circuit, a slice of the landscape, the gradient's variance by angle, and what a step costs."""
    import jax
    import jax.numpy as jnp

    from chainlab import quantum

    model, params, key = config.model, state.params, jax.random.key(0)
    entangled = not model.name.endswith("separable")
    if model.name.startswith("dressed"):
        circuit = quantum.dressed_circuit(model.qubits, model.layers, entangled)
        arguments = (jnp.zeros(model.qubits), params["angles"])
    else:
        circuit = quantum.reuploading_circuit(config.data.components, model.qubits, model.layers, entangled)
        arguments = (jnp.zeros(config.data.components), params["scales"], params["angles"])
    batch = {name: jnp.asarray(leaf[: config.batch_size]) for name, leaf in dataset.train.items()}

    def loss(angles: Any, batch: Any = batch) -> Any:
        return objective({**params, "angles": angles}, batch, key)[0]

    draws = jax.random.uniform(key, (32, *params["angles"].shape), maxval=2 * jnp.pi)
    gradients = jnp.stack([jax.jit(jax.grad(loss))(draw) for draw in draws[: 4 if config.device else 32]])
    step = jax.value_and_grad(lambda p: objective(p, batch, key)[0])
    cost = [{"circuits in a step": quantum.executions(step, params), "examples": config.batch_size}]
    panels = [
        chainlab.Panel("Circuit", quantum.draw_circuit(circuit, *arguments), note="At the first example's place."),
        chainlab.Panel("Gradient by angle", quantum.variance_bars(gradients.reshape(len(gradients), -1))),
        chainlab.Panel("Circuits executed", rows=cost, note=f"By {config.gradient}; shots: {config.shots or 'exact'}."),
    ]
    if not config.device and not config.shots:
        panels.insert(1, chainlab.Panel("Landscape", quantum.landscape(loss, params["angles"], key)))
    return panels
