"""The variational eigensolver: the ground state of the hydrogen molecule."""

from typing import Annotated, Any, Literal

from annotated_types import Gt

import chainlab


@chainlab.config
class EigensolverConfig:
    """The hydrogen molecule's energy, minimised over Givens rotations."""

    distance: Annotated[float, Gt(0)] = 1.3989
    """Distance of the nuclei in bohr."""
    optimizer: Literal["gradient", "natural", "spsa"] = "gradient"
    """Gradient descent by parameter shift, the quantum natural gradient, or simultaneous perturbation."""
    learning_rate: Annotated[float, Gt(0)] = 0.4
    """Its learning rate."""
    shots: Annotated[int, Gt(0)] | None = None
    """Shots of each circuit; null for exact expectations."""
    steps: Annotated[int, Gt(0)] = 40
    """Planned steps, for the gains of `spsa`; give `run.steps` the same number."""


@chainlab.experiment
def eigensolver(config: EigensolverConfig) -> chainlab.Task:
    """Minimise the energy of the hydrogen molecule."""
    import jax.numpy as jnp
    import optax

    from chainlab import data, lab, nn, quantum

    molecule = quantum.hydrogen(config.distance)
    circuit, count = quantum.unitary_coupled_cluster(molecule)
    gradient = "spsa" if config.optimizer == "spsa" else "parameter-shift"
    energy = quantum.expectation(circuit, gradient, shots=config.shots)
    exact = quantum.expectation(circuit)
    random = gradient == "spsa" or config.shots is not None
    optimizers: dict[str, Any] = {
        "gradient": lambda: optax.sgd(config.learning_rate),
        "natural": lambda: quantum.natural_gradient(circuit, config.learning_rate),
        "spsa": lambda: quantum.spsa(config.learning_rate, config.steps),
    }

    def objective(params: Any, batch: Any, key: Any) -> tuple[Any, dict[str, Any]]:
        del batch
        return energy(params, key=key if random else None), {}

    def evaluate(params: Any, split: Any) -> dict[str, Any]:
        del split
        found = exact(params)
        return {"energy": found, "error_millihartree": 1000 * jnp.abs(found - molecule.energy)}

    return lab.supervised(
        nn.Model(lambda key: jnp.zeros(count), lambda params, x, key=None: exact(params)),
        objective,
        optimizers[config.optimizer](),
        data.sampled(lambda key: {}, splits={"test": {}}, origin=data.Origin("hydrogen, STO-3G")),
        evaluate=evaluate,
        panels=lambda state, _: [chainlab.Panel("Circuit", quantum.draw_circuit(circuit, state.params))],
    )
