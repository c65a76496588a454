"""The funnel: every row is kept or counted once."""

from clmeeval_data.builders.funnel import SAMPLES, FirstOnly, Funnel


def test_rows_are_kept_or_counted_by_reason():
    funnel = Funnel(read=10)
    odd = funnel.keep("first", range(10), lambda row: None if row % 2 else "even", str)
    small = funnel.keep("second", odd, lambda row: None if row < 5 else "large", str)
    assert list(small) == [1, 3]
    assert (funnel.kept, funnel.dropped) == (2, 8)
    assert funnel.drops["first", "even"].samples == ["0", "2", "4", "6", "8"][:SAMPLES]
    assert funnel.as_dict() == {
        "read": 10,
        "kept": 2,
        "dropped": [
            {"step": "first", "reason": "even", "count": 5},
            {"step": "second", "reason": "large", "count": 3},
        ],
    }


def test_steps_are_listed_in_their_order_and_frequent_reasons_first():
    funnel = Funnel(read=9)
    rows = funnel.keep("one", range(9), lambda row: "late" if row == 8 else None, str)
    list(funnel.keep("two", rows, lambda row: "rare" if row == 0 else "often" if row < 4 else None, str))
    funnel.drop("three", "x", "row")
    assert [(drop.step, drop.reason) for drop in funnel.ordered()] == [
        ("one", "late"),
        ("two", "often"),
        ("two", "rare"),
        ("three", "x"),
    ]


def test_only_some_samples_are_kept():
    funnel = Funnel(read=100)
    assert list(funnel.keep("all", range(100), lambda _: "no", str)) == []
    assert len(funnel.drops["all", "no"].samples) == SAMPLES
    assert funnel.drops["all", "no"].count == 100


def test_first_only_gives_a_reason_for_repetitions():
    reason_of = FirstOnly(str.casefold, "again")
    assert [reason_of(row) for row in ["a", "b", "A", "c", "b"]] == [None, None, "again", None, "again"]
