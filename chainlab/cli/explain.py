"""`chainlab explain`: the chain rule of a function or of a config's objective, node by node."""

import ast
import json
from collections.abc import Sequence
from typing import Any

import click

from chainlab.cli.common import ConfigName, json_option, out, overrides_argument, talk, verb
from chainlab.errors import UsageError


@verb(
    "chainlab explain mymodule:loss --args '[2.0, 3.0]'",
    "chainlab explain mlp/digits --html digits.html",
    "chainlab explain mlp/digits batch_size=8 --subject objective --k 10",
)
@click.argument("target", type=ConfigName(), metavar="CONFIG|MODULE:FUNCTION")
@overrides_argument
@click.option("--args", "arguments", metavar="LIST", help="Arguments of MODULE:FUNCTION, a JSON or Python list.")
@click.option("--subject", help="Which derivative of the config's task to explain; the first by default.")
@click.option("--html", type=click.Path(dir_okay=False, writable=True), help="Write an interactive page.")
@click.option("--dot", type=click.Path(dir_okay=False, writable=True), help="Write a Graphviz file.")
@click.option("--mermaid", type=click.Path(dir_okay=False, writable=True), help="Write a Mermaid flowchart.")
@click.option(
    "--k", type=click.IntRange(0), default=5, show_default=True, help="How many of the largest paths to list."
)
@click.option("--unroll", type=click.IntRange(0), default=32, show_default=True, help="Longest loop to unroll.")
@json_option
def command(
    target: str,
    overrides: tuple[str, ...],
    arguments: str | None,
    subject: str | None,
    html: str | None,
    dot: str | None,
    mermaid: str | None,
    k: int,
    unroll: int,
    as_json: bool,
) -> None:
    """Show how a gradient comes about: every value, adjoint, local derivative and path.

    TARGET is a function, called with --args, or a config, whose objective is explained on its first batch at its
    initial parameters. The graph is printed as text unless it goes elsewhere.
    """
    from chainlab.autodiff.explanation.explainer import explain

    if arguments is not None or (":" in target and "=" not in target):
        if overrides:
            raise click.UsageError(f"a function takes no overrides, got {' '.join(overrides)}; use --args '[...]'")
        function, values = _function(target), _values(arguments)
        explanation = explain(function, unroll=unroll)(*values)
    else:
        objective, params, batch, key = _subject(target, overrides, subject)
        explanation = explain(objective, argnums=0, has_aux=True, unroll=unroll)(params, batch, key)
    if html:
        explanation.to_html(html, k=k)
        talk(f"wrote {html}")
    for path, text in ((dot, explanation.to_dot), (mermaid, explanation.to_mermaid)):
        if path:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text())
            talk(f"wrote {path}")
    if as_json:
        out(json.loads(explanation.to_json(k=k)), as_json=True)
    elif not (html or dot or mermaid):
        out(explanation.to_text(k=k).rstrip())


def _function(target: str) -> Any:
    """Import `module:function`; a module beside the current folder is found too."""
    import importlib
    import os
    import sys

    module, _, attribute = target.partition(":")
    if not attribute:
        raise UsageError(f"explain: {target!r} names no function; wanted module:function before --args")
    sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except ModuleNotFoundError as error:
        if error.name != module.split(".")[0] and error.name != module:
            raise  # the module is there and needs another one
        raise UsageError(f"explain: there is no module {module!r} here or on Python's path") from None
    except AttributeError:
        raise UsageError(f"explain: module {module!r} has no {attribute!r}") from None
    finally:
        sys.path.remove(os.getcwd())
    if not callable(found):
        raise UsageError(f"explain: {target} is a {type(found).__name__}, wanted a function")
    return found


def _values(text: str | None) -> list[Any]:
    """Arguments from JSON or Python literals: numbers, and lists of them as arrays, also inside mappings."""
    import numpy as np

    if text is None:
        return []
    try:
        values = json.loads(text)
    except json.JSONDecodeError:
        try:
            values = ast.literal_eval(text)
        except (ValueError, SyntaxError) as error:
            raise UsageError(f"explain: --args is neither JSON nor a Python literal: {text!r}") from error
    if not isinstance(values, (list, tuple)):
        raise UsageError(f"explain: --args must be a list of the arguments, such as '[{text}]'")

    def array(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: array(item) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            try:
                return np.asarray(value, np.float32 if _holds_float(value) else None)
            except ValueError as error:
                raise UsageError(f"explain: --args holds a ragged list {value!r}, wanted a rectangular one") from error
        return value

    return [array(value) for value in values]


def _holds_float(value: Any) -> bool:
    return any(map(_holds_float, value)) if isinstance(value, (list, tuple)) else isinstance(value, float)


def _subject(config: str, overrides: Sequence[str], name: str | None) -> tuple[Any, Any, Any, Any]:
    """A config's objective with its initial parameters, first batch and key."""
    import jax

    from chainlab.lab.config.document import load

    task = load(config, overrides).task()
    key = jax.random.key(0)
    state = task.init(key)
    subjects = dict(task.subjects(state)) if task.subjects else {}
    if not subjects:
        raise UsageError(f"explain: {config} declares no subjects, so it has no objective to explain")
    if name is not None and name not in subjects:
        raise UsageError(f"explain: {config} has no subject {name!r}; choose one of {', '.join(subjects)}")
    chosen = subjects[name or next(iter(subjects))]
    return chosen.objective, chosen.params, task.data.batch(key, 0), key
