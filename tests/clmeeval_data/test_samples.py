"""The hand-written CNLE sample: every snippet is proved by running it."""

import asyncio
import json
import textwrap
from collections import Counter
from importlib import resources
from pathlib import Path

import pytest
from rapidfuzz import fuzz

SAMPLE = resources.files("clmeeval_data").joinpath("samples/cnle.jsonl")
ROWS = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
CHECKED = Path(__file__).with_name("cnle_sample_checks.jsonl")
CHECKS = [json.loads(line) for line in CHECKED.read_text(encoding="utf-8").splitlines()]


def compiles(code, mode):
    try:
        compile(code, "<snippet>", mode)
    except SyntaxError:
        return False
    return True


def run(check):
    """Run setup, snippet and check; the value of a snippet that is an expression is called ``result``."""
    snippet, names = check["snippet"], {}
    if compiles(snippet, "eval") or compiles(snippet, "exec"):
        exec(check["setup"], names)
        if compiles(snippet, "eval"):
            names["result"] = eval(snippet, names)
        else:
            exec(snippet, names)
        exec(check["check"], names)
        return
    statement = f"result = {snippet}"
    inside = statement if compiles(f"async def case():\n{textwrap.indent(statement, ' ')}", "exec") else snippet
    body = "\n".join([check["setup"], inside, check["check"]])
    exec(f"async def case():\n{textwrap.indent(body, '    ')}", names)
    asyncio.run(names["case"]())


def test_the_checks_are_of_the_rows_in_their_order():
    assert [check["snippet"] for check in CHECKS] == [row["snippet"] for row in ROWS]


@pytest.mark.parametrize("number", range(len(ROWS)))
def test_the_snippet_does_what_its_check_says(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(CHECKS[number])


def test_a_check_can_fail():
    with pytest.raises(AssertionError):
        run({"setup": "x = 1", "snippet": "x + 1", "check": "assert result == 3"})


def test_the_sample_is_varied():
    assert len(ROWS) >= 150
    topics = Counter(row["topic"] for row in ROWS)
    wanted = "strings lists dicts files paths dates regex json numbers itertools subprocess typing dataclasses async"
    assert set(wanted.split()) <= set(topics)
    assert min(topics.values()) >= 8
    for field in ("intent", "rewritten_intent", "snippet"):
        assert len({row[field].lower() for row in ROWS}) == len(ROWS)


def test_rephrasings_use_other_words_and_give_nothing_away():
    for row in ROWS:
        assert fuzz.ratio(row["intent"], row["rewritten_intent"]) < 80, row
        for field in ("intent", "rewritten_intent"):
            assert row["snippet"].lower() not in row[field].lower(), row
