"""What `chainlab config` and `chainlab schema` print."""

import json

import pytest

from chainlab.lab.config import load
from chainlab.lab.config.describe import commented, schema
from chainlab.lab.config.reference import resolve


def test_commented_yaml_loads_back_to_the_defaults(folder):
    experiment = resolve("./mine.py", folder.path)
    text = commented(experiment)
    assert load(folder.write(text), deep=False) == folder.load("experiment: ./mine.py\n")


def test_commented_yaml_says_what_every_key_means(folder):
    text = commented(resolve("./mine.py", folder.path))
    assert text.startswith("# Learn something.\n")
    assert "  # Features of each layer. (an integer > 0)\n  width: 32\n" in text
    assert "# Examples, or all of them. (an integer or 'all' or null)\nsize: null\n" in text
    assert "  # Training steps. (an integer > 0)\n  steps: 1000\n" in text


def test_a_key_without_default_is_named(folder):
    folder.write(
        "import chainlab\n\n@chainlab.config\nclass C:\n    rate: float\n    '''Speed.'''\n\n"
        "@chainlab.experiment\ndef f(c: C): ...\n",
        "required.py",
    )
    text = commented(resolve("./required.py", folder.path))
    assert "# Speed. Required: a number.\n# rate:\n" in text
    assert folder.problems(text) == ["a.yaml:3:1: rate: missing key, wanted a number"]


def test_schema_holds_docstrings_and_bounds(folder):
    made = schema([resolve("./mine.py", folder.path)])
    assert made["properties"]["model"]["description"] == "The network."
    assert made["$defs"]["Dense"]["properties"]["width"] == {
        "default": 8,
        "description": "Features of each layer.",
        "exclusiveMinimum": 0,
        "title": "Width",
        "type": "integer",
    }
    assert made["properties"]["run"]["$ref"] == "#/$defs/RunConfig"
    assert made["additionalProperties"] is False
    for reference in _references(made):
        assert reference.removeprefix("#/$defs/") in made["$defs"]


def test_schema_of_several_experiments_picks_by_name(folder):
    folder.write(folder.path.joinpath("mine.py").read_text().replace("def mine(", "def other("), "other.py")
    made = schema([resolve("./mine.py", folder.path), resolve("./other.py", folder.path)])
    assert [one["properties"]["experiment"]["const"] for one in made["anyOf"]] == ["./mine.py:mine", "./other.py:other"]
    for reference in _references(made):
        assert reference.removeprefix("#/$defs/") in made["$defs"]


def test_schema_agrees_with_the_loader(folder):
    jsonschema = pytest.importorskip("jsonschema")
    made = schema([resolve("./mine.py", folder.path)])
    document = folder.load("experiment: ./mine.py\nmodel: {kind: convolution}\nseeds: [1, 2]\n")
    jsonschema.validate(json.loads(json.dumps(document.values)), made)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**document.values, "widht": 3}, made)


def _references(value):
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)
