"""Which depths train? A grid of random nets against mean-field theory."""

from typing import Annotated, Any

from annotated_types import Ge, Gt, MinLen

import chainlab
from chainlab.data.config import DatasetConfig
from chainlab.optim.config import OptimizerConfig


@chainlab.config
class PhaseDiagramConfig:
    """Plain nets of every depth at every weight scale, trained side by side in one program."""

    data: DatasetConfig = DatasetConfig(scale="none")
    """What they are trained and evaluated on."""
    activation: str = "tanh"
    """Activation, by its name in `chainlab.nn.activations`."""
    width: Annotated[int, Gt(0)] = 64
    """Features of every layer."""
    depths: Annotated[tuple[Annotated[int, Gt(0)], ...], MinLen(2)] = (10, 20, 40, 80, 160)
    """Depths."""
    sigma_w: Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(2)] = (0.8, 1.0, 1.2, 1.4, 1.6, 2.0)
    """Scales of the initial weights."""
    sigma_b: Annotated[float, Ge(0)] = 0.22360679774997896
    """Standard deviation of the initial biases."""
    optimizer: OptimizerConfig = OptimizerConfig(name="sgd", learning_rate=1e-2, clip_norm=1.0)
    """The optimiser of every net."""
    batch_size: Annotated[int, Gt(0)] = 64
    """Examples in a batch."""


@chainlab.experiment
def phase_diagram(config: PhaseDiagramConfig) -> "chainlab.Task":
    """Train a grid of nets over weight scale and depth; report how deep each scale trains beside its depth scale."""
    import jax
    import jax.numpy as jnp
    import optax

    from chainlab import data, deep, lab, nn, optim
    from chainlab.lab.supervised import TrainState

    dataset = config.data.load().flat()
    mean, deviation = dataset.train["x"].mean(0), dataset.train["x"].std()
    features, classes = dataset.features[0], len(dataset.classes)
    sigmas = jnp.asarray(config.sigma_w)
    theory = [deep.mean_field(config.activation, sigma, config.sigma_b) for sigma in config.sigma_w]
    branch = deep.mlp_branch(config.width, activation=config.activation, sigma_w=1.0, sigma_b=config.sigma_b)
    chains = {depth: deep.chain(branch, depth) for depth in config.depths}
    embed, head = nn.dense(features, config.width, bias=False), nn.dense(config.width, classes)
    optimizer = optim.build(config.optimizer)

    def net(key: Any, depth: int, sigma: Any) -> Any:
        one, two, three = jax.random.split(key, 3)
        chain = chains[depth].init(two)
        scaled = jax.tree_util.tree_map_with_path(lambda p, x: x * (sigma if p[-1].key == "weight" else 1), chain)
        return {"embed": embed.init(one), "chain": scaled, "head": head.init(three)}

    def loss(params: Any, depth: int, batch: Any) -> tuple[Any, Any]:
        h = embed.apply(params["embed"], (batch["x"] - mean[None, :]) / deviation)
        logits = head.apply(params["head"], chains[depth].apply(params["chain"], h))
        right = jnp.mean((jnp.argmax(logits, axis=-1) == batch["y"]).astype(jnp.float32))
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"])), right

    def init(key: Any) -> Any:
        keys = jax.random.split(key, len(sigmas))
        params = {str(d): jax.vmap(lambda k, s, d=d: net(k, d, s))(keys, sigmas) for d in config.depths}
        return {d: TrainState(p, jax.vmap(optimizer.init)(p)) for d, p in params.items()}

    def train(state: Any, depth: int, batch: Any) -> tuple[Any, Any]:
        (value, _), gradient = jax.value_and_grad(loss, has_aux=True)(state.params, depth, batch)
        updates, inner = optimizer.update(gradient, state.optimizer, state.params)
        return TrainState(optax.apply_updates(state.params, updates), inner), value

    def step(state: Any, batch: Any, key: Any) -> tuple[Any, dict[str, Any]]:
        del key
        moved = {d: jax.vmap(lambda s, d=d: train(s, int(d), batch))(cell) for d, cell in state.items()}
        return {d: cell for d, (cell, _) in moved.items()}, {f"loss_{d}": jnp.mean(v) for d, (_, v) in moved.items()}

    def accuracies(state: Any, split: Any) -> Any:
        rows = [jax.vmap(lambda p, d=d: loss(p, int(d), split)[1])(cell.params) for d, cell in state.items()]
        return jnp.stack(rows, axis=1)

    def evaluate(state: Any, split: Any) -> dict[str, Any]:
        table = accuracies(state, split)
        scales = jnp.asarray([min(found.correlation_scale, 1e9) for found in theory])
        return {"accuracy": jnp.mean(table), "rank_correlation": _spearman(jnp.mean(table, axis=1), scales)}

    def panels(state: Any, folder: Any) -> "list[chainlab.Panel]":
        del folder
        import numpy as np

        test = jax.tree.map(jnp.asarray, dataset.splits["test"])
        table = np.asarray(jax.jit(accuracies)(state, test))
        rows = [
            {"sigma_w": sigma, "phase": found.phase, "depth scale": round(found.correlation_scale, 1)}
            | {f"depth {depth}": round(float(value), 3) for depth, value in zip(config.depths, line, strict=True)}
            for sigma, found, line in zip(config.sigma_w, theory, table, strict=True)
        ]
        note = "Test accuracy. The line is six times the depth scale of the correlation between inputs."
        return [chainlab.Panel("Which depths train", _figure(config, theory, table), rows, note)]

    def subjects(state: Any) -> "dict[str, chainlab.Subject]":
        """The shallowest net at the smallest weight scale; the others differ by numbers only."""
        depth, cell = next(iter(state.items()))
        net = jax.tree.map(lambda leaf: leaf[0], cell.params)
        return {"objective": chainlab.Subject(lambda p, batch, key: (loss(p, int(depth), batch)[0], {}), net)}

    batches = data.in_memory(dict(dataset.train), config.batch_size, splits=dataset.splits, origin=dataset.origin)
    return lab.Task(init, step, evaluate, batches, subjects, panels)


def _spearman(a: Any, b: Any) -> Any:
    """Rank correlation."""
    import jax.numpy as jnp

    ranks = [jnp.argsort(jnp.argsort(x)).astype(jnp.float32) for x in (a, b)]
    return jnp.corrcoef(*ranks)[0, 1]


def _figure(config: PhaseDiagramConfig, theory: Any, table: Any) -> Any:
    """Test accuracy over weight scale and depth, with the depth scale of the theory."""
    from matplotlib.figure import Figure

    plot = Figure(figsize=(7, 4.5), layout="constrained")
    axes = plot.subplots()
    image = axes.pcolormesh(config.sigma_w, config.depths, table.T, shading="nearest", cmap="viridis", vmin=0, vmax=1)
    plot.colorbar(image, ax=axes, label="test accuracy")
    limit = 2 * max(config.depths)
    axes.plot(
        config.sigma_w, [min(6 * found.correlation_scale, limit) for found in theory], "w--", label="6 depth scales"
    )
    axes.set(xlabel="sigma_w", ylabel="depth", yscale="log", ylim=(min(config.depths) / 1.2, max(config.depths) * 1.2))
    axes.legend(loc="lower right")
    return plot
