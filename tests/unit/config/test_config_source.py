"""YAML 1.2 text to plain data and back."""

# ruff: noqa: E501  (tables: a row a case)

import math

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chainlab.lab.config.source import MAX_NODES, SourceError, dump, parse

# The core schema of YAML 1.2.2, section 10.3.2, and what YAML 1.1 readers take for something else.
CORE = [
    ("1e-3", 0.001), ("1E3", 1000.0), ("-1.5e+2", -150.0), (".5", 0.5), ("5.", 5.0), ("+1", 1), ("-0", 0),
    ("010", 10), ("0o17", 15), ("0xFf", 255), ("1_000", "1_000"), ("0b11", "0b11"), ("1:30", "1:30"), ("190:20:30", "190:20:30"),
    (".inf", math.inf), ("-.INF", -math.inf), ("+.Inf", math.inf), ("inf", "inf"), ("nan", "nan"), ("1e", "1e"), ("e3", "e3"),
    ("no", "no"), ("No", "No"), ("yes", "yes"), ("on", "on"), ("off", "off"), ("y", "y"), ("n", "n"),
    ("true", True), ("False", False), ("TRUE", True), ("tRUE", "tRUE"),
    ("null", None), ("~", None), ("Null", None), ("", None), ("none", "none"),
    ("2026-11-24", "2026-11-24"), ("=", "="), ("'1'", "1"), ('"no"', "no"), ("'null'", "null"),
    ("!!str 1", "1"), ("!!int '3'", 3), ("0x", "0x"), ("-", [None]), ("- - 1", [[1]]),
]  # fmt: skip


def read(text):
    return parse(text, "a.yaml", []).plain()


@pytest.mark.parametrize(("text", "value"), CORE)
def test_core_schema(text, value):
    got = read(text)
    assert got == value
    assert type(got) is type(value)


def test_not_a_number():
    assert math.isnan(read(".nan"))


@given(st.floats(allow_nan=False) | st.integers())
@settings(deadline=None)
def test_numbers_survive(number):
    text = {math.inf: ".inf", -math.inf: "-.inf"}.get(number, repr(number))
    got = read(text)
    assert got == number
    assert type(got) is type(number)


DATA = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.sampled_from([c[0] for c in CORE]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.sampled_from(["no", "1e-3", "~"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(DATA)
@example({"\x85": "a\u2028b"})
@settings(deadline=None)
def test_dump_reads_back(data):
    assert_same(read(dump(data)), data)


@given(st.text() | st.sampled_from([c[0] for c in CORE]))
@settings(deadline=None)
def test_dumped_text_is_text_for_yaml_1_1_too(text):
    assert yaml.safe_load(dump({"a": text})) == {"a": text}


def assert_same(got, want):
    assert type(got) is type(want)
    if isinstance(want, dict):
        assert list(got) == list(want)
        for key in want:
            assert_same(got[key], want[key])
    elif isinstance(want, list):
        assert len(got) == len(want)
        for a, b in zip(got, want, strict=True):
            assert_same(a, b)
    else:
        assert got == want


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)

REFUSED = [
    ("a:\n\tb: 1\n", "2:1", "tabs"),
    ("a: {b: 1,\n", "2:1", "not valid YAML"),
    ("a: 1\n b: 2\n", "2:3", "not valid YAML"),
    (LAUGHS, "6:", f"more than {MAX_NODES} values"),
    ("a: &a [*a]\n", "1:8", "inside its own anchor"),
    ("a: *b\n", "1:4", "no anchor"),
    ("[" * 100_000, "1:66", "levels deep"),
    ("- " * 100_000, "1:131", "levels deep"),
    ("a: !!python/object/apply:os.system [ls]\n", "1:4", "plain data"),
    ("a: !!int x\n", "1:4", "plain data"),
    ("a: !mine 3\n", "1:4", "plain data"),
    ("? [a]\n: b\n", "1:3", "as a key"),
    ("b: &b x\n*b : 1\n", "2:1", "as a key"),
    ("<<: {a: 1}\n", "1:1", "merge keys"),
    ("a: 1\n---\nb: 2\n", "2:1", "second document"),
    ("a: 1e999\n", "1:4", "does not fit"),
    ("a: " + "9" * 5000, "1:4", "does not fit"),
    ("x: 1\na: \x01\n", "2:4", "U+0001"),
]


@pytest.mark.parametrize(("text", "place", "words"), REFUSED)
def test_refused(text, place, words):
    with pytest.raises(SourceError) as caught:
        parse(text, "a.yaml", [])
    message = str(caught.value)
    assert message.startswith(f"a.yaml:{place}")
    assert words in message


def test_duplicate_keys_are_all_named():
    problems = []
    parse("a: 1\nb: {c: 1, c: 2}\na: 2\n", "a.yaml", problems)
    assert problems == [
        "a.yaml:2:11: duplicate key 'c', first at line 2",
        "a.yaml:3:1: duplicate key 'a', first at line 1",
    ]


def test_aliases_are_values():
    assert read("a: &x {b: [1]}\nc: *x\n") == {"a": {"b": [1]}, "c": {"b": [1]}}


def test_marks():
    root = parse("a:\n  b: [1, 2]\n  c:\n  - x\n", "a.yaml", [])
    assert str(root.at(("a", "b"))) == "a.yaml:2:6"
    assert str(root.at(("a", "b", 1))) == "a.yaml:2:10"
    assert str(root.at(("a", "c"))) == "a.yaml:3:3"  # starts further down: its key
    assert str(root.at(("a", "missing", "deeper"))) == "a.yaml:1:1"
    assert str(root.key(("a", "c"))) == "a.yaml:3:3"
