"""The wheel holds every file that the checkout runs from, and works in an unrelated folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("not in a checkout")
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("wheel")
    build = f"from setuptools.build_meta import build_wheel; build_wheel({str(folder)!r})"
    copy = folder / "checkout"
    copy.mkdir()
    names = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "chainlab", "experiments", "configs")
    subprocess.run(["cp", "-r", *(ROOT / name for name in names), copy], check=True)
    subprocess.run([sys.executable, "-c", build], cwd=copy, check=True, capture_output=True)
    (file,) = folder.glob("*.whl")
    return file


@pytest.mark.slow
def test_no_file_is_left_out(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    places = {"chainlab": "chainlab", "experiments": "chainlab/experiments", "configs": "chainlab/configs"}
    wanted = {
        f"{place}/{file.relative_to(ROOT / folder).as_posix()}"
        for folder, place in places.items()
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert wanted - inside == set()
    assert {name.partition("/")[0] for name in inside if ".dist-info" not in name} == {"chainlab"}


@pytest.mark.slow
def test_it_works_in_an_unrelated_folder(wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = (
        "import chainlab.experiments.mlp as mlp\n"
        "from chainlab.lab.config import locate\n"
        "print(mlp.__file__, locate.folder(), 'mlp/digits' in locate.names(), sep='|')"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    )
    file, configs, found = done.stdout.strip().split("|")
    assert Path(file) == site / "chainlab" / "experiments" / "mlp.py"
    assert Path(configs) == site / "chainlab" / "configs"
    assert found == "True"
