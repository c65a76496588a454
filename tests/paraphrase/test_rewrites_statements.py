"""Rewritings of whole statements, one row each: the exact text that must come out, or that nothing does, and why."""

from pathlib import Path

import pytest

from clmeeval_data.paraphrase.normal.form import normal_form
from clmeeval_data.paraphrase.rewrites import (
    comprehension,
    early_exit,
    inversion,
    nesting,
    temporary,
    ternary,
    unpacking,
)
from clmeeval_data.paraphrase.rewrites.choice import Choice
from clmeeval_data.paraphrase.rewrites.function_text import FunctionText, replaced
from clmeeval_data.paraphrase.sandbox.runner import Runner

FINDERS = {
    "comprehension": comprehension.find,
    "early exit": early_exit.find,
    "inversion": inversion.find,
    "nesting": nesting.find,
    "temporary": temporary.find,
    "ternary": ternary.find,
    "unpacking": unpacking.find,
}

HERE = Path(__file__).parent


def read(name):
    """The rows of a file: a line with ``###``, the kind and a title, then a function, or two with ``--->`` between."""
    rows = {}
    for row in (HERE / name).read_text(encoding="utf-8").split("### ")[1:]:
        head, _, body = row.partition("\n")
        kind, _, title = head.partition(": ")
        rows[title] = (kind, *(code.strip("\n") + "\n" for code in body.split("--->\n")))
    return rows


CHANGES = read("rewrites_that_apply.txt")
STAYS = read("rewrites_that_do_not.txt")


@pytest.fixture(scope="module")
def runner():
    with Runner() as found:
        yield found


def results(kind, code):
    """The function with each place of this kind rewritten, one at a time."""
    text = FunctionText.parse(code)
    return [replaced(code, site.replacements) for site in FINDERS[kind](text, Choice(0, code))]


@pytest.mark.parametrize("row", CHANGES)
def test_what_changes(row, runner):
    kind, old, new = CHANGES[row]
    found = results(kind, old)
    assert new in found
    for other in found:
        assert normal_form(other) == normal_form(old)
        assert runner.compare(old, other, range(60), probes=True).difference == ""


@pytest.mark.parametrize("row", STAYS)
def test_what_stays(row):
    kind, code = STAYS[row]
    assert results(kind, code) == []


def test_functions_inside_functions_have_scopes_of_their_own():
    loop = "        out = []\n        for y in b:\n            out.append(y.z)\n        return out\n"
    code = f"def f(a):\n    def g(b):\n{loop}    y = g(a)\n    return y\n"
    assert "        out = [y.z for y in b]\n" in "".join(results("comprehension", code))
    shared = code.replace("    def g(b):\n", "    out = None\n    def g(b):\n        nonlocal out\n")
    assert results("comprehension", shared) == []


def test_a_body_of_a_class_is_not_the_function():
    loop = "        x = []\n        for y in a:\n            x.append(y)\n"
    code = f"def f(a):\n    class C:\n{loop}        z = w = 0\n    return C\n"
    assert results("comprehension", code) == []
    assert results("unpacking", code) == []


def test_the_margin_is_the_one_that_the_text_uses():
    code = "def f(a):\n\tif a:\n\t\treturn 1\n\telse:\n\t\treturn [y for y in a]\n"
    assert "def f(a):\n\tif a:\n\t\treturn 1\n\treturn [y for y in a]\n" in results("early exit", code)
    loops = results("comprehension", code)
    assert len(loops) == 1
    assert "\t\tfor y in a:\n\t\t\t" in loops[0]


def test_offsets_are_those_of_bytes():
    code = "def f(a):\n    s = 'äöü€'; t = 1\n    if not a == 'ß':  \n        return 'é'\n    else:\n        return s\n"
    assert results("inversion", code) == [
        "def f(a):\n    s = 'äöü€'; t = 1\n    if a == 'ß':  \n        return s\n    else:\n        return 'é'\n"
    ]
