"""Filters: each is tested by the reason that it gives."""

from functools import partial

import pytest

from clmeeval_data.builders import filters
from clmeeval_data.builders.recipes import CNLE_SAMPLE, CSNE_SAMPLE, RECIPES, Span
from clmeeval_data.builders.sources import Pair
from clmeeval_data.records import Provenance

PLACE = Provenance("s", "o", "g", "MIT")
CODE = "def area(width, height):\n    result = width * height\n    return result"


def function(description="Return the area of a rectangle.", code=CODE):
    return Pair(code, description, "area", None, PLACE)


def intent(prompt="sort list `a` in place", snippet="a.sort()", rephrasing=None):
    return Pair(prompt, snippet, "", rephrasing, PLACE)


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        (intent(), None),
        (intent(prompt="ab"), "prompt too short"),
        (intent(prompt="a" * 31), "prompt too long"),
        (intent(snippet="x"), "target too short"),
        (intent(snippet="x" * 11), "target too long"),
    ],
)
def test_length(pair, reason):
    assert filters.length(pair, prompt=Span(3, 30), target=Span(2, 10)) == reason


@pytest.mark.parametrize(
    ("pair", "benchmark", "reason"),
    [
        (intent(prompt="sort the list"), "cnle", None),
        (intent(prompt="sort it"), "cnle", "words too short"),
        (function("Return the area of it all."), "csne", "words too long"),
    ],
)
def test_words(pair, benchmark, reason):
    assert filters.words(pair, benchmark, Span(3, 5)) == reason


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        (intent(), None),
        (intent(prompt="call  A.Sort() now"), "the prompt contains the target"),
        (intent(rephrasing="call a.sort()"), "the rephrasing contains the target"),
        (function(code="def f():\n    # Return the area\n    #\n    x = 1"), None),
        (function(code='def f():\n    x = "return the area  of a rectangle."'), "the prompt contains the target"),
    ],
)
def test_leak(pair, reason):
    assert filters.leak(pair) == reason


@pytest.mark.parametrize(
    ("description", "reason"),
    [
        ("Return the area of a rectangle.", None),
        ("Test whether a path is a symbolic link.", None),
        ("Seek to a position in the file.", None),
        ("Return string representation of the value.", None),
        ("See the base class.", "boilerplate"),
        ("Like open(), but for text.", "boilerplate"),
        ("Deprecated, use read_file instead.", "boilerplate"),
        ("Internal: read lines until EOF.", "boilerplate"),
        ("Helper to print a traceback.", "boilerplate"),
        ("Called when the buffer drains.", "boilerplate"),
        ("Asynchronous version of apply() method.", "boilerplate"),
        ("If you override it, call this method.", "boilerplate"),
        ("Test program for telnetlib.", "boilerplate"),
        ("Return repr(self).", "boilerplate"),
        ("area(w, h) -> the area of a rectangle.", "a signature"),
        ("S.index(value) returns the first index.", "a signature"),
        ("j(ump) lineno Set the next line.", "a signature"),
    ],
)
def test_boilerplate(description, reason):
    assert filters.boilerplate(function(description)) == reason


@pytest.mark.parametrize(
    ("description", "reason"),
    [
        ("Return the area.", None),
        ("Return an int in the range [0, n).", None),
        ("Return the following:", "breaks off"),
        ("Normalize a path, double slashes, etc.", "breaks off"),
        ("Return the area,.", "breaks off"),
        ("Return the area (in pixels.", "breaks off in a bracket or quote"),
        ('Return the "area.', "breaks off in a bracket or quote"),
        ("enable number Enables the breakpoint of that number.", "a title run into the sentence"),
        ("undo the last action of Turtle.", None),
    ],
)
def test_broken_off(description, reason):
    assert filters.broken_off(function(description)) == reason


@pytest.mark.parametrize(
    ("description", "reason"),
    [
        ("Return the area of a rectangle.", None),
        ("Create unique anchor prefixes.", None),
        ("Return the value of self.x, or None.", None),
        ("self.a + self.b (self.c).", "not English prose"),
        ("Emit RFC2822 MIME_HEADER x_y.", "not English prose"),
        ("Return the `area` of it.", "markup or code in the description"),
        ("+ The name is returned.", "markup or code in the description"),
        (">>> f(1)", "markup or code in the description"),
        ("Return the area <b>now</b>.", "markup or code in the description"),
        ("TODO return the area.", "markup or code in the description"),
        ("Gibt die Fläche zurück.", "markup or code in the description"),
        ("See https://example.org for the area.", "markup or code in the description"),
    ],
)
def test_prose(description, reason):
    assert filters.prose(function(description), share=0.7) == reason


@pytest.mark.parametrize(
    ("comment", "reason"),
    [
        ("multiply both sides", None),
        ("return the area of a rectangle", "a comment repeats the description"),
        ("Returns area of a rectangle", "a comment repeats the description"),
        ("Return the area\n    # of a rectangle", "a comment repeats the description"),
        ("First: return the area of a rectangle, then stop, and do a lot more", "a comment repeats the description"),
    ],
)
def test_repeating_comment(comment, reason):
    pair = function(code=f"def area(w, h):\n    # {comment}\n    return w * h")
    assert filters.repeating_comment(pair, similarity=75.0) == reason


@pytest.mark.parametrize(
    ("pair", "benchmark", "reason"),
    [
        (function(), "csne", None),
        (function(code="def f(:"), "csne", "does not parse"),
        (function(code="def f():\n    print 'x'"), "csne", "does not parse"),
        (function(code="def f(a):\n    pass"), "csne", "no body"),
        (function(code="@abstract\ndef f(a):\n    # c\n    raise NotImplementedError"), "csne", "no body"),
        (function(code="def f(a):\n    raise NotImplementedError('later')"), "csne", "no body"),
        (function(code="def f(a):\n    ..."), "csne", "no body"),
        (function(code="def f(a):\n    try:\n        g()\n    except E:\n        pass"), "csne", None),
        (intent(), "cnle", None),
        (intent(snippet="a.sort("), "cnle", "does not parse"),
        (intent(snippet="pass"), "cnle", None),
    ],
)
def test_unparsable(pair, benchmark, reason):
    assert filters.unparsable(pair, benchmark) == reason


@pytest.mark.parametrize("name", RECIPES)
def test_the_filters_of_a_recipe_keep_a_good_pair(name):
    recipe = RECIPES[name]
    good = intent() if recipe.benchmark == "cnle" else function(code=CODE + "\n" + "    # more of it\n" * 5)
    assert [reason_of(good) for _, reason_of in filters.for_recipe(recipe)] == [None] * len(filters.for_recipe(recipe))


def test_every_filter_stands_in_a_recipe():
    used = {
        reason_of.func if isinstance(reason_of, partial) else reason_of
        for recipe in (CNLE_SAMPLE, CSNE_SAMPLE)
        for _, reason_of in filters.for_recipe(recipe)
    }
    expected = {"length", "words", "leak", "boilerplate", "broken_off", "prose", "repeating_comment", "unparsable"}
    assert {filter_.__name__ for filter_ in used} == expected
