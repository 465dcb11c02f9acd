"""`chainlab explain`: the chain rule of a function or of a config's objective, node by node."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from chainlab.cli.common import OutputFile, json_option, out, overrides_argument, talk, verb
from chainlab.cli.functions import args_option, named_call, subjects, target_argument
from chainlab.errors import UsageError


@verb(
    "chainlab explain mymodule:loss --args '[2.0, 3.0]'",
    "chainlab explain mlp/digits --html digits.html",
    "chainlab explain mlp/digits batch_size=8 --subject objective --k 10",
)
@target_argument
@overrides_argument
@args_option
@click.option("--subject", help="Which derivative of the config's task to explain; the first by default.")
@click.option("--html", type=OutputFile(), help="Write an interactive page.")
@click.option("--dot", type=OutputFile(), help="Write a Graphviz file.")
@click.option("--mermaid", type=OutputFile(), help="Write a Mermaid flowchart.")
@click.option(
    "--k", type=click.IntRange(0), default=5, show_default=True, help="How many of the largest paths to list."
)
@click.option("--unroll", type=click.IntRange(0), default=32, show_default=True, help="Longest loop to unroll.")
@json_option
def command(
    target: str,
    overrides: tuple[str, ...],
    text: str | None,
    subject: str | None,
    html: Path | None,
    dot: Path | None,
    mermaid: Path | None,
    k: int,
    unroll: int,
    as_json: bool,
) -> None:
    """Show how a gradient comes about: every value, adjoint, local derivative and path.

    A function is explained at --args, a config's objective at the initial parameters on the first batch. The graph is
    printed as text unless it goes elsewhere.
    """
    from chainlab.autodiff.explanation.explainer import explain
    from chainlab.lab.compilation import use_cache

    use_cache()
    call = named_call(target, overrides, text)
    if call is not None:
        function, arguments = call
        explanation = explain(function, unroll=unroll)(*arguments)
    else:
        objective, params, batch, key = _subject(target, overrides, subject)
        explanation = explain(objective, argnums=0, has_aux=True, unroll=unroll)(params, batch, key)
    if html:
        explanation.to_html(html, k=k)
        talk(f"wrote {html}")
    for path, written in ((dot, explanation.to_dot), (mermaid, explanation.to_mermaid)):
        if path:
            path.write_text(written(), encoding="utf-8")
            talk(f"wrote {path}")
    if as_json:
        out(json.loads(explanation.to_json(k=k)), as_json=True)
    elif not (html or dot or mermaid):
        out(explanation.to_text(k=k).rstrip())


def _subject(config: str, overrides: Sequence[str], name: str | None) -> tuple[Any, Any, Any, Any]:
    """A config's objective with its initial parameters, first batch and key."""
    found, batch, key = subjects(config, overrides)
    if name is not None and name not in found:
        raise UsageError(f"{config} has no subject {name!r}; choose one of {', '.join(found)}")
    chosen = found[name or next(iter(found))]
    return chosen.objective, chosen.params, batch, key
