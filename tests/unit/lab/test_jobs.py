"""What a sweep tries: combinations, draws from ranges, conditions."""

import numpy as np
import pytest

from chainlab.errors import ConfigError
from chainlab.lab.config import load
from chainlab.lab.jobs import jobs

BASE = ["seeds=1", "optimizer={name: adamw, learning_rate: 1e-3}", "expect=[]"]


def made(sweep, *more):
    overrides = [*BASE, f"sweep={sweep}", *more]
    return jobs(load("mlp/digits", overrides), overrides)


def test_draws_keep_to_their_ranges_and_repeat():
    sweep = (
        "{optimizer.learning_rate: {log_uniform: [1e-4, 1e-1]}, model.dropout: {uniform: [0.1, 0.5]},"
        " batch_size: {integers: [8, 9]}, model.activation: [relu, gelu]}"
    )
    found = made(sweep, "search.trials=60")
    values = [job.values for job in found]
    assert len(found) == 60
    rates = np.array([each["optimizer.learning_rate"] for each in values])
    assert 1e-4 <= rates.min() < 3e-4 < 3e-2 < rates.max() <= 1e-1
    assert 0.3 < np.mean(rates < 10**-2.5) < 0.7
    assert all(0.1 <= each["model.dropout"] <= 0.5 for each in values)
    assert {each["batch_size"] for each in values} == {8, 9}
    assert {each["model.activation"] for each in values} == {"relu", "gelu"}
    assert [job.hash for job in made(sweep, "search.trials=5")] == [job.hash for job in found[:5]]
    assert made(sweep, "search={trials: 5, seed: 1}")[0].hash != found[0].hash
    assert len(made("{optimizer.learning_rate: {uniform: [0.1, 0.2]}}")) == 20


def test_a_value_is_tried_only_where_its_condition_is_met():
    sweep = (
        "{optimizer.name: [sgd, adamw], optimizer.momentum: {choices: [0.8, 0.9], when: {optimizer.name: sgd}},"
        " optimizer.weight_decay: {choices: [1e-2, 1e-1], when: {optimizer.name: [adam, adamw], batch_size: 128}}}"
    )
    assert [tuple(job.values.values()) for job in made(sweep)] == [
        ("sgd", 0.8),
        ("sgd", 0.9),
        ("adamw", 1e-2),
        ("adamw", 1e-1),
    ]
    assert [tuple(job.values.values()) for job in made(sweep, "batch_size=64")][-1] == ("adamw",)


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        ("{optimizer.learning_rate: {log_uniform: [0, 1]}}", "log_uniform needs bounds > 0"),
        ("{optimizer.learning_rate: {uniform: [2, 1]}}", "from a smaller bound to a larger one"),
        ("{optimizer.learning_rate: {uniform: [0, 1], integers: [0, 1]}}", "got uniform and integers"),
        ("{optimizer.learning_rate: {}}", "wanted one of choices, uniform, log_uniform, integers, got none"),
        ("{optimizer.learning_rate: {unifrom: [0, 1]}}", "did you mean 'uniform'"),
        ("{batch_size: {choices: [8], when: {model.activaton: relu}}}", "did you mean 'activation'"),
        ("{batch_size: {integers: [0, 1]}}", "batch_size"),
        ("{optimizer.name: [adamw, adamm]}", "did you mean 'adam"),
    ],
)
def test_mistakes_are_named(sweep, words):
    with pytest.raises(ConfigError, match=words):
        made(sweep)


def test_a_search_needs_a_metric():
    with pytest.raises(ConfigError, match="tpe needs a metric"):
        made("{batch_size: [8, 9]}", "search.sampler=tpe")
    with pytest.raises(ConfigError, match="split/name"):
        made("{batch_size: [8, 9]}", "search.metric=accuracy")
