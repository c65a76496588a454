"""De-duplication: what counts as the same, which one stays, and that nothing else goes."""

import ast
import itertools
import random
from dataclasses import replace

import pytest
from rapidfuzz import fuzz

from clmeeval_data.builders.dedup import Dedup, Duplicate, duplicates, winning_order
from clmeeval_data.builders.sources import Pair
from clmeeval_data.records import CNLE, Provenance

STRICT = Dedup(wording=True, near_text=80, near_code=80)


def place(source="s"):
    return Provenance(source, "o", "g", "MIT")


def intents(*rows):
    return [Pair(prompt, snippet, "", None, place()) for prompt, snippet in rows]


def functions(*rows):
    return [Pair(code, text, code.split("(")[0].removeprefix("def "), None, place()) for code, text in rows]


def kind(one, other, rule=STRICT, benchmark="cnle"):
    found = duplicates([one, other], rule, benchmark)
    assert set(found) <= {1}
    return found[1].kind if found else None


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        ("sort a list", "Sort  a LIST", "the same prompt as another row"),
        ("sort a list", "sort the lists in python", "the same intent in other words"),
        ("Converting from tuple to string", "python: convert a Tuple to String?", "the same intent in other words"),
        ("sort list `a`", "How to sort a list?", "the same intent in other words"),
        ("split 'a b' at ' '", 'split "a b" at " "', "the same intent in other words"),
        ("round 2.5 up", "round 3.5 up", None),
        ("sort list `a`", "sort list `b`", None),
        ("convert int to str", "convert str to int", None),
        ("remove items that are in a list", "remove items that are not in a list", None),
        ("get the largest item", "get the smallest item", None),
        ("add `a` + `b`", "add `a` * `b`", None),
        ("open a file with a prompt", "open a file without a prompt", None),
    ],
)
def test_the_same_intent(one, other, reason):
    pairs = intents((one, "f(a)[0]"), (other, "g(b, c) or h"))
    assert kind(*pairs) == kind(*pairs[::-1]) == reason


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        (
            "return status 204 from a view",
            "How can I return status 204 from a view?",
            "a near intent with the same snippet",
        ),
        ("reverse a string `some_string`", "Reverse a string `a_string`", "a near intent with the same snippet"),
        ("sort the rows", "order what a query returns by one of its columns", None),
    ],
)
def test_near_intents_with_the_same_snippet(one, other, reason):
    rule = replace(STRICT, wording=False)
    assert kind(*intents((one, "f(row, 'x')"), (other, 'f( line, "x" )')), rule) == reason
    assert kind(*intents((one, "f(row, 'x')"), (other, "f(row, 'y')")), rule) is None


def test_minimal_pairs_are_no_duplicates():
    pairs = intents(
        ("get the maximum priority value for `policy`", "os.sched_get_priority_max(policy)"),
        ("get the minimum priority value for `policy`", "os.sched_get_priority_min(policy)"),
    )
    assert fuzz.ratio(pairs[0].prompt, pairs[1].prompt) > 94
    assert kind(*pairs) is None


AREA = "def area(w, h):\n    # both\n    size = w * h\n    return size"


@pytest.mark.parametrize(
    ("code", "text", "reason"),
    [
        ("def area(a, b):\n  c = a * b\n  return c", "Something else.", "the same prompt as another row"),
        (
            "def surface(w, h):\n    size = w * h\n    return size",
            "Return an area.",
            "a near description of the same code",
        ),
        ("def surface(w, h):\n    size = w * h\n    return size", "Multiply width by height.", None),
        (
            "def area(w, h):\n    size = w * h\n    return abs(size)",
            "Return the area",
            "a near function with the same description",
        ),
        ("def area(w, h):\n    size = w * h\n    return abs(size)", "Return the absolute area.", None),
        ("def area(r):\n    from math import pi\n    return pi * r ** 2 if r > 0 else None", "Return the area.", None),
    ],
)
def test_functions(code, text, reason):
    one, other = functions((AREA, "Return the area."), (code, text))
    assert kind(one, other, benchmark="csne") == kind(other, one, benchmark="csne") == reason


def test_by_default_only_equal_prompts_are_duplicates():
    rows = intents(("sort a list", "f()"), ("sort the lists", "f()"), ("Sort a  list", "g()"))
    assert duplicates(rows, Dedup(), "cnle") == {2: Duplicate("the same prompt as another row", 0)}
    rows = functions((AREA, "Return the area."), (AREA.replace("area", "size"), "Return the area."))
    assert duplicates(rows, Dedup(), "csne") == {}


def test_the_first_stays_and_decides_also_about_those_that_are_like_a_duplicate():
    rows = intents(("sort list `a`", "f()"), ("sort a list", "f()"), ("sort list `b`", "g()"), ("sort lists", "h()"))
    found = duplicates(rows, STRICT, "cnle")
    assert {number: duplicate.of for number, duplicate in found.items()} == {1: 0, 3: 0}
    found = duplicates(rows, STRICT, "cnle", order=[1, 0, 2, 3])
    assert {number: duplicate.of for number, duplicate in found.items()} == {0: 1, 2: 1, 3: 1}


def test_the_order_of_winning_is_by_source_then_by_id():
    rows = [Pair(f"do {number}", "f()", "", None, place("xyz"[number % 3])) for number in range(30)]
    order = winning_order(rows, "cnle")
    assert sorted(order) == list(range(30))
    expected = sorted(rows, key=lambda pair: (pair.provenance.source, CNLE.case_id(pair.prompt, pair.target)))
    assert [rows[number] for number in order] == expected


def test_the_choice_does_not_depend_on_the_order_within_a_source():
    rows = intents(*[(f"{verb} the list `{name}`", f"{call}({name})") for verb, name, call in WORDS])
    rows = [replace(pair, provenance=place("first" if number < 40 else "second")) for number, pair in enumerate(rows)]

    def kept(pairs):
        gone = duplicates(pairs, STRICT, "cnle", winning_order(pairs, "cnle"))
        return {pair for number, pair in enumerate(pairs) if number not in gone}

    shuffled = rows[:40][::-1] + random.Random(1).sample(rows[40:], len(rows) - 40)
    assert 0 < len(kept(rows)) < len(rows)
    assert kept(shuffled) == kept(rows)


VERBS = ("sort", "sorting", "Sort", "reverse", "reversing", "print", "print out")
WORDS = [*itertools.product(VERBS, ("a", "b", "rows"), ("f", "g")), ("sort", "c", "f"), ("sort", "", "g")]


def brute_force(pairs, near):
    """Which intents repeat an earlier kept one, found by comparing all, and snippets by Python's own trees."""
    found = {}
    kept = []
    for number, pair in enumerate(pairs):
        other = next((each for each in kept if repeats(pair, pairs[each], near)), None)
        if other is None:
            kept.append(number)
        else:
            found[number] = other
    return found


def repeats(one, other, near):
    texts = [" ".join(pair.prompt.casefold().split()) for pair in (one, other)]
    if texts[0] == texts[1]:
        return True
    return shape(one.target) == shape(other.target) and fuzz.ratio(*texts) >= near


def shape(snippet):
    tree = ast.parse(snippet)
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call)}
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id not in called:
            node.id = names.setdefault(node.id, f"v{len(names)}")
    return ast.dump(tree)


@pytest.mark.parametrize("near", [70, 80, 90, 100])
def test_near_duplicates_are_those_of_brute_force(near):
    rows = intents(*[(f"{verb} the list {name}", f"{call}({name or 'x'})") for verb, name, call in WORDS])
    random.Random(near).shuffle(rows)
    found = duplicates(rows, Dedup(near_text=near), "cnle")
    expected = brute_force(rows, near)
    assert set(found) == set(expected)
    assert all(repeats(rows[number], rows[duplicate.of], near) for number, duplicate in found.items())
    assert 0 < len(found) < len(rows) - 1
