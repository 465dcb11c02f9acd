"""`chainlab diagnose`: where does the gradient live, and where does it die?"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chainlab.cli.common import OutputFile, json_option, out, overrides_argument, talk, verb
from chainlab.cli.functions import args_option, named_call, subjects, target_argument

if TYPE_CHECKING:
    from chainlab.autodiff import Diagnosis


@verb(
    "chainlab diagnose deep/he_relu_10k",
    "chainlab diagnose deep/rezero_10k chain.connection=plain --figure profile.svg",
    "chainlab diagnose mymodule:loss --args '[[[1.0, 0.5], [0.2, 2.0]], [[1.0, 2.0]]]'",
)
@target_argument
@overrides_argument
@args_option
@click.option("--layers", type=click.IntRange(2), default=12, show_default=True, help="Layers that the table shows.")
@click.option("--figure", type=OutputFile(".svg", ".png", ".pdf"), help="Also draw the depth profile into this file.")
@json_option
def command(
    target: str, overrides: tuple[str, ...], text: str | None, layers: int, figure: Path | None, as_json: bool
) -> int:
    """Name the first layer whose gradient vanishes, explodes or is not finite; exits with 1 when there is one.

    A function is diagnosed at --args, by its first argument. A config's objectives are diagnosed at the initial
    parameters on the first batch.
    """
    from chainlab.lab.compilation import use_cache

    use_cache()
    call = named_call(target, overrides, text)
    found = _config(target, overrides) if call is None else {target: _function(*call)}
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


def _function(function: Callable[..., Any], arguments: list[Any]) -> "Diagnosis":
    import jax.numpy as jnp

    import chainlab

    return chainlab.diagnose(function)(*(jnp.asarray(a) if isinstance(a, float) else a for a in arguments))


def _config(config: str, overrides: tuple[str, ...]) -> "dict[str, Diagnosis]":
    import chainlab

    found, batch, key = subjects(config, overrides)
    return {
        name: chainlab.diagnose(subject.objective, has_aux=True)(subject.params, batch, key)
        for name, subject in found.items()
    }
