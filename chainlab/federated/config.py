"""Parts of a federation as configs; imports no JAX."""

from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from chainlab.declare import config
from chainlab.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from chainlab.federated.algorithms import Algorithm
    from chainlab.typing import Objective


@config
class PartitionConfig:
    """How the training examples are spread over clients."""

    kind: Literal["even", "dirichlet", "quantity", "column"] = "even"
    """Alike; skewed labels; skewed sizes; or one client for each value of a feature."""
    clients: Annotated[int, Gt(0)] = 100
    """Number of clients; a column has as many as values."""
    alpha: Annotated[float, Gt(0)] = 0.1
    """Concentration of the labels of kind `dirichlet`; small is skewed."""
    sigma: Annotated[float, Ge(0)] = 1.0
    """Spread of the logarithm of the sizes of kind `quantity`."""
    column: Annotated[int, Ge(0)] = 0
    """Feature that says whose an example is, for kind `column`."""
    feature_shift: Annotated[float, Ge(0)] = 0.0
    """Spread of a gain and an offset that every client's inputs get, on top of any kind."""
    seed: Annotated[int, Ge(0)] = 0
    """Draws the partition; it is not the run's seed, so that all seeds of a run share one."""

    def draw(self, x: "np.ndarray", y: "np.ndarray") -> "tuple[np.ndarray, list[np.ndarray]]":
        """Spread examples over clients.

        Args:
            x: Inputs (examples, features).
            y: Labels.

        Returns:
            The inputs as the clients see them, and the indices of each client's examples.

        Raises:
            UsageError: There are fewer examples than clients, or no such column.
        """
        from chainlab.federated import partitions

        if self.kind == "column":
            if self.column >= x.shape[1]:
                raise UsageError(f"partition.column: wanted 0..{x.shape[1] - 1} (the features), got {self.column}")
            parts = partitions.by_column(x[:, self.column])
        elif self.kind == "dirichlet":
            parts = partitions.dirichlet(y, self.clients, alpha=self.alpha, seed=self.seed)
        elif self.kind == "quantity":
            parts = partitions.quantity(len(y), self.clients, sigma=self.sigma, seed=self.seed)
        else:
            parts = partitions.even(len(y), self.clients, seed=self.seed)
        return partitions.shift_features(x, parts, sigma=self.feature_shift, seed=self.seed), parts


@config
class ClientConfig:
    """What a client does in a round."""

    algorithm: Literal["fedsgd", "fedavg", "fedprox", "scaffold", "fednova"] = "fedavg"
    """What it computes and sends."""
    learning_rate: Annotated[float, Gt(0)] = 0.1
    """Rate of its SGD."""
    epochs: Annotated[int, Gt(0)] = 1
    """Passes over its data (fedsgd: always one gradient)."""
    batch_size: Annotated[int, Gt(0)] = 10
    """Examples in a batch."""
    mu: Annotated[float, Ge(0)] = 0.1
    """Proximal term of fedprox."""

    def build(self, objective: "Objective") -> "Algorithm":
        """The algorithm of this config.

        Args:
            objective: `objective(params, batch, key)`; the mean over the examples where `batch["mask"]` is 1.

        Returns:
            The algorithm.
        """
        from chainlab.federated import algorithms

        if self.algorithm == "fedsgd":
            return algorithms.fedsgd(objective, rate=self.learning_rate)
        if self.algorithm == "fedprox":
            return algorithms.fedprox(objective, rate=self.learning_rate, epochs=self.epochs, mu=self.mu)
        return getattr(algorithms, self.algorithm)(objective, rate=self.learning_rate, epochs=self.epochs)


@config
class SamplingConfig:
    """Who takes part in a round."""

    size: Annotated[int, Gt(0)] | None = None
    """Clients drawn uniformly without replacement; null takes all, or those that `rate` draws."""
    rate: Annotated[float, Gt(0), Le(1)] | None = None
    """Probability with which each client is asked (Poisson sampling), instead of `size`."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Probability that a client that was asked does not answer."""


@config
class PrivacyConfig:
    """Differential privacy of whole clients."""

    clip: Annotated[float, Gt(0)] = 1.0
    """Largest norm of a client's update."""
    noise_multiplier: Annotated[float, Gt(0)] = 1.0
    """Standard deviation of the noise on the sum of updates, in units of `clip`."""
    delta: Annotated[float, Gt(0), Lt(1)] = 1e-5
    """Probability with which epsilon may fail; well below one over the number of clients."""
    rounds: Annotated[int, Gt(0)] = 200
    """The budget: rounds after which nothing changes any more."""
