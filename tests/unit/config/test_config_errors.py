"""Every mistake of a config, at once, with its place."""

# ruff: noqa: E501  (tables: a row a case)

import time

import pytest

from chainlab.errors import ConfigError
from chainlab.lab.config import load


def test_every_mistake_at_once(folder):
    problems = folder.problems(
        "experiment: ./mine.py\n"
        "model:\n"
        "  widht: 128\n"
        '  depth: "four"\n'
        "optimizer:\n"
        "  learning_rate: -1\n"
        "optimiser: {}\n"
        "size: al\n"
        "flag: no\n"
        "run: {mode: mxa, steps: 1.5}\n"
        "expect:\n"
        "- metric: test/accuracy\n"
    )
    assert problems == [
        "a.yaml:3:3: model.widht: unknown key, did you mean 'width'?",
        "a.yaml:4:10: model.depth: wrong type, got 'four', wanted an integer",
        "a.yaml:6:18: optimizer.learning_rate: out of range, got -1, wanted > 0.0",
        "a.yaml:7:1: optimiser: unknown key, did you mean 'optimizer'?",
        "a.yaml:8:7: size: wrong type, got 'al', wanted an integer or 'all', did you mean 'all'?",
        "a.yaml:9:7: flag: wrong type, got 'no', wanted true or false, did you mean false?",
        "a.yaml:10:13: run.mode: unknown value, got 'mxa', wanted 'max' or 'min', did you mean 'max'?",
        "a.yaml:10:25: run.steps: wrong type, got 1.5, wanted an integer",
        "a.yaml:12:3: expect.0: a claim needs a bound: at_least, at_most or equals",
    ]


CASES = [
    ("model: 3", "2:8: model: wrong type, got 3, wanted a mapping"),
    ("model: {kind: dens}", "2:15: model.kind: unknown value, got 'dens', wanted 'dense' or 'convolution', did you mean 'dense'?"),
    ("model: {kind: convolution, chanels: 3}", "2:28: model.chanels: unknown key, did you mean 'channels'?"),
    ("other: {width: x}", "2:16: other.width: wrong type, got 'x', wanted an integer"),
    ("other: [1]", "2:8: other: wrong type, got a list, wanted a mapping"),
    ("names: [a, 1]", "2:12: names.1: wrong type, got 1, wanted text"),
    ("names: a", "2:8: names: wrong type, got 'a', wanted a list"),
    ("text: 1e-3", "2:7: text: wrong type, got 0.001, wanted text"),
    ("optimizer: {learning_rate: '1e-3'}", "2:28: optimizer.learning_rate: wrong type, got '1e-3', wanted a number, did you mean 1e-3 (without quotes)?"),
    ("optimizer: {learning_rate: true}", "2:28: optimizer.learning_rate: wrong type, got true, wanted a number"),
    ("seed: null", "2:7: seed: wrong type, got null, wanted an integer"),
    ("seed: -1", "2:7: seed: out of range, got -1, wanted >= 0"),
    ("seeds: []", "2:8: seeds: out of range, got a list, wanted at least 1 items"),
    ("run: {patience: 3}", "2:6: run: patience needs a monitor: the metric that must improve"),
    ("mesh: {data: 0}", "2:14: mesh.data: out of range, got 0, wanted > 0"),
    ("tracking: [tensorbord]", "2:12: tracking.0: unknown value, got 'tensorbord', wanted 'tensorboard', 'mlflow' or 'wandb', did you mean 'tensorboard'?"),
    ("expect: [{at_least: 1}]", "2:10: expect.0.metric: missing key, wanted text"),
    ("sweep: {optimizer.learning_rat: [1]}", "2:9: sweep.optimizer.learning_rat: 'learning_rat' names no key of this config, did you mean 'learning_rate'?"),
    ("sweep: {optimiser.learning_rate: [1]}", "2:9: sweep.optimiser.learning_rate: names no key of this config, did you mean 'optimizer'?"),
    ("sweep: {optimizer.learning_rate: 1}", "2:34: sweep.optimizer.learning_rate: wrong type, got 1, wanted a list or a mapping"),
    ("size: 1\nsize: 2", "3:1: duplicate key 'size', first at line 2"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "problem"), CASES)
def test_one_mistake(folder, text, problem):
    assert folder.problems(f"experiment: ./mine.py\n{text}\n") == [f"a.yaml:{problem}"]


OVERRIDES = [
    ("model.widht=3", "model.widht: unknown key, did you mean 'width'?"),
    ("model.width=x", "model.width: wrong type, got 'x', wanted an integer"),
    ("seed=1e-3", "seed: wrong type, got 0.001, wanted an integer"),
    ("names.1=b", "names is a list of 1, got the index '1'"),
    ("seed.x=1", "seed is 0, wanted a mapping to set a key of"),
    ("seed", "wanted `key=value` or `outer.key=value`"),
    ("base=b.yaml", "base cannot be overridden, give the other config instead"),
]


@pytest.mark.parametrize(("override", "problem"), OVERRIDES)
def test_override(folder, override, problem):
    problems = folder.problems("experiment: ./mine.py\nseed: 0\nnames: [a]\n", override)
    assert problems == [f"override {override!r}: {problem}"]


def test_an_override_that_is_not_yaml(folder):
    (problem,) = folder.problems("experiment: ./mine.py\n", "model={width: 3")
    assert problem.startswith("override 'model={width: 3': not valid YAML")
    assert "not valid YAML" in problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "a.yaml:1:1: the file is empty, wanted a mapping with `experiment:`"),
        ("# only a comment\n", "a.yaml:1:1: the file is empty, wanted a mapping with `experiment:`"),
        ("- a\n- b\n", "a.yaml:1:1: got a list at the top, wanted a mapping with `experiment:`"),
        ("just text\n", "a.yaml:1:1: got 'just text' at the top, wanted a mapping with `experiment:`"),
        ("seed: 1\n", "a.yaml:1:1: experiment: missing key, wanted text"),
        ("experiment: 3\n", "a.yaml:1:13: experiment: wrong type, got 3, wanted text"),
    ],
)
def test_no_mapping(folder, text, problem):
    assert folder.problems(text) == [problem]


def test_large_file_is_refused_unread(folder):
    path = folder.path / "large.yaml"
    with path.open("wb") as stream:
        stream.truncate(100 << 20)
    start = time.perf_counter()
    with pytest.raises(ConfigError, match=r"^large\.yaml:1:1: the file has 104857600 bytes, wanted at most 1048576$"):
        load(path)
    assert time.perf_counter() - start < 1


@pytest.mark.slow
def test_largest_file_is_read_quickly(folder):
    path = folder.write("experiment: ./mine.py\nnames: [" + "a, " * 20_000 + "]\n")
    start = time.perf_counter()
    document = load(path, deep=False)
    assert time.perf_counter() - start < 10
    assert len(document.config.names) == 20_000


def test_not_text(folder):
    path = folder.path / "a.yaml"
    path.write_bytes(b"experiment: ./mine.py\ntext: \xff\n")
    with pytest.raises(ConfigError, match=r"^a\.yaml:2:1: not UTF-8 text: byte 0xff$"):
        load(path)


def test_cyclic_base(folder):
    folder.write("base: a.yaml\n", "b.yaml")
    assert folder.problems("experiment: ./mine.py\nbase: b.yaml\n") == [
        "b.yaml:1:7: base: a config cannot inherit from itself: a.yaml -> b.yaml -> a.yaml"
    ]


def test_missing_base(folder):
    (problem,) = folder.problems("base: nowhere.yaml\n")
    assert problem.startswith("a.yaml:1:7: base: no file 'nowhere.yaml' beside a.yaml")


def test_several_bases(folder):
    (problem,) = folder.problems("base: [b.yaml]\n")
    assert problem.startswith("a.yaml:1:7: base: got a value that is not text")


def test_mistake_in_the_base_is_placed_there(folder):
    folder.write("model: {widht: 3}\nseed: 1\n", "b.yaml")
    assert folder.problems("experiment: ./mine.py\nbase: b.yaml\nseed: x\n") == [
        "a.yaml:3:7: seed: wrong type, got 'x', wanted an integer",
        "b.yaml:1:9: model.widht: unknown key, did you mean 'width'?",
    ]


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("./nowhere.py", "no file"),
        ("./mine.py:nothing", "mine.py has no 'nothing'; experiments in it: mine"),
        ("./mine.py:Dense", "'Dense' in mine.py is not an experiment: decorate it with @chainlab.experiment"),
        ("./broken.py", "broken.py cannot be imported: ZeroDivisionError: division by zero (broken.py:2)"),
        ("./syntax.py", "syntax.py cannot be imported: SyntaxError"),
        ("./two.py", "two.py holds 2 experiments (one, two), wanted one, or its name after a colon"),
        ("./untyped.py", "must take one argument whose annotation is its config class"),
        ("./plain.py", "is not a class made by @chainlab.config"),
        ("./taken.py", "has fields that every config has already: seed"),
        ("no_such_package.x:y", "cannot be imported: ModuleNotFoundError"),
        ("mlpp", "no experiment 'mlpp', did you mean 'mlp'?"),
    ],
)
def test_experiment_that_is_none(folder, reference, words):
    head = "import chainlab\n\n"
    folder.write("\nx = 1 / 0\n", "broken.py")
    folder.write("def f(:\n", "syntax.py")
    typed = head + "@chainlab.config\nclass C:\n    seed: int = 0\n\n"
    folder.write(typed + "".join(f"@chainlab.experiment\ndef {n}(c: C): ...\n\n" for n in ("one", "two")), "two.py")
    folder.write(head + "@chainlab.experiment\ndef f(c): ...\n", "untyped.py")
    folder.write(head + "@chainlab.experiment\ndef f(c: int): ...\n", "plain.py")
    folder.write(typed + "@chainlab.experiment\ndef f(c: C): ...\n", "taken.py")
    (problem,) = folder.problems(f"experiment: {reference}\n")
    assert problem.startswith("a.yaml:1:13: experiment: ")
    assert words in problem


def test_optimizer_arguments_are_checked_with_everything_else(folder):
    folder.write(
        "import chainlab\nfrom chainlab.optim import OptimizerConfig\n\n"
        "@chainlab.config\nclass C:\n"
        "    optimizer: OptimizerConfig = OptimizerConfig(name='adamw', learning_rate=1e-3)\n"
        "    others: tuple[OptimizerConfig, ...] = ()\n\n"
        "@chainlab.experiment\ndef f(c: C): ...\n",
        "opt.py",
    )
    text = (
        "experiment: ./opt.py\n"
        "seed: x\n"
        "optimizer: {weight_deacy: 0.1, learning_rate: -1}\n"
        "others:\n"
        "- {name: adamm}\n"
        "- {name: sgd, momentum: 0.9}\n"
        "- {name: sgd, learning_rate: {name: linear_schedule, init_valu: 1}}\n"
    )
    assert folder.problems(text, deep=True) == [
        "a.yaml:2:7: seed: wrong type, got 'x', wanted an integer",
        "a.yaml:3:13: optimizer.weight_deacy: optax.adamw takes no argument 'weight_deacy', did you mean 'weight_decay'?",
        "a.yaml:3:47: optimizer.learning_rate: out of range, got -1, wanted > 0.0",
        "a.yaml:5:10: others.0.name: optax has no optimizer 'adamm', did you mean 'adam'?",
        "a.yaml:6:3: others.1.learning_rate: missing key: optax.sgd needs learning_rate",
        "a.yaml:7:30: others.2.learning_rate.init_value: missing key: optax.linear_schedule needs init_value",
        "a.yaml:7:30: others.2.learning_rate.end_value: missing key: optax.linear_schedule needs end_value",
        "a.yaml:7:30: others.2.learning_rate.transition_steps: missing key: optax.linear_schedule needs transition_steps",
        "a.yaml:7:54: others.2.learning_rate.init_valu: optax.linear_schedule takes no argument 'init_valu',"
        " did you mean 'init_value'?",
    ]
    assert len(folder.problems(text)) == 2  # what can be known without JAX
