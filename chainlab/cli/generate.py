"""`chainlab generate`: continue a prompt with a trained transformer."""

from typing import TYPE_CHECKING, Any

import click

from chainlab.cli.common import json_option, out, run_argument, verb
from chainlab.cli.training import choose_device, device_option
from chainlab.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator


@verb(
    "chainlab generate latest --prompt 'ROMEO:'",
    "chainlab generate runs/transformer/20261124-101500-1a2b3c4d --temperature 0.8 --top-k 40 --tokens 1000",
)
@run_argument
@click.option("--prompt", default="\n", help="Text to continue; a line break by default.")
@click.option("--tokens", type=click.IntRange(min=1), default=500, show_default=True, help="Tokens to generate.")
@click.option(
    "--temperature", type=click.FloatRange(min=0), default=0.8, show_default=True, help="0 takes the likeliest token."
)
@click.option("--top-k", type=click.IntRange(min=1), help="Keep the k most likely tokens.")
@click.option("--top-p", type=click.FloatRange(min=0, max=1, min_open=True), help="Keep the most likely, up to p.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Randomness of the sampling.")
@click.option("--member", type=click.IntRange(min=0), default=0, help="Which of a run's seeds, counted from 0.")
@device_option
@json_option
def command(
    run: str,
    prompt: str,
    tokens: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    seed: int,
    member: int,
    device: str | None,
    as_json: bool,
) -> None:
    """Continue a prompt with the transformer that RUN trained, as it is generated.

    RUN is a run folder, a part of a run's name that no other run has, or `latest`. Its best checkpoint is used where it
    monitored a metric, else the last.
    """
    choose_device(device)
    import importlib

    import jax
    import numpy as np

    from chainlab.lab.config import load
    from chainlab.lab.runs import find
    from chainlab.lab.trained import parameters
    from chainlab.transformer import generate, language_model

    folder = find(run).path
    document = load(folder / "config.yaml")
    if document.experiment.name != "transformer":
        raise UsageError(f"{run} is a run of {document.experiment.name}, and generate needs one of transformer")
    config: Any = document.config
    source = importlib.import_module("chainlab.experiments.transformer").load(config)
    if source.text is None:
        raise UsageError(f"{run} models {config.data.source}, which is no text")
    encoded = source.text.encode(prompt)
    seeds = document.envelope.replicas
    if member >= len(seeds):
        raise UsageError(f"{folder} trained {len(seeds)} seeds, counted from 0: there is no member {member}")
    params, _ = parameters(folder, seeds[member])
    model = language_model(config.model, source.vocabulary)
    options: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    stream = generate(model, params, encoded, key=jax.random.key(seed), count=tokens, **options)
    if as_json:
        text = source.text.decode(np.fromiter(stream, np.int32))
        out({"prompt": prompt, "text": text, "tokens": tokens, "seed": seed, **options}, as_json=True)
        return
    click.echo(prompt, nl=False)
    for piece in pieces(source.text, stream):
        click.echo(piece, nl=False)
    click.echo()


def pieces(text: Any, stream: "Iterator[int]") -> "Iterator[str]":
    """The generated text bit by bit; a character of several tokens comes when its last one is there."""
    import numpy as np

    waiting: list[int] = []
    for token in stream:
        waiting.append(token)
        piece = text.decode(np.asarray(waiting))
        if not piece.endswith("\N{REPLACEMENT CHARACTER}") or len(waiting) >= 4:
            yield piece
            waiting = []
    if waiting:
        yield text.decode(np.asarray(waiting))
