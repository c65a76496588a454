"""Identifiers and modules of a code: checked against the standard ``ast`` module."""

import ast
import json
import sysconfig
import warnings
from collections import Counter
from importlib import resources
from pathlib import Path

import pytest

from clmeeval_data import syntax

SAMPLE = resources.files("clmeeval_data").joinpath("samples/cnle.jsonl")
ROWS = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
STDLIB = Path(sysconfig.get_path("stdlib"))
MODULES = ["argparse.py", "dataclasses.py", "json/decoder.py", "asyncio/tasks.py", "test/test_patma.py", "typing.py"]


NAMED = {
    ast.Name: ("id",),
    ast.Attribute: ("attr",),
    ast.keyword: ("arg",),
    ast.arg: ("arg",),
    ast.FunctionDef: ("name",),
    ast.AsyncFunctionDef: ("name",),
    ast.ClassDef: ("name",),
    ast.ExceptHandler: ("name",),
    ast.MatchAs: ("name",),
    ast.MatchStar: ("name",),
    ast.MatchMapping: ("rest",),
    ast.MatchClass: ("kwd_attrs",),
    ast.Global: ("names",),
    ast.Nonlocal: ("names",),
    ast.ImportFrom: ("module",),
    ast.alias: ("name", "asname"),
}


def by_ast(code):
    """The identifiers of a code as ``ast`` knows them, as a multiset."""
    found = []
    for node in ast.walk(parse(code)):
        for value in (getattr(node, field) for field in NAMED.get(type(node), ())):
            names = value if isinstance(value, list) else [value]
            found += [part for name in names if name and name != "*" for part in name.split(".")]
    return Counter(name for name in found if name)


def parse(code):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(code)


def parsed_snippets():
    for row in ROWS:
        for code in (row["snippet"], *(item["snippet"] for item in row.get("neighborhood", []))):
            try:
                parse(code)
            except SyntaxError:
                continue
            yield code


def test_identifiers_of_the_samples_are_those_that_ast_finds():
    snippets = list(parsed_snippets())
    assert len(snippets) > 50
    for code in snippets:
        assert Counter(syntax.identifiers(code)) == by_ast(code), code


@pytest.mark.parametrize("module", MODULES)
def test_identifiers_of_whole_modules_are_those_that_ast_finds(module):
    path = STDLIB / module
    if not path.exists():
        pytest.skip(f"this Python comes without {module}")
    code = path.read_text(encoding="utf-8")
    assert Counter(syntax.identifiers(code)) == by_ast(code)


def test_identifiers_come_in_order_and_as_often_as_they_stand():
    code = "from a.b import c as d\nx = d.e(x, key=f'{y!r}')  # z\n'w'"
    assert syntax.identifiers(code) == ["a", "b", "c", "d", "x", "d", "e", "x", "key", "y"]
    assert syntax.identifiers("for i in range(") == ["i", "range"]
    assert syntax.identifiers("") == syntax.identifiers("1 + 'a'  # b") == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import os, re as r\nr.sub(os.path.join(a))", ["os", "re", "re", "os"]),
        ("from a.b import c as d\nd.e", ["a", "a"]),
        ("from os.path import join, exists as e\ne.q", ["os", "os"]),
        ("np.linalg.norm(df.x)", ["np", "df"]),
        ("x = 1\nx.real", []),
        ("with open(p) as f:\n    f.read()", []),
        ("f(x).y + [1].z", []),
        ("from . import x", []),
        ("import", []),
        ("sorted(a)", []),
    ],
)
def test_modules_are_what_is_imported_and_what_owns_an_attribute_unbound(code, expected):
    assert syntax.modules(code) == expected
