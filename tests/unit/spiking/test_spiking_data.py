import os
import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab import spiking
from chainlab.errors import DataError, MissingDataError, MissingDependencyError, UsageError


def data_folder():
    beside = next((p / "shared" / "data" for p in Path(__file__).parents if (p / "shared" / "data").is_dir()), None)
    return os.environ.get("CHAINLAB_DATA") or beside


def test_braille_readings():
    folder = data_folder()
    if folder is None or not (Path(folder) / "braille_tactile.npz").is_file():
        pytest.skip("braille_tactile.npz is not in $CHAINLAB_DATA or beside the checkout")
    data = spiking.braille(folder, seed=1)
    assert data.train["x"].shape == (1080, 76, 4)
    assert data.splits["test"]["x"].shape == (270, 76, 4)
    assert len(data.classes) == 27
    np.testing.assert_allclose(data.train["x"].mean((0, 1)), 0, atol=1e-4)
    assert np.bincount(data.splits["test"]["y"]).tolist() == [10] * 27
    with pytest.raises(DataError, match=r"steps must be in 1\.\.76"):
        spiking.braille(folder, steps=100)
    with pytest.raises(DataError, match="taxels must be in"):
        spiking.braille(folder, taxels=(1, 12))


def test_missing_readings_say_how_to_get_them(monkeypatch, tmp_path):
    monkeypatch.setenv("CHAINLAB_DATA", str(tmp_path))
    with pytest.raises(MissingDataError, match="zenodo"):
        spiking.braille()


def test_spike_timing_tells_classes_apart_by_timing_alone():
    data = spiking.spike_timing(3, neurons=8, steps=20, jitter=0.0, examples=30)
    assert set(data.train["x"].sum(axis=1).ravel().tolist()) == {1}
    patterns = {data.train["x"][data.train["y"] == label].tobytes()[:160] for label in range(3)}
    assert len(patterns) == 3
    with pytest.raises(UsageError, match="classes >= 2"):
        spiking.spike_timing(1)


def test_heidelberg_files(tmp_path):
    h5py = pytest.importorskip("h5py")
    rng = np.random.default_rng(0)
    for part, count in (("train", 40), ("test", 20)):
        with h5py.File(tmp_path / f"shd_{part}.h5", "w") as file:
            ragged = file.create_group("spikes")
            times = ragged.create_dataset("times", (count,), h5py.vlen_dtype(np.float16))
            units = ragged.create_dataset("units", (count,), h5py.vlen_dtype(np.uint16))
            for index in range(count):
                times[index] = rng.uniform(0, 1.6, 50).astype(np.float16)
                units[index] = rng.integers(0, 700, 50)
            file["labels"] = np.arange(count) % 20
    data = spiking.heidelberg("shd", tmp_path, steps=10, channels=70, validation=0.5)
    assert data.train["x"].shape == (20, 10, 70)
    assert set(np.unique(data.splits["test"]["x"]).tolist()) == {0, 1}
    assert sorted(data.splits) == ["test", "validation"]
    with pytest.raises(UsageError, match="must divide 700"):
        spiking.heidelberg("shd", tmp_path, channels=99)
    with h5py.File(tmp_path / "shd_test.h5", "a") as file:
        del file["labels"]
    with pytest.raises(DataError, match="no array 'labels'"):
        spiking.heidelberg("shd", tmp_path)
    (tmp_path / "shd_train.h5").write_bytes(b"nothing")
    with pytest.raises(DataError, match="not an HDF5 file"):
        spiking.heidelberg("shd", tmp_path)


def test_recordings_of_an_event_sensor():
    kind = np.dtype([("t", int), ("x", int), ("y", int), ("p", int)])
    events = np.array([(0, 1, 0, 1), (999, 2, 1, 0), (5000, 0, 0, 0)], kind)
    options = {"sensor": (3, 2, 2), "steps": 2, "duration": 1000.0, "classes": ("a", "b")}
    data = spiking.from_recordings([(events, 1)], [(events, 0)], **options)
    assert data.train["x"].shape == (1, 2, 12)
    assert np.argwhere(data.train["x"][0]).tolist() == [[0, 5], [1, 10]]
    assert data.train["y"].tolist() == [1]
    events["x"][0] = 3
    with pytest.raises(DataError, match=r"train recording 0: events have x in 0\.\.3, the sensor 0\.\.2"):
        spiking.from_recordings([(events, 1)], [(events, 0)], **options)
    with pytest.raises(DataError, match="no field y"):
        spiking.from_recordings([(events[["t", "x"]], 1)], [], **options)


def test_data_sets_of_tonic(monkeypatch, tmp_path):
    """Against a library of the same form: a class with `sensor_size` and `classes`, by part and by index."""
    kind = np.dtype([("x", np.int16), ("y", np.int16), ("p", bool), ("t", np.int64)])

    class Small:
        sensor_size, classes = (2, 2, 2), ["a", "b"]

        def __init__(self, save_to, train=True):
            assert save_to == str(tmp_path)
            self.labels = [0, 1, 0] if train else [1]

        def __len__(self):
            return len(self.labels)

        def __getitem__(self, index):
            return np.array([(self.labels[index], 1, True, 600)], kind), self.labels[index]

    datasets = types.SimpleNamespace(__all__=["Small", "Unlabelled"], Small=Small, Unlabelled=object)
    monkeypatch.setitem(sys.modules, "tonic", types.SimpleNamespace(datasets=datasets))
    data = spiking.from_tonic("Small", tmp_path, steps=2, duration=1000.0)
    assert data.train["y"].tolist() == [0, 1, 0]
    assert np.argwhere(data.train["x"]).tolist() == [[0, 1, 3], [1, 1, 7], [2, 1, 3]]
    assert data.splits["test"]["y"].tolist() == [1]
    with pytest.raises(UsageError, match="no data set 'MNIST'; choose among Small"):
        spiking.from_tonic("MNIST", tmp_path, steps=2, duration=1000.0)
    with pytest.raises(UsageError, match="no labelled training and test recordings"):
        spiking.from_tonic("Unlabelled", tmp_path, steps=2, duration=1000.0)
    monkeypatch.setitem(sys.modules, "tonic", None)
    with pytest.raises(MissingDependencyError, match=r"chainlab\[tonic\]"):
        spiking.from_tonic("Small", tmp_path, steps=2, duration=1000.0)


def test_poisson_rates_are_those_asked_for(key):
    spikes = spiking.poisson_rate(jnp.array([0.0, 0.2, 2.0]), 4000, key)
    np.testing.assert_allclose(spikes.mean(0), [0.0, 0.2, 1.0], atol=0.03)


@pytest.mark.slow
def test_the_latency_code_of_every_byte():
    """Brighter is sooner, faint never; the steps that are stored are exactly those that the code reaches."""
    bytes_ = jnp.arange(256, dtype=jnp.float32) / 255
    code = spiking.latency(bytes_, 100, tau=10.0, threshold=0.2)
    raster = np.asarray(code.expand())
    assert raster.shape == (100, 256)
    assert raster.sum(0).tolist() == [0.0] * 52 + [1.0] * 204
    first = raster.argmax(0)[52:]
    assert np.all(np.diff(first) <= 0)
    assert first.max() == code.at[-1] == 39
    assert len(code.at) == code.values.shape[0] == 25
    assert all(code.values.any(1))
    wanted = np.floor(10 * np.log(np.arange(52, 256) / (np.arange(52, 256) - 51)))
    assert np.mean(first == wanted) > 0.99  # a time at a step's very edge may round either way


def test_delta_and_population_codes():
    falls = spiking.delta(jnp.array([[1.0], [0.0]]), threshold=0.5)
    assert falls.tolist() == [[0.0, 0.0], [0.0, 1.0]]
    fields = spiking.population(jnp.array([[0.0, 1.0]]), 3)
    assert fields.shape == (1, 6)
    assert np.argmax(np.asarray(fields).reshape(2, 3), axis=1).tolist() == [0, 2]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: spiking.constant_current(x, 0), "steps"),
        (lambda x: spiking.poisson_rate(x, 0, jax.random.key(0)), "steps"),
        (lambda x: spiking.poisson_rate(x, 3, jax.random.key(0), rate=0.0), "rate"),
        (lambda x: spiking.latency(x, 5, tau=-1.0), "tau"),
        (lambda x: spiking.latency(x, 5, threshold=1.0), "threshold"),
        (lambda x: spiking.delta(x, threshold=0.0), "threshold"),
        (lambda x: spiking.population(x, 1), "fields"),
    ],
)
def test_bad_encoders_name_the_field(call, message):
    with pytest.raises(UsageError, match=message):
        call(jnp.ones((2, 3)))
