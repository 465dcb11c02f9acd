"""What a config resolves to."""

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chainlab.errors import ConfigError
from chainlab.lab.config import Claim, Envelope, find, load, locate
from chainlab.lab.config.reference import ResolveError, resolve

HEAD = "experiment: ./mine.py\n"


def test_values_hold_every_default(folder):
    document = folder.load(HEAD + "model: {depth: 3}\n")
    assert document.values["model"] == {"kind": "dense", "width": 32, "depth": 3}
    assert document.values["run"]["steps"] == 1000
    assert document.envelope.replicas == (0,)
    assert document.task() is document.config
    assert document.name == "a.yaml"


def test_a_partial_mapping_is_completed_from_the_experiments_default(folder):
    assert folder.load(HEAD + "model: {depth: 3}\n").config.model.width == 32  # not the class's 8
    assert folder.load(HEAD + "other: {depth: 3}\n").config.other.width == 8  # no default to complete it from
    assert folder.load(HEAD + "model: {kind: convolution}\n").config.model.channels == 4


def test_base_merges_and_overrides_win(folder):
    folder.write("seed: 3\nmodel: {width: 5, depth: 6}\nnames: [a, b]\n", "bases/b.yaml")
    document = folder.load(HEAD + "base: bases/b.yaml\nmodel: {depth: 7}\nnames: [c]\n", "model.width=9", "run.steps=4")
    assert document.envelope.seed == 3
    assert (document.config.model.width, document.config.model.depth) == (9, 7)
    assert document.config.names == ("c",)
    assert document.envelope.run.steps == 4
    assert "base" not in document.values


def test_another_kind_starts_afresh(folder):
    folder.write("model: {kind: dense, width: 5}\n", "b.yaml")
    document = folder.load(HEAD + "base: b.yaml\nmodel: {kind: convolution}\n")
    assert document.config.model.channels == 4


def test_experiment_of_a_base_is_relative_to_the_base(folder):
    folder.write("experiment: ../mine.py\n", "bases/b.yaml")
    assert folder.load("base: bases/b.yaml\n").experiment.name == "mine"


def test_overrides_are_yaml(folder):
    document = folder.load(
        HEAD + "names: [a, b]\n", "names.1=no", "optimizer.learning_rate=1e-2", "size=", "model={kind: convolution}"
    )
    assert document.config.names == ("a", "no")
    assert document.config.optimizer.learning_rate == 0.01
    assert document.config.size is None
    assert document.config.model.kind == "convolution"


def test_replicas():
    assert Envelope(experiment="x", seed=5, seeds=3).replicas == (5, 6, 7)
    assert Envelope(experiment="x", seeds=(9, 2)).replicas == (9, 2)
    with pytest.raises(ValueError, match="must differ"):
        Envelope(experiment="x", seeds=(1, 1))


@pytest.mark.parametrize(
    ("claim", "met", "missed", "goal"),
    [
        ({"at_least": 0.5}, 0.5, 0.49, ">= 0.5"),
        ({"at_most": 2.0}, 2.0, 2.1, "<= 2"),
        ({"at_least": 1.0, "at_most": 2.0}, 1.5, 0.9, ">= 1 and <= 2"),
        ({"equals": 3.0, "tolerance": 0.1}, 3.05, 3.2, "= 3 ± 0.1"),
        ({"equals": 3.0}, 3.0, 3.001, "= 3"),
    ],
)
def test_claims(claim, met, missed, goal):
    made = Claim(metric="a/b", **claim)
    assert made.met([met])
    assert not made.met([missed])
    assert not made.met([math.nan])
    assert made.goal == goal


def test_hash_is_of_what_affects_results(folder):
    plain = folder.load(HEAD).hash
    same = "note: x\ntags: [smoke]\nexpect: [{metric: a/b, at_least: 1}]\ntracking: [wandb]\nrun: {keep: 5}\n"
    assert folder.load(HEAD + same).hash == plain
    assert folder.load(HEAD + "model: {width: 32}\n").hash == plain
    for change in ("seed=1", "run.steps=2", "model.width=33", "run.eval_every=7", "seeds=2"):
        assert folder.load(HEAD, change).hash != plain


VALUES = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(0, 2**40),
        "note": st.text(),
        "text": st.text() | st.sampled_from(["no", "1e-3", "null", "~", "0x1", "1:30", "- a", "# b", "<<"]),
        "names": st.lists(st.text(), max_size=3),
        "size": st.none() | st.just("all") | st.integers(),
        "flag": st.booleans(),
        "optimizer": st.fixed_dictionaries({"learning_rate": st.floats(0, exclude_min=True, allow_infinity=False)}),
        "model": st.fixed_dictionaries({"kind": st.just("dense"), "width": st.integers(1)})
        | st.fixed_dictionaries({"kind": st.just("convolution"), "channels": st.integers()}),
        "sweep": st.dictionaries(st.sampled_from(["seed", "model.kind"]), st.lists(st.text(), min_size=1), max_size=2),
    },
)


@given(VALUES)
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_resolved_yaml_loads_back(folder, values):
    from chainlab.lab.config.source import dump

    document = folder.load(HEAD + (dump(values) if values else ""))
    again = load(folder.write(document.to_yaml(), "elsewhere/config.yaml"), deep=False)
    assert again == document
    assert again.config == document.config
    assert again.hash == document.hash


def test_experiment_references(folder):
    folder.write("from mine import MineConfig, mine\n", "importing.py")  # what is imported is not its own
    with pytest.raises(ResolveError, match="holds 0 experiments"):
        resolve("./importing.py", folder.path)
    assert resolve("./importing.py:mine", folder.path).name == "mine"
    assert resolve("mine:mine", folder.path).reference == "mine:mine"
    assert resolve("./mine.py", folder.path).reference == "./mine.py:mine"
    assert resolve("./mine.py", folder.path) == resolve(f"{folder.path}/mine.py:mine", folder.path / "elsewhere")


def test_an_edited_file_is_read_again(folder):
    before = resolve("./mine.py", folder.path).function
    (folder.path / "mine.py").write_text((folder.path / "mine.py").read_text() + "\n# edited\n")
    assert resolve("./mine.py", folder.path).function is not before


@pytest.fixture
def packages(tmp_path, monkeypatch):
    for name in ("mlp/digits", "mlp/digits_deep", "_base/common"):
        path = tmp_path / "packaged" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"experiment: {tmp_path}/mine.py\nnote: {name}\n")
    monkeypatch.setattr(locate, "folder", lambda: tmp_path / "packaged")


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize("name", ["mlp/digits", "mlp/digits.yaml", "configs/mlp/digits.yaml", "configs/mlp/digits"])
def test_packaged_configs_are_found_by_name(folder, name):
    assert find(name) == folder.path / "packaged/mlp/digits.yaml"


@pytest.mark.usefixtures("packages")
def test_a_file_here_comes_first(folder):
    folder.write(HEAD, "mlp/digits.yaml")
    assert find("mlp/digits").read_text() == HEAD


@pytest.mark.usefixtures("packages")
def test_packaged_base(folder):
    assert folder.load("base: _base/common.yaml\n").values["note"] == "_base/common"


@pytest.mark.usefixtures("packages", "folder")
@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("mlp/digit", "did you mean mlp/digits"),
        ("mlp", "did you mean mlp/digits, mlp/digits_deep"),
        ("zzz", "packaged configs: mlp/"),
    ],
)
def test_unknown_config(name, hint):
    with pytest.raises(ConfigError, match=hint):
        find(name)


@pytest.mark.usefixtures("packages", "folder")
def test_packaged_names_stay_inside_the_package():
    with pytest.raises(ConfigError):
        find("mlp/../../mine.py")
