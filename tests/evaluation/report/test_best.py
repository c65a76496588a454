import random

import pytest

from clmeeval_data.evaluation.report.best import best_runs
from clmeeval_data.evaluation.report.gathered import RunCases

MEASURE = ("effectiveness", "exact_match")


def run_of(values):
    from array import array

    return RunCases(scores={MEASURE: array("f", values)})


def hits(*ranges, n=60):
    return [float(any(place in part for part in ranges)) for place in range(n)]


def best(*columns, sign=1):
    return set(best_runs([run_of(column) for column in columns], MEASURE, sign))


def test_the_one_that_beats_all_others_is_the_best():
    assert best(hits(range(20)), hits(range(50)), hits(range(10))) == {1}


def test_where_lower_is_better_the_lowest_is_the_best():
    assert best(hits(range(20)), hits(range(50)), hits(range(5)), sign=-1) == {2}


def test_those_that_cannot_be_told_apart_from_the_leader_stand_with_it_if_they_beat_the_rest():
    assert best(hits(range(50)), hits(range(2, 51)), hits(range(10))) == {0, 1}


def test_nothing_is_marked_where_one_that_stands_with_the_leader_does_not_beat_the_rest():
    # 0 beats 2 (8 cases, p = 0.008); 1 differs from neither (4 cases, p = 0.125).
    assert best(hits(range(20)), hits(range(16)), hits(range(12))) == set()


def test_equal_runs_leave_nothing_to_mark():
    assert best(hits(range(20)), hits(range(20))) == set()
    assert best(hits(range(20))) == set()


def test_pairing_sees_what_intervals_do_not():
    # 45 and 38 of 60: the intervals overlap, but the second hits nothing that the first misses (7 cases, p = 0.016).
    assert best(hits(range(45)), hits(range(38))) == {0}


def test_the_more_runs_are_compared_the_more_it_takes():
    first, second = hits(range(45)), hits(range(38))
    assert best(first, second) == {0}
    assert best(first, *([second] * 4)) == set()  # 4 x 0.016 is more than 0.05


def test_cases_that_one_run_does_not_have_are_left_out():
    lacking = [float("nan")] * 30 + hits(range(0), n=30)
    assert best(hits(range(60)), lacking) == {0}
    assert best(hits(range(60)), [float("nan")] * 57 + [0.0] * 3) == set()


def test_many_cases_are_compared_by_the_normal_approximation_with_the_same_result():
    source = random.Random(1)
    base = [source.random() for _ in range(3000)]
    better = [value + source.gauss(0.01, 0.1) for value in base]
    assert best(base, better) == {1}
    assert best(base, [value + source.gauss(0, 0.1) for value in base]) == set()


@pytest.mark.parametrize("shift", [0.2, -0.2])
def test_scores_that_are_no_hits_are_compared_too(shift):
    source = random.Random(2)
    base = [source.random() for _ in range(80)]
    assert best(base, [value + shift + source.gauss(0, 0.1) for value in base]) == {int(shift > 0)}
