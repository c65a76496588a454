"""Filters: each is tested by the reason that it gives."""

import inspect
from dataclasses import replace
from functools import partial

import pytest

from clmeeval_data.builders import filters
from clmeeval_data.builders.filters.rules import DescriptionRules, FunctionRules, IntentRules, Rules, SnippetRules
from clmeeval_data.builders.recipes import CNLE_SAMPLE, CSNE_SAMPLE, RECIPES, Span
from clmeeval_data.builders.sources import Pair
from clmeeval_data.records import Provenance

PLACE = Provenance("s", "o", "g", "MIT")
STRICT = Rules(
    compiler=True,
    intents=IntentRules(ascii_share=0.9, whole=True, requests=True, content_words=1),
    snippets=SnippetRules(True, True, True, fewest_tokens=1, most_tokens=150, shared_words=1, shared_by_name=2),
    descriptions=DescriptionRules(ascii_share=0.9, summary=True, shared_words=1),
    functions=FunctionRules(silent=True, repeating_text=80.0, library=True, fewest_tokens=10, most_tokens=400),
)
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


@pytest.mark.parametrize(
    ("pair", "benchmark", "reason"),
    [
        (intent(snippet="a.sort()"), "cnle", None),
        (intent(snippet="return a"), "cnle", None),
        (intent(snippet="re.compile('\\d+')"), "cnle", None),
        (intent(snippet="sorted(a, key=lambda (k, v): v)"), "cnle", "Python does not parse it"),
        (intent(snippet="x = 1 +\n    2"), "cnle", "Python does not parse it"),
        (intent(snippet="(" * 5000), "cnle", "Python does not parse it"),
        (function(), "csne", None),
        (function(code="def f(self, (a, b)):\n    return a"), "csne", "Python does not parse it"),
    ],
)
def test_uncompilable(pair, benchmark, reason):
    assert filters.uncompilable(pair, benchmark) == reason


@pytest.mark.parametrize(
    ("fewest", "most", "reason"),
    [(0, 0, None), (5, 0, None), (6, 0, "too few tokens"), (1, 5, None), (1, 4, "too many tokens")],
)
def test_tokens(fewest, most, reason):
    assert filters.tokens(intent(snippet="a.sort()"), "cnle", fewest, most) == reason
    assert filters.tokens(function(code="a.sort()  # in place"), "csne", fewest, most) == reason


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("rules", [Rules(), STRICT])
def test_the_filters_of_a_recipe_keep_a_good_pair(name, rules):
    recipe = RECIPES[name]
    good = intent() if recipe.benchmark == "cnle" else function(code=CODE + "\n" + "    # more of it\n" * 5)
    steps = filters.for_recipe(recipe, rules)
    assert [(step, reason_of(good)) for step, reason_of in steps] == [(step, None) for step, _ in steps]


def names_of(recipe, rules):
    found = (reason_of for _, reason_of in filters.for_recipe(recipe, rules))
    return [(each.func if isinstance(each, partial) else each).__name__ for each in found]


def test_every_filter_stands_in_a_recipe_that_asks_for_it():
    used = {name for recipe in RECIPES.values() for name in names_of(recipe, STRICT)}
    assert used == {
        name for name, value in vars(filters).items() if inspect.isfunction(value) and "pair" in signature_of(value)
    }


def signature_of(function):
    return inspect.signature(function).parameters


ODD = [
    "a",
    "_a ",
    "'",
    '"',
    "(",
    "]",
    "`",
    "'''",
    "# ",
    ".",
    "--a",
    "\n",
    "that not ",
    "a=[",
    "\\",
    "é",
    "\0",
    "\ud800",
    "0",
]


@pytest.mark.parametrize("unit", ODD)
def test_odd_texts_are_judged_too(unit):
    odd = unit * (3000 // len(unit))
    anything = Span(0, 10**9)
    for recipe in RECIPES.values():
        bounds = {"prompt_length": anything, "target_length": anything, "text_words": anything}
        for pair in (intent(prompt=odd), intent(snippet=odd), function(description=f"x {odd} y."), function(code=odd)):
            for _, reason_of in filters.for_recipe(replace(recipe, **bounds), STRICT):
                assert reason_of(pair) != ""


def test_rules_that_are_off_add_no_filter():
    assert names_of(CNLE_SAMPLE, None) == names_of(CNLE_SAMPLE, Rules()) == ["length", "words", "leak", "unparsable"]
    assert names_of(CSNE_SAMPLE, Rules()) == [
        "length",
        "words",
        "leak",
        "boilerplate",
        "broken_off",
        "prose",
        "repeating_comment",
        "unparsable",
    ]


def test_rules_of_the_other_benchmark_are_not_looked_at():
    others = Rules(descriptions=STRICT.descriptions, functions=STRICT.functions)
    assert names_of(CNLE_SAMPLE, others) == names_of(CNLE_SAMPLE, None)
    others = Rules(intents=STRICT.intents, snippets=STRICT.snippets)
    assert names_of(CSNE_SAMPLE, others) == names_of(CSNE_SAMPLE, None)
