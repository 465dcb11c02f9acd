"""A spiking network as a config: encoder, neurons, network, learning rule and penalty; imports no JAX."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from annotated_types import Ge, Gt

from chainlab.declare import config
from chainlab.errors import UsageError

if TYPE_CHECKING:
    from chainlab.spiking.network import Network
    from chainlab.spiking.neuron import Neuron
    from chainlab.spiking.objective import Penalty
    from chainlab.spiking.sequences import Sequence
    from chainlab.spiking.surrogates import Surrogate
    from chainlab.typing import PRNGKey, Rule


ShapeName: TypeAlias = Literal[
    "fast_sigmoid", "arctan", "sigmoid", "triangular", "boxcar", "gaussian", "multi_gaussian", "exponential", "cosine",
    "straight_through", "leaky_straight_through", "sparse_fast_sigmoid",
]  # fmt: skip
"""The keys of `chainlab.spiking.shapes`."""


@config
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

    def encode(self, x: Any, key: "PRNGKey | None") -> "Sequence":
        """The sequence of a batch of values (examples, features); signals (examples, time, features) are one already.

        Args:
            x: The batch.
            key: Randomness of Poisson spikes; without one they are those of key 0.

        Returns:
            The sequence, time first.
        """
        import jax
        import jax.numpy as jnp

        from chainlab.spiking import encoders

        if x.ndim > 2:
            return jnp.moveaxis(x, 1, 0)
        if self.name == "poisson":
            return encoders.poisson_rate(x, self.steps, jax.random.key(0) if key is None else key)
        if self.name == "latency":
            return encoders.latency(x, self.steps, tau=self.tau, threshold=self.threshold)
        return encoders.constant_current(x, self.steps)


@config
class SurrogateConfig:
    """The derivative of a spike."""

    shape: ShapeName = "fast_sigmoid"
    """Its shape; see `chainlab.spiking.shapes`."""
    scale: Annotated[float, Gt(0)] = 10.0
    """Inverse width."""
    height: Annotated[float, Gt(0)] = 1.0
    """Derivative at the threshold."""

    def build(self) -> "Surrogate":
        """The surrogate."""
        from chainlab.spiking.surrogates import Surrogate

        return Surrogate(self.shape, scale=self.scale, height=self.height)


@config
class NeuronConfig:
    """The hidden neurons."""

    kind: Literal["lif", "current_lif", "adaptive_lif"] = "lif"
    """Leaky integrate-and-fire, with a synaptic current, or with an adaptive threshold (whose reset is the default)."""
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

    def build(self, size: int, surrogate: "Surrogate") -> "Neuron":
        """A layer of hidden neurons.

        Args:
            size: Number of neurons.
            surrogate: Their spike.

        Returns:
            The neurons, recurrent where they are to be.

        Raises:
            UsageError: An option is one that neurons of this kind do not have.
        """
        import jax

        from chainlab.spiking import adaptive, feedback, neurons
        from chainlab.spiking.values import decay

        fixed = {"decay": decay(self.tau_mem), "spread": self.spread, "detach": self.detach}
        options: dict[str, Any] = {**fixed, "learn": self.learn, "surrogate": surrogate}
        if self.kind == "adaptive_lif":
            for name, value in (("reset", "subtract"), ("timing", "delayed"), ("normalize", False)):
                got = getattr(self, name)
                if got != value:
                    raise UsageError(f"adaptive_lif neurons have {name} {value!r} alone, got {name} {got!r}")
            neuron = adaptive.adaptive_lif(size, **options)
        elif self.kind == "current_lif":
            options |= {"synaptic_decay": decay(self.tau_syn)}
            neuron = neurons.current_lif(size, **options, **self._resets())
        else:
            neuron = neurons.lif(size, **options, **self._resets())
        if not self.recurrent:
            return neuron
        weights = jax.nn.initializers.variance_scaling(self.recurrent**2, "fan_in", "normal")
        return feedback.recurrent(neuron, size, weight_init=weights)

    def plain(self, size: int, surrogate: "Surrogate", tau: float) -> "Neuron":
        """LIF neurons with the same reset and nothing to learn, for encoding and reading out.

        Args:
            size: Number of neurons.
            surrogate: Their spike.
            tau: Time constant of the membrane, in steps.

        Returns:
            The neurons.
        """
        from chainlab.spiking import neurons
        from chainlab.spiking.values import decay

        return neurons.lif(size, decay=decay(tau), surrogate=surrogate, **self._resets())

    def _resets(self) -> dict[str, Any]:
        return {"reset": self.reset, "timing": self.timing, "normalize": self.normalize}


@config
class NetworkConfig:
    """The network: dense layers and neurons in turn, behind an encoder and before a readout."""

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

    def build(
        self, inputs: int, classes: int, encoder: EncoderConfig, surrogate: "Surrogate | None" = None
    ) -> "Network":
        """The network.

        Args:
            inputs: Input features.
            classes: Outputs.
            encoder: What it reads; its copies are layers of the network.
            surrogate: Another derivative of the spikes than the config's.

        Returns:
            The network.
        """
        import jax

        from chainlab import nn
        from chainlab.spiking import layers as stateless
        from chainlab.spiking import neurons
        from chainlab.spiking.network import Network
        from chainlab.spiking.values import decay

        surrogate = surrogate or self.surrogate.build()
        weights = jax.nn.initializers.variance_scaling(self.gain**2, "fan_in", "normal")
        layers: dict[str, Any] = {}
        if encoder.name == "copies":
            layers["copies"] = stateless.copies(inputs, encoder.copies)
            inputs *= encoder.copies
            layers["encoder"] = self.neuron.plain(inputs, surrogate, self.neuron.tau_mem)
        for index, size in enumerate(self.hidden):
            layers[f"dense{index}"] = nn.dense(inputs, size, bias=self.bias, weight_init=weights)
            layers[f"hidden{index}"] = self.neuron.build(size, surrogate)
            inputs = size
        layers["dense_out"] = nn.dense(inputs, classes, bias=self.bias, weight_init=weights)
        if self.readout == "leaky":
            tau, normalize = self.readout_tau, self.neuron.normalize
            layers["readout"] = neurons.leaky_integrator(classes, decay=decay(tau), normalize=normalize)
        else:
            layers["readout"] = self.neuron.plain(classes, surrogate, self.readout_tau)
        return Network(layers)


@config
class RuleConfig:
    """How time is differentiated."""

    name: Literal["bptt", "truncated", "checkpointed", "online_trace", "eprop", "ottt", "eventprop"] = "bptt"
    """The learning rule."""
    steps: Annotated[int, Gt(0)] | None = None
    """Length of a chunk, for `truncated` and `checkpointed`."""
    memory: Annotated[float, Gt(0)] | None = None
    """Memory budget in MiB, for `checkpointed`."""

    def build(self) -> "Rule":
        """The rule."""
        from chainlab import spiking

        if self.name == "truncated":
            return spiking.truncated(self.steps or 10)
        if self.name == "checkpointed":
            return spiking.checkpointed(self.memory, steps=self.steps)
        return spiking.eventprop() if self.name == "eventprop" else getattr(spiking, self.name)


@config
class PenaltyConfig:
    """A penalty on firing rates outside a range, in spikes a step."""

    strength: Annotated[float, Ge(0)] = 0.0
    """Its weight; 0 leaves it out."""
    lower: Annotated[float, Ge(0)] = 0.0
    """Lowest rate without a penalty."""
    upper: Annotated[float, Ge(0)] = 1.0
    """Highest rate without a penalty."""

    def build(self) -> "Penalty | None":
        """The penalty, or None where its weight is 0."""
        from chainlab.spiking.loss import rate_bounds

        return rate_bounds(self.lower, self.upper, strength=self.strength) if self.strength else None
