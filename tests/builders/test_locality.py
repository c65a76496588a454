"""Neighbours: the top k equals brute force, and none of them means the same."""

import gzip
import json
import random
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rapidfuzz import fuzz, process

from clmeeval_data import syntax
from clmeeval_data.builders.closest import Index
from clmeeval_data.builders.locality import Neighbour, NeighbourSearch, content_stems, neighbours
from clmeeval_data.builders.recipes import Locality
from clmeeval_data.builders.sources import Pair, read
from clmeeval_data.builders.sources.sample import SampleSource
from clmeeval_data.errors import UnknownNameError
from clmeeval_data.records import Provenance

INTENTS = Locality(count=3, scorer="words", closest_answer=100.0, closest_wording=85.0, tree_margin=25.0)
FUNCTIONS = Locality(count=3, scorer="words", closest_answer=95.0, closest_wording=90.0, tree_margin=10.0)
REAL = Path(__file__).parents[3] / "shared" / "data" / "conala_curated_test.jsonl.gz"


def intent(prompt, snippet, group=None):
    return Pair(prompt, snippet, "", None, Provenance("s", "o", group or prompt, "MIT"))


def function(code, description, name="f"):
    return Pair(code, description, name, None, Provenance("s", "o", "g", "MIT"))


def chosen(pool, rule, query=0):
    return [place for place, _ in NeighbourSearch(pool, rule).of(query)]


def leaves(code, free_names):
    """The words of the normalised form, strings whole, without the numbered variables and what holds words together."""
    found = re.findall(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\w+|[^\w\s]+""", syntax.normalised(code, free_names))
    return [leaf for leaf in found if not re.fullmatch(r"_\d+", leaf) and set(leaf) - set("()[]{},.:;")]


def contains(one, other):
    """Whether the shorter list can be had from the longer by leaving something out."""
    shorter, longer = sorted((one, other), key=len)
    rest = iter(longer)
    return all(word in rest for word in shorter)


def brute_force(pool, rule, queries):
    """The definition, in plain Python: closest first, the earlier of two equally close ones, all different."""
    index = Index([pair.prompt for pair in pool], rule.scorer)
    written = [index.written(place) for place in range(len(pool))]
    is_code = [bool(pair.func_name) for pair in pool]
    texts = [content_stems(pair.target if code else pair.prompt) for pair, code in zip(pool, is_code, strict=True)]
    codes = [pair.prompt if code else pair.target for pair, code in zip(pool, is_code, strict=True)]
    trees = [syntax.normalised(code, not is_code[place]) for place, code in enumerate(codes)]
    ends = [leaves(code, not is_code[place]) for place, code in enumerate(codes)]
    answers = [" ".join(pair.target.casefold().split()) for pair in pool]

    def differ(a, b):
        if pool[a].func_name:
            if pool[a].func_name.split(".")[-1] == pool[b].func_name.split(".")[-1]:
                return False
        elif pool[a].provenance.group == pool[b].provenance.group:
            return False
        return (
            trees[a] != trees[b]
            and answers[a] != answers[b]
            and fuzz.ratio(answers[a], answers[b]) <= rule.closest_answer
            and not (fuzz.ratio(texts[a], texts[b]) > rule.closest_wording and contains(texts[a], texts[b]))
            and fuzz.ratio(ends[a], ends[b]) <= 100 - rule.tree_margin
        )

    for query in queries:
        scores = process.cdist([written[query]], written, scorer=fuzz.ratio, dtype="float64")[0].tolist()
        found = []
        for place in sorted(range(len(pool)), key=lambda place: (-scores[place], place)):
            enough = len(found) == rule.count or scores[place] == 0
            if place != query and not enough and all(differ(other, place) for other in [query, *found]):
                found.append(place)
        yield [(place, round(scores[place], 4)) for place in found]


@pytest.mark.parametrize("count", [1, 3, 7])
def test_intents_equal_brute_force(count):
    pool = list(read(SampleSource()))
    rule = replace(INTENTS, count=count)
    queries = random.Random(count).sample(range(len(pool)), 60)
    assert list(neighbours(pool, queries, rule)) == list(brute_force(pool, rule, queries))


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


@pytest.mark.parametrize("scorer", ["words", "tokens"])
def test_functions_equal_brute_force(scorer):
    pool = random_functions(400)
    rule = replace(FUNCTIONS, scorer=scorer)
    queries = range(0, 400, 13)
    found = list(neighbours(pool, queries, rule))
    assert found == list(brute_force(pool, rule, queries))
    for near in found:
        assert [value for _, value in near] == sorted((value for _, value in near), reverse=True)


def test_workers_with_shards_of_the_queries_find_the_same():
    pool = list(read(SampleSource()))
    expected = [NeighbourSearch(pool, INTENTS).of(query) for query in range(0, 60, 20)]
    whole = list(neighbours(pool, range(60), INTENTS))
    backwards = NeighbourSearch(pool, INTENTS)
    assert [backwards.of(query) for query in reversed(range(60))][::-1] == whole
    assert whole[::20] == expected
    assert [near for start in (0, 25) for near in neighbours(pool, range(60)[start : start + 25], INTENTS)] == whole[
        :50
    ]


def test_the_same_answer_is_no_neighbour():
    pool = [
        intent("sort list `a` in place", "a.sort()"),
        intent("order the list `b` there", "b.sort()"),  # the same answer under another name
        intent("order the list `c`", "c . sort ( )  # now"),
        intent("sort list `a` in reverse", "a.sort(key=f, reverse=True)"),
    ]
    assert chosen(pool, INTENTS) == [3]


def test_an_answer_whose_tree_differs_by_less_than_the_margin_is_the_same():
    pool = [
        intent("sort rows by column name", "sorted(rows, key=lambda row: row['name'])"),
        intent("sort rows by column age", "sorted(rows, key=lambda row: row['age'])"),  # four of five leaves
        intent("reverse rows by column", "rows[::-1]"),
    ]
    assert chosen(pool, INTENTS) == [2]
    assert chosen(pool, replace(INTENTS, tree_margin=20.0)) == [1, 2]
    assert chosen(pool, replace(INTENTS, tree_margin=0.0)) == [1, 2]


def test_a_margin_of_nothing_still_excludes_equal_trees():
    pool = [
        intent("first item of list a", "a[0]"),
        intent("item of the list b", "b[0]"),
        intent("second item of list a", "a[1]"),
    ]
    assert chosen(pool, replace(INTENTS, tree_margin=0.0)) == [2]


def test_another_wording_of_the_same_intent_is_no_neighbour():
    pool = [
        intent("How do I convert a list into a dictionary in Python?", "dict(x)"),
        intent("converting lists to dictionaries", "{k: v for k, v in y}"),
        intent("convert a dictionary into a list", "list(x.items())"),  # another order of the same words
        intent("convert a list into a set", "set(z)"),
    ]
    assert sorted(chosen(pool, INTENTS)) == [2, 3]
    assert sorted(chosen(pool, replace(INTENTS, closest_wording=100.0))) == [1, 2, 3]


def test_one_more_word_says_the_same_in_a_long_intent_and_one_other_word_does_not():
    pool = [
        intent("remove the last occurrence of substring `a` from string `s`", "f(s)"),
        intent("remove the last occurrence of substring `a` from a unicode string `s`", "g(s)"),
        intent("remove the first occurrence of substring `a` from string `s`", "h(s)"),
        intent("sort list", "a.sort()"),
        intent("sort list backwards", "b.reverse()"),
    ]
    assert chosen(pool, INTENTS)[0] == 2
    assert chosen(pool, INTENTS, 3) == [4]


def test_other_answers_to_the_same_question_are_no_neighbours():
    pool = [
        intent("read a file", "open(f).read()", "so-1"),
        intent("read a whole file", "Path(f).read_text()", "so-1"),
        intent("write a file", "Path(f).write_text(s)", "so-2"),
        intent("write a new file", "print(s, file=f)", "so-2"),
        intent("delete a file", "os.remove(f)", "so-3"),
    ]
    assert chosen(pool, INTENTS) == [2, 4]


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


def test_a_copy_of_a_function_with_a_small_change_is_no_neighbour():
    calls = "\n    ".join(f"a.step_{number}()" for number in range(12))
    pool = [
        function(f"def run(a):\n    {calls}", "Run all the steps of it.", "A.run"),
        function(f"def go(a):\n    {calls}", "Something quite different.", "B.go"),  # 13 of 14 leaves
        function(f"def walk(a):\n    {calls.replace('step_3', 'hop')}", "Yet another thing.", "B.walk"),  # 12 of 14
    ]
    assert chosen(pool, FUNCTIONS) == [2]
    assert chosen(pool, replace(FUNCTIONS, tree_margin=20.0)) == []


def test_functions_of_one_repository_may_be_neighbours():
    pool = [function("def f(a): return a.x", "Return the size.", "f"), function("def g(b): return 3", "Count.", "g")]
    assert chosen(pool, FUNCTIONS) == [1]


def test_neighbours_differ_from_one_another():
    pool = [
        function("def f(a): return a.x", "Return the colour.", "f"),
        function("def g(a): return a.y", "Return the size.", "g"),
        function("def h(a): return a.z", "Return the size!", "h"),
        function("def i(a): return len(a.w)", "Return the length.", "i"),
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


def test_equal_answers_are_the_same_by_any_margin():
    pool = [
        function("def f(a): return a.x", "Return the size.", "f"),
        function("def g(a): return a.y", "return the  size.", "g"),
        function("def h(a): return a.z", "Return a size.", "h"),
    ]
    assert chosen(pool, replace(FUNCTIONS, closest_answer=100.0, closest_wording=100.0)) == [2]


def test_ties_go_to_the_earlier_pair():
    pool = [intent("sort b c", "f(1)")] + [intent(f"sort b d{i}", f"g{i}({i}, {i + 1})") for i in range(5)]
    assert chosen(pool, INTENTS) == [1, 2, 3]


def test_a_small_pool_gives_fewer():
    pool = [intent("sort it", "a.sort()"), intent("reverse it", "a.reverse()"), intent("nothing shared", "del a")]
    assert NeighbourSearch(pool, INTENTS).of(0) == [Neighbour(1, pytest.approx(33.3333))]
    assert chosen(pool, INTENTS, 2) == []
    assert list(neighbours(pool, [], INTENTS)) == []


def test_texts_without_a_word_are_no_trouble():
    pool = [intent("?", "f(x)"), intent("", ""), intent("!!", "g(y)"), intent("\ud800\x00", "h(1)")]
    assert [chosen(pool, INTENTS, query) for query in range(4)] == [[], [], [], []]


def test_what_is_not_there_is_refused():
    with pytest.raises(UnknownNameError, match="unknown scorer"):
        NeighbourSearch([], replace(INTENTS, scorer="letters"))
    with pytest.raises(IndexError):
        NeighbourSearch([intent("sort it", "a.sort()")], INTENTS).of(1)


def test_content_stems_say_what_is_asked_for():
    assert content_stems("How do I convert lists to dictionaries in Python 3?") == content_stems(
        "converting a list, dictionary 3"
    )
    assert content_stems("What is the best way?") == []
    assert content_stems("two lists without, not with") == ["two", "list", "without", "not"]
    assert content_stems("call / calling / splitted / splits") == ["cal", "cal", "split", "split"]


@pytest.mark.skipif(not REAL.exists(), reason="the raw data is not here")
def test_neighbours_of_real_intents_keep_the_promises():
    with gzip.open(REAL, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    pool = [intent(row["rewritten_intent"] or row["intent"], row["snippet"], str(row["question_id"])) for row in rows]
    for query, near in enumerate(neighbours(pool, range(len(pool)), INTENTS)):
        assert len(near) == 3
        places = [query, *(place for place, _ in near)]
        assert len({pool[place].provenance.group for place in places}) == 4
        assert len({syntax.normalised(pool[place].target, free_names=True) for place in places}) == 4
        assert all(0 < similarity <= 100 for _, similarity in near)
