"""One run in several processes on one machine: how they find each other, agree, and end together."""

import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainlab.errors import ChainlabError, UsageError

if TYPE_CHECKING:
    from chainlab.parallel.config import MeshConfig

_PLACE = "CHAINLAB_PROCESS"
"""`index/count@host:port`: set for the processes of one run."""
_FOLDER = "CHAINLAB_RUN_FOLDER_FILE"
"""A file that the first process writes the run folder's path into."""
_GRACE = 5.0  # seconds for the others to end by themselves after one has


def join() -> None:
    """Join the run that this process was started for, if it was started for one; call before any JAX computation."""
    place = os.environ.get(_PLACE)
    if place is None:
        return
    import jax

    index, _, rest = place.partition("/")
    count, _, address = rest.partition("@")
    sys.stdout.flush()
    result = os.dup(1)
    os.dup2(2, 1)  # what libraries print while processes meet is talk, not the result
    sys.stdout = os.fdopen(result, "w")
    jax.distributed.initialize(address, int(count), int(index))


def join_cluster() -> None:
    """Join the run of a cluster's job (SLURM, Open MPI, Cloud TPU ...), as JAX finds it."""
    import jax

    try:
        jax.distributed.initialize()
    except ValueError as error:
        raise ChainlabError(f"--distributed: no cluster was found around this process: {error}") from error


def started_for_a_run() -> bool:
    """Whether this process is one of several that train together."""
    return _PLACE in os.environ


def count() -> int:
    """Processes of the run that this process was started for; 1 outside one."""
    place = os.environ.get(_PLACE)
    return 1 if place is None else int(place.partition("/")[2].partition("@")[0])


def is_first() -> bool:
    """Whether this process is the one that writes the run's record."""
    import jax

    return jax.process_index() == 0


def check(mesh: "MeshConfig | None") -> None:
    """Refuse several processes without a mesh that uses the devices of all of them.

    Args:
        mesh: The mesh of the run.

    Raises:
        UsageError: There are several processes, and the mesh has another number of devices.
    """
    import jax

    number, devices = jax.process_count(), jax.device_count()
    if number > 1 and (mesh is None or mesh.devices != devices):
        got = "no mesh" if mesh is None else f"a mesh of {mesh.devices}"
        raise UsageError(
            f"{number} processes with {devices} devices in all need a mesh of {devices}, got {got}: set it in the "
            f"config or as an override, such as 'mesh={{data: {devices}}}'"
        )


def agree(value: int, mesh: Any) -> int:
    """The first process's value, on every process.

    Args:
        value: A number below 2**31.
        mesh: The mesh in use, whose first device is the first process's; None outside one.

    Returns:
        The value.
    """
    import jax

    if jax.process_count() == 1 or mesh is None:
        return value
    import numpy as np

    place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(mesh.axis_names))
    values = jax.make_array_from_callback((mesh.size,), place, lambda _: np.full(1, value, np.int32))
    return int(_first(mesh)(values))


@functools.cache
def _first(mesh: Any) -> Any:
    import jax

    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    return jax.jit(lambda values: values[0], out_shardings=whole)


def agree_on(text: str) -> str:
    """The first process's text, on every process."""
    import jax

    if jax.process_count() == 1:
        return text
    import numpy as np
    from jax.experimental import multihost_utils

    padded = np.zeros(4096, np.uint8)
    content = np.frombuffer(text.encode(), np.uint8)
    padded[: len(content)] = content
    return bytes(np.asarray(multihost_utils.broadcast_one_to_all(padded)).tobytes()).rstrip(b"\0").decode()


@contextlib.contextmanager
def own_folder(folder: Path) -> Generator[Path]:
    """Where this process keeps its record: the run folder for the first one, a scratch folder for the others."""
    if is_first():
        if _FOLDER in os.environ:
            Path(os.environ[_FOLDER]).write_text(str(folder))
        yield folder
        return
    with tempfile.TemporaryDirectory() as scratch:
        yield Path(scratch)


def launch(arguments: Sequence[str], processes: int) -> int:
    """Run a command as several processes that train together, and end them together.

    Args:
        arguments: Arguments of `chainlab`.
        processes: How many.

    Returns:
        The exit code of the first process.

    Raises:
        ChainlabError: A process ended by a signal or by itself before the others; says which, and how to resume.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as scratch:
        children = [_start(arguments, index, processes, port, Path(scratch)) for index in range(processes)]
        previous = {
            number: signal.signal(number, lambda number, _: children[0].send_signal(number))
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            return _wait(children, Path(scratch))
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            for child in children:
                if child.poll() is None:
                    child.kill()
                child.wait()


def _start(arguments: Sequence[str], index: int, count: int, port: int, scratch: Path) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        _PLACE: f"{index}/{count}@127.0.0.1:{port}",
        _FOLDER: str(scratch / "folder"),
    }
    # a session of its own: a terminal's Ctrl-C reaches this process alone, which passes it to the first one
    command = [sys.executable, "-m", "chainlab", *arguments]
    if index == 0:
        return subprocess.Popen(command, env=environment, start_new_session=True)
    with open(scratch / f"{index}.log", "wb") as log:
        return subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=log)


def _wait(children: Sequence[subprocess.Popen[bytes]], scratch: Path) -> int:
    while all(child.poll() is None for child in children):
        time.sleep(0.05)
    early = next(index for index, child in enumerate(children) if child.poll() is not None)
    deadline = time.monotonic() + _GRACE
    codes: list[int | None] = []
    while time.monotonic() < deadline:
        codes = [child.poll() for child in children]
        if None not in codes:
            break
        time.sleep(0.05)
    killed = [index for index, code in enumerate(codes) if code is not None and code < 0]
    first = children[0].returncode
    if not killed and (first is not None and (first > 0 or None not in codes)):
        return first  # it has told what went wrong, or all went well
    culprit = killed[0] if killed else early
    raise ChainlabError(_report(culprit, children, scratch))


def _report(culprit: int, children: Sequence[subprocess.Popen[bytes]], scratch: Path) -> str:
    code = children[culprit].returncode or 0
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    lines = [f"process {culprit} of {len(children)} {how}; the others were stopped: none can go on without it"]
    log = scratch / f"{culprit}.log"
    if log.exists() and code >= 0:
        lines += log.read_text(errors="replace").strip().splitlines()[-5:]
    named = scratch / "folder"
    if named.exists():
        folder = Path(named.read_text())
        lines.append("continue from its latest checkpoint, on this mesh or another (`--mesh`), with")
        lines.append(f"  chainlab resume {folder} --processes {len(children)}")
        _mark_failed(folder, lines[0])
    return "\n".join(lines)


def _mark_failed(folder: Path, why: str) -> None:
    path = folder / "run.json"
    with contextlib.suppress(OSError, ValueError):
        summary: dict[str, Any] = json.loads(path.read_text())
        path.write_text(json.dumps({**summary, "status": "failed", "error": why}, indent=2) + "\n")
