"""A run as one file: packed, checked, unpacked, and reproduced from it."""

import json
import shutil
import sys
import zipfile

import pytest

from chainlab.cli.main import main
from chainlab.errors import UsageError
from chainlab.lab.archive import pack, unpack
from chainlab.lab.reproduce import reproduce
from chainlab.lab.surroundings import differing_packages, lock

pytestmark = pytest.mark.usefixtures("standard_promotion")


def test_what_is_unpacked_is_what_was_packed(make_run, tmp_path):
    folder = make_run()
    (folder / "lock.txt").write_text(lock())
    (folder / "panels").mkdir()
    (folder / "panels" / "0.svg").write_text("<svg/>")
    (folder / ".report.html.123").write_text("half written")
    archive = pack(folder, tmp_path / "run.zip")
    again = unpack(archive, tmp_path / "elsewhere")
    assert again == tmp_path / "elsewhere" / folder.name
    found = {file.relative_to(again).as_posix() for file in again.rglob("*") if file.is_file()}
    assert found == {"config.yaml", "lock.txt", "metrics.jsonl", "panels/0.svg", "run.json"}
    assert (again / "metrics.jsonl").read_bytes() == (folder / "metrics.jsonl").read_bytes()


def rewrite(archive, change):
    """The archive with its files changed by `change(name, content) -> (name, content) or None`."""
    with zipfile.ZipFile(archive) as source:
        files = [change(name, source.read(name)) for name in source.namelist()]
    target = archive.with_name("changed.zip")
    with zipfile.ZipFile(target, "w") as made:
        for name, content in filter(None, files):
            made.writestr(name, content)
    return target


def test_what_was_changed_on_the_way_is_refused(make_run, tmp_path):
    archive = pack(make_run(), tmp_path / "run.zip")
    changes = {
        r"was changed: metrics\.jsonl": lambda n, c: (n, c[:-5] if n.endswith("metrics.jsonl") else c),
        r"was changed: config\.yaml": lambda n, c: None if n.endswith("config.yaml") else (n, c),
        "holds no manifest": lambda n, c: None if n.endswith("manifest.json") else (n, c),
        "outside": lambda n, c: (n.replace("config.yaml", "../../config.yaml"), c),
    }
    for words, change in changes.items():
        with pytest.raises(UsageError, match=words):
            unpack(rewrite(archive, change), tmp_path / "elsewhere")
    archive.write_bytes(archive.read_bytes()[:200])
    with pytest.raises(UsageError, match="is not a packed run"):
        unpack(archive, tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(UsageError, match="is running"):
        pack(make_run("r", status="running"), tmp_path / "r.zip")


def test_packages_that_changed_are_named(tmp_path):
    assert differing_packages(tmp_path) == []
    (tmp_path / "lock.txt").write_text(lock().replace("\nnumpy==", "\nnumpy==0.") + "gone==1.0\n")
    gone, numpy = differing_packages(tmp_path)
    assert gone == "gone: 1.0 then, absent now"
    assert numpy.startswith("numpy: 0.")


@pytest.mark.slow
def test_an_own_experiment_is_reproduced_from_its_archive_alone(tmp_path, monkeypatch, capsys):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)

    def chainlab(*arguments):
        with pytest.raises(SystemExit) as stop:
            main(list(arguments))
        return stop.value.code, capsys.readouterr()

    chainlab("new", "mine")
    text = (home / "mine.py").read_text()
    line = "    from chainlab import data"
    (home / "mine.py").write_text(text.replace(line, f"    from mine_helper import KEEP\n{line}"))
    (home / "mine_helper.py").write_text("KEEP = 1\n")
    code, _ = chainlab("run", "mine.yaml", "run={steps: 4, log_every: 2}", "hidden=[8]", "expect=[]", "-q")
    assert code == 0
    (run,) = (home / "runs" / "mine").iterdir()
    assert sorted(file.name for file in (run / "source").iterdir()) == ["mine.py", "mine_helper.py"]
    assert (run / "lock.txt").read_text() == lock()

    (home / "mine.py").write_text("raise RuntimeError('changed since')")
    code, streams = chainlab("reproduce", "latest", "-q")
    assert (code, streams.out[:9]) == (0, "identical")
    code, streams = chainlab("export", "latest")
    assert code == 0
    archive = home / streams.out.strip()
    moved = archive.rename(tmp_path / "moved.zip")
    shutil.rmtree(home / "runs")
    sys.modules.pop("mine_helper")
    sys.path[:] = [path for path in sys.path if str(tmp_path) not in path]
    assert reproduce(moved, quiet=True).identical

    def other(name, content):
        return name, content.replace(b"learning_rate: 0.003", b"learning_rate: 0.004") if "config" in name else content

    with pytest.raises(UsageError, match=r"config\.yaml"):
        reproduce(rewrite(moved, other), quiet=True)
    manifest = json.loads(zipfile.ZipFile(moved).read(f"{run.name}/manifest.json"))
    assert "checkpoints/step-000000004.ckpt" in manifest["files"]
