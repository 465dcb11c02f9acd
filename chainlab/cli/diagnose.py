"""`chainlab diagnose`: where does the gradient live, and where does it die?"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chainlab.cli.common import json_option, out, talk, verb
from chainlab.cli.functions import arguments, function, is_function, subjects

if TYPE_CHECKING:
    from chainlab.autodiff import Diagnosis


@verb(
    "chainlab diagnose deep/he_relu_10k",
    "chainlab diagnose deep/rezero_10k chain.connection=plain --figure profile.svg",
    "chainlab diagnose mymodule:loss --args '[[[1.0, 0.5], [0.2, 2.0]], [[1.0, 2.0]]]'",
)
@click.argument("target", metavar="CONFIG | MODULE:FUNCTION")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE ...]")
@click.option("--args", "text", metavar="JSON", help="Arguments of the function, a JSON list; the first is watched.")
@click.option("--layers", type=click.IntRange(2), default=12, show_default=True, help="Layers that the table shows.")
@click.option("--figure", type=click.Path(path_type=Path), help="Also draw the depth profile into this file.")
@json_option
def command(
    target: str, overrides: tuple[str, ...], text: str | None, layers: int, figure: Path | None, as_json: bool
) -> int:
    """Name the first layer whose gradient vanishes, explodes or is not finite; exits with 1 when there is one.

    A config's objectives are diagnosed at the initial parameters on the first batch.
    """
    if is_function(target) == (text is None):
        need = "a function needs --args, such as --args '[[1.0, 2.0]]'" if text is None else "--args is for a function"
        raise click.UsageError(need)
    found = _function(target, text) if text is not None else _config(target, overrides)
    if as_json:
        out({name: json.loads(diagnosis.to_json()) for name, diagnosis in found.items()}, as_json=True)
    else:
        for name, diagnosis in found.items():
            out(f"{name}\n{diagnosis.to_text(rows=layers)}\n")
    if figure is not None:
        for number, (name, diagnosis) in enumerate(found.items()):
            path = figure if number == 0 else figure.with_stem(f"{figure.stem}-{name}")
            diagnosis.figure().savefig(path)
            talk(f"wrote {path}")
    return 0 if all(not diagnosis.findings for diagnosis in found.values()) else 1


def _function(target: str, text: str) -> "dict[str, Diagnosis]":
    import jax.numpy as jnp

    import chainlab

    given: list[Any] = arguments(text)
    given[:1] = [jnp.asarray(value) if isinstance(value, float) else value for value in given[:1]]
    return {target: chainlab.diagnose(function(target))(*given)}


def _config(config: str, overrides: tuple[str, ...]) -> "dict[str, Diagnosis]":
    import chainlab

    found, batch, key = subjects(config, overrides)
    return {
        name: chainlab.diagnose(subject.objective, has_aux=True)(subject.params, batch, key)
        for name, subject in found.items()
    }
