"""`chainlab federated`: a federation over a network, on Flower."""

import time
from pathlib import Path
from typing import Any

import click

from chainlab.cli.common import config_argument, out, overrides_argument, talk, verb
from chainlab.errors import ChainlabError, UsageError

_EXAMPLES = (
    "chainlab federated key node0/key",
    "chainlab federated serve federated/digits --node node0/key.pub",
    "chainlab federated join --server 10.0.0.1:9443 --authority authority.crt --key node0/key --client 0",
)


@click.group(epilog="\n".join(["\b", "Examples:", *(f"  {example}" for example in _EXAMPLES)]))
def command() -> None:
    """Run a federation over a network, on Flower, with TLS and authenticated nodes.

    Each node makes its key; the server gets the public ones, and gives the nodes its authority's certificate.
    """


def _folder(default: str) -> Any:
    return click.option(
        "--folder", type=click.Path(path_type=Path, file_okay=False), default=default, show_default=True
    )


@verb("chainlab federated key node0/key")
@click.argument("path", type=click.Path(path_type=Path))
def key(path: Path) -> None:
    """Make a node's key at PATH, and PATH.pub for the server."""
    from chainlab.federated.keys import node_key

    out(str(node_key(path)))


@verb(
    "chainlab federated serve federated/digits --host 10.0.0.1 --node node0/key.pub --node node1/key.pub",
    "chainlab federated serve federated/digits --folder federation  # again, after it was stopped: it goes on",
)
@config_argument
@overrides_argument
@_folder("federation")
@click.option("--node", "keys", type=click.Path(path_type=Path), multiple=True, help="Public key of a node to let in.")
@click.option("--nodes", type=click.IntRange(min=1), help="Nodes to wait for; as many as keys by default.")
@click.option("--rounds", type=click.IntRange(min=1), help="Rounds; the config's `run.steps` by default.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=9443, show_default=True)
@click.option("--name", "names", multiple=True, help="A further name of this server, for its certificate.")
@click.option(
    "--timeout", type=click.FloatRange(min=1), default=600.0, show_default=True, help="Seconds a round waits."
)
@click.option("--quorum", type=click.IntRange(min=1), default=1, show_default=True, help="Fewest answers of a round.")
def serve(
    config: str,
    overrides: tuple[str, ...],
    folder: Path,
    keys: tuple[Path, ...],
    nodes: int | None,
    rounds: int | None,
    host: str,
    port: int,
    names: tuple[str, ...],
    timeout: float,
    quorum: int,
) -> None:
    """Serve the federation that CONFIG describes, until its rounds are done."""
    from chainlab.federated import flower
    from chainlab.lab.config import load

    if not keys and not nodes:
        raise UsageError("serve: wanted --node, the public key of a node to let in, or --nodes; got neither")
    document = load(config, overrides)
    if document.experiment.reference != "federated":
        raise UsageError(f"serve: wanted a config of the experiment `federated`, got {document.experiment.reference!r}")
    settings = {
        "document": document.to_yaml(),
        "rounds": rounds or document.envelope.run.steps,
        "nodes": nodes or len(keys),
        "seed": document.envelope.seed,
        "timeout": timeout,
        "quorum": quorum,
    }
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("done", "failed"):
        (folder / name).unlink(missing_ok=True)
    app = flower.write_app(folder, settings)
    with flower.superlink(folder, host, port, names=names) as process:
        flower.register(folder, keys)
        flower.submit(folder, app)
        talk(f"serving on {host}:{port}; nodes need {folder / 'tls' / 'authority.crt'}")
        _follow(folder, process)
    out(str(folder / "state.safetensors"))


def _follow(folder: Path, process: Any) -> None:
    """Print every round as it is done, until all are or one fails."""
    record, seen = folder / "rounds.jsonl", 0
    while True:
        ended = (folder / "done").exists() or (folder / "failed").exists()
        lines = record.read_text().splitlines() if record.exists() else []
        for line in lines[seen:]:
            talk(line)
        seen = len(lines)
        if (folder / "failed").exists():
            raise ChainlabError((folder / "failed").read_text())
        if ended:
            return
        if process.poll() is not None:
            raise ChainlabError(f"Flower's server ended with code {process.returncode}; see {folder / 'superlink.log'}")
        time.sleep(0.2)


@verb(
    "chainlab federated join --server 10.0.0.1:9443 --authority authority.crt --key node0/key --client 0",
    "chainlab federated join ... --client 3 --data mine.npz  # the node's own examples",
)
@_folder("node")
@click.option("--server", required=True, help="host:port of the server.")
@click.option("--authority", required=True, type=click.Path(path_type=Path), help="The server's authority.crt.")
@click.option("--key", required=True, type=click.Path(path_type=Path), help="This node's private key.")
@click.option("--client", required=True, type=click.IntRange(min=0), help="The client that this node is.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True),
    help="The node's own examples, instead of the config's partition.",
)
def join(folder: Path, server: str, authority: Path, key: Path, client: int, data: Path | None) -> int:
    """Join a federation as one client, until the server is gone or Ctrl-C."""
    import json

    from chainlab.federated import flower

    config: dict[str, Any] = {"client": client}
    if data:
        own = [f"data.name={data.resolve()}", "partition.kind=even", "partition.clients=1"]
        config["overrides"] = json.dumps([*own, "data.validation=0", "data.test=0"])
    process = flower.join(folder.resolve(), server, authority, key, config)
    talk(f"joining {server} as client {client}; log: {folder / 'supernode.log'}")
    try:
        code = process.wait()
    finally:
        flower.stop(process)
    if code:
        said = (folder / "supernode.log").read_text().splitlines()[-20:]
        tail = "\n".join(line for line in said if line and "INFO" not in line)
        raise ChainlabError(
            f"the node ended with code {code}; a node whose key the server was not given is refused with 305:\n{tail}"
        )
    return 0


for each in (key, serve, join):
    command.add_command(each)
