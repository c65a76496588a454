"""Intervals: against scipy's, and by whether they hold the truth."""

import numpy as np
import pytest
from scipy import stats

from clmeeval_data.evaluation.scoring.significance import STUDENT, Estimate, interval, student_quantile


def test_no_values_have_no_mean():
    assert interval([]) == Estimate(None, None, None, 0)


def test_one_value_says_nothing_of_others():
    assert interval([0.25]) == Estimate(0.25, 0.0, 1.0, 1)
    assert interval([4.5]) == Estimate(4.5, None, None, 1)
    assert interval([0.25], in_unit=False) == Estimate(0.25, None, None, 1)


@pytest.mark.parametrize("value", [0.1, 0.37, 5.0])
def test_equal_values_have_an_interval_that_holds_their_mean(value):
    estimate = interval([value] * 7)
    assert estimate.low <= estimate.mean <= estimate.high
    assert estimate.high - estimate.low < 1e-12
    assert estimate.n == 7


def test_twenty_successes_of_twenty_are_no_certainty():
    assert interval([1.0] * 20).as_dict() == {"mean": 1.0, "low": pytest.approx(0.8389, abs=1e-4), "high": 1.0, "n": 20}
    assert interval([0.0] * 20).high == pytest.approx(1 - 0.8389, abs=1e-4)


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (1, 20), (7, 20), (39, 40), (500, 1000)])
def test_zeros_and_ones_get_wilsons_interval(hits, n):
    estimate = interval([1.0] * hits + [0.0] * (n - hits))
    theirs = stats.binomtest(hits, n).proportion_ci(method="wilson")
    assert (estimate.low, estimate.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_values_without_skewness_get_students_interval():
    values = [3.0, 4.0, 6.0, 7.0, 5.0, 2.0, 8.0]
    estimate = interval(values)
    half = stats.t.ppf(0.975, 6) * np.std(values, ddof=1) / np.sqrt(7)
    assert (estimate.low, estimate.high) == pytest.approx((5 - half, 5 + half), abs=1e-8)


def test_students_quantile_equals_scipys():
    freedoms = [*range(1, 60), 200, 1000, 20_000]
    found = [student_quantile(freedom) for freedom in freedoms]
    assert found == pytest.approx(list(stats.t.ppf(0.975, freedoms)), abs=3e-5)
    assert len(STUDENT) < 59  # both the table and the series were asked


def bca(values):
    found = stats.bootstrap((values,), np.mean, method="BCa", n_resamples=4000, rng=np.random.default_rng(1))
    return found.confidence_interval


@pytest.mark.parametrize("kind", ["bleu", "exact match", "entropy", "seconds"])
def test_many_cases_get_the_interval_of_the_bootstrap(kind):
    values = KINDS[kind](np.random.default_rng(4), 2000)
    estimate, theirs = interval(values), bca(values)
    width = theirs.high - theirs.low
    assert estimate.low == pytest.approx(theirs.low, abs=0.06 * width)
    assert estimate.high == pytest.approx(theirs.high, abs=0.06 * width)


def mixed(zeros, ones, a, b):
    """Scores of which some are exactly 0 or 1, the rest between."""

    def draw(rng, shape):
        chance = rng.random(shape)
        return np.where(chance < zeros, 0.0, np.where(chance > 1 - ones, 1.0, rng.beta(a, b, shape)))

    return draw


KINDS = {
    "exact match": mixed(0.7, 0.3, 1, 1),
    "bleu": mixed(0.6, 0.1, 2, 3),
    "bleu, mostly zeros": mixed(0.85, 0.05, 2, 3),
    "chrf, mostly ones": mixed(0.0, 0.9, 2, 2),
    "chrf, nearly all ones": mixed(0.0, 0.97, 2, 2),
    "rouge": mixed(0.0, 0.0, 2, 5),
    "specificity": lambda rng, shape: rng.binomial(3, rng.beta(4, 0.5, shape)) / 3,
    "entropy": lambda rng, shape: rng.normal(5, 0.6, shape),
    "entropy, long tail": lambda rng, shape: 5.5 - rng.gamma(2, 0.4, shape),
    "seconds": lambda rng, shape: rng.lognormal(0, 0.5, shape),
}
TRUTHS = {
    "exact match": 0.3,
    "bleu": 0.1 + 0.3 * 0.4,
    "bleu, mostly zeros": 0.05 + 0.1 * 0.4,
    "chrf, mostly ones": 0.9 + 0.1 * 0.5,
    "chrf, nearly all ones": 0.97 + 0.03 * 0.5,
    "rouge": 2 / 7,
    "specificity": 4 / 4.5,
    "entropy": 5.0,
    "entropy, long tail": 5.5 - 0.8,
    "seconds": float(np.exp(0.125)),
}


def covered(kind, n, data_sets=2000):
    """The share of simulated data sets whose interval holds the true mean."""
    samples = KINDS[kind](np.random.default_rng(5), (data_sets, n))
    estimates = [interval(sample) for sample in samples]
    return sum(estimate.low <= TRUTHS[kind] <= estimate.high for estimate in estimates) / data_sets


@pytest.mark.parametrize("kind", KINDS)
def test_of_2000_intervals_over_200_cases_94_to_96_in_100_hold_the_truth(kind):
    assert 0.94 <= covered(kind, 200) <= 0.96


@pytest.mark.parametrize(
    "kind", ["bleu", "chrf, nearly all ones", "rouge", "entropy", "entropy, long tail", "exact match"]
)
def test_of_2000_intervals_over_40_cases_too(kind):
    assert 0.94 <= covered(kind, 40) <= 0.96


@pytest.mark.parametrize(
    ("kind", "n", "least"),
    [("bleu, mostly zeros", 40, 0.925), ("chrf, mostly ones", 40, 0.93), ("chrf, mostly ones", 20, 0.93)],
)
def test_a_handful_of_telling_cases_allows_less_but_far_more_than_the_percentile_bootstrap(kind, n, least):
    assert least <= covered(kind, n) <= 0.97


def held_by_percentiles(hits, n, truth):
    return stats.binom.ppf(0.025, n, hits / n) / n <= truth <= stats.binom.ppf(0.975, n, hits / n) / n


def binary_coverage(n, truth, holds):
    """The exact chance that an interval over n zeros and ones holds the truth."""
    return sum(stats.binom.pmf(hits, n, truth) for hits in range(n + 1) if holds(hits, n, truth))


def held(hits, n, truth):
    estimate = interval([1.0] * hits + [0.0] * (n - hits))
    return estimate.low <= truth <= estimate.high


@pytest.mark.parametrize("n", [20, 40, 50, 200])
def test_zeros_and_ones_are_covered_in_94_to_96_of_100_on_average_over_truths(n):
    truths = np.linspace(0.02, 0.98, 61 if n < 200 else 31)
    intervals = [interval([1.0] * hits + [0.0] * (n - hits)) for hits in range(n + 1)]
    low, high = (np.array([getattr(estimate, end) for estimate in intervals]) for end in ("low", "high"))
    held_at = [stats.binom.pmf(np.arange(n + 1), n, p)[(low <= p) & (p <= high)].sum() for p in truths]
    assert 0.94 <= np.mean(held_at) <= 0.96
    assert min(held_at) > (0.90 if n == 20 else 0.92)  # shares come in steps of 1 / n: no interval is exact everywhere


@pytest.mark.parametrize(("n", "truth"), [(40, 0.02), (40, 0.05), (200, 0.1), (200, 0.5), (1000, 0.05)])
def test_zeros_and_ones_are_covered_in_94_to_96_of_100_at_these_truths(n, truth):
    assert 0.94 <= binary_coverage(n, truth, held) <= 0.96


@pytest.mark.parametrize(("n", "truth"), [(20, 0.05), (50, 0.02), (50, 0.98)])
def test_at_these_the_steps_between_possible_shares_forbid_it(n, truth):
    coverage = binary_coverage(n, truth, held)
    assert 0.92 <= coverage < 0.94
    assert binary_coverage(n, truth, held_by_percentiles) < 0.66


def test_the_order_of_the_values_does_not_matter():
    values = list(np.random.default_rng(0).random(500))
    assert interval(values) == interval(values[::-1]) == interval(sorted(values))


def test_an_estimate_is_one_json_object():
    assert interval([0.0, 4.0]).as_dict() == {
        "mean": 2.0,
        "low": pytest.approx(2 - 12.7062 * 2),
        "high": pytest.approx(2 + 12.7062 * 2),
        "n": 2,
    }
