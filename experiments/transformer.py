"""Language models on text, or on images of digits as sequences of grey levels."""

from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt

import chainlab
from chainlab.transformer.architecture import Architecture
from chainlab.transformer.optimization import Optimization


@chainlab.config
class DataConfig:
    """What is modelled."""

    source: str = "digits"
    """A text file, `tinyshakespeare`, `digits` (scikit-learn's 8x8 images, 64 grey levels and then the label), or
    `random`: tokens without a meaning, to plan and to measure with."""
    tokens: Literal["character", "byte", "bpe"] = "character"
    """What a token of a text is."""
    vocabulary: Annotated[int, Gt(256)] = 512
    """Tokens of `bpe`, which is learned from the training text, or of `random`."""
    train: Annotated[float, Gt(0), Lt(1)] = 0.9
    """Share of a text, from its start, to train on."""
    held_out: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Share of the training text, at its end, to validate on instead of the validation text: choose
    hyper-parameters there, and the validation text stays unseen."""
    evaluation_batches: Annotated[int, Gt(0)] = 200
    """Random batches of the validation text on which every evaluation is made."""


@chainlab.config
class TransformerConfig:
    """A decoder-only transformer trained on the next token."""

    data: DataConfig = DataConfig()
    """What is modelled."""
    model: Architecture = Architecture()
    """Shape of the model; its context is the length of a training sequence."""
    optimizer: Optimization = Optimization()
    """How it is optimised."""
    batch_size: Annotated[int, Gt(0)] = 12
    """Sequences in a batch."""
    micro_batches: Annotated[int, Gt(0)] = 1
    """Parts that a batch is cut into to save memory; the gradient is that of the whole batch."""


@chainlab.experiment
def transformer(config: TransformerConfig) -> "chainlab.Task":
    """Train a language model."""
    from chainlab import autodiff, lab, nn
    from chainlab.transformer import evaluate_next_token, language_model, next_token, optimizer

    source = load(config)
    model = language_model(config.model, source.vocabulary)
    objective = next_token(model)

    def evaluate(params: Any, split: Any) -> dict[str, Any]:
        metrics = dict(evaluate_next_token(model, params, split))
        return metrics | _label_accuracy(model, params, split) if config.data.source == "digits" else metrics

    return lab.supervised(
        nn.Model(model.init, model.apply),
        objective,
        optimizer(config.optimizer, config.model),
        source.data,
        evaluate=evaluate,
        rule=autodiff.accumulate(config.micro_batches) if config.micro_batches > 1 else autodiff.backprop,
        panels=lambda state, folder: _panels(model, objective, source, state.params),
    )


class Source:
    """Batches, their vocabulary, and the tokenizer of a text (None for images)."""

    def __init__(self, data: Any, vocabulary: int, text: Any = None) -> None:
        self.data, self.vocabulary, self.text = data, vocabulary, text


def load(config: TransformerConfig) -> Source:
    """Read what a config models; `chainlab generate` finds the tokenizer of a run here too."""
    from chainlab.transformer import digit_sequences, random_sequences, text_source

    if config.data.source == "digits":
        data = digit_sequences(config.batch_size)
        return Source(data, 27)
    if config.data.source == "random":
        vocabulary = config.data.vocabulary
        return Source(random_sequences(vocabulary, config.batch_size, config.model.context), vocabulary)
    options = config.data
    data, text = text_source(
        options.source,
        tokens=options.tokens,
        vocabulary=options.vocabulary,
        train=options.train,
        held_out=options.held_out,
        batch_size=config.batch_size,
        length=config.model.context,
        evaluation_batches=options.evaluation_batches,
    )
    return Source(data, len(text.vocabulary), text)


def _label_accuracy(model: Any, params: Any, split: Any) -> dict[str, Any]:
    """How often the likeliest last token is the image's label."""
    import jax
    import jax.numpy as jnp

    def correct(batch: Any) -> Any:
        last = model.apply(params, batch["x"])[:, -1]
        return jnp.mean((jnp.argmax(last, axis=-1) == batch["y"][:, -1]).astype(jnp.float32))

    return {"accuracy": jnp.mean(jax.lax.map(correct, split))}


def _panels(model: Any, objective: Any, source: Source, params: Any) -> "list[chainlab.Panel]":
    """Attention maps of one sequence, the gradient that reaches each layer, and a sample of generated text."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from matplotlib.figure import Figure

    from chainlab.transformer import attention_maps, generate, gradient_flow

    split = next(iter(source.data.splits.values()))
    batch = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), split)
    maps = attention_maps(model, params, batch["x"][0][:64])
    panels = []
    if maps:
        columns = next(iter(maps.values())).shape[0]
        figure = Figure(figsize=(1.6 * columns, 1.7 * len(maps)), layout="constrained")
        axes = figure.subplots(len(maps), columns, squeeze=False)
        for row, (layer, heads) in zip(axes, maps.items(), strict=True):
            for head, (axis, weights) in enumerate(zip(row, np.asarray(heads), strict=True)):
                axis.imshow(weights, cmap="magma", interpolation="nearest")
                axis.set_title(f"layer {layer}, head {head}", fontsize=7)
                axis.set_axis_off()
        note = "Rows are queries, columns keys; each row sums to one."
        panels.append(chainlab.Panel("Attention of one validation sequence", figure, note=note))
    flow = gradient_flow(model, objective, params, batch)
    note = "Root mean square of the gradient of one batch, by part of each layer."
    panels.append(chainlab.Panel("Gradient by layer", rows=flow, note=note))
    if source.text is not None:
        prompt = np.asarray(batch["x"][0][:16], np.int32)
        sample = [*prompt, *generate(model, params, prompt, key=jax.random.key(0), count=200, temperature=0.8)]
        text = source.text.decode(np.asarray(sample))
        panels.append(
            chainlab.Panel("Sample", rows=[{"text": text}], note="Temperature 0.8, after a prompt of 16 tokens.")
        )
    return panels
