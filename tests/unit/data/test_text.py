import os
from pathlib import Path

import jax
import numpy as np
import pytest

from chainlab import data
from chainlab.errors import DataError, MissingDataError, UsageError


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "own.txt"
    path.write_text("the cät sat. " * 50, encoding="utf-8")
    return path


def test_characters(file):
    text = data.from_text(file)
    assert text.vocabulary == tuple(sorted(set("the cät sat. ")))
    assert text.train.dtype == np.uint8
    whole = np.concatenate([text.train, text.validation])
    assert text.decode(whole) == file.read_text(encoding="utf-8")
    assert len(text.train) == int(0.9 * len(whole))
    assert text.decode(text.encode("cät")) == "cät"
    with pytest.raises(DataError, match="'!' is not one of its 9 characters"):
        text.encode("cät!")


def test_bytes_are_mapped_from_the_file(file):
    text = data.from_text(file, level="byte")
    assert isinstance(text.train, np.memmap)
    assert bytes(np.concatenate([text.train, text.validation])) == file.read_bytes()
    assert text.decode(text.encode("cät")) == "cät"


def test_windows_are_one_token_apart(file, key):
    text = data.from_text(file)
    batches = text.batches(batch_size=6, length=8)
    batch = jax.jit(batches.batch)(key, 3)
    assert batch["x"].shape == batch["y"].shape == (6, 8)
    np.testing.assert_array_equal(batch["x"][:, 1:], batch["y"][:, :-1])
    held = batches.splits["validation"]
    np.testing.assert_array_equal(held["x"].reshape(-1), text.validation[: held["x"].size])
    np.testing.assert_array_equal(held["y"].reshape(-1), text.validation[1 : held["y"].size + 1])


def test_every_place_is_drawn_and_none_beyond(key):
    batches = data.windows(np.arange(7), batch_size=400, length=3)
    assert set(np.asarray(batches.batch(key, 0)["x"][:, 0]).tolist()) == {0, 1, 2, 3}
    assert int(batches.batch(key, 0)["y"].max()) == 6


def test_short_and_damaged_texts_are_refused(tmp_path, file):
    with pytest.raises(UsageError, match=r"validation holds 65 tokens, wanted at least 101"):
        data.from_text(file).batches(2, 100)
    with pytest.raises(UsageError, match="at least 1, got 0 and 3"):
        data.windows(np.arange(9), 0, 3)
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"ok \xff no")
    with pytest.raises(DataError, match=r"bad\.txt: offset 3: wanted UTF-8, got byte 0xff"):
        data.from_text(bad)
    bad.write_bytes(b"")
    with pytest.raises(DataError, match="got an empty file"):
        data.from_text(bad)
    with pytest.raises(MissingDataError, match="no such file"):
        data.from_text(tmp_path / "absent.txt")
    with pytest.raises(UsageError, match="'character' or 'byte'"):
        data.from_text(file, level="word")
    with pytest.raises(UsageError, match="share between 0 and 1"):
        data.from_text(file, train=1.0)


def test_tinyshakespeare_as_nanogpt_splits_it(monkeypatch):
    if "CHAINLAB_DATA" not in os.environ:
        beside = [parent / "shared" / "data" for parent in Path(__file__).resolve().parents]
        monkeypatch.setenv("CHAINLAB_DATA", os.pathsep.join(map(str, beside)))
    try:
        text = data.from_text("tinyshakespeare")
    except MissingDataError as error:
        pytest.skip(str(error))
    assert (len(text.train), len(text.validation), len(text.vocabulary)) == (1003854, 111540, 65)
    assert text.decode(text.train[:14]) == "First Citizen:"


def test_a_changed_tinyshakespeare_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("CHAINLAB_DATA", str(tmp_path))
    with pytest.raises(MissingDataError, match=r"without tinyshakespeare\.txt[\s\S]*char-rnn"):
        data.from_text("tinyshakespeare")
    (tmp_path / "tinyshakespeare.txt").write_text("First Citizen")
    with pytest.raises(DataError, match="not the published tinyshakespeare: wanted sha256 86c4e6aa"):
        data.from_text("tinyshakespeare")
