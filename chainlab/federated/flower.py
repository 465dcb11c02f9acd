"""Starting what Flower needs: its server with TLS and node authentication, the app it runs, and nodes."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sysconfig
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from chainlab.errors import ChainlabError, MissingDependencyError, UsageError
from chainlab.federated.keys import server_tls

# What Flower hands to both sides; the document is the config, so that every node computes the same.
_APP = """\
[project]
name = "federation"
version = "1.0.0"
description = "A federation of chainlab."
dependencies = []

[tool.flwr.app]
publisher = "chainlab"

[tool.flwr.app.components]
serverapp = "federation_app:server"
clientapp = "federation_app:client"

[tool.flwr.app.config]
{config}
"""
_MODULE = 'from chainlab.cli.flower_app import client, server\n\n__all__ = ["client", "server"]\n'
FOLDER = "CHAINLAB_FEDERATION"
"""The environment variable that names a server's or a node's own folder to the app; it is never sent."""


def program(name: str) -> str:
    """A program of Flower in this environment.

    Raises:
        MissingDependencyError: Flower is not installed.
    """
    path = Path(sysconfig.get_path("scripts"), name)
    if not path.exists():
        raise MissingDependencyError("flwr", "federated", "a deployment")
    return str(path)


def environment(folder: Path) -> dict[str, str]:
    """The environment of Flower's programs: no telemetry, no question after updates, settings in the folder."""
    scripts = sysconfig.get_path("scripts")
    return {
        **os.environ,
        "PATH": os.pathsep.join([scripts, os.environ.get("PATH", "")]),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_HOME": str(folder / "flower"),
        # Every answer is computed by a process of its own, which then need not compile again.
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        FOLDER: str(folder),
    }


def write_app(folder: Path, config: Mapping[str, Any], *, module: str = _MODULE) -> Path:
    """Write the app that Flower runs on the server and on every node.

    Args:
        folder: The server's folder.
        config: What both sides are told: text, numbers and booleans.
        module: Python that defines the apps `server` and `client`.

    Returns:
        The app's folder.
    """
    app = folder / "app"
    app.mkdir(parents=True, exist_ok=True)
    # A JSON string or number is also one of TOML.
    lines = "\n".join(f"{name} = {json.dumps(value)}" for name, value in config.items())
    (app / "pyproject.toml").write_text(_APP.format(config=lines))
    (app / "federation_app.py").write_text(module)
    return app


@contextlib.contextmanager
def superlink(folder: Path, host: str, port: int, *, names: Sequence[str] = ()) -> Generator[subprocess.Popen[bytes]]:
    """Flower's server, with TLS and node authentication, until the context ends.

    Args:
        folder: Holds the TLS files (made if they are not there), Flower's database and its log.
        host: Address that it listens on.
        port: Port.
        names: Further names under which nodes reach it, for its certificate.

    Yields:
        The process.

    Raises:
        ChainlabError: It did not come up.
    """
    tls = server_tls(folder / "tls", [host, *names])
    settings = folder / "flower"
    settings.mkdir(parents=True, exist_ok=True)
    connection = {"address": f"{host}:{port}", "root-certificates": str(tls.authority)}
    lines = "\n".join(f"{name} = {json.dumps(value)}" for name, value in connection.items())
    (settings / "config.toml").write_text(f'[superlink]\ndefault = "server"\n\n[superlink.server]\n{lines}\n')
    command = [program("flower-superlink"), "--host", host, "--port", str(port), "--enable-supernode-auth"]
    command += ["--ssl-ca-certfile", str(tls.authority), "--ssl-certfile", str(tls.certificate)]
    command += ["--ssl-keyfile", str(tls.key), "--database", str(folder / "flower" / "superlink.db")]
    command += ["--disable-runtime-dependency-installation"]
    with (folder / "superlink.log").open("ab") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment(folder), start_new_session=True
        )
        try:
            _wait_for(host, port, process, folder / "superlink.log")
            yield process
        finally:
            stop(process)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a program and what it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, 15)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()


def _wait_for(host: str, port: int, process: "subprocess.Popen[bytes]", log: Path, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise ChainlabError(f"Flower's server ended with code {process.returncode}; see {log}")
        with contextlib.suppress(OSError), socket.create_connection((host, port), 1):
            return
        time.sleep(0.2)
    raise ChainlabError(f"Flower's server did not listen on {host}:{port} in {seconds:.0f} s; see {log}")


def _flwr(folder: Path, *arguments: str) -> str:
    """Run a command of `flwr` against the server and return what it says."""
    found = subprocess.run(
        [program("flwr"), *arguments], env=environment(folder), capture_output=True, text=True, timeout=300
    )
    text = found.stdout + found.stderr
    if found.returncode:
        raise ChainlabError(f"flwr {' '.join(arguments[:2])} failed:\n{text.strip()[-2000:]}")
    return text


def register(folder: Path, keys: Sequence[Path]) -> None:
    """Let nodes with these public keys in; a key that is in already stays so.

    Args:
        folder: The server's folder.
        keys: Public keys of nodes.

    Raises:
        UsageError: A key is not there.
        ChainlabError: Flower refused one.
    """
    for key in keys:
        if not key.exists():
            raise UsageError(f"{key}: no such public key; `chainlab federated key` makes one on the node")
        try:
            _flwr(folder, "supernode", "register", str(key), "server")
        except ChainlabError as error:
            if "already" not in str(error):
                raise


def submit(folder: Path, app: Path) -> str:
    """Start the app on the server.

    Args:
        folder: The server's folder.
        app: The app's folder.

    Returns:
        Flower's number of the run.

    Raises:
        ChainlabError: Flower did not start it.
    """
    text = _flwr(folder, "run", str(app), "server")
    found = re.search(r"started run (\d+)", text)
    if not found:
        raise ChainlabError(f"flwr run did not start the federation:\n{text.strip()[-2000:]}")
    return found[1]


def join(
    folder: Path, server: str, authority: Path, key: Path, config: Mapping[str, Any], *, port: int = 0
) -> "subprocess.Popen[bytes]":
    """Start a node.

    Args:
        folder: The node's folder, for its memory between rounds and its log.
        server: `host:port` of the server.
        authority: Certificate of the authority that signed the server's.
        key: The node's private key.
        config: What its app is told about the node.
        port: Port of the node's own interface on this machine, towards its app; 0 takes a free one.

    Returns:
        The process.

    Raises:
        UsageError: A file is not there.
    """
    for path in (authority, key):
        if not path.exists():
            raise UsageError(f"{path}: no such file")
    if not port:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    command = [program("flower-supernode"), "--superlink", server, "--root-certificates", str(authority)]
    command += ["--auth-supernode-private-key", str(key), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--node-config", " ".join(f"{name}={json.dumps(value)}" for name, value in config.items())]
    with (folder / "supernode.log").open("ab") as log:
        return subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment(folder), start_new_session=True
        )
