"""`chainlab check`: is this derivative right?"""

from typing import TYPE_CHECKING, Any

import click

from chainlab.cli.common import json_option, out, overrides_argument, verb
from chainlab.cli.functions import args_option, named_call, subjects, target_argument

if TYPE_CHECKING:
    from chainlab.autodiff import Report


@verb(
    "chainlab check mlp/digits",
    "chainlab check mymodule:loss --args '[[1.0, 2.0], 0.5]'",
    "chainlab check ./rules.py:cube --args '[2.0]' --order 2",
)
@target_argument
@overrides_argument
@args_option
@click.option("--order", type=click.IntRange(1, 2), default=1, show_default=True, help="2 checks Hessians too.")
@click.option(
    "--mode", type=click.Choice(["rev", "fwd"]), default="rev", show_default=True, help="Which autodiff mode."
)
@click.option("--rtol", type=click.FloatRange(0, min_open=True), default=1e-4, show_default=True, help="Tolerance.")
@json_option
def command(
    target: str, overrides: tuple[str, ...], text: str | None, order: int, mode: str, rtol: float, as_json: bool
) -> int:
    """Check derivatives against float64 differences; exits with 1 when one is wrong.

    A function is checked at --args. A config's objectives are checked at the initial parameters on the first
    batch; a surrogate is checked against the relaxation that it declares, and where a network of surrogates has
    none, the report says how many coordinates have a declared derivative and why.
    """
    from chainlab.lab.compilation import use_cache

    use_cache()
    options: dict[str, Any] = {"order": order, "mode": mode, "rtol": rtol}
    call = named_call(target, overrides, text)
    if call is None:
        reports = _config(target, overrides, options)
    else:
        import chainlab

        function, arguments = call
        reports = {target: chainlab.check(function, *arguments, **options)}
    if as_json:
        out({name: report.to_dict() for name, report in reports.items()}, as_json=True)
    else:
        for name, report in reports.items():
            out(f"{name}: {report}")
    return 0 if all(report.ok for report in reports.values()) else 1


def _config(config: str, overrides: tuple[str, ...], options: dict[str, Any]) -> "dict[str, Report]":
    from chainlab.lab.subjects import check_subject

    found, batch, key = subjects(config, overrides)
    return {name: check_subject(subject, batch, key, **options) for name, subject in found.items()}
