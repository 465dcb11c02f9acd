"""A federation over TLS on loopback: the simulation's parameters, whoever is refused, killed or started again."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chainlab.experiments.federated import build

pytest.importorskip("flwr")
from chainlab import federated
from chainlab.federated.deployment import round_keys
from chainlab.federated.store import load_tree
from chainlab.lab.config import load

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.usefixtures("standard_promotion")]
CONFIG = """\
experiment: federated
seed: 3
data: {name: digits}
partition: {kind: dirichlet, clients: 3, alpha: 0.5}
hidden: [16]
client: {algorithm: scaffold, learning_rate: 0.1, batch_size: 32}
server: {name: adam, learning_rate: 1e-2, eps: 1e-3}
run: {steps: 5}
"""


class Deployment:
    """A server and nodes on loopback, each a process group of its own."""

    def __init__(self, folder):
        self.folder, self.processes = folder, []
        (folder / "config.yaml").write_text(CONFIG)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.authority = folder / "server" / "tls" / "authority.crt"

    def start(self, name, *arguments):
        with (self.folder / f"{name}.out").open("ab") as out:
            command = [sys.executable, "-m", "chainlab", "federated", *map(str, arguments)]
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
        self.processes.append(process)
        return process

    def key(self, name):
        command = [sys.executable, "-m", "chainlab", "federated", "key", str(self.folder / name)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def serve(self, rounds, keys, timeout=120):
        options = [f"--node={key}" for key in keys]
        return self.start(
            "server",
            *("serve", self.folder / "config.yaml", "--folder", self.folder / "server", "--port", self.port),
            *("--rounds", rounds, "--timeout", timeout, *options),
        )

    def join(self, client, key=None):
        until(lambda: "serving on" in (self.folder / "server.out").read_text())
        return self.start(
            f"node{client}",
            *("join", "--folder", self.folder / f"node{client}", "--server", f"127.0.0.1:{self.port}"),
            *("--authority", self.authority, "--key", key or self.folder / f"key{client}", "--client", client),
        )

    def rounds(self):
        path = self.folder / "server" / "rounds.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def text(self):
        return "\n".join(
            f"--- {path}\n{path.read_text(errors='replace')[-3000:]}"
            for path in [*self.folder.rglob("*.out"), *self.folder.rglob("*.log")]
        )

    def stop(self):
        for process in self.processes:
            kill_family(process)


def family(pid):
    """A process and all that it started, in whatever session."""
    found = [pid]
    for each in found:
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{each}/task"):
                with open(f"/proc/{each}/task/{task}/children") as file:
                    found += map(int, file.read().split())
    return found


def kill_family(process):
    for pid in family(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def until(condition, seconds=240):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
    return found


@pytest.fixture
def deployment(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")]))
    found = Deployment(tmp_path)
    try:
        yield found
    except BaseException:
        print(found.text())
        raise
    finally:
        found.stop()


def simulated(path, rounds):
    document = load(path)
    federation = build(document.config)
    algorithm, server, clients = federation.algorithm, federation.optimizer, federation.clients
    state = federated.start(algorithm, server, federation.init(jax.random.key(document.envelope.seed)), 3)

    def work(key):
        return jax.random.fold_in(jax.random.key(document.envelope.seed), key)

    step = jax.jit(federated.federate(algorithm, server))
    everyone = federated.Cohort(clients, jnp.arange(3, dtype=jnp.int32), jnp.ones(3, bool))
    for index in range(rounds):
        state, _ = step(state, everyone, work(index))
    assert round_keys(3, 2)[0] == jax.random.split(work(2))[0]
    return state


def test_nodes_equal_the_simulation_though_the_server_is_killed_and_a_stranger_refused(deployment):
    keys = [deployment.key(f"key{client}") for client in range(3)]
    deployment.key("stranger")
    server = deployment.serve(5, keys)
    for client in range(3):
        deployment.join(client)
    stranger = deployment.join(9, deployment.folder / "stranger")
    until(lambda: len(deployment.rounds()) >= 2 or server.poll() is not None)
    assert server.poll() is None, deployment.text()
    kill_family(server)
    done = len(deployment.rounds())
    assert 2 <= done < 5
    server = deployment.serve(5, keys)
    assert server.wait(400) == 0, deployment.text()
    lines = deployment.rounds()
    assert [line["round"] for line in lines] == [0, 1, 2, 3, 4]
    assert all(line["clients"] == [0, 1, 2] and not line["rejected"] for line in lines)
    wanted = simulated(deployment.folder / "config.yaml", 5)
    like = jax.eval_shape(lambda state: state.replace(memory=jax.tree.map(lambda m: m[:0], state.memory)), wanted)
    found = load_tree(deployment.folder / "server" / "state.safetensors", like)
    worst = max(
        float(np.max(np.abs(a - b)))
        for a, b in zip(jax.tree.leaves(found.params), jax.tree.leaves(wanted.params), strict=True)
    )
    print(f"largest difference after five rounds: {worst:.2e}; killed after round {done}")
    assert worst < 1e-6
    assert int(found.round) == 5
    assert stranger.wait(60) != 0
    assert "2004" in (deployment.folder / "node9.out").read_text()  # Flower: no such public key


def test_a_killed_node_does_not_stop_the_run(deployment):
    keys = [deployment.key(f"key{client}") for client in range(3)]
    server = deployment.serve(3, keys, timeout=60)
    nodes = [deployment.join(client) for client in range(3)]
    until(lambda: len(deployment.rounds()) >= 1 or server.poll() is not None)
    kill_family(nodes[1])
    assert server.wait(400) == 0, deployment.text()
    lines = deployment.rounds()
    assert [line["round"] for line in lines] == [0, 1, 2]
    assert lines[0]["clients"] == [0, 1, 2]
    assert lines[-1]["clients"] == [0, 2]
