"""Paired comparison: p values against scipy's, intervals by whether they hold the truth."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from scipy import stats

from clmeeval_data.errors import ResultsError
from clmeeval_data.evaluation.scoring.paired import (
    FLIPS,
    benjamini_hochberg,
    compare_paired,
    difference_bounds,
    flip_test,
    holm,
    sign_test,
)
from clmeeval_data.evaluation.scoring.significance import skewed_bounds


def zeros_and_ones(gained, lost, both=3, neither=2):
    first = [1.0] * gained + [0.0] * lost + [1.0] * both + [0.0] * neither
    second = [0.0] * gained + [1.0] * lost + [1.0] * both + [0.0] * neither
    return first, second


@pytest.mark.parametrize(("gained", "lost"), [(0, 1), (5, 0), (3, 9), (9, 3), (40, 41), (120, 80), (9900, 10_100)])
def test_zeros_and_ones_get_mcnemars_exact_p(gained, lost):
    found = compare_paired(*zeros_and_ones(gained, lost))
    expected = stats.binomtest(gained, gained + lost).pvalue
    assert found.p == pytest.approx(expected, rel=1e-9)
    assert sign_test(gained, lost) == pytest.approx(expected, rel=1e-9)
    assert found.differing == gained + lost
    assert found.n == gained + lost + 5
    assert found.difference == pytest.approx((gained - lost) / found.n)


@pytest.mark.parametrize("count", [2, 5, 9, 13])
def test_few_differing_scores_get_the_exact_permutation_p(count):
    rng = np.random.default_rng(count)
    first, second = rng.random(count), rng.random(count) * 0.8
    expected = stats.permutation_test(
        (first, second), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=np.inf
    ).pvalue
    same = [0.5] * 30
    assert compare_paired([*first, *same], [*second, *same]).p == pytest.approx(expected, abs=1e-12)


def test_tied_differences_are_as_extreme_as_the_observed_ones():
    first, second = [0.5, 0.7, 0.9, 0.3], [0.4, 0.6, 0.8, 0.2]  # each 0.1 but for rounding
    assert compare_paired(first, second).p == 2 / 16


@pytest.mark.parametrize("shift", [0.0, 0.03, 0.06])
def test_many_differing_scores_get_a_drawn_permutation_p_that_agrees_with_scipys(shift):
    rng = np.random.default_rng(8)
    first, second = rng.random(200) + shift, rng.random(200)
    expected = stats.permutation_test(
        (first, second),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        n_resamples=20_000,
        vectorized=True,
        rng=np.random.default_rng(0),
    ).pvalue
    found = compare_paired(first, second).p
    assert found == pytest.approx(expected, abs=4 * np.sqrt(2 * expected * (1 - expected) / FLIPS) + 2 / FLIPS)


def test_a_drawn_p_is_never_zero_and_depends_on_the_seed_alone():
    rng = np.random.default_rng(0)
    first, second = rng.random(50) + 1, rng.random(50)
    assert compare_paired(first, second).p == 1 / (FLIPS + 1)
    first, second = rng.random(50), rng.random(50)
    assert compare_paired(first, second, seed=3) == compare_paired(first, second, seed=3)
    assert compare_paired(first, second, seed=3).p != compare_paired(first, second, seed=4).p


def test_drawn_and_exact_p_agree():
    differences = np.random.default_rng(2).normal(0.2, 1, 16)
    exact = flip_test(differences)
    drawn = flip_test([*differences, 1e-6])  # a seventeenth that changes nothing, so that flips are drawn
    assert drawn == pytest.approx(exact, abs=4 * np.sqrt(exact / FLIPS))


def test_p_is_uniform_where_there_is_no_difference():
    rng = np.random.default_rng(1)
    found = [flip_test(rng.normal(0, 1, 12)) for _ in range(400)]
    assert stats.kstest(found, "uniform").pvalue > 0.05


def test_exchanged_methods_give_the_opposite_difference_and_the_same_p():
    rng = np.random.default_rng(5)
    first, second = rng.random(30), rng.random(30)
    there, back = compare_paired(first, second), compare_paired(second, first)
    assert (there.difference, there.low, there.high) == pytest.approx((-back.difference, -back.high, -back.low))
    assert there.p == pytest.approx(back.p, abs=0.02)


def test_equal_scores_differ_in_nothing_and_are_still_no_certainty():
    found = compare_paired([1.0, 0.0] * 20, [1.0, 0.0] * 20)
    assert (found.difference, found.p, found.differing) == (0.0, 1.0, 0)
    assert -0.09 < found.low < -0.08 and 0.08 < found.high < 0.09  # z^2 / (n + z^2)


def test_a_comparison_is_a_value():
    with pytest.raises(FrozenInstanceError):
        compare_paired([1.0], [0.0]).p = 0.0


def test_one_case_has_an_interval_only_where_scores_are_bounded():
    assert compare_paired([0.3], [0.2]).low == -1.0
    assert compare_paired([5.3], [4.2]).low is None


@pytest.mark.parametrize(("first", "second"), [([], []), ([1.0], [1.0, 0.0])])
def test_scores_that_are_no_pairs_are_refused(first, second):
    with pytest.raises(ResultsError, match="cannot pair"):
        compare_paired(first, second)


def test_binary_can_be_demanded_and_denied():
    with pytest.raises(ResultsError, match="not all 0 or 1"):
        compare_paired([0.5], [1.0], binary=True)
    first, second = zeros_and_ones(7, 1)
    assert compare_paired(first, second, binary=False).p == pytest.approx(compare_paired(first, second).p)


def constrained_bounds(gained, lost, n):
    """Tango's interval by its definition: the likelihood under each difference maximised by brute force."""
    grid = np.linspace(0, 1, 20_001)

    def statistic(truth):
        p10 = grid + max(truth, 0)
        p01 = p10 - truth
        rest = 1 - p10 - p01
        inside = rest >= -1e-12
        p10, p01, rest = p10[inside], p01[inside], np.maximum(rest[inside], 0)
        likelihood = stats.multinomial.logpmf(
            [gained, lost, n - gained - lost], n, np.stack([p10, p01, rest], axis=1) / (p10 + p01 + rest)[:, None]
        )
        best = np.argmax(likelihood)
        return (gained - lost - n * truth) / np.sqrt(n * (p10[best] + p01[best] - truth**2))

    return statistic


@pytest.mark.parametrize(("gained", "lost", "n"), [(9, 2, 40), (3, 3, 20), (1, 0, 25)])
def test_the_interval_is_where_tangos_score_test_refuses(gained, lost, n):
    differences = np.array([1.0] * gained + [-1.0] * lost + [0.0] * (n - gained - lost))
    low, high = difference_bounds(differences)
    statistic = constrained_bounds(gained, lost, n)
    assert statistic(low) == pytest.approx(1.959964, abs=2e-3)
    assert statistic(high) == pytest.approx(-1.959964, abs=2e-3)


def trinomial(gain, loss):
    def draw(rng, shape):
        chance = rng.random(shape)
        return np.where(chance < gain, 1.0, np.where(chance < gain + loss, -1.0, 0.0))

    return draw, gain - loss


def often_equal(rng, shape):
    """Scores that are the same for both methods in four of five cases."""
    return np.where(rng.random(shape) < 0.8, 0.0, rng.beta(2, 2, shape) - 0.7 * rng.random(shape))


DIFFERENCES = {
    "exact match": trinomial(0.2, 0.05),
    "exact match, no effect": trinomial(0.3, 0.3),
    "exact match, large": trinomial(0.6, 0.1),
    "chrf, often equal": (often_equal, 0.2 * (0.5 - 0.35)),
    "chrf, large": (lambda rng, shape: rng.beta(8, 2, shape) - rng.beta(2, 6, shape), 0.8 - 0.25),
    "chrf, small": (lambda rng, shape: (rng.random(shape) - 0.5) * 0.1 + 0.02, 0.02),
    "entropy": (lambda rng, shape: rng.normal(0.3, 1.5, shape), 0.3),
}


@pytest.mark.parametrize("n", [40, 200])
@pytest.mark.parametrize("kind", DIFFERENCES)
def test_of_8000_intervals_94_to_96_in_100_hold_the_true_difference(kind, n):
    draw, truth = DIFFERENCES[kind]
    bounds = skewed_bounds if kind == "entropy" else difference_bounds
    found = [bounds(sample) for sample in draw(np.random.default_rng(6), (8000, n))]
    assert 0.94 <= sum(low <= truth <= high for low, high in found) / 8000 <= 0.96


def test_rare_differences_are_covered_too_often_rather_than_too_seldom():
    draw, truth = trinomial(0.05, 0.0)
    samples = draw(np.random.default_rng(6), (2000, 40))
    found = [difference_bounds(sample) for sample in samples]
    assert sum(low <= truth <= high for low, high in found) / 2000 > 0.97
    t = [stats.ttest_1samp(sample, 0).confidence_interval() for sample in samples[:400] if sample.any()]
    assert sum(bounds.low <= truth <= bounds.high for bounds in t) / 400 < 0.9


def plain_holm(p_values):
    """Holm's procedure as it is described: the least of the remaining p values, times how many remain."""
    remaining, corrected, largest = dict(enumerate(p_values)), {}, 0.0
    while remaining:
        place = min(remaining, key=remaining.get)
        largest = max(largest, min(1.0, remaining.pop(place) * (len(remaining) + 1)))
        corrected[place] = largest
    return [corrected[place] for place in range(len(p_values))]


@pytest.mark.parametrize("count", [0, 1, 2, 7, 40])
def test_corrections(count):
    p_values = list(np.random.default_rng(count).random(count) ** 3)
    assert holm(p_values) == pytest.approx(plain_holm(p_values))
    theirs = list(stats.false_discovery_control(p_values)) if count else []
    assert benjamini_hochberg(p_values) == pytest.approx(theirs)


def test_known_corrections():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert benjamini_hochberg([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.02, 0.04, 0.04, 0.02])
