"""`chainlab verify`: run configs and hold them to what they claim."""

from pathlib import Path
from typing import Any

import click

from chainlab.cli.common import ConfigName, console, json_option, out, verb
from chainlab.cli.training import choose_device, device_option, out_option, quiet_option


@verb("chainlab verify mlp/digits", "chainlab verify mlp/digits deep/smoke --json")
@click.argument("configs", nargs=-1, required=True, type=ConfigName(), metavar="CONFIG...")
@device_option
@out_option
@click.option("--record", type=click.Path(path_type=Path), help="Also keep a record of each in this folder.")
@quiet_option
@json_option
def command(
    configs: tuple[str, ...], device: str | None, out_: Path, record: Path | None, quiet: bool, as_json: bool
) -> int:
    """Run each CONFIG and check its `expect:` claims; exits with 3 when one is not met."""
    from chainlab.lab.config import load

    documents = [load(config) for config in configs]
    choose_device(device)
    from chainlab.lab.gallery import save_record
    from chainlab.lab.run import start

    results: list[dict[str, Any]] = []
    for name, document in zip(configs, documents, strict=True):
        run = start(document, root=out_, quiet=quiet)
        if run.exit_code:
            return run.exit_code
        if record is not None:
            save_record(name, run, record)
        claims = [{**claim, "seeds": run.summary["seeds"]} for claim in run.summary["claims"]]
        results.append({"config": name, "run": str(run.folder), "claims": claims})
    if as_json:
        out(results if len(results) > 1 else results[0], as_json=True)
    else:
        _print(results)
    return 0 if all(claim["met"] for result in results for claim in result["claims"]) else 3


def _print(results: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table("config", "metric", "value", "claimed", "met")
    for result in results:
        for claim in result["claims"]:
            spread = "" if claim["spread"] is None else f" ± {claim['spread']:.4g}"
            value = f"{claim['value']:.5g}{spread}"
            table.add_row(result["config"], claim["metric"], value, claim["goal"], "yes" if claim["met"] else "NO")
        if not result["claims"]:
            table.add_row(result["config"], "", "", "claims nothing", "")
    console().print(table)
