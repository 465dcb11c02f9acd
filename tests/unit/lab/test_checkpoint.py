import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import serialization

from chainlab.errors import CheckpointError
from chainlab.lab import checkpoint


def tree():
    return {
        "weight": jnp.arange(6, dtype=jnp.float32).reshape(2, 3),
        "half": jnp.ones(3, jnp.bfloat16),
        "count": jnp.int32(7),
        "key": jax.random.key(3),
        "rbg": jax.random.key(3, impl="rbg"),
        "keys": jax.random.split(jax.random.key(1), 4),
        "nothing": None,
        "empty": jnp.zeros((0, 2)),
    }


def test_round_trip_is_bit_exact(tmp_path):
    checkpoint.save(tmp_path / "a.ckpt", tree(), {"step": 3})
    restored, meta = checkpoint.restore(tmp_path / "a.ckpt", jax.eval_shape(tree))
    assert meta == {"step": 3}
    assert checkpoint.fingerprint(restored) == checkpoint.fingerprint(tree())
    assert jax.tree.structure(restored) == jax.tree.structure(tree())
    np.testing.assert_array_equal(jax.random.normal(restored["rbg"], (2,)), jax.random.normal(tree()["rbg"], (2,)))


def test_a_checkpoint_is_written_leaf_by_leaf(tmp_path):
    """The file is as flax would write it, and never in memory as a whole."""
    tree = {f"w{index}": np.full(2**16, index, np.float32) for index in range(16)}
    tracemalloc.start()
    try:
        checkpoint.save(tmp_path / "a.ckpt", tree, {"step": 1})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * tree["w0"].nbytes
    content = serialization.msgpack_restore((tmp_path / "a.ckpt").read_bytes().split(b"\n", 2)[2])
    assert content["meta"] == '{"step": 1}'
    jax.tree.map(np.testing.assert_array_equal, content["leaves"], checkpoint.leaves(tree))


def test_fingerprint_sees_one_bit_and_one_name():
    changed = tree() | {"count": jnp.int32(6)}
    renamed = tree() | {"weight2": tree()["weight"]}
    assert len({checkpoint.fingerprint(t) for t in (tree(), changed, renamed)}) == 3


def test_restore_lists_every_leaf_that_does_not_fit(tmp_path):
    checkpoint.save(tmp_path / "a.ckpt", tree(), {})
    template = tree() | {"weight": jnp.zeros((3, 3)), "half": jnp.zeros(3), "new": jnp.zeros(1)}
    del template["count"]
    with pytest.raises(CheckpointError) as error:
        checkpoint.restore(tmp_path / "a.ckpt", template)
    text = str(error.value)
    assert "(4 leaves)" in text
    assert "different ['weight']: wanted float32[3, 3], got float32[2, 3]" in text
    assert "different ['half']: wanted float32[3], got bfloat16[3]" in text
    assert "missing   ['new']" in text
    assert "extra     ['count']" in text


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "text"])
def test_damage_is_seen(tmp_path, damage):
    path = tmp_path / "a.ckpt"
    checkpoint.save(path, tree(), {})
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    path.write_bytes({"flip": content, "truncate": content[:-5], "empty": b"", "text": b"hello"}[damage])
    with pytest.raises(CheckpointError, match=r"a\.ckpt"):
        checkpoint.load(path)


def test_a_failed_save_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "a.ckpt"
    checkpoint.save(path, tree(), {"step": 1})

    def refuse(*_):
        raise OSError("disk full")

    monkeypatch.setattr(checkpoint.os, "fsync", refuse)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(path, tree(), {"step": 2})
    monkeypatch.undo()
    assert checkpoint.load(path)[1] == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.ckpt"]


def test_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.ckpt: cannot be read"):
        checkpoint.load(tmp_path / "none.ckpt")
