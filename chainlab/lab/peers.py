"""Peers of a benchmark: programs in processes and environments of their own, under one thread cap."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chainlab.errors import ChainlabError

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class PeerMissingError(ChainlabError):
    """A peer's environment is not on this machine, so that nothing can be said of it."""


class PeerError(ChainlabError):
    """A peer's program failed."""


def peer_python(environment: str) -> Path:
    """The interpreter of a peer's environment.

    Args:
        environment: Name of the environment: `chainlab` is this interpreter; any other is looked for in
            `$CHAINLAB_PEERS` and then in `.venv-peers` of the checkout (built by `make peers`).

    Returns:
        Path of the interpreter.

    Raises:
        PeerMissingError: It is in neither place.
    """
    if environment == "chainlab":
        return Path(sys.executable)
    places = [Path(__file__).parents[2] / ".venv-peers"]
    if os.environ.get("CHAINLAB_PEERS"):
        places.insert(0, Path(os.environ["CHAINLAB_PEERS"]))
    for place in places:
        python = place / environment / "bin" / "python"
        if python.exists():
            return python
    raise PeerMissingError(f"no environment {environment!r} in {', '.join(map(str, places))}: run `make peers`")


class Worker:
    """A program under test in a process of its own; see `experiments/benchmarks/peers/worker.py`."""

    def __init__(
        self, script: Path, environment: str, *, threads: int = 1, variables: Mapping[str, str] | None = None
    ) -> None:
        self.name = script.stem
        settings = {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(threads)), **(variables or {})}
        settings.setdefault("JAX_PLATFORMS", "cpu")
        settings.setdefault("JAX_TRACEBACK_FILTERING", "off")  # the last line of a traceback is then its cause
        if environment == "chainlab":
            root = str(Path(__file__).parents[2])
            settings["PYTHONPATH"] = os.pathsep.join(filter(None, [root, settings.get("PYTHONPATH")]))
        else:
            settings.pop("PYTHONPATH", None)
        cores = sorted(os.sched_getaffinity(0))[:threads]  # XLA has no thread variable: cap every side by affinity

        python, own = peer_python(environment), os.sched_getaffinity(0)
        os.sched_setaffinity(0, cores)  # inherited; a function between fork and exec would not be safe beside JAX
        try:
            self._process = subprocess.Popen(
                [str(python), str(script)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE if not os.environ.get("CHAINLAB_BENCH_VERBOSE") else None,
                text=True,
                env=settings,
            )
        finally:
            os.sched_setaffinity(0, own)

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            errors = self._process.stderr.read() if self._process.stderr else ""
            raise PeerError(f"{self.name} ended with code {self._process.wait()}:\n{errors[-2000:]}")
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(f"{self.name} failed:\n{answer['error'][-2000:]}")
        return answer

    def prepare(self, case: Mapping[str, Any]) -> dict[str, Any]:
        """Compile and warm up a case; returns its `outputs`, `prepare_seconds` and `peak_mib`."""
        return self._ask({"do": "prepare", "case": dict(case)})

    def time(self, repeat: int) -> dict[str, float]:
        """Run the case `repeat` times; returns `seconds`, `cpu_seconds` and `peak_mib`."""
        return self._ask({"do": "time", "repeat": repeat})

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
