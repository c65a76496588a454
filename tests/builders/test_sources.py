"""Sources: what every registered one keeps to, how one is opened, and the two that need no corpus."""

import hashlib
import json
import pickle
import platform
import sysconfig
from importlib.resources import files
from pathlib import Path

import pytest

import clmeeval_data
from clmeeval_data import syntax
from clmeeval_data.builders.sources import (
    SOURCES,
    Pair,
    Skipped,
    SourceFile,
    SourceOptions,
    SourceSpec,
    Unreadable,
    open_source,
    read,
)
from clmeeval_data.builders.sources.sample import SampleSource
from clmeeval_data.builders.sources.stdlib import StdlibSource
from clmeeval_data.errors import ConfigError, SourceError, UnknownNameError

SAMPLE = files("clmeeval_data") / "samples" / "cnle.jsonl"
OWN_ADDRESS = ("sample", "stdlib")


@pytest.fixture(scope="module")
def readings():
    """What the sources give that need no corpus, read once."""
    return {name: list(read(SOURCES[name]())) for name in OWN_ADDRESS}


@pytest.fixture(scope="module")
def pairs(readings):
    return {name: [each for each in found if isinstance(each, Pair)] for name, found in readings.items()}


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_describes_itself(name):
    kind = SOURCES[name]
    assert kind.name == name
    assert kind.licence
    assert len(kind.summary) > 20
    assert set(kind.benchmarks) <= {"cnle", "csne"}
    for benchmark in kind.benchmarks:
        source = kind(None, benchmark)
        assert (source.name, source.benchmark, source.licence) == (name, benchmark, kind.licence)
        again = pickle.loads(pickle.dumps(source))
        assert (again.name, again.benchmark) == (name, benchmark)
    assert kind().benchmark == kind.benchmarks[0]
    assert (kind.__doc__ or "").strip()


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_has_an_address_or_asks_for_one(name):
    kind, benchmark = SOURCES[name], SOURCES[name].benchmarks[0]
    if kind.default is None:
        with pytest.raises(
            ConfigError, match=rf"source '{name}' has no address of its own. .*--source {name}=LOCATION"
        ):
            open_source(name, benchmark)
    else:
        assert open_source(name, benchmark).name == name
        assert (kind.default == "") == (name in OWN_ADDRESS)
    with pytest.raises(SourceError, match=r"no file or folder|no Python files"):
        list(read(open_source(f"{name}=no-such-file.jsonl", benchmark)))


@pytest.mark.parametrize("name", [name for name in SOURCES if SOURCES[name].default])
def test_nothing_is_downloaded_offline(tmp_path, name):
    source = open_source(name, SOURCES[name].benchmarks[0], SourceOptions(cache=tmp_path, offline=True))
    with pytest.raises(SourceError, match="is not on this machine, and nothing is downloaded offline"):
        list(read(source))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sample", SourceSpec("sample")),
        ("jsonl=a.jsonl", SourceSpec("jsonl", "a.jsonl")),
        ("jsonl=https://host/a?b=c#sha256=0", SourceSpec("jsonl", "https://host/a?b=c#sha256=0")),
    ],
)
def test_a_source_is_named_with_its_location(text, expected):
    assert SourceSpec.parse(text) == expected


@pytest.mark.parametrize("text", ["", "=", "=a", "sample="])
def test_half_a_source_is_an_error(text):
    with pytest.raises(ConfigError, match="is not of the form NAME or NAME=LOCATION"):
        open_source(text, "cnle")


def test_opening_a_source_checks_its_name_and_benchmark():
    assert open_source("sample", "cnle").name == "sample"
    assert open_source(SourceSpec("stdlib"), "csne").name == "stdlib"
    with pytest.raises(UnknownNameError, match=r"unknown source 'stdlb'. Did you mean 'stdlib'"):
        open_source("stdlb", "csne")
    with pytest.raises(
        ConfigError, match=r"'stdlib' makes csne cases, not cnle. Sources for cnle: sample, conala-mined"
    ):
        open_source("stdlib", "cnle")


@pytest.mark.parametrize("name", OWN_ADDRESS)
def test_sources_that_come_along_give_whole_pairs(pairs, name):
    source = SOURCES[name]()
    assert len(pairs[name]) > 100
    for pair in pairs[name]:
        assert pair.prompt.strip()
        assert pair.target.strip()
        assert bool(pair.func_name) == (source.benchmark == "csne")
        assert (pair.provenance.source, pair.provenance.licence) == (name, source.licence)
        assert pair.provenance.group
        assert pair.provenance.origin


def test_reading_again_gives_the_same(readings):
    assert list(read(SampleSource())) == readings["sample"]


def test_the_sample_is_the_file_that_comes_with_the_package(pairs):
    rows = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
    assert len(pairs["sample"]) == len(rows) >= 150
    for place in (0, len(rows) // 2, -1):
        pair, row = pairs["sample"][place], rows[place]
        assert (pair.prompt, pair.rephrasing, pair.target) == (row["intent"], row["rewritten_intent"], row["snippet"])
        assert pair.provenance.origin == f"clmeeval_data/samples/cnle.jsonl#{row['topic']}"
    content = SAMPLE.read_bytes()
    address, version = "clmeeval_data/samples/cnle.jsonl", clmeeval_data.__version__
    assert SampleSource().files() == (
        SourceFile(address, version, len(content), hashlib.sha256(content).hexdigest(), "Apache-2.0"),
    )


def write_rows(path, *snippets):
    rows = [{"topic": "t", "intent": f"do {s}", "rewritten_intent": f"how to {s}", "snippet": s} for s in snippets]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_rows_of_the_sample_with_one_snippet_form_a_group(tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", "x = 1; y = x", "a = 1\nb = a", "a = 2")
    found = list(read(SampleSource(path)))
    groups = [pair.provenance.group for pair in found]
    assert groups[0] == groups[1] != groups[2]
    assert found[0].provenance.origin == "rows.jsonl#t"
    assert [file.address for file in SampleSource(path).files()] == ["rows.jsonl"]


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
        """Box.area -- The area."""
        return self.a  # a comment

    def by_example(self):
        """>>> Box().by_example()"""
'''


def test_a_small_library(tmp_path):
    (tmp_path / "pkg" / "test").mkdir(parents=True)
    (tmp_path / "pkg" / "__init__.py").write_text(LIBRARY)
    (tmp_path / "pkg" / "test" / "skipped.py").write_text(LIBRARY)
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "skipped.py").write_text(LIBRARY)
    (tmp_path / "broken.py").write_bytes(b"def f(:\n\xff\x00")
    source = StdlibSource(tmp_path)
    *found, skipped = read(source)
    assert [(pair.func_name, pair.target) for pair in found] == [
        ("documented", "First sentence."),
        ("Box.area", "The area."),
    ]
    assert found[0].prompt == "def documented(a):\n    def inner():\n        pass\n    return a"
    assert found[1].prompt == "@property\ndef area(self):\n    return self.a  # a comment"
    assert [pair.provenance.group for pair in found] == ["pkg", "pkg"]
    assert [pair.provenance.origin.partition("/Lib/")[2] for pair in found] == [
        "pkg/__init__.py#L2",
        "pkg/__init__.py#L13",
    ]
    assert isinstance(skipped, Skipped)
    assert skipped.text.endswith("pkg/__init__.py#L18")
    (described,) = source.files()
    assert (described.licence, described.size) == ("PSF-2.0", len(LIBRARY) + 10)
    assert str(tmp_path) not in repr(described)
    (tmp_path / "pkg" / "__init__.py").write_text(LIBRARY.replace("return a", "return b"))
    assert StdlibSource(tmp_path).files()[0].sha256 != described.sha256


def test_a_python_without_its_library_is_an_error(tmp_path):
    for use in (StdlibSource(tmp_path).files, lambda: list(read(StdlibSource(tmp_path)))):
        with pytest.raises(SourceError, match="no Python files in"):
            use()


def test_readings_are_values(pairs):
    assert len(set(pairs["sample"])) == len(pairs["sample"])
    assert Unreadable("not JSON", "x") == Unreadable("not JSON", "x") != Skipped("not JSON", "x")
