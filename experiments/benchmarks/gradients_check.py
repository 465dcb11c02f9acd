"""`check` beside `jax.test_util.check_grads` and `torch.autograd.gradcheck`: mistakes caught, false alarms, time.

    python -m chainlab.experiments.benchmarks.gradients_check [--random N]

prints one table. A mistake counts for `check` only with the right leaf and the right coordinates; the other two
name neither, so that any failure counts for them. `gradcheck` sees the cases that are ported to PyTorch.
"""

import argparse
import contextlib
import io
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chainlab.lab.bench import Row
from chainlab.lab.peers import PeerError, PeerMissingError, Worker


def caught(case: Any, report: Any, may: "set[tuple[int, ...]] | None" = None) -> bool:
    """Whether a report names the leaf of a planted mistake, no other, and its coordinates.

    Args:
        case: The planted mistake.
        report: What `chainlab.check` returned.
        may: Coordinates that may be named as well; none where it is None and the case lists its own.
    """
    leaves = {f.leaf for f in report.findings} - {"output"}
    found = {f.index for f in report.findings if f.leaf == case.leaf}
    if leaves != {case.leaf}:
        return False
    if case.wrong is None:
        return True
    wanted = set(case.wrong)
    if len(wanted) > 256:  # a large leaf that is wrong throughout: a sample of its coordinates is named
        return bool(found) and found <= (may or wanted)
    return wanted <= found <= (may or wanted)


def _check_grads(case: Any) -> tuple[bool, float]:
    """Whether `jax.test_util.check_grads`, at its defaults but for mode and order, raises; and its time."""
    import jax
    import jax.numpy as jnp
    from jax.test_util import check_grads

    def floating(leaf: Any) -> bool:
        return hasattr(leaf, "dtype") and bool(jnp.issubdtype(leaf.dtype, jnp.inexact)) and leaf.size > 0

    leaves, tree = jax.tree.flatten(case.args)
    where = [i for i, leaf in enumerate(leaves) if floating(leaf)]

    def f(*values: Any) -> Any:
        filled = list(leaves)
        for i, value in zip(where, values, strict=True):
            filled[i] = value
        return case.f(*tree.unflatten(filled))

    mode, order = case.options.get("mode", "rev"), case.options.get("order", 1)
    began = time.perf_counter()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            check_grads(f, [leaves[i] for i in where], order=order, modes=[mode])
        failed = False
    except Exception:
        failed = True
    return failed, time.perf_counter() - began


def _gradcheck() -> dict[str, dict[str, Any]]:
    try:
        worker = Worker(Path(__file__).parent / "peers" / "gradients_check_torch.py", "torch")
    except PeerMissingError:
        return {}
    with contextlib.closing(worker):
        try:
            return worker.prepare({})["outputs"]
        except PeerError:
            return {}


def table(cases: Sequence[Any], torch: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Every case against the three checkers.

    Args:
        cases: Planted mistakes and controls.
        torch: Results of the cases that are ported, by name.

    Returns:
        A row for each case: whether it is a mistake; for each checker whether it is right, and its seconds.
    """
    import chainlab

    rows: list[dict[str, Any]] = []
    for case in cases:
        mistake = bool(case.leaf)
        report = chainlab.check(case.f, *case.args, **case.options)
        raised, seconds = _check_grads(case)
        ported = torch.get(case.name)
        rows.append(
            {
                "case": case.name,
                "mistake": mistake,
                "check": caught(case, report) if mistake else report.ok,
                "check seconds": report.seconds,
                "kind": report.findings[0].kind if report.findings else "",
                "check_grads": raised == mistake,
                "check_grads seconds": seconds,
                "gradcheck": None if ported is None else ported["failed"] == mistake,
                "gradcheck seconds": None if ported is None else ported["seconds"],
            }
        )
    return rows


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    shown = Table("case", "check", "s", "named", "check_grads", "s", "gradcheck", title="mistakes, then controls")
    marks = {True: "right", False: "WRONG", None: "-"}
    for row in rows:
        shown.add_row(
            row["case"],
            marks[row["check"]],
            f"{row['check seconds']:.2f}",
            row["kind"],
            marks[row["check_grads"]],
            f"{row['check_grads seconds']:.2f}",
            marks[row["gradcheck"]],
        )
    console = Console(width=140)
    console.print(shown)
    for name in ("check", "check_grads", "gradcheck"):
        for mistake, words in ((True, "mistakes caught"), (False, "controls passed")):
            told = [row[name] for row in rows if row["mistake"] is mistake and row[name] is not None]
            console.print(f"{name}: {sum(told)} of {len(told)} {words}")


def generalisation(count: int, first: int = 10_000) -> tuple[int, int, int, int]:
    """Random mutations and random correct functions.

    Args:
        count: Draws of each.
        first: First seed.

    Returns:
        Mistakes caught, mistakes drawn, false alarms, controls drawn.
    """
    from chainlab.experiments.benchmarks.mutations import control, mutant

    import chainlab

    found = drawn = alarms = 0
    for seed in range(first, first + count):
        made = mutant(seed)
        if made is not None:
            drawn += 1
            found += caught(made[0], chainlab.check(made[0].f, *made[0].args), may=made[1])
        case = control(seed)
        alarms += not chainlab.check(case.f, *case.args).ok
    return found, drawn, alarms, count


def suite() -> list[dict[str, Any]]:
    """Every planted mistake and control against the three checkers; its outcome does not vary between rounds."""
    from chainlab.experiments.benchmarks.controls import correct
    from chainlab.experiments.benchmarks.mistakes import planted

    return table([*planted(), *correct()], _gradcheck())


def figures(rows: Sequence[dict[str, Any]], rounds: int) -> list[Row]:
    """The figures of a suite, and those of the random families.

    Args:
        rows: What `suite` gave.
        rounds: Hundreds of random draws of each family.

    Returns:
        The figures.
    """

    def rate(name: str, mistake: bool) -> float | None:
        told = [row[name] for row in rows if row["mistake"] is mistake and row[name] is not None]
        return sum(told) / len(told) if told else None

    peers = ("check_grads", "gradcheck")
    alarms = sum(not row["check"] for row in rows if not row["mistake"])
    median = sorted(row["check seconds"] for row in rows)[len(rows) // 2]
    found, drawn, false, controls = generalisation(100 * rounds)
    return [
        Row(
            "check/caught",
            f"share of {sum(row['mistake'] for row in rows)} planted mistakes with the right leaf and coordinates",
            rate("check", True),
            ">= 0.95",
            {name: rate(name, True) for name in peers},
        ),
        Row(
            "check/alarms",
            f"false alarms on {sum(not row['mistake'] for row in rows)} controls",
            alarms,
            "<= 1",
            {name: sum(row[name] is False for row in rows if not row["mistake"]) for name in peers},
            note=f"gradcheck: on the {sum(row['gradcheck'] is not None for row in rows if not row['mistake'])} it has",
        ),
        Row("check/seconds", "median time of a check", median, "<= 2"),
        Row("check/random-caught", f"share of {drawn} random mutations", found / drawn, ">= 0.95"),
        Row("check/random-alarms", f"share of {controls} random correct functions", false / controls, "<= 0.02"),
    ]


def bench(rounds: int = 1) -> list[Row]:
    """Every figure of `check`; the rounds are hundreds of random draws of each family."""
    return figures(suite(), rounds)


def main() -> None:
    """Print the table and the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--random", type=int, default=1, help="hundreds of random draws")
    given, rows = parser.parse_args(), suite()
    _print(rows)
    for row in figures(rows, given.random):
        print(row)


if __name__ == "__main__":
    main()
