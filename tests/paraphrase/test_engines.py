"""Engines: what every registered one keeps to, and how several share the work."""

import pytest

from clmeeval_data.errors import UnknownNameError
from clmeeval_data.paraphrase.checks import Bounds, refusal
from clmeeval_data.paraphrase.engine import ENGINES, Setting, rephrase
from clmeeval_data.records import Rephrasing

PROMPTS = ["def f(a):\n    x = a\n    return x", "sort list `a` in place", "", "def f(:", "x = 'a\ud800'"]
WRITTEN = {"sort list `a` in place": "How do I put `a` in order without a copy?"}
CODE = Bounds(code=True, most_similar=100.0, shortest=0.5, longest=2.0)
TEXT = Bounds(code=False, most_similar=90.0, shortest=0.4, longest=2.5)


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_names_itself_and_is_deterministic(name):
    engine = ENGINES[name](Setting(seed=3, written=WRITTEN))
    assert engine.name == name
    assert engine.version
    rewritten = engine.rewrite(PROMPTS)
    assert len(rewritten) == len(PROMPTS)
    assert any(text is not None for text in rewritten)
    assert rewritten == ENGINES[name](Setting(seed=3, written=WRITTEN)).rewrite(PROMPTS)
    assert engine.rewrite([]) == []


def test_the_human_engine_gives_what_was_written():
    assert ENGINES["human"](Setting(written=WRITTEN)).rewrite(PROMPTS)[:2] == [None, WRITTEN[PROMPTS[1]]]


def test_an_unknown_engine_is_named():
    with pytest.raises(UnknownNameError, match=r"unknown engine 'renam'. Did you mean 'rename'"):
        ENGINES["renam"]


class Scripted:
    model = "m"

    def __init__(self, name, version, replies):
        self.name, self.version, self.replies, self.asked = name, version, replies, []

    def rewrite(self, prompts):
        self.asked.append(list(prompts))
        return [self.replies.get(prompt) for prompt in prompts]


def test_a_later_engine_sees_only_what_the_earlier_ones_failed():
    first = Scripted("one", "1", {"a": "A", "b": "bad"})
    second = Scripted("two", "7", {"b": "B", "c": "bad"})
    results = rephrase(["a", "b", "c", "d"], [first, second], lambda _, text: "is bad" if text == "bad" else None)
    assert first.asked == [["a", "b", "c", "d"]]
    assert second.asked == [["b", "c", "d"]]
    assert [result.text for result in results] == ["A", "B", None, None]
    assert results[0].rephrasing == Rephrasing("one", "m", "1")
    assert results[1].rephrasing == Rephrasing("two", "m", "7")
    assert results[1].refusals == ("one: is bad",)
    assert results[2].refusals == ("one: no rewording", "two: is bad")
    assert results[3].refusals == ("one: no rewording", "two: no rewording")


LEFT_OUT = "leaves out a name or literal of the answer"


@pytest.mark.parametrize(
    ("prompt", "rephrased", "target", "bounds", "reason"),
    [
        ("sort list `a`", "How is `a` put in order?", "a.sort()", TEXT, None),
        ("sort list `a`", " \n", "a.sort()", TEXT, "empty"),
        ("sort list `a`", "Sort  list `a`?", "a.sort()", TEXT, "the same text"),
        ("sort list `a`", "call a.sort() now", "a.sort()", TEXT, "contains the target"),
        ("sort the list `a` in place", "sort the list `a` in places", "x", TEXT, "too close"),
        ("sort list `a`", "put `a` in order " * 9, "x()", TEXT, "too short or too long"),
        ("sort the list named `a`, please", "sort a", "x()", TEXT, "too short or too long"),
        ("put 5 of `a` in 'b'", "how to put 5 of `a` in 'b'?", "b = a[:5]", TEXT, None),
        ("put 5 of `a` in 'b'", "how to put some of `a` in 'b'?", "b = a[:5]", TEXT, LEFT_OUT),
        ("put 5 of `a` in 'b'", "how to put 5 of it in 'b'?", "b = a[:5]", TEXT, LEFT_OUT),
        ("put 5 of `a` in 'b'", "how to put 5 of `a` in it?", "b = a[:5]", TEXT, LEFT_OUT),
        ("put 5 of `a` in 'b'", "how to put some of it in it?", "c = d[:55]", TEXT, None),
        ("def f(): return 1", "def f(: return 1", "One.", CODE, "does not parse"),
        ("def f():\n    x = 1", "def f():\n    y = 1", "One.", CODE, None),
    ],
)
def test_refusals_have_reasons(prompt, rephrased, target, bounds, reason):
    assert refusal(prompt, rephrased, target, bounds) == reason
