"""Gradients: what it costs to explain, check and diagnose them, and what that finds."""

from chainlab.experiments.benchmarks import gradients_check, gradients_diagnose, gradients_explain

from chainlab.lab.bench import Row


def bench(rounds: int = 9) -> list[Row]:
    """Every figure of the gradient laboratory; the rounds are of its timings, the mistakes are checked once."""
    return [*gradients_explain.bench(rounds), *gradients_check.bench(), *gradients_diagnose.bench(rounds)]
