"""The federation that a config of `federated` describes: its data on clients, its model and what clients do."""

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from chainlab.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from chainlab.experiments.federated import FederatedConfig

    from chainlab.federated import Algorithm, Clients, Federation


class Problem(NamedTuple):
    """A config's federation, and what it is measured with.

    Attributes:
        federation: What a simulation and a deployment run.
        local: Its algorithm before updates are coded.
        objective: What clients differentiate.
        model: The classifier.
        dataset: Its data.
        parts: Indices of each client's examples.
        labels: Class of each training example.
        held: The examples by which each client is measured.
    """

    federation: "Federation"
    local: "Algorithm"
    objective: Any
    model: Any
    dataset: Any
    parts: "list[np.ndarray]"
    labels: "np.ndarray"
    held: "Clients"


def problem(config: "FederatedConfig") -> Problem:
    """Build what a config describes."""
    import jax
    import numpy as np
    import optax

    from chainlab import federated, nn, optim

    dataset = config.data.load().flat()
    if not dataset.classes:
        raise UsageError(f"data.name: wanted a set with classes, got {config.data.name!r}")
    train = {name: np.asarray(leaf) for name, leaf in (dataset.transform or dict)(dataset.train).items()}
    x, parts = config.partition.draw(train["x"], train["y"])
    own, held = config.partition.hold_out(parts)
    clients, held = (
        federated.lay_out({**train, "x": x}, each, config.client.batch_size, seed=config.partition.seed)
        for each in (own, held)
    )
    # The first layer apart: what it does to a client's fixed examples is cheaper in another form (InputProduct).
    sizes = (*dataset.features, *config.hidden, len(dataset.classes))
    dense = [nn.dense(*pair, weight_init=jax.nn.initializers.he_normal()) for pair in pairwise(sizes)]
    layers: dict[str, nn.Model] = {}
    for index, layer in enumerate(dense[1:]):
        layers |= {f"relu{index}": nn.activation("relu"), f"dense{index + 1}": layer}
    body = nn.sequential(layers)
    model = nn.sequential({"input": dense[0], "body": body})

    def from_product(params: Any, batch: Any, key: Any) -> tuple[Any, dict[str, Any]]:
        output = body.apply(params["body"], batch["x"] + params["input"]["bias"][None])
        losses = optax.softmax_cross_entropy_with_integer_labels(output, batch["y"])
        return federated.masked_mean(losses, batch["mask"]), {}

    objective = federated.InputProduct(from_product, ("input", "weight"))
    local = config.client.build(objective)
    if config.client.own_layers:
        local = federated.local_heads(local, ["body"])
    algorithm, code = local, config.client.compression
    if code:
        algorithm = federated.compressed(local, code.build(), feedback=code.feedback)
    server = optim.build(config.server or config.client.server())
    rounds = config.privacy.rounds if config.privacy else None
    privacy = config.privacy.build(config.sampling.rate) if config.privacy else None
    federation = federated.Federation(algorithm, server, model.init, clients, privacy, rounds)
    return Problem(federation, local, objective, model, dataset, parts, train["y"], held)
