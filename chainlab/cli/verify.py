"""`chainlab verify`: run configs and hold them to what they claim."""

import math
from pathlib import Path
from typing import Any

import click

from chainlab.cli.common import ConfigName, console, json_option, out, talk, verb
from chainlab.cli.training import choose_device, device_option, out_option, quiet_option
from chainlab.errors import UsageError


@verb(
    "chainlab verify mlp/digits",
    "chainlab verify mlp/digits deep/smoke --json",
    "chainlab verify --tag smoke          # every packaged config that finishes within seconds",
)
@click.argument("configs", nargs=-1, type=ConfigName(), metavar="CONFIG...")
@click.option("--tag", help="Also every packaged config with this tag.")
@device_option
@out_option
@click.option("--record", type=click.Path(path_type=Path), help="Also keep a record of each in this folder.")
@quiet_option
@json_option
def command(
    configs: tuple[str, ...],
    tag: str | None,
    device: str | None,
    out_: Path,
    record: Path | None,
    quiet: bool,
    as_json: bool,
) -> int:
    """Run each CONFIG and check its `expect:` claims; exits with 3 when one is not met."""
    from chainlab.lab.config import load
    from chainlab.lab.config.locate import names

    tagged = [name for name in names() if tag in load(name, deep=False).envelope.tags] if tag else []
    configs = tuple(dict.fromkeys([*configs, *tagged]))
    if not configs:
        raise UsageError(f"no packaged config has the tag {tag!r}" if tag else "wanted a config, or --tag")
    documents = [load(config) for config in configs]
    choose_device(device)
    from chainlab.lab.gallery import save_record
    from chainlab.lab.run import start

    results: list[dict[str, Any]] = []
    for place, (name, document) in enumerate(zip(configs, documents, strict=True), 1):
        if len(configs) > 1:
            talk(f"{place}/{len(configs)} {name}")
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
            value = "not measured" if math.isnan(claim["value"]) else f"{claim['value']:.5g}{spread}"
            table.add_row(result["config"], claim["metric"], value, claim["goal"], "yes" if claim["met"] else "NO")
        if not result["claims"]:
            table.add_row(result["config"], "", "", "claims nothing", "")
    console().print(table)
