import numpy as np
import pytest

from clmeeval_data.evaluation.scoring import significance
from clmeeval_data.evaluation.scoring.significance import Estimate, interval


def test_no_values_have_no_mean():
    assert interval([]) == Estimate(None, None, None, 0)


def test_one_value_has_an_interval_of_no_width():
    assert interval([0.25]) == Estimate(0.25, 0.25, 0.25, 1)


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0])
def test_equal_values_have_an_interval_that_holds_their_mean(value):
    estimate = interval([value] * 7)
    assert estimate.low <= estimate.mean <= estimate.high
    assert estimate.high - estimate.low < 1e-12
    assert estimate.n == 7


def test_the_interval_is_the_percentiles_of_resampled_means():
    values = [0.0, 0.0, 1.0, 1.0, 1.0, 0.5]
    estimate = interval(values, seed=3)
    rng = np.random.default_rng(3)
    means = [np.take(values, row).mean() for row in rng.integers(0, 6, (2000, 6))]
    assert estimate.mean == pytest.approx(3.5 / 6)
    assert (estimate.low, estimate.high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])))


def test_the_seed_decides():
    values = list(np.random.default_rng(0).normal(size=30))
    assert interval(values, seed=1) == interval(values, seed=1)
    assert interval(values, seed=1) != interval(values, seed=2)


def test_many_values_are_resampled_in_blocks(monkeypatch):
    values = list(np.random.default_rng(0).normal(size=50))
    whole = interval(values)
    monkeypatch.setattr(significance, "BLOCK", 50 * 7)
    assert interval(values) == whole


def test_about_95_of_100_intervals_hold_the_true_mean():
    rng = np.random.default_rng(11)
    samples = rng.random((300, 60))
    held = sum(estimate.low <= 0.5 <= estimate.high for estimate in map(interval, samples))
    assert 0.90 <= held / 300 <= 0.98


def test_an_estimate_is_one_json_object():
    assert interval([1.0]).as_dict() == {"mean": 1.0, "low": 1.0, "high": 1.0, "n": 1}
