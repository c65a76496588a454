"""Neighbours: the top k equals brute force, and none of them means the same."""

import random
from dataclasses import replace

import pytest
from rapidfuzz import fuzz

from clmeeval_data import syntax
from clmeeval_data.builders.english import content_words
from clmeeval_data.builders.locality import SCORERS, neighbours
from clmeeval_data.builders.recipes import CNLE_SAMPLE, CSNE_SAMPLE
from clmeeval_data.builders.sources import Pair
from clmeeval_data.builders.sources.sample import SampleSource
from clmeeval_data.records import Provenance

PLACE = Provenance("s", "o", "g", "MIT")
INTENTS = CNLE_SAMPLE.locality
FUNCTIONS = CSNE_SAMPLE.locality


def intent(prompt, snippet):
    return Pair(prompt, snippet, "", None, PLACE)


def function(code, description, name="f", group="g"):
    return Pair(code, description, name, None, replace(PLACE, group=group))


def chosen(pool, rule, query=0):
    return [place for place, _ in next(neighbours(pool, [query], rule))]


def brute_force(pool, query, score, differ, count):
    """The definition, in plain Python: closest first, the earlier of two equally close ones, all different."""
    found = []
    for place in sorted(range(len(pool)), key=lambda place: (-score(query, place), place)):
        if place != query and len(found) < count and all(differ(other, place) for other in [query, *found]):
            found.append(place)
    return found


@pytest.mark.parametrize("count", [1, 3, 7])
def test_intents_equal_brute_force(count):
    pool = list(SampleSource().read())
    words = [
        " ".join("".join(c if c.isalnum() or c == "_" else " " for c in p.prompt.casefold()).split()) for p in pool
    ]
    forms = [(content_words(p.prompt), syntax.normalised(p.target, free_names=True)) for p in pool]

    def score(one, other):
        return fuzz.token_set_ratio(words[one], words[other])

    def differ(one, other):
        return forms[one][0] != forms[other][0] and forms[one][1] != forms[other][1]

    queries = random.Random(count).sample(range(len(pool)), 60)
    for query, found in zip(queries, neighbours(pool, queries, replace(INTENTS, count=count)), strict=True):
        assert [place for place, _ in found] == brute_force(pool, query, score, differ, count)
        assert [value for _, value in found] == pytest.approx([score(query, place) for place, _ in found], abs=1e-4)


def random_functions(number):
    """Functions of a few building blocks, so that many are close and many share a description or a name."""
    draw = random.Random(7)
    lines = [
        "x = a + 1",
        "for i in a:\n        b.add(i)",
        "return sorted(a)",
        "y = b.get(a)",
        "print(a, b)",
        "del b[a]",
    ]
    pool = []
    for _ in range(number):
        body = "\n    ".join(draw.choices(lines, k=draw.randint(2, 8)))
        description = f"{draw.choice(['Sort', 'Add', 'Print', 'Count'])} the {draw.choice(['items', 'keys', 'names'])}."
        name = draw.choice("fghijk")
        pool.append(function(f"def {name}(a, b):\n    {body}", description, f"C.{name}"))
    return pool


def test_functions_equal_brute_force_across_chunks():
    pool = random_functions(400)
    token_lists = [syntax.tokens(pair.prompt) for pair in pool]
    forms = [syntax.normalised(pair.prompt) for pair in pool]

    def score(one, other):
        return fuzz.ratio(token_lists[one], token_lists[other])

    def differ(one, other):
        a, b = pool[one], pool[other]
        return (
            forms[one] != forms[other]
            and a.func_name != b.func_name
            and content_words(a.target) != content_words(b.target)
            and fuzz.ratio(a.target.casefold(), b.target.casefold()) <= FUNCTIONS.closest_answer
        )

    found = list(neighbours(pool, range(len(pool)), FUNCTIONS))
    assert len(found) == 400
    for query in range(0, 400, 13):
        assert [place for place, _ in found[query]] == brute_force(pool, query, score, differ, 3)
        values = [value for _, value in found[query]]
        assert values == pytest.approx([score(query, place) for place, _ in found[query]], abs=1e-4)
        assert values == sorted(values, reverse=True)


def test_the_same_answer_is_no_neighbour():
    pool = [
        intent("sort list `a` in place", "a.sort()"),
        intent("sort list `b` in place", "b.sort()"),  # the same answer under another name
        intent("sort a list, `a`, in place!", "sorted(a)"),  # the same intent
        intent("sort list `a` in reverse", "a.sort(reverse=True)"),
    ]
    assert chosen(pool, INTENTS) == [3]


def test_functions_that_mean_the_same_are_no_neighbours():
    code = "def f(a):\n    x = a.get()\n    return x"
    pool = [
        function(code, "Return the value of it.", "A.f"),
        function(code.replace("x", "y"), "Give something else entirely.", "B.g"),  # the same code but for names
        function(code.replace("get", "pop"), "Return  the values of it!", "B.h"),  # the same words
        function(code.replace("get", "pop"), "Take the last element.", "B.f"),  # the same name
        function(code.replace("get", "last"), "Take the final element.", "B.k"),
        function("def z(): pass", "Do nothing.", "B.z"),
    ]
    assert chosen(pool, FUNCTIONS) == [4, 5]


def test_neighbours_differ_from_one_another():
    pool = [
        function("def f(a): return a.x", "Return the colour.", "f"),
        function("def g(a): return a.y", "Return the size.", "g"),
        function("def h(a): return a.z", "Return the size!", "h"),
        function("def i(a): return len(a.z)", "Return the length.", "i"),
    ]
    assert chosen(pool, FUNCTIONS) == [1, 3]


def test_near_identical_descriptions_are_the_same_answer():
    long = "Return the number of bytes that were written to the open file in this call {}."
    pool = [
        function("def f(a): return a.x", long.format("alpha"), "f"),
        function("def g(a): return a.y", long.format("alphb"), "g"),
        function("def h(a): return 3", "Count to three.", "h"),
    ]
    assert chosen(pool, FUNCTIONS) == [2]
    assert chosen(pool, replace(FUNCTIONS, closest_answer=100.0)) == [1, 2]


def test_ties_go_to_the_earlier_pair():
    pool = [intent("a b c", "f(1)")] + [intent(f"a b d{i}", f"g({i})") for i in range(5)]
    assert chosen(pool, INTENTS) == [1, 2, 3]


def test_a_small_pool_gives_fewer():
    pool = [intent("sort it", "a.sort()"), intent("reverse it", "a.reverse()")]
    assert chosen(pool, INTENTS) == [1]
    assert list(neighbours(pool, [], INTENTS)) == []


@pytest.mark.parametrize("name", SCORERS)
def test_scorers_are_symmetric_and_reach_100_for_the_same_text(name):
    scorer = SCORERS[name]
    one, other, same = scorer.prepare(["x = f(a)", "y = f(b) + 1", "x  =  f(a)"])
    assert scorer.score(one, other) == scorer.score(other, one) < 100
    assert scorer.score(one, same) == 100
