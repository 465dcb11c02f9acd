import contextlib
import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from chainlab.data import idx, mnist, read_idx
from chainlab.errors import DataError, MissingDataError, UsageError

CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def encode(array):
    header = bytes([0, 0, CODES[array.dtype.str[1:]], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("idx") / "file"


def arrays():
    dtypes = st.sampled_from([np.dtype(name) for name in CODES])
    shapes = hnp.array_shapes(max_dims=3, max_side=4)
    floats = {"allow_nan": False, "allow_infinity": False}
    return dtypes.flatmap(lambda d: hnp.arrays(d, shapes, elements=floats if d.kind == "f" else None))


@settings(max_examples=60, deadline=None)
@given(array=arrays(), compressed=st.booleans())
def test_what_was_written_is_read(file, array, compressed):
    file.write_bytes(gzip.compress(encode(array), 1) if compressed else encode(array))
    got = read_idx(file)
    assert got.dtype == array.dtype
    np.testing.assert_array_equal(got, array)


@settings(max_examples=80, deadline=None)
@given(array=arrays(), compressed=st.booleans(), data=st.data())
def test_every_truncation_is_refused(file, array, compressed, data):
    whole = gzip.compress(encode(array), 1) if compressed else encode(array)
    file.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(DataError, match=str(file)):
        read_idx(file)


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=40), compressed=st.booleans())
def test_noise_gives_an_array_or_a_data_error(file, content, compressed):
    """No file makes the reader fail in another way, whatever sizes its header claims."""
    file.write_bytes(gzip.compress(content, 1) if compressed else content)
    with contextlib.suppress(DataError):
        read_idx(file)


@settings(max_examples=60, deadline=None)
@given(where=st.integers(0), flip=st.integers(1, 255))
def test_a_flipped_byte_of_a_compressed_file_is_noticed_or_harmless(file, where, flip):
    array = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    content = bytearray(gzip.compress(encode(array), 1, mtime=0))
    content[where % len(content)] ^= flip
    file.write_bytes(content)
    try:
        got = read_idx(file)
    except DataError:
        return
    np.testing.assert_array_equal(got, array)  # the gzip header's time and system bytes carry no data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"offset 0: wanted the 4 bytes .* got 0"),
        (b"\x89PNG\r\n", r"offset 0: wanted an IDX file .* got 89 50 4e 47"),
        (b"\0\0\x08\x02\0\0\0\x01", r"offset 4: wanted 2 sizes in 8 bytes, got 4"),
        (b"\0\0\x08\x01\0\0\0\0", r"offset 4: wanted at least one element"),
        (b"\0\0\x08\x01\0\0\0\x05abc", r"offset 8: wanted 5 bytes of data for uint8 \(5,\), got 3 \(truncated\)"),
        (b"\0\0\x08\x01\0\0\0\x02abc", r"offset 8: wanted 2 bytes .* got more"),
        (b"\0\0\x08\x03" + b"\xff" * 12 + b"ab", r"got 2 \(truncated\)"),
        (b"\0\0\x0d\x01\0\0\0\x02" + struct.pack(">ff", 1, np.nan), r"row 1: wanted a finite number, got nan"),
    ],
)
def test_errors_name_offset_wanted_and_got(file, content, message):
    file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_idx(file)


def family(folder, *, labels=None, images=None, count=120):
    """The four files, small."""
    rng = np.random.default_rng(0)
    for prefix in ("train", "t10k"):
        x = rng.integers(0, 256, (count, 28, 28), np.uint8) if images is None else images
        y = (np.arange(count) % 10).astype(np.uint8) if labels is None else labels
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(encode(x))
        (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(encode(y)))
    return folder


def test_a_family_is_read_split_and_scaled(tmp_path, key):
    dataset = mnist("mnist", path=family(tmp_path), validation=1 / 12)
    assert dataset.features == (28, 28, 1)
    assert {name: len(arrays["y"]) for name, arrays in dataset.splits.items()} == {"validation": 10, "test": 120}
    assert sorted(dataset.splits["validation"]["y"].tolist()) == list(range(10))  # stratified
    assert dataset.origin.licence == "CC BY-SA 3.0"
    data = dataset.flat().batches(5)
    batch = data.batch(key, 0)
    assert batch["x"].shape == (5, 784)
    assert batch["x"].dtype == data.splits["test"]["x"].dtype == np.float32
    assert 0.99 < float(data.splits["test"]["x"].max()) <= 1


def test_a_recompressed_copy_is_the_same_data(tmp_path):
    first = mnist("mnist", path=family(tmp_path)).origin.sha256
    for file in list(tmp_path.iterdir()):
        raw = read = file.read_bytes()
        if file.suffix == ".gz":
            raw = gzip.decompress(read)
            file.unlink()
        else:
            raw = gzip.compress(read)
            file.unlink()
        (tmp_path / (file.stem if file.suffix == ".gz" else file.name + ".gz")).write_bytes(raw)
    assert mnist("mnist", path=tmp_path).origin.sha256 == first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"labels": np.full(120, 10, np.uint8)},
            r"row 0: wanted a label in 0\.\.9, got 10 \(120 in all\)",
        ),
        ({"labels": np.zeros(119, np.uint8)}, r"got 120 examples and 119 labels"),
        ({"labels": np.zeros(120, np.int32)}, r"wanted uint8 labels .* got int32"),
        ({"images": np.zeros((60, 27, 28), np.uint8)}, r"\(examples, 28, 28\), got uint8 \(60, 27, 28\)"),
    ],
)
def test_a_family_that_does_not_fit_is_refused(tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        mnist("mnist", path=family(tmp_path, **change))


def test_a_changed_copy_of_a_published_set_is_refused(tmp_path):
    family(tmp_path)
    with pytest.raises(DataError, match=r"not the published file: wanted sha256 c59f468a"):
        mnist("fashion-mnist", path=tmp_path)
    assert mnist("fashion-mnist", path=tmp_path, checksum=False).classes[9] == "Ankle boot"


def test_missing_files_say_where_and_how(tmp_path, monkeypatch):
    monkeypatch.setenv("CHAINLAB_DATA", str(tmp_path))
    monkeypatch.setattr(idx, "_SYSTEM", {})
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"")
    with pytest.raises(MissingDataError) as error:
        mnist("fashion-mnist")
    message = str(error.value)
    assert f"{tmp_path / 'fashion-mnist'}: no such folder" in message
    assert f"{tmp_path}: without train-labels-idx1-ubyte, t10k-images" in message
    assert "apt-get install dataset-fashion-mnist" in message
    with pytest.raises(UsageError, match="wanted one of mnist, fashion-mnist, kmnist"):
        mnist("emnist")


def test_the_variable_is_looked_at_before_the_system(tmp_path, monkeypatch):
    folder = tmp_path / "mnist"
    folder.mkdir()
    family(folder)
    monkeypatch.setenv("CHAINLAB_DATA", f"/nowhere:{tmp_path}")
    assert mnist("mnist").origin.source == str(folder)


def test_fashion_mnist_as_published():
    try:
        dataset = mnist("fashion-mnist")
    except MissingDataError as error:
        pytest.skip(str(error))
    assert dataset.train["x"].shape == (55000, 28, 28, 1)
    assert np.bincount(dataset.train["y"]).tolist() == [5500] * 10
    assert dataset.splits["test"]["x"].shape == (10000, 28, 28, 1)
    assert Path(dataset.origin.source).is_dir()
