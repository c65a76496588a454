"""Sources: what every registered one keeps to, and the first, middle and last pair of each."""

import json
import platform
import sysconfig
from importlib.resources import files
from pathlib import Path

import pytest

from clmeeval_data import syntax
from clmeeval_data.builders.sources import SOURCES, Pair, open_source
from clmeeval_data.builders.sources.sample import SampleSource
from clmeeval_data.builders.sources.stdlib import StdlibSource
from clmeeval_data.errors import ConfigError, SourceError, UnknownNameError

SAMPLE = files("clmeeval_data") / "samples" / "cnle.jsonl"


@pytest.fixture(scope="module")
def pairs():
    """The pairs of every source, read once."""
    return {name: list(SOURCES[name]().read()) for name in SOURCES}


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_describes_itself_and_its_pairs(pairs, name):
    source = SOURCES[name]()
    assert source.name == name
    assert source.benchmark in ("cnle", "csne")
    assert source.summary
    assert len(pairs[name]) > 100
    for pair in pairs[name]:
        assert pair.prompt.strip()
        assert pair.target.strip()
        assert bool(pair.func_name) == (source.benchmark == "csne")
        assert (pair.provenance.source, pair.provenance.licence) == (name, source.licence)
        assert pair.provenance.group
        assert pair.provenance.origin


def test_reading_again_gives_the_same_pairs(pairs):
    assert list(SampleSource().read()) == pairs["sample"]


def test_the_sample_is_the_file_that_comes_with_the_package(pairs):
    rows = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
    assert len(pairs["sample"]) == len(rows) >= 150
    for place in (0, len(rows) // 2, -1):
        pair, row = pairs["sample"][place], rows[place]
        assert (pair.prompt, pair.rephrasing, pair.target) == (row["intent"], row["rewritten_intent"], row["snippet"])
        assert pair.provenance.origin.endswith(f"#{row['topic']}")


def write_rows(path, *snippets):
    rows = [{"topic": "t", "intent": f"do {s}", "rewritten_intent": f"how to {s}", "snippet": s} for s in snippets]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_rows_of_the_sample_with_one_snippet_form_a_group(tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", "x = 1; y = x", "a = 1\nb = a", "a = 2")
    groups = [pair.provenance.group for pair in SampleSource(path).read()]
    assert groups[0] == groups[1] != groups[2]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"topic": "t", "intent": "i", "snippet": "s"}', "row 2 of .*'rewritten_intent' is missing"),
        ('{"topic": "t", "intent": null, "rewritten_intent": "r", "snippet": "s"}', "'intent' is None, expected text"),
        ('{"topic": "t", ', "not JSON"),
        ("[1]", "expected an object"),
    ],
)
def test_a_damaged_row_is_named(tmp_path, line, message):
    path = write_rows(tmp_path / "rows.jsonl", "x = 1")
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(SourceError, match=message):
        list(SampleSource(path).read())


def test_a_missing_sample_is_an_error(tmp_path):
    with pytest.raises(SourceError, match="no file"):
        list(SampleSource(tmp_path / "none.jsonl").read())


@pytest.mark.parametrize(
    ("module", "name", "description"),
    [
        ("json.decoder", "JSONDecoder.raw_decode", "Decode a JSON document from s"),
        ("textwrap", "dedent", "Remove any common leading whitespace from every line in text."),
        ("shutil", "copytree", "Recursively copy a directory tree and return the destination directory."),
    ],
)
def test_the_standard_library_has_functions_that_everybody_knows(pairs, module, name, description):
    (pair,) = [pair for pair in pairs["stdlib"] if (pair.provenance.group, pair.func_name) == (module, name)]
    assert pair.target.replace("`", "").startswith(description)
    assert pair.prompt.startswith(("def ", "@"))
    assert description[:20] not in pair.prompt
    url, _, line = pair.provenance.origin.partition("#L")
    assert (
        url == f"https://github.com/python/cpython/blob/v{platform.python_version()}/Lib/{module.replace('.', '/')}.py"
    )
    source = (Path(sysconfig.get_path("stdlib")) / (module.replace(".", "/") + ".py")).read_text()
    assert name.rpartition(".")[2] in source.splitlines()[int(line) - 1]


def test_the_standard_library_leaves_out_tests_and_nested_functions(pairs):
    groups = {pair.provenance.group for pair in pairs["stdlib"]}
    assert not [group for group in groups if {"test", "tests", "idlelib", "lib2to3"} & set(group.split("."))]
    assert not [pair for pair in pairs["stdlib"] if "<locals>" in pair.func_name]
    assert all(syntax.parses(pair.prompt) for pair in pairs["stdlib"][::50])


LIBRARY = '''
def documented(a):
    """First sentence. Second sentence."""
    def inner():
        """Nested."""
    return a

def undocumented(a):
    return a

class Box:
    @property
    def area(self):
        """The area."""
        return self.a  # a comment
'''


def test_a_small_library(tmp_path):
    (tmp_path / "pkg" / "test").mkdir(parents=True)
    (tmp_path / "pkg" / "__init__.py").write_text(LIBRARY)
    (tmp_path / "pkg" / "test" / "skipped.py").write_text(LIBRARY)
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "skipped.py").write_text(LIBRARY)
    (tmp_path / "broken.py").write_bytes(b"def f(:\n\xff\x00")
    found = list(StdlibSource(tmp_path).read())
    assert [(pair.func_name, pair.target) for pair in found] == [
        ("documented", "First sentence."),
        ("Box.area", "The area."),
    ]
    assert found[0].prompt == "def documented(a):\n    def inner():\n        pass\n    return a"
    assert found[1].prompt == "@property\ndef area(self):\n    return self.a  # a comment"
    assert [pair.provenance.group for pair in found] == ["pkg", "pkg"]
    assert [pair.provenance.origin.partition("/Lib/")[2] for pair in found] == [
        "pkg/__init__.py#L2",
        "pkg/__init__.py#L12",
    ]


def test_a_python_without_its_library_is_an_error(tmp_path):
    with pytest.raises(SourceError, match="no Python files in"):
        list(StdlibSource(tmp_path).read())


def test_opening_a_source_checks_its_name_and_benchmark():
    assert open_source("sample", "cnle").name == "sample"
    with pytest.raises(UnknownNameError, match=r"unknown source 'stdlb'. Did you mean 'stdlib'"):
        open_source("stdlb", "csne")
    with pytest.raises(ConfigError, match=r"'stdlib' makes csne cases, not cnle. Sources for cnle: sample."):
        open_source("stdlib", "cnle")


def test_a_pair_is_a_value(pairs):
    assert len(set(pairs["sample"])) == len(pairs["sample"])
    assert isinstance(pairs["sample"][0], Pair)
