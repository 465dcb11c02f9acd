"""Partitions, layout, sampling and the server's door."""

import logging
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from chainlab import federated
from chainlab.errors import DataError, UsageError

LABELS = np.random.default_rng(0).integers(0, 10, 2000)


@pytest.mark.parametrize(
    "parts",
    [
        federated.even(2000, 30, seed=1),
        federated.dirichlet(LABELS, 100, alpha=0.1),
        federated.dirichlet(LABELS, 100, alpha=1e-4),
        federated.quantity(2000, 100, sigma=3.0),
        federated.by_column(LABELS),
    ],
    ids=["even", "dirichlet", "one class", "quantity", "column"],
)
def test_partitions_give_each_example_to_one_client_and_each_client_one(parts):
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(2000))
    assert min(map(len, parts)) >= 1


def test_partitions_are_as_skewed_as_asked():
    def largest_class(alpha):
        parts = federated.dirichlet(LABELS, 20, alpha=alpha)
        return np.mean([np.bincount(LABELS[part]).max() / len(part) for part in parts])

    assert largest_class(0.05) > 0.6 > 0.3 > largest_class(100.0)
    sizes = [len(part) for part in federated.quantity(2000, 20, sigma=1.0)]
    assert max(sizes) > 5 * min(sizes)
    spread = [len(part) for part in federated.quantity(2000, 20, sigma=0.0)]
    assert max(spread) - min(spread) <= 1
    assert all(len(set(LABELS[part])) == 1 for part in federated.by_column(LABELS))


def test_shifted_features_differ_by_client_alone():
    x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    parts = federated.even(40, 2)
    shifted = federated.shift_features(x, parts, sigma=0.5, seed=3)
    for part in parts:
        gain = (shifted[part[0]] - shifted[part[1]]) / (x[part[0]] - x[part[1]])
        np.testing.assert_allclose(gain, gain[0], rtol=1e-3)
        np.testing.assert_allclose(
            shifted[part] - gain[0] * x[part], shifted[part[0], 0] - gain[0] * x[part[0], 0], atol=1e-2
        )
    assert shifted.dtype == x.dtype
    assert not np.allclose(shifted, x)


def test_layout_holds_each_client_example_once():
    parts = [np.array([5, 0, 2]), np.array([], int), np.array([1, 3])]
    clients = federated.lay_out({"x": np.arange(6)}, parts, 2)
    for client, part in enumerate(parts):
        rows = slice(int(clients.start[client]), int(clients.start[client] + clients.count[client]))
        kept = clients.arrays["x"][rows][clients.arrays["mask"][rows] == 1]
        assert sorted(kept.tolist()) == sorted(part.tolist())
        assert clients.examples[client] == len(part)
    batches = clients.of(jnp.asarray(0, jnp.int32))
    np.testing.assert_array_equal(batches.at(jnp.asarray(3, jnp.int32))["x"], clients.arrays["x"][1])


@pytest.mark.parametrize(
    ("error", "wrong"),
    [
        (UsageError, lambda: federated.lay_out({"x": np.zeros(3)}, [], 1)),
        (UsageError, lambda: federated.lay_out({"mask": np.zeros(3)}, [np.array([0])], 1)),
        (DataError, lambda: federated.lay_out({"x": np.zeros(3), "y": np.zeros(2)}, [np.array([0])], 1)),
        (DataError, lambda: federated.lay_out({"x": np.zeros(3)}, [np.array([3])], 1)),
        (DataError, lambda: federated.lay_out({"x": np.zeros(3)}, [np.array([], int)], 1)),
        (UsageError, lambda: federated.even(3, 4)),
        (UsageError, lambda: federated.dirichlet(LABELS, 4, alpha=0.0)),
        (UsageError, lambda: federated.quantity(3, 2, sigma=-1.0)),
        (UsageError, lambda: federated.by_column(np.array([]))),
        (UsageError, lambda: federated.sample_rounds(CLIENTS)),
        (UsageError, lambda: federated.sample_rounds(CLIENTS, size=2, rate=0.5)),
        (UsageError, lambda: federated.sample_rounds(CLIENTS, size=51)),
        (UsageError, lambda: federated.sample_rounds(CLIENTS, rate=0.0)),
        (UsageError, lambda: federated.sample_rounds(CLIENTS, size=1, dropout=1.0)),
    ],
)
def test_bad_arguments(error, wrong):
    with pytest.raises(error):
        wrong()


CLIENTS = federated.lay_out({"x": np.zeros((50, 1), np.float32)}, federated.even(50, 50), 1)


def draw(**options):
    """Ids and activity of 200 rounds."""
    data = federated.sample_rounds(CLIENTS, **options)
    keys = jax.random.split(jax.random.key(0), 200)
    return jax.jit(jax.vmap(lambda key: (lambda c: (c.ids, c.active))(data.gather(CLIENTS, key))))(keys)


def test_sampling_is_uniform_without_replacement_and_clients_drop_out():
    ids, active = draw(size=5, dropout=0.3)
    assert all(len(set(row)) == 5 for row in ids.tolist())
    counts = np.bincount(np.ravel(ids), minlength=50)
    assert counts.sum() == 1000
    assert np.sum((counts - 20) ** 2 / 20) < 85
    assert np.mean(active) == pytest.approx(0.7, abs=0.05)


def test_poisson_sampling_asks_each_client_on_its_own():
    ids, active = draw(rate=0.2)
    np.testing.assert_array_equal(ids, np.broadcast_to(np.arange(50), ids.shape))
    assert np.mean(active) == pytest.approx(0.2, abs=0.015)
    assert np.var(np.sum(active, axis=1)) == pytest.approx(50 * 0.2 * 0.8, rel=0.35)


GOOD = {"delta": np.ones((2, 3), np.float32)}
INBOX = federated.Inbox(round=7, asked=frozenset(range(4)), template=GOOD, limit=1000)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (federated.Answer(1, 6, GOOD, 1.0), "round: wanted 7, got 6"),
        (federated.Answer(1, 8, GOOD, 1.0), "round: wanted 7, got 8"),
        (federated.Answer(9, 7, GOOD, 1.0), "client 9 was not asked"),
        (federated.Answer(0, 7, GOOD, 1.0), "client 0 already answered"),
        (federated.Answer(1, 7, GOOD, 0.0), "weight: wanted a finite number > 0"),
        (federated.Answer(1, 7, GOOD, float("nan")), "weight: wanted a finite number > 0"),
        (federated.Answer(1, 7, {"delta": np.full((2, 3), np.nan, np.float32)}, 1.0), r"\['delta'\].* 6 that are not"),
        (
            federated.Answer(1, 7, {"delta": np.ones((3, 2), np.float32)}, 1.0),
            r"wanted float32\[2, 3\], got float32\[3, 2\]",
        ),
        (federated.Answer(1, 7, {"delta": np.ones((2, 3))}, 1.0), r"got float64"),
        (federated.Answer(1, 7, {"delta": "text"}, 1.0), "wanted an array, got str"),
        (federated.Answer(1, 7, {"other": GOOD["delta"]}, 1.0), "wanted the structure"),
        (federated.Answer(1, 7, {"delta": np.ones(1000, np.float32)}, 1.0), "at most 1000 bytes, got 4000"),
    ],
)
def test_bad_answers_are_rejected_by_name_and_the_others_kept(answer, reason, caplog):
    good = [federated.Answer(0, 7, GOOD, 2.0), federated.Answer(2, 7, GOOD, 1.0)]
    with caplog.at_level(logging.WARNING, "chainlab.federated.inbox"):
        accepted, (rejection,) = INBOX.admit([good[0], answer, good[1]])
    assert [(a.client, a.weight) for a in accepted] == [(0, 2.0), (2, 1.0)]
    assert rejection.client == answer.client
    assert re.search(reason, rejection.reason)
    assert rejection.reason in caplog.text
    assert f"client {answer.client}" in caplog.text


def test_bad_inbox():
    with pytest.raises(UsageError, match="wanted round >= 0"):
        federated.Inbox(round=-1, asked=frozenset(), template=GOOD)
