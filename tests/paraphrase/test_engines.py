"""Engines: what every registered one keeps to, and how several share the work."""

import json
import re
from dataclasses import replace

import pytest

from clmeeval_data.errors import UnknownNameError
from clmeeval_data.llm import ChatReply
from clmeeval_data.paraphrase.checked import rephrase_checked
from clmeeval_data.paraphrase.checks import Bounds
from clmeeval_data.paraphrase.engine import ENGINES, Setting, in_turn, later_seed, rephrase
from clmeeval_data.records import Rephrasing

PROMPTS = ["def f(a):\n    x = a\n    return x", "sort list `a` in place", "", "def f(:", "x = 'a\ud800'"]
WRITTEN = {"sort list `a` in place": "How do I put `a` in order without a copy?"}
CODE = Bounds(code=True, most_similar=100.0, shortest=0.2, longest=5.0)


class Echo:
    """A chat model that gives each text back with its seed."""

    model = "echo"

    def complete(self, requests):
        found = [re.findall(r"===== \w+\n(.*)\n=====", request.user, re.S)[0] for request in requests]
        values = [{"rewritten": f"{text} {request.seed}"} for text, request in zip(found, requests, strict=True)]
        return [ChatReply(value, json.dumps(value), "", False) for value in values]


SETTING = Setting(seed=3, written=WRITTEN, chat=Echo())


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_names_itself_and_is_deterministic(name):
    engine = ENGINES[name](SETTING)
    assert engine.name == name
    assert engine.version
    rewritten = engine.rewrite(PROMPTS)
    assert len(rewritten) == len(PROMPTS)
    assert any(text is not None for text in rewritten)
    assert rewritten == ENGINES[name](SETTING).rewrite(PROMPTS)
    assert engine.rewrite([]) == []


def test_the_human_engine_gives_what_was_written():
    assert ENGINES["human"](Setting(written=WRITTEN)).rewrite(PROMPTS)[:2] == [None, WRITTEN[PROMPTS[1]]]


def test_an_unknown_engine_is_named():
    with pytest.raises(UnknownNameError, match=r"unknown engine 'renam'. Did you mean 'rename'"):
        ENGINES["renam"]
    with pytest.raises(UnknownNameError, match="unknown engine 'rool'"):
        in_turn(["human", "rool"], SETTING)


class Scripted:
    model = "m"

    def __init__(self, name, version, replies):
        self.name, self.version, self.replies, self.asked = name, version, replies, []

    def rewrite(self, prompts):
        self.asked.append(list(prompts))
        return [self.replies.get(prompt) for prompt in prompts]


class Explained(Scripted):
    def flaw(self, prompt):
        return f"nothing for {prompt}"


def bad(_prompt, text, _engine):
    return "is bad" if text == "bad" else None


def test_a_later_engine_sees_only_what_the_earlier_ones_failed():
    first = Scripted("one", "1", {"a": "A", "b": "bad"})
    second = Scripted("two", "7", {"b": "B", "c": "bad"})
    results = rephrase(["a", "b", "c", "d"], [first, second], bad)
    assert first.asked == [["a", "b", "c", "d"]]
    assert second.asked == [["b", "c", "d"]]
    assert [result.text for result in results] == ["A", "B", None, None]
    assert results[0].rephrasing == Rephrasing("one", "m", "1")
    assert results[1].rephrasing == Rephrasing("two", "m", "7")
    assert results[1].refusals == ("one: is bad",)
    assert results[2].refusals == ("one: no rewording", "two: is bad")
    assert results[3].refusals == ("one: no rewording", "two: no rewording")


def test_an_engine_is_not_asked_where_nothing_is_left():
    later = Scripted("two", "1", {})
    rephrase(["a"], [Scripted("one", "1", {"a": "A"}), later], bad)
    assert later.asked == []


def test_a_reason_is_given_once_per_engine_and_an_engine_may_give_its_own():
    attempts = [Scripted("one", "1", {"a": "bad"}), Scripted("one", "1", {"a": "bad"}), Scripted("one", "1", {})]
    results = rephrase(["a"], [*attempts, Explained("two", "1", {})], bad)
    assert results[0].refusals == ("one: is bad", "one: no rewording", "two: nothing for a")


def test_each_engine_tries_as_often_as_another_seed_can_help():
    engines = in_turn(["human", "llm", "rules", "syntax", "rename"], SETTING)
    assert [engine.name for engine in engines] == ["human", *["llm"] * 3, *["rules"] * 2, *["syntax"] * 2, "rename"]


def test_the_first_attempt_has_the_seed_itself_and_later_ones_others_that_never_change():
    assert SETTING.at(0) is SETTING
    seeds = [SETTING.at(attempt).seed for attempt in range(4)]
    assert seeds[0] == 3
    assert len(set(seeds)) == 4
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert seeds[1:] == [later_seed(3, attempt) for attempt in (1, 2, 3)] != [later_seed(4, n) for n in (1, 2, 3)]
    assert replace(SETTING.at(1), seed=3) == SETTING


def test_another_attempt_words_otherwise_what_the_first_has_failed():
    prompt = "sort the list `rows` by the second item of each tuple"
    first, second = (engine.rewrite([prompt])[0] for engine in in_turn(["rules"], SETTING))
    assert first != second
    results = rephrase([prompt], in_turn(["rules"], SETTING), lambda _, text, __: "no" if text == first else None)
    assert results[0].text == second
    assert results[0].refusals == ("rules: no",)


ADD = "def add(first, second):\n    return first + second"
SAME, OTHER = ADD.replace("return first + second", "both = first + second\n    return both"), ADD.replace(" + ", " - ")


@pytest.mark.parametrize(
    ("engine", "runs", "reasons"),
    [
        ("llm", 8, ("llm: gives other results",)),
        ("llm", 0, ()),
        ("syntax", 8, ()),  # proven, so not run
    ],
)
def test_functions_of_a_model_are_run_where_the_bounds_ask_for_it(engine, runs, reasons):
    wordings = [Scripted(engine, "1", {ADD: OTHER}), Scripted(engine, "1", {ADD: SAME})]
    found = rephrase_checked({ADD: "Sum of two."}, wordings, replace(CODE, runs=runs))[0]
    assert found.refusals == reasons
    assert found.text == (SAME if reasons else OTHER)
