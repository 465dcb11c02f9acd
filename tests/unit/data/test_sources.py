import subprocess
import sys

import numpy as np
import pytest

from chainlab import data
from chainlab.errors import DataError, MissingDataError, UsageError


@pytest.mark.parametrize(
    ("name", "examples", "features", "classes"),
    [("digits", 1797, 64, 10), ("iris", 150, 4, 3), ("wine", 178, 13, 3), ("breast_cancer", 569, 30, 2)],
)
def test_bundled_sets_are_whole_disjoint_and_stratified(name, examples, features, classes):
    dataset = data.bundled(name, scale="none")
    sets = [dataset.train, dataset.splits["validation"], dataset.splits["test"]]
    assert sum(len(s["y"]) for s in sets) == examples
    assert dataset.features == (features,)
    shares = np.array([np.bincount(s["y"], minlength=classes) / len(s["y"]) for s in sets])
    assert np.ptp(shares, axis=0).max() < 0.06
    rows = [{tuple(row) for row in s["x"].tolist()} for s in sets]
    assert sum(map(len, rows)) == len(set.union(*rows))  # equal rows stay within one set, so none was drawn twice


def test_standardisation_is_fitted_on_the_training_examples_alone():
    raw, scaled = (data.bundled("wine", scale=scale) for scale in ("none", "standard"))
    mean, deviation = raw.train["x"].mean(0, dtype=np.float64), raw.train["x"].std(0, dtype=np.float64)
    for name in ("validation", "test"):
        want = (raw.splits[name]["x"] - mean) / deviation
        np.testing.assert_allclose(scaled.splits[name]["x"], want, rtol=1e-4, atol=1e-5)
    assert abs(scaled.splits["test"]["x"].mean()) > 1e-3  # the test set's own mean is not removed


def test_a_constant_feature_stays_finite():
    digits = data.bundled("digits", scale="standard")  # its corner pixels are always 0
    assert np.isfinite(digits.train["x"]).all()
    assert data.bundled("digits", scale="range").train["x"].min() >= 0


def test_the_seed_picks_the_split():
    first, again, other = (data.bundled("iris", seed=seed).train["y"].tolist() for seed in (0, 0, 1))
    assert first == again != other


def test_diabetes_is_a_regression():
    dataset = data.bundled("diabetes")
    assert dataset.classes == ()
    assert dataset.train["y"].dtype == np.float32
    assert dataset.train["y"].max() > 300  # in its own unit


def test_origin_says_what_was_used():
    origin = data.bundled("iris").origin
    assert origin.source.startswith("scikit-learn 1")
    assert len(origin.sha256) == 64
    assert origin.sha256 == data.bundled("iris", seed=5).origin.sha256
    assert "CC BY 4.0" in origin.licence


def test_shares_that_leave_nothing_are_refused():
    with pytest.raises(UsageError, match="sum to less than 1"):
        data.bundled("iris", validation=0.5, test=0.5)
    with pytest.raises(UsageError, match=r">= 0 and sum"):
        data.bundled("iris", test=-0.1)
    with pytest.raises(DataError, match=r"too few for validation=0\.01"):
        data.bundled("iris", validation=0.01)
    with pytest.raises(DataError, match="class 'b' has 1 examples, wanted at least 2"):
        data.split(np.zeros((9, 1)), np.array([0] * 8 + [1]), {"test": 0.3}, seed=0, classes="ab")


def table(folder, text):
    file = folder / "table.csv"
    file.write_text(text)
    return file


def test_csv_with_named_classes(tmp_path, key):
    rows = "".join(f"{i},{'yes' if i % 2 else 'no'},{i * 0.5}\n" for i in range(40))
    dataset = data.from_csv(table(tmp_path, "a,label,b\n" + rows), target="label", scale="none")
    assert dataset.classes == ("no", "yes")
    odd = dataset.train["x"][:, 0] % 2
    np.testing.assert_array_equal(dataset.train["y"], odd)
    np.testing.assert_array_equal(dataset.train["x"][:, 1], dataset.train["x"][:, 0] / 2)
    assert dataset.batches(4).batch(key, 0)["x"].shape == (4, 2)


def test_csv_classes_that_are_numbers_keep_their_order(tmp_path):
    rows = "".join(f"{i},{i % 12}\n" for i in range(120))
    assert data.from_csv(table(tmp_path, "x,y\n" + rows)).classes == tuple(map(str, range(12)))


def test_csv_regression(tmp_path):
    rows = "".join(f"{i},{i * 2.5}\n" for i in range(30))
    dataset = data.from_csv(table(tmp_path, "x,y\n" + rows), regression=True, scale="none")
    np.testing.assert_array_equal(dataset.train["y"], 2.5 * dataset.train["x"][:, 0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "got 0 rows"),
        ("a,b\n", "got 0 rows"),
        ("a,b\n1,x\n2\n", r"table\.csv:3: wanted 2 fields, got 1"),
        ("a,b\n1,x\ntwo,y\n", r"table\.csv:3: column 'a': wanted a number, got 'two'"),
        ("a,b\nnan,x\n", r"table\.csv:2: column 'a': wanted a finite number, got 'nan'"),
        ('a,b\n"1,x\n', "not a readable CSV file"),
    ],
)
def test_csv_errors_name_the_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        data.from_csv(table(tmp_path, text))


def test_csv_target_must_be_a_column(tmp_path):
    with pytest.raises(UsageError, match="no column 'z': wanted one of a, b"):
        data.from_csv(table(tmp_path, "a,b\n1,2\n"), target="z")


def archive(folder, **arrays):
    np.savez(folder / "own.npz", **arrays)
    return folder / "own.npz"


def test_npz_is_split_or_brings_its_own_sets(tmp_path, rng):
    x, y = rng.normal(size=(50, 3)), np.arange(50) % 5
    dataset = data.from_npz(archive(tmp_path, x=x, y=y))
    assert sorted(dataset.splits) == ["test", "validation"]
    assert dataset.train["x"].dtype == np.float32
    dataset = data.from_npz(archive(tmp_path, x_train=x, y_train=y, x_test=x[:7], y_test=y[:7]))
    np.testing.assert_array_equal(dataset.splits["test"]["x"], x[:7].astype(np.float32))
    assert len(dataset.splits["validation"]["y"]) == 5


def test_npz_bytes_stay_bytes_until_the_device(tmp_path, rng, key):
    x = rng.integers(0, 256, (50, 4, 4, 1), np.uint8)
    dataset = data.from_npz(archive(tmp_path, x=x, y=np.arange(50) % 5))
    assert dataset.train["x"].dtype == np.uint8
    assert dataset.batches(5).batch(key, 0)["x"].dtype == np.float32


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, r"wanted an array 'x_train', got no array"),
        ({"x": np.ones((4, 2))}, r"wanted an array 'y', got x"),
        ({"x": np.ones((4, 2)), "y": np.zeros(3, int)}, r"got 4 examples and 3 labels"),
        ({"x": np.ones((0, 2)), "y": np.zeros(0, int)}, r"wanted at least one example, got x of shape \(0, 2\)"),
        ({"x": np.ones((4, 2)), "y": np.zeros((4, 1), int)}, r"got shapes \(4, 2\) and \(4, 1\)"),
        ({"x": np.ones((4, 2)), "y": np.array([0, 1, -1, 0])}, r"row 2: wanted a label in 0\.\.1, got -1"),
        ({"x": np.ones((4, 2)), "y": np.ones(4)}, r"wanted integer labels .* got dtype float64"),
        ({"x": np.array([[1, np.nan]] * 4), "y": np.zeros(4, int)}, r"row 0, column 1: .* got nan \(4 in all\)"),
        ({"x": np.full((4, 2), 1e300), "y": np.zeros(4, int)}, r"as float32: row 0, column 0: .* got inf"),
        ({"x": np.array(["a"] * 4), "y": np.zeros(4, int)}, r"wanted real numbers, got dtype <U1"),
        ({"x": np.array([{}], object), "y": np.zeros(1, int)}, r"without pickles"),
        (
            {"x_train": np.ones((9, 2)), "y_train": np.arange(9) % 3, "x_test": np.ones((2, 3)), "y_test": [0, 1]},
            r"x_test: wanted examples of shape \(2,\), got \(3,\)",
        ),
        (
            {"x_train": np.ones((9, 2)), "y_train": np.arange(9) % 3, "x_test": np.ones((2, 2)), "y_test": [0, 3]},
            r"y_test: row 1: wanted a label in 0\.\.2, got 3",
        ),
    ],
)
def test_npz_errors_name_the_array(tmp_path, arrays, message):
    with pytest.raises(DataError, match=message):
        data.from_npz(archive(tmp_path, **arrays), validation=0.0, test=0.0)


def test_npz_that_is_no_archive(tmp_path, rng):
    whole = archive(tmp_path, x=rng.normal(size=(50, 3)), y=np.arange(50) % 5).read_bytes()
    file = tmp_path / "cut.npz"
    for content in (b"", b"text", whole[:-30], whole[:200]):
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"cut\.npz"):
            data.from_npz(file)


def test_image_folder(tmp_path, key):
    image = pytest.importorskip("PIL.Image")
    for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        (tmp_path / name).mkdir()
        for index in range(10):
            image.new("RGB", (6, 4), colour).save(tmp_path / name / f"{index}.png")
    dataset = data.from_images(tmp_path)
    assert dataset.classes == ("blue", "red")
    assert dataset.features == (4, 6, 3)
    np.testing.assert_array_equal(dataset.train["x"][:, 0, 0, 0] == 255, dataset.train["y"] == 1)
    assert data.from_images(tmp_path, size=(2, 2), grey=True).features == (2, 2, 1)
    assert data.load(str(tmp_path)).batches(4).batch(key, 0)["x"].max() == 1

    image.new("RGB", (5, 4)).save(tmp_path / "red" / "x.png")
    with pytest.raises(DataError, match=r"x\.png: wanted height and width \(4, 6\) as in 0\.png, got \(4, 5\)"):
        data.from_images(tmp_path)
    (tmp_path / "red" / "x.png").write_bytes((tmp_path / "red" / "0.png").read_bytes()[:40])
    with pytest.raises(DataError, match=r"x\.png: not a readable image"):
        data.from_images(tmp_path)
    (tmp_path / "red" / "x.png").unlink()
    (tmp_path / "green").mkdir()
    with pytest.raises(DataError, match=r"green: wanted image files .* got none"):
        data.from_images(tmp_path)


def test_load_takes_names_and_paths(tmp_path):
    config = data.DatasetConfig(name="iris", split=3, test=0.4)
    assert len(data.load(config).splits["test"]["y"]) == 60
    assert data.load("iris").origin.name == "iris"
    file = table(tmp_path, "y,x\n" + "1,2\n2,4\n" * 20)
    assert data.load(str(file)).classes == ("2", "4")
    config = data.DatasetConfig(name=str(file), target="y", regression=True, scale="none")
    np.testing.assert_array_equal(config.load().train["x"][:, 0], 2 * config.load().train["y"])
    with pytest.raises(UsageError, match="no data set 'irises': wanted digits, iris"):
        data.load("irises")
    for suffix in (".npz", ".csv"):
        with pytest.raises(MissingDataError, match="no such file"):
            data.load(str(tmp_path / f"absent{suffix}"))
    with pytest.raises(MissingDataError, match="no such folder"):
        data.from_images(tmp_path / "absent")


def test_the_config_imports_no_jax():
    """The command line reads configs before it knows whether anything will run."""
    code = "import sys, chainlab.data.config; sys.exit('jax' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
