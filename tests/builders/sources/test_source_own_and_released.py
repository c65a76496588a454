"""The user's own pairs, and released cases: their columns, and what a record keeps of them."""

import pytest

from clmeeval_data.builders.sources import SOURCES, Pair, SourceOptions, Unreadable
from clmeeval_data.builders.sources.released import records
from clmeeval_data.errors import ConfigError
from clmeeval_data.records import CNLE, CSNE, Rephrasing
from tests.builders.sources.small_corpora import CASES, SO, pair, readings

OWN = [
    {"q": "reverse `l`", "a": "l[::-1]", "kind": "lists", "spdx": "MIT", "again": "turn `l` around"},
    {"q": "sort `l`", "a": "sorted(l)", "kind": None, "spdx": "", "again": None},
    {"q": "SORT  `l`", "a": "l.sort()"},
]
OWN_COLUMNS = {"prompt": "q", "target": "a", "group": "kind", "licence": "spdx", "rephrasing": "again"}
FUNCTION_CASES = [
    {
        "case_id": 5,
        "edit_request": {
            "code": "def f(x):\n    return x",
            "code_rewrite": "def f(y):\n    return y",
            "code_doc": "Give x back.",
        },
        "neighborhoods": {"items": [{"code": "def g(x):\n    return -x"}], "answers": {"m": ["Negate x."]}},
    }
]


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.json.gz", "mine.parquet"])
def test_the_users_own_pairs(tmp_path, write, name):
    path = write(tmp_path / name, OWN)
    first, second, third = readings("jsonl", "cnle", path, columns=OWN_COLUMNS, licence="CC0-1.0")
    assert first == pair("reverse `l`", "l[::-1]", ("jsonl", "", "lists", "MIT"), rephrasing="turn `l` around")
    assert (second.prompt, second.rephrasing, second.provenance.licence) == ("sort `l`", None, "CC0-1.0")
    assert second.provenance.group == third.provenance.group
    assert readings("jsonl", "cnle", path, columns=OWN_COLUMNS)[1].provenance.licence == "LicenseRef-unknown"
    assert readings("jsonl", "cnle", path)[0].reason == "field 'prompt' is missing"


def test_the_users_own_functions(tmp_path, write):
    rows = [
        {"prompt": 'def f(x):\n    """Double x."""\n    return 2 * x', "target": "Double x.", "origin": "a.py#L1"},
        {"prompt": "def g(x):\n    return -x", "target": "Negate x.", "func_name": "Box.g", "group": "box"},
        {"prompt": "x = 1", "target": "No function."},
    ]
    first, second, third = readings("jsonl", "csne", write(tmp_path / "mine.jsonl", rows))
    assert (first.prompt, first.target, first.func_name) == ("def f(x):\n    return 2 * x", "Double x.", "f")
    assert first.provenance.origin == "a.py#L1"
    assert (second.func_name, second.provenance.group) == ("Box.g", "box")
    assert third == Unreadable("no function in field 'prompt'", "x = 1")


def test_a_column_that_a_pair_does_not_have_is_an_error():
    with pytest.raises(
        ConfigError, match=r"unknown column 'intent' of source 'jsonl'. Known: prompt, target, func_name"
    ):
        SOURCES["jsonl"](None, "cnle", SourceOptions(columns={"intent": "q"}))


@pytest.mark.parametrize("name", ["cnle.json", "cnle.jsonl.gz"])
def test_released_cases(tmp_path, write, name):
    path = write(tmp_path / name, CASES)
    first, last = readings("clmeeval-json", "cnle", path)
    assert (first.prompt, first.target, first.rephrasing) == ("sort `l`", "sorted(l)", "put `l` in order")
    assert (first.provenance.origin, first.provenance.licence) == ("clmeeval-json#0", SO)
    assert last.provenance.group != first.provenance.group
    assert readings("clmeeval-json", "cnle", path, licence="CC-BY-4.0")[0].provenance.licence == "CC-BY-4.0"
    assert readings("clmeeval-json", "csne", path)[0].reason == "field 'code' is missing"

    whole = records(path, CNLE)
    assert (len(whole.records), whole.unreadable, whole.unanswered) == (2, [], 1)
    record = whole.records[0]
    assert record.case_id == CNLE.case_id("sort `l`", "sorted(l)")
    assert [(near.intent, near.snippet) for near in record.neighborhood] == [
        ("sort `l` in place", "l.sort()"),
        ("shuffle `l`", ""),
    ]
    assert record.neighborhood[0].similarity >= record.neighborhood[1].similarity > 0
    assert record.rephrasing == Rephrasing("released", "", "1")
    assert CNLE.from_row(CNLE.to_row(record)) == record


def test_released_functions(tmp_path, write):
    path = write(tmp_path / "csne.json", FUNCTION_CASES)
    (found,) = readings("clmeeval-json", "csne", path)
    assert (found.prompt, found.target, found.func_name) == ("def f(x):\n    return x", "Give x back.", "f")
    assert found.rephrasing == "def f(y):\n    return y"
    assert found.provenance.licence == "LicenseRef-unknown"
    whole = records(path, CSNE)
    assert whole.unanswered == 1
    assert (whole.records[0].func_name, whole.records[0].neighborhood[0].code) == ("f", "def g(x):\n    return -x")


@pytest.mark.parametrize(
    ("change", "reason", "in_pairs"),
    [
        ({"edit_request": None}, "field 'edit_request' is no object", True),
        ({"edit_request": {"intent": "i", "snippet": 1}}, "field 'snippet' is a int, expected text", True),
        ({"edit_request": {"intent": " ", "snippet": "s"}}, "field 'intent' is empty", True),
        ({"neighborhoods": None}, "field 'neighborhoods' has no list of items", False),
        ({"neighborhoods": {"items": ["i"]}}, "field 'neighborhoods' has no list of items", False),
        ({"neighborhoods": {"items": [{"intent": "\0"}]}}, "field 'intent' holds a null byte", False),
    ],
)
def test_a_damaged_case_is_named_and_the_others_are_read(tmp_path, write, change, reason, in_pairs):
    path = write(tmp_path / "cnle.jsonl", [{**CASES[0], **change}, CASES[1]])
    found = records(path, CNLE)
    assert [record.intent for record in found.records] == ["sort `l` in place"]
    assert [each.reason for each in found.unreadable] == [reason]
    reasons = [each.reason for each in readings("clmeeval-json", "cnle", path) if not isinstance(each, Pair)]
    assert reasons == ([reason] if in_pairs else [])
