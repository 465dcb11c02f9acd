# pyright: reportMissingImports=false, reportUntypedFunctionDecorator=false
"""The app that Flower loads on the server and on every node: a federation built from the config they share."""

import functools
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

from chainlab.federated.flower import FOLDER

if TYPE_CHECKING:
    from flwr.app import Context, Message
    from flwr.serverapp.grid import Grid

    from chainlab.federated.federation import Federation


@functools.cache
def _federation(document: str, overrides: tuple[str, ...] = ()) -> "Federation":
    """The federation of a config given as text."""
    from chainlab.experiments.federated import build
    from chainlab.lab.config import load

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "federation.yaml")
        path.write_text(document)
        return build(load(path, overrides).config)


def _folder() -> Path:
    return Path(os.environ[FOLDER])


client = ClientApp()


@client.train()
def train(message: "Message", context: "Context") -> "Message":
    """A round on this node's client."""
    from chainlab.federated.deployment import answer

    node, run = context.node_config, context.run_config
    overrides = tuple(json.loads(str(node.get("overrides", "[]"))))
    federation = _federation(str(run["document"]), overrides)
    number = int(node["client"])
    # A node with data of its own is the only client of its federation; otherwise it takes its part of the partition.
    return answer(federation, number, _folder(), message, row=0 if overrides else number)


server = ServerApp()


@server.main()
def main(grid: "Grid", context: "Context") -> None:
    """All rounds that are left."""
    from chainlab.federated.deployment import Plan, serve

    run: Any = context.run_config
    plan = Plan(
        rounds=int(run["rounds"]),
        nodes=int(run["nodes"]),
        seed=int(run["seed"]),
        timeout=float(run["timeout"]),
        quorum=int(run["quorum"]),
    )
    folder = _folder()
    try:
        serve(_federation(str(run["document"])), plan, folder, grid)
    except Exception as error:
        (folder / "failed").write_text(f"{type(error).__name__}: {error}")
        raise
    (folder / "done").touch()
