import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from chainlab import data, nn
from chainlab.lab import supervised
from chainlab.lab.record import Record, create_folder

_MODEL = nn.mlp([4, 8, 3], dropout=0.1)


def _objective(params, batch, key):
    logits = _MODEL.apply(params, batch["x"], key=key)
    loss = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"]))
    return loss, {"accuracy": jnp.mean((jnp.argmax(logits, -1) == batch["y"]).astype(jnp.float32))}


def _evaluate(params, split):
    loss, metrics = _objective(params, split, None)
    return {"loss": loss, **metrics}


@pytest.fixture(scope="session")
def task():
    """A small classifier with dropout, so that order and noise keys both matter."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(96, 4)).astype(np.float32)
    y = np.argmax(x[:, :3] + 0.5 * rng.normal(size=(96, 3)), axis=1).astype(np.int32)
    split = {"validation": {"x": x[64:], "y": y[64:]}}
    batches = data.in_memory({"x": x[:64], "y": y[:64]}, 16, splits=split)
    return supervised(_MODEL, _objective, optax.adam(1e-2), batches, evaluate=_evaluate)


@pytest.fixture
def record(tmp_path):
    """A fresh run folder."""
    return Record(create_folder(tmp_path, "test", "0123456789abcdef"))


@pytest.fixture(scope="session", autouse=True)
def _one_compile_cache(tmp_path_factory):
    """The runs of this folder compile the same programs many times over."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("xla")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    yield
    jax.config.update("jax_compilation_cache_dir", before)
