"""The table of verbs, and the help that lists them; imports nothing, so that `chainlab --help` is instant."""

import os

# verb: its one line of help. A verb's module is `chainlab.cli.<verb>`, which holds a click command named
# `command`; a verb without a module is not shown.
VERBS = {
    "Runs": {
        "run": "Train what a config describes, into a new run folder.",
        "resume": "Continue an interrupted run, exactly.",
        "sweep": "Run every combination of a config's `sweep:`; finished ones are skipped.",
        "list": "List experiments, packaged configs and runs.",
        "show": "Print what a run recorded.",
        "compare": "Compare runs: results, curves and the difference of their configs.",
        "report": "Write a run's report, one HTML file.",
        "export": "Pack a run as one archive, or write its parameters for other programs.",
        "verify": "Run a config and check what it claims in `expect:`.",
        "reproduce": "Run a run again and compare every number.",
    },
    "Gradients": {
        "explain": "Show how a gradient comes about, node by node.",
        "check": "Check derivatives against finite differences.",
        "diagnose": "Name the first layer whose gradient vanishes, explodes or is not finite.",
        "bench": "Measure against peers, interleaved.",
    },
    "Networks": {
        "federated": "Run a federation over a network: key, serve, join.",
    },
    "Models": {
        "generate": "Generate text from a trained transformer.",
        "drive": "Drive a route with a trained policy and animate it.",
    },
    "Configs and machine": {
        "new": "Start an experiment of your own: a module and a config that run at once.",
        "plan": "Say what a config needs on a mesh of many devices: memory, traffic, time.",
        "validate": "Check a config without running it.",
        "config": "Print an experiment's config with every default and its meaning.",
        "schema": "Print the JSON Schema of configs, for editors.",
        "tune": "Time the allocator's settings on a config's steps; `run` then uses what pays.",
        "doctor": "Show versions, devices, caches and where data is read from.",
        "completion": "Print the script that completes commands in a shell.",
    },
}

_TITLE = "A laboratory for gradients: train, look at, check and reproduce from one YAML file."
_OPTIONS = {
    "-v, --verbose": "Show the traceback of an error.",
    "--version": "Show the version.",
    "-h, --help": "Show this message.",
}
_EXAMPLES = (
    "chainlab run mlp/digits",
    "chainlab run mlp/digits optimizer.learning_rate=1e-2 seeds=8",
    "chainlab new mine && chainlab run mine.yaml",
)


def available() -> list[str]:
    """The verbs whose modules are there."""
    modules = set(os.listdir(os.path.dirname(__file__)))
    return [verb for section in VERBS.values() for verb in section if f"{verb}.py" in modules]


def meaning(verb: str) -> str:
    """A verb's line of help."""
    return next(section[verb] for section in VERBS.values() if verb in section)


def overview() -> str:
    """The help of `chainlab`: its verbs by section, options and examples."""
    there = set(available())
    lines = ["Usage: chainlab VERB [ARGUMENTS]", "", f"  {_TITLE}"]
    known = {title: {verb: text for verb, text in verbs.items() if verb in there} for title, verbs in VERBS.items()}
    for title, rows in {**known, "Options": _OPTIONS}.items():
        if rows:
            lines += ["", f"{title}:", *(f"  {name:<14}{text}" for name, text in rows.items())]
    lines += ["", "Examples:", *(f"  {example}" for example in _EXAMPLES)]
    return "\n".join([*lines, "", "`chainlab VERB --help` shows the options and examples of a verb."])
