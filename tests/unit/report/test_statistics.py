import numpy as np
import pytest
from scipy import stats

from chainlab.errors import UsageError
from chainlab.lab.report import summarize


def test_the_interval_is_students(rng):
    for count in (2, 3, 8):
        values = rng.normal(size=count).tolist()
        low, high = stats.t.interval(0.95, count - 1, loc=np.mean(values), scale=stats.sem(values))
        summary = summarize(values)
        np.testing.assert_allclose([summary.mean - summary.half_width, summary.mean + summary.half_width], [low, high])


def test_the_interval_covers_the_mean_19_times_in_20(rng):
    summaries = [summarize(sample) for sample in rng.normal(3.0, 2.0, (2000, 5)).tolist()]
    covered = np.mean([abs(summary.mean - 3.0) <= summary.half_width for summary in summaries])
    assert abs(covered - 0.95) < 0.02


def test_one_seed_has_no_interval():
    assert summarize([0.5]).half_width is None
    assert str(summarize([0.5])) == "0.5"
    with pytest.raises(UsageError, match="at least one value"):
        summarize([])
