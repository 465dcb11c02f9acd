import json
import math
import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "agg")

import jax
import numpy as np
import pytest

jax.config.update("jax_num_cpu_devices", 8)  # sharding tests run in this process
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_configure(config):
    """Compile without XLA's costly passes where only the fast tests run: compiling is most of their time."""
    jax.config.update("jax_disable_most_optimizations", "not slow" in (config.option.markexpr or ""))


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture
def x64():
    """Run the test in float64."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def make_run(tmp_path):
    """Write a run folder as the runner leaves it; keyword arguments change entries of `run.json`."""

    def make(name="20261124-101500-1a2b3c4d", *, seeds=3, config="experiment: mlp\nseed: 0\n", shift=0.0, **changes):
        folder = tmp_path / "runs" / "mlp" / name
        folder.mkdir(parents=True)
        lines = []
        for step in range(10, 110, 10):
            loss = [2.0 * math.exp(-step / 20) + 0.01 * seed + shift for seed in range(seeds)]
            values = {"loss": loss if seeds > 1 else loss[0]}
            lines.append({"step": step, "split": "train", "seconds": step / 50, "metrics": values})
            if step % 50 == 0:
                lines.append({**lines[-1], "split": "test"})
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (folder / "config.yaml").write_text(config)
        summary = {
            "status": "done",
            "experiment": "mlp",
            "command": "chainlab run mlp/digits",
            "config_hash": "1a2b3c4d" * 8,
            "seeds": list(range(seeds)),
            "started": "2026-11-24T10:15:00+00:00",
            "ended": "2026-11-24T10:15:09+00:00",
            "seconds": 9.0,
            "compile_seconds": 2.5,
            "parameters": 85002,
            "steps": 100,
            "devices": ["cpu"] * 2,
            "versions": {"python": "3.11.7", "jax": "0.10.2"},
            "git": {"commit": "0123abcd", "dirty": True},
            "data": {"name": "digits", "source": "scikit-learn", "sha256": None, "licence": "CC BY 4.0"},
            "claims": [{"metric": "test/loss", "goal": "<= 0.5", "value": 0.02, "spread": 0.01, "met": True}],
            "final": {"test/loss": lines[-1]["metrics"]["loss"], "train/loss": lines[-2]["metrics"]["loss"]},
        }
        (folder / "run.json").write_text(json.dumps({**summary, **changes}))
        return folder

    return make


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def standard_promotion():
    """Usual dtype promotion, for tests that run optax's optimisers (they mix integer and float types)."""
    with jax.numpy_dtype_promotion("standard"):
        yield
