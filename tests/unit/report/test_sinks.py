import json
import sys

import pytest

from chainlab.errors import MissingDependencyError, UsageError
from chainlab.lab import sinks


def follow(name, folder):
    with sinks.open(name, folder) as sink:
        sink.scalars(1, "train", {"loss": 2.0})
        sink.scalars(2, "train", {"loss": 1.0})
        sink.scalars(2, "test", {"accuracy": [0.25, 0.75]})


WANTED = {
    "train/loss": [(1, 2.0), (2, 1.0)],
    "test/accuracy": [(2, 0.5)],
    "test/accuracy/seed0": [(2, 0.25)],
    "test/accuracy/seed1": [(2, 0.75)],
}


def test_tensorboard_files_hold_every_scalar(make_run):
    pytest.importorskip("tensorboardX")
    from tensorboardX.event_file_writer import EventFileWriter  # noqa: F401
    from tensorboardX.proto import event_pb2

    folder = make_run()
    follow("tensorboard", folder)
    found, texts = {}, []
    for file in (folder / "tensorboard").iterdir():
        for record in records(file.read_bytes()):
            event = event_pb2.Event.FromString(record)
            for value in event.summary.value:
                if value.HasField("tensor"):
                    texts.append(value.tag)
                else:
                    found.setdefault(value.tag, []).append((event.step, value.simple_value))
    assert found == WANTED
    assert sorted(texts) == ["config.yaml/text_summary", "run.json/text_summary"]


def records(content):
    """The records of a TFRecord file: length, checksum, bytes, checksum."""
    while content:
        length = int.from_bytes(content[:8], "little")
        yield content[12 : 12 + length]
        content = content[16 + length :]


def test_mlflow_database_holds_every_scalar(make_run, monkeypatch):
    tracking = pytest.importorskip("mlflow.tracking")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = make_run()
    follow("mlflow", folder)
    with sinks.open("mlflow", folder) as sink:  # a resumed run goes on in the same MLflow run
        sink.scalars(3, "train", {"loss": 0.5})
    client = tracking.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("mlp").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.info.run_name == folder.name
    found = {tag: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, tag)] for tag in WANTED}
    assert found == {**WANTED, "train/loss": [*WANTED["train/loss"], (3, 0.5)]}
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"config.yaml", "run.json"}


def leveldb_records(content):
    """The records of a LevelDB log after its 7 bytes of header: blocks of 32 KiB, records in one piece or more."""
    place, record = 7, b""
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield record
            record = b""


@pytest.mark.slow  # starts the service process of wandb
@pytest.mark.filterwarnings("ignore")
def test_wandb_file_holds_every_scalar(make_run, monkeypatch):
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    monkeypatch.delenv("WANDB_MODE", raising=False)
    folder = make_run()
    follow("wandb", folder)
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    found, config = {}, {}
    for record in leveldb_records(file.read_bytes()):
        message = wandb_internal_pb2.Record.FromString(record)
        if message.HasField("run"):
            config |= {item.key: json.loads(item.value_json) for item in message.run.config.update}
        for entry in [message.history] if message.HasField("history") else []:
            items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in entry.item}
            for tag in WANTED.keys() & items.keys():
                found.setdefault(tag, []).append((items["_step"], items[tag]))
    assert found == WANTED
    assert config["experiment"] == "mlp"


def test_errors(make_run, monkeypatch):
    with pytest.raises(UsageError, match="unknown tracker 'comet': wanted one of tensorboard, mlflow, wandb"):
        follow("comet", make_run())
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(MissingDependencyError, match=r"needs tensorboardX: pip install 'chainlab\[tensorboard\]'"):
        follow("tensorboard", make_run("other"))


def test_a_sink_is_closed_when_the_run_fails(make_run):
    pytest.importorskip("tensorboardX")
    folder = make_run()

    def fail():
        with sinks.open("tensorboard", folder) as sink:
            sink.scalars(1, "train", {"loss": 2.0})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    (file,) = (folder / "tensorboard").iterdir()
    assert b"train/loss" in file.read_bytes()
