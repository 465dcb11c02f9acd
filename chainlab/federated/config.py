"""Parts of a federation as configs; imports no JAX."""

from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from chainlab.declare import config
from chainlab.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from chainlab.federated.algorithms import Algorithm
    from chainlab.federated.privacy import Privacy
    from chainlab.optim.compression import Compressor
    from chainlab.optim.config import OptimizerConfig
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
    holdout: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Share of each client's examples that it keeps from training, to measure how well it is served."""

    def hold_out(self, parts: "list[np.ndarray]") -> "tuple[list[np.ndarray], list[np.ndarray]]":
        """Part each client's examples into those it trains on and those it keeps for measuring.

        Args:
            parts: Indices of each client's examples.

        Returns:
            Both, by client; without a holdout both are all examples. A client always keeps one to train on.
        """
        import numpy as np

        if not self.holdout:
            return parts, parts
        rng = np.random.default_rng([self.seed, 1])
        orders = [rng.permutation(part) for part in parts]
        cuts = [min(round(self.holdout * len(order)), len(order) - 1) for order in orders]
        pairs = list(zip(orders, cuts, strict=True))
        return [order[cut:] for order, cut in pairs], [order[:cut] for order, cut in pairs]

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


_SERVERS: dict[str, dict[str, float]] = {
    "fedavgm": {"momentum": 0.9},
    "fedadam": {"b1": 0.9, "b2": 0.99, "eps": 1e-3},
    "fedyogi": {"b1": 0.9, "b2": 0.99, "eps": 1e-3},
    "fedadagrad": {"initial_accumulator_value": 1e-6, "eps": 1e-3},
}


@config
class CompressionConfig:
    """What a client's update becomes on the wire."""

    code: Literal["top_k", "random_k", "scaled_sign", "qsgd", "int8"] = "top_k"
    """The largest coordinates, random ones, signs, or every coordinate in few bits."""
    fraction: Annotated[float, Gt(0), Le(1)] = 0.1
    """Share of the coordinates that `top_k` and `random_k` send."""
    bits: Literal[2, 4, 8] = 4
    """Bits of a coordinate of `qsgd`."""
    feedback: bool = True
    """Whether a client adds what it left out before."""

    def build(self) -> "Compressor":
        """The code of this config."""
        from chainlab.optim import compression

        makers = {
            "top_k": lambda: compression.top_k(self.fraction),
            "random_k": lambda: compression.random_k(self.fraction),
            "scaled_sign": compression.scaled_sign,
            "qsgd": lambda: compression.qsgd(self.bits),
            "int8": compression.block_integer,
        }
        return makers[self.code]()


@config
class ClientConfig:
    """What a client does in a round."""

    algorithm: Literal[
        "fedsgd", "fedavg", "fedprox", "scaffold", "fednova", "fedavgm", "fedadam", "fedyogi", "fedadagrad"
    ] = "fedavg"
    """What it computes and sends; the last four are fedavg with a server of their own."""
    learning_rate: Annotated[float, Gt(0)] = 0.1
    """Rate of its SGD."""
    epochs: Annotated[int, Gt(0)] = 1
    """Passes over its data (fedsgd: always one gradient)."""
    batch_size: Annotated[int, Gt(0)] = 10
    """Examples in a batch."""
    mu: Annotated[float, Ge(0)] = 0.1
    """Proximal term of fedprox."""
    own_layers: bool = False
    """Whether each client keeps the layers after the first for itself (personalisation); the report then shows how each is served, and the server's own figures mean nothing."""  # noqa: E501
    compression: CompressionConfig | None = None
    """A code on the wire; null sends updates as they are."""

    def build(self, objective: "Objective") -> "Algorithm":
        """The algorithm of this config, without `own_layers`, which need the model.

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
        name = "fedavg" if self.algorithm in _SERVERS else self.algorithm
        return getattr(algorithms, name)(objective, rate=self.learning_rate, epochs=self.epochs)

    def server(self, rate: float | None = None) -> "OptimizerConfig":
        """The server's optimiser that belongs to the algorithm.

        Args:
            rate: Its rate; None takes 1 for sgd and 10^-1.5 for the adaptive ones.

        Returns:
            Its config.
        """
        from chainlab.optim.config import OptimizerConfig

        plain = self.algorithm not in _SERVERS or self.algorithm == "fedavgm"
        kind = "sgd" if plain else self.algorithm.removeprefix("fed")
        rate = rate if rate is not None else 1.0 if plain else 10**-1.5
        return OptimizerConfig(name=kind, learning_rate=rate, **_SERVERS.get(self.algorithm, {}))


@config
class SamplingConfig:
    """Who takes part in a round."""

    size: Annotated[int, Gt(0)] | None = None
    """Clients drawn uniformly without replacement; null takes all, or those that `rate` draws."""
    rate: Annotated[float, Gt(0), Le(1)] | None = None
    """Probability with which each client is asked (Poisson sampling), instead of `size`."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Probability that a client that was asked does not answer."""
    staleness: Annotated[int, Ge(0)] = 0
    """Server steps that an answer may be late (asynchronous, FedBuff); 0 waits for every answer."""


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

    def build(self, rate: float | None) -> "Privacy":
        """The mechanism of this config.

        Args:
            rate: Probability with which a client is asked.

        Returns:
            The mechanism.

        Raises:
            UsageError: There is no such probability: accounting assumes Poisson sampling.
        """
        from chainlab.federated.privacy import Privacy

        if rate is None:
            raise UsageError("privacy: wanted sampling.rate, the probability with which a client is asked, got null")
        return Privacy(self.clip, self.noise_multiplier, rate)

    def epsilons(self, mechanism: "Privacy") -> "np.ndarray":
        """Epsilon after each round of the budget."""
        from chainlab.federated.privacy import epsilons

        return epsilons(mechanism, self.rounds, delta=self.delta)
