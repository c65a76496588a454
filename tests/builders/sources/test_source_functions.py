"""Sources of functions on small files of their original forms: all pairs, with names, origins and licences."""

import json

import pytest

from clmeeval_data import syntax
from clmeeval_data.builders.sources import Skipped, open_source, read
from clmeeval_data.builders.sources.codesearchnet import repository_licences
from clmeeval_data.errors import SourceError
from clmeeval_data.records import BENCHMARKS
from tests.builders.sources.small_corpora import FUNCTIONS, pair, readings

COSQA = [
    {
        "idx": 7,
        "func_name": "writeBoolean",
        "code": 'def writeBoolean(n):\n    """Writes."""\n    pass',
        "docstring": "Writes.",
    },
    {"idx": 8, "func_name": "paste", "code": 'def paste():\n    """Return the clipboard."""', "docstring": None},
    {"idx": 9, "func_name": "write_boolean", "code": "def write_boolean(): pass", "docstring": "Write it."},
]
LICENCES = [
    {"repo": "owner/first", "license_guess": "MIT"},
    {"repo": "owner/second", "license_guess": "GPL"},
    {"repo": "owner/third", "license_guess": None},
]
HUB_NAMES = {
    "repo": "repository_name",
    "path": "func_path_in_repository",
    "code": "whole_func_string",
    "docstring": "func_documentation_string",
    "url": "func_code_url",
}


@pytest.mark.parametrize("form", ["hub", "original", "archive"])
def test_codesearchnet(tmp_path, write, pack, form):
    location = tmp_path / "corpus"
    if form == "hub":
        rows = [{HUB_NAMES.get(name, name): value for name, value in row.items()} for row in FUNCTIONS]
        write(location / "python" / "test-00000-of-00001.parquet", rows)
        write(location / "java" / "test-00000-of-00001.parquet", rows)
    elif form == "original":
        write(location / "test" / "python_test_0.jsonl.gz", FUNCTIONS)
        write(location / "test" / "java_test_0.jsonl.gz", FUNCTIONS)
    else:
        content = write(tmp_path / "x.jsonl.gz", FUNCTIONS).read_bytes()
        members = {
            "python/final/jsonl/test/python_test_0.jsonl.gz": content,
            "python_dedupe_definitions_v2.pkl": b"\x80",
        }
        location = pack(tmp_path / "python.zip", members)
    licences = tmp_path / "licences.json"
    licences.write_text(json.dumps(LICENCES))
    assert readings("codesearchnet", "csne", location, repository_licences=licences) == [
        pair(
            "def area(self):\n        return 4",
            "The area: width times height.",
            ("codesearchnet", FUNCTIONS[0]["url"], "owner/First", "MIT"),
            "Box.area",
        ),
        pair(
            "def scale(x):\n    return 2 * x  # twice",
            "Scale x.",
            ("codesearchnet", "owner/second/b/c.py", "owner/second", "LicenseRef-GPL"),
            "scale",
        ),
        Skipped("no sentence in the docstring", "f: :return: one"),
    ]
    first = readings("codesearchnet", "csne", location)[0]
    assert first.provenance.licence == "LicenseRef-unknown"


def test_the_cosqa_subset_of_codesearchnet(tmp_path, write):
    write(tmp_path / "codesearchnet_python_cosqa_subset.jsonl.gz", COSQA)
    assert readings("codesearchnet", "csne", tmp_path) == [
        pair(
            "def writeBoolean(n):\n    pass",
            "Writes.",
            ("codesearchnet", "cosqa#7", "cosqa-writeboolean", "LicenseRef-C-UDA"),
            "writeBoolean",
        ),
        Skipped("no sentence in the docstring", "paste: None"),
        pair(
            "def write_boolean(): pass",
            "Write it.",
            ("codesearchnet", "cosqa#9", "cosqa-writeboolean", "LicenseRef-C-UDA"),
            "write_boolean",
        ),
    ]


def test_guessed_licences_become_identifiers(tmp_path):
    guesses = ["MIT", "BSD", "LGPL", "GPL-3.0-only", "CC-BY-4.0", "none of them", None, 7]
    path = tmp_path / "licences.json"
    path.write_text(json.dumps([{"repo": f"O/{place}", "license_guess": guess} for place, guess in enumerate(guesses)]))
    assert list(repository_licences(path).values()) == [
        "MIT", "BSD-3-Clause", "LicenseRef-LGPL", "GPL-3.0-only", "CC-BY-4.0", *["LicenseRef-unknown"] * 3
    ]  # fmt: skip
    assert next(iter(repository_licences(path))) == "o/0"
    for text in ("", "{", '{"repo": 1}', "[1]", '[{"licence": "MIT"}]', "7"):
        path.write_text(text)
        with pytest.raises(
            SourceError, match=r"licences.json can't be read as a list of licences .* Expected a JSON list"
        ):
            repository_licences(path)


@pytest.mark.parametrize("body", ["    x = " + "1 + " * 2**15 + "2\n", "    x = '" + "x" * 2**20 + "'\n"])
def test_a_huge_function_is_read(tmp_path, write, body):
    code = f'def f():\n    """Add up."""\n{body}    return x'
    path = write(tmp_path / "x.jsonl", [{"code": code, "docstring": "Add up.", "repo": "a/b"}])
    (found,) = read(open_source(f"codesearchnet={path}", "csne"))
    assert (found.target, found.prompt) == ("Add up.", code.replace('    """Add up."""\n', ""))


def test_prompts_of_functions_parse_and_hold_no_docstring(tmp_path, write):
    (found, *_) = readings("codesearchnet", "csne", write(tmp_path / "x.jsonl", FUNCTIONS))
    assert syntax.parses(found.prompt)
    assert BENCHMARKS["csne"].prompt(found.prompt).startswith("Code: def area")
