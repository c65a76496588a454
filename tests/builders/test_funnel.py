"""The funnel: every row is kept or counted once, and parts add up to the whole."""

import json
import random

import pytest

from clmeeval_data.builders.funnel import SAMPLES, Funnel


def counted(rows, steps=()):
    """The funnel of rows: numbers, of which those that 2, 3 or 5 divide are dropped."""
    funnel = Funnel(read=len(rows), steps=list(steps))
    for row in rows:
        for divisor, reason in ((5, "five"), (2, "even"), (3, "three")):
            if row % divisor == 0:
                funnel.drop("last" if divisor == 3 else "first", reason, str(row))
                break
    return funnel


def test_rows_are_kept_or_counted_by_reason():
    funnel = counted(range(1, 11))
    assert (funnel.read, funnel.kept, funnel.dropped) == (10, 2, 8)
    assert funnel.drops["first", "even"].samples == ["2", "4", "6", "8"]
    assert funnel.as_dict() == {
        "read": 10,
        "kept": 2,
        "dropped": [
            {"step": "first", "reason": "even", "count": 4},
            {"step": "first", "reason": "five", "count": 2},
            {"step": "last", "reason": "three", "count": 2},
        ],
    }


def test_steps_are_listed_in_their_order_and_frequent_reasons_first():
    funnel = counted(range(1, 11), steps=["last", "first"])
    assert [(drop.step, drop.reason) for drop in funnel.ordered()] == [
        ("last", "three"),
        ("first", "even"),
        ("first", "five"),
    ]


def test_only_some_samples_are_kept():
    funnel = counted([2] * 100)
    assert funnel.drops["first", "even"].samples == ["2"] * SAMPLES
    assert funnel.drops["first", "even"].count == 100


def test_a_sample_names_the_row_that_decided():
    funnel = Funnel(read=2)
    funnel.drop("duplicates", "the same", "sort a list -> f()", decided_by="cnle-0123: sort lists -> g()")
    assert funnel.ordered()[0].samples == ["sort a list -> f() (decided by cnle-0123: sort lists -> g())"]


@pytest.mark.parametrize("seed", range(5))
def test_parts_add_up_to_the_whole_however_they_are_cut(seed):
    rows = list(range(1, 200))
    cuts = sorted(random.Random(seed).sample(rows, 3 * seed))
    merged = Funnel(steps=["first"])
    for start, end in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        part = counted(rows[start:end], steps=["first"])
        merged.merge(Funnel.from_json(json.loads(json.dumps(part.to_json()))))
    whole = counted(rows, steps=["first"])
    assert merged == whole
    assert merged.to_json() == whole.to_json()


def test_merging_leaves_the_other_one_as_it_is():
    one, other = counted(range(1, 30)), counted(range(30, 60))
    before = other.to_json()
    one.merge(other)
    one.drop("first", "even", "x")
    assert other.to_json() == before


def test_a_funnel_comes_back_from_json():
    funnel = counted(range(100), steps=["nothing", "last"])
    assert Funnel.from_json(json.loads(json.dumps(funnel.to_json()))) == funnel
