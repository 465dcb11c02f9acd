"""Records of verified claims, and the tables that are written from them and from nothing else."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chainlab.lab import bench
from chainlab.lab.checkpoint import write_atomic
from chainlab.lab.config import load
from chainlab.lab.report import figure
from chainlab.lab.report.panels import load_panels
from chainlab.lab.run import Run
from chainlab.lab.runs import read

START, END = "<!-- results: written by `make gallery` from docs/records -->", "<!-- end of results -->"


def save_record(name: str, run: Run, folder: Path) -> Path:
    """Keep what a verified run has shown.

    Args:
        name: The config's name, as `chainlab verify` takes it.
        run: The run; it has ended and its claims are judged.
        folder: Where records are kept.

    Returns:
        The record's file, `<experiment>-<variant>.json`.
    """
    summary = run.summary
    kept = ("config_hash", "claims", "seeds", "seconds", "parameters", "peak_memory_mib", "cores", "devices", "started")
    versions = {key: value for key, value in summary["versions"].items() if key in ("chainlab", "jax", "python")}
    record = {"config": name, **{key: summary.get(key) for key in kept}, "versions": versions}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem(name)}.json"
    record["pictures"] = _keep_pictures(run.folder, folder / stem(name))
    write_atomic(path, f"{json.dumps(record, indent=2)}\n".encode())
    return path


def stem(config: str) -> str:
    """A config's name as a file's: `mlp/digits` is `mlp-digits`."""
    return config.removesuffix(".yaml").replace("/", "-")


def _keep_pictures(run: Path, folder: Path) -> list[str]:
    """Write the pictures of a run's report, curves first; their titles, in order."""
    curves = [(f"{name} over the steps", figure.curves(name, splits)) for name, splits in read(run).curves.items()]
    panels = [(panel.title, panel.svg) for panel in load_panels(run) if panel.svg]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for number, (_, svg) in enumerate([*curves, *panels]):
        (folder / f"{number}.svg").write_text(svg.replace("var(--surface, #ffffff)", "#ffffff") + "\n")
    return [title for title, _ in [*curves, *panels]]


def read_records(folder: Path) -> list[dict[str, Any]]:
    """The records of a folder, sorted by config."""
    return sorted((json.loads(path.read_text()) for path in folder.glob("*.json")), key=lambda record: record["config"])


def table(records: Sequence[Mapping[str, Any]]) -> str:
    """The claims of records as a Markdown table, with the command that verifies each.

    Args:
        records: The records.

    Returns:
        The table.

    Example:
        >>> claim = {"metric": "accuracy", "value": 0.98, "values": [0.97, 0.99], "spread": 0.01, "goal": ">= 0.9"}
        >>> record = {"config": "mlp/digits", "claims": [{**claim, "met": True}], "seeds": [0, 1]}
        >>> print(table([{**record, "seconds": 3, "cores": 2}]))
        | config | claim | measured | seeds | time | command |
        |---|---|---|---|---|---|
        | mlp/digits | accuracy >= 0.9 | 0.98 ± 0.01 (0.97 to 0.99) | 2 | 3 s, 2 cores | `chainlab verify mlp/digits` |
    """
    lines = ["| config | claim | measured | seeds | time | command |", "|---|---|---|---|---|---|"]
    for record in records:
        for claim in record["claims"]:
            if claim["metric"] == "seconds":
                continue
            low, high = min(claim["values"]), max(claim["values"])
            spread = "" if claim["spread"] is None else f" ± {claim['spread']:.2g} ({low:.4g} to {high:.4g})"
            missed = "" if claim["met"] else " (not met)"
            time = f"{record['seconds']:.3g} s, {_cores(record)}"
            cells = (
                record["config"],
                f"{claim['metric']} {claim['goal']}",
                f"{claim['value']:.4g}{spread}{missed}",
                str(len(record["seeds"])),
                time,
                f"`chainlab verify {record['config']}`",
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def page(record: Mapping[str, Any]) -> str:
    """A record's own page: its claims, config and pictures, and the commands that make them again.

    Args:
        record: The record.

    Returns:
        The page, in Markdown.
    """
    name = record["config"]
    versions = ", ".join(f"{key} {value}" for key, value in record["versions"].items())
    seeds, parameters = len(record["seeds"]), record["parameters"]
    facts = f"{seeds} seed(s), {parameters:,} parameters, {record['seconds']:.3g} s on {_cores(record)}"
    pictures = [
        f"![{title}](../records/{stem(name)}/{number}.svg){{ .picture }}"
        for number, title in enumerate(record.get("pictures", []))
    ]
    return "\n\n".join(
        [
            f"# {name}",
            table([record]),
            f"Measured {record['started'][:10]} with {versions}: {facts}.",
            f"```console\nchainlab verify {name}    # trains it, and checks the claims\nchainlab run {name}\n```",
            *pictures,
            "## Config",
            f"```yaml\n{load(name).path.read_text().strip()}\n```\n",
        ]
    )


def _cores(record: Mapping[str, Any]) -> str:
    return f"{record['cores']} core{'s' if record['cores'] > 1 else ''}"


def fill(page: str, records: Sequence[Mapping[str, Any]]) -> str:
    """A page with its results table written anew, between the two marks."""
    before, start, rest = page.partition(START)
    _, end, after = rest.partition(END)
    return f"{before}{start}\n{table(records)}\n{end}{after}" if start and end else page


def stale(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Configs whose record was made by another version of the config, or judged by other claims."""
    return [record["config"] for record in records if not _current(record)]


def _current(record: Mapping[str, Any]) -> bool:
    document = load(record["config"])
    claims = [(claim.metric, claim.goal) for claim in document.envelope.expect]
    judged = [(claim["metric"], claim["goal"]) for claim in record["claims"]]
    return document.hash == record["config_hash"] and claims == judged


def save_benchmark(result: Mapping[str, Any], folder: Path) -> Path:
    """Keep what a benchmark has measured.

    Args:
        result: What `chainlab.lab.bench.run` returned.
        folder: Where records are kept.

    Returns:
        The record's file, `benchmarks/<name>.json`.
    """
    path = folder / "benchmarks" / f"{result['bench']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, f"{json.dumps(result, indent=2)}\n".encode())
    return path


def read_benchmarks(folder: Path) -> list[dict[str, Any]]:
    """What `save_benchmark` kept in a folder of records, sorted by name."""
    return [json.loads(path.read_text()) for path in sorted((folder / "benchmarks").glob("*.json"))]


def benchmark_table(record: Mapping[str, Any]) -> str:
    """The figures of a benchmark as a Markdown table, lost ones included.

    Args:
        record: What `save_benchmark` kept.

    Returns:
        The table.

    Example:
        >>> row = {"claim": "gan/step", "case": "a step over torch eager", "value": 2.5, "goal": ">= 2.2", "met": True}
        >>> print(benchmark_table({"rows": [{**row, "spread": [2.0, 2.75], "peers": {}, "note": ""}]}))
        | claim | measured | figure | rounds | goal | met |
        |---|---|---|---|---|---|
        | gan/step | a step over torch eager | 2.5 | 2 to 2.75 | >= 2.2 | yes |
    """
    lines = ["| claim | measured | figure | rounds | goal | met |", "|---|---|---|---|---|---|"]
    for row in record["rows"]:
        cells = (
            row["claim"],
            row["case"] + (f" ({beside})" if (beside := bench.remarks(row)) else ""),
            "missing" if row["value"] is None else f"{row['value']:.4g}",
            "" if row["spread"] is None else "{:.4g} to {:.4g}".format(*row["spread"]),
            row["goal"],
            {True: "yes", False: "**no**", None: ""}[row["met"]],
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def benchmark_page(records: Sequence[Mapping[str, Any]]) -> str:
    """The page of all benchmarks.

    Args:
        records: What `save_benchmark` kept.

    Returns:
        The page, in Markdown.
    """
    without = [f"`{name}`" for name in bench.names() if name not in {record["bench"] for record in records}]
    parts = [
        "---\nhide: [toc]\n---",
        "# Benchmarks",
        "The claims of speed and memory, measured against their peers in one command: equal results first, then "
        "interleaved rounds under one thread cap. A figure is the median of its rounds, and a ratio above 1 means "
        "that chainlab is faster, where nothing else is said. Goals that are missed stand here too. The versions of "
        "the peers are in `experiments/benchmarks/peers/*.txt`; `make peers` installs them.",
        *([f"Without a record yet: {', '.join(without)}."] if without else []),
    ]
    for record in records:
        machine, name = record["machine"], record["bench"]
        parts += [
            f"## {name}",
            f"`chainlab bench {name}` on {record['date']}: {machine['processor']}, {machine['cores']} cores, Python "
            f"{machine['python']}, JAX {machine['jax']} on {machine['devices'][0]}.",
            benchmark_table(record),
        ]
    return "\n\n".join(parts) + "\n"
