"""A card as readers see it: rendered to HTML, its numbers compared with the parquet files, its blocks run."""

import collections
import gzip
import hashlib
import html.parser
import json
import re
import statistics
from dataclasses import replace

import datasets
import pyarrow.parquet as pq
import pytest
from markdown_it import MarkdownIt

from clmeeval_data.builders.pipeline import build
from clmeeval_data.builders.recipes import RECIPES
from clmeeval_data.builders.sources import DEFAULT_OPTIONS, open_source
from clmeeval_data.records import BENCHMARKS, CNLE, SPLITS
from clmeeval_data.storage import content_hash, write_dataset

TEXTS = {"cnle": ("intent", "rewritten_intent", "snippet"), "csne": ("code", "code_rewrite", "code_doc")}


class Page(html.parser.HTMLParser):
    """The tables, code blocks and remaining text of a rendered page."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.code, self.text, self.headings = [], [], "", []
        self._inside = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self._inside.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "code" and "pre" in self._inside:
            self.code.append([dict(attributes).get("class", ""), ""])
        elif re.fullmatch("h[1-6]", tag):
            self.headings.append("")

    def handle_endtag(self, tag):
        while self._inside.pop() != tag:
            pass

    def handle_data(self, data):
        inside = set(self._inside)
        if "pre" in inside:
            self.code[-1][1] += data
        elif inside & {"td", "th"}:
            self.tables[-1][-1][-1] += data
        elif inside & {"h1", "h2", "h3"}:
            self.headings[-1] += data
        else:
            self.text += data


def page_of(folder):
    """The page that a card renders to, without its metadata."""
    metadata, card = (folder / "README.md").read_text(encoding="utf-8").removeprefix("---\n").split("\n---\n", 1)
    assert metadata.startswith("pretty_name: ")
    return Page(MarkdownIt("commonmark", {"html": True}).enable("table").render(card))


@pytest.fixture(scope="module")
def sample(tmp_path_factory, root):
    """A CNLE built offline, with rows that a filter dropped and rows beyond a limit."""
    folder = tmp_path_factory.mktemp("built")
    rows = [
        json.loads(line)
        for line in (root / "clmeeval_data" / "samples" / "cnle.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    rows += [rows[0], {**rows[1], "intent": "x"}, {**rows[2], "snippet": "("}]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    source = open_source(f"sample={folder / 'rows.jsonl'}", "cnle", DEFAULT_OPTIONS)
    build(RECIPES["cnle-sample"], [source], folder / "clmeeval" / "cnle", 200, 0)
    return folder / "clmeeval" / "cnle"


@pytest.fixture(params=["sample", "cnle", "csne"])
def folder(request):
    return request.getfixturevalue("sample" if request.param == "sample" else f"{request.param}_folder")


@pytest.fixture
def rows(folder):
    return {split: pq.read_table(folder / "data" / f"{split}-00000-of-00001.parquet").to_pylist() for split in SPLITS}


@pytest.fixture
def tables(folder):
    """The tables of a card by their first header cells, without the header."""
    found = {tuple(table[0][:3]): table[1:] for table in page_of(folder).tables}
    assert len(found) == len(page_of(folder).tables)
    return found


def name_of(folder):
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["benchmark"]


def share(count, total):
    return f"{100 * count / total:.1f} %"


def test_tables_and_blocks_come_out(folder):
    page, is_built = page_of(folder), folder.name == "cnle" and "built" in str(folder)
    assert len(page.tables) == (7 if is_built else 5)
    assert all(len({len(row) for row in table}) == 1 and len(table) > 1 for table in page.tables)
    assert [kind for kind, _ in page.code] == [f"language-{each}" for each in ("python", "text", "bash", "bibtex")]
    assert not re.search(r"\|.*\||```|^#|\{[%{]", page.text, re.MULTILINE), "something was not rendered"
    titles = ["Load it", "Fields", "Splits", *(["How it was built"] if is_built else []), "Sources and licences"]
    titles += ["How the rephrasings were made", "Lengths", "Build it again", "Known limits", "Citation"]
    assert page.headings == [name_of(folder).upper(), *titles]


def test_counts_and_checksums_of_splits(rows, tables):
    expected = []
    for split in SPLITS:
        lines = (json.dumps(row, sort_keys=True, separators=(",", ":")) + "\n" for row in rows[split])
        expected.append([split, str(len(rows[split])), hashlib.sha256("".join(lines).encode()).hexdigest()])
    total = sum(map(len, rows.values()))
    assert tables["split", "cases", "sha256"] == [*expected, ["all", str(total), "-"]]


def test_sources_licences_and_engines(rows, tables):
    cases = [row for split in SPLITS for row in rows[split]]
    sources = collections.Counter((row["provenance"]["source"], row["provenance"]["licence"]) for row in cases)
    assert sorted(tables["source", "licence", "cases"]) == sorted(
        [*names, str(count), share(count, len(cases))] for names, count in sources.items()
    )
    engines = collections.Counter(tuple(value or "-" for value in row["rephrasing"].values()) for row in cases)
    assert sorted(tables["engine", "model", "version"]) == sorted(
        [*names, str(count), share(count, len(cases))] for names, count in engines.items()
    )


def test_lengths(folder, rows, tables):
    expected = []
    for field in (*TEXTS[name_of(folder)], "neighborhood"):
        lengths = sorted(len(row[field]) for split in SPLITS for row in rows[split])
        high = next(length for length in lengths if sum(each <= length for each in lengths) >= 0.95 * len(lengths))
        expected.append([field, *map(str, (lengths[0], statistics.median_low(lengths), high, lengths[-1]))])
    assert tables["field", "least", "median"] == expected


def test_groups(folder, rows):
    groups = [{row["provenance"]["group"] for row in rows[split]} for split in SPLITS]
    text = " ".join(page_of(folder).text.split())
    total = sum(map(len, rows.values()))
    assert (
        f"The {total} cases come from {len(set().union(*groups))} groups; no group is in more than one split." in text
    )


def test_the_funnel_is_that_of_the_dropped_rows(sample):
    tables = {tuple(table[0]): table[1:] for table in page_of(sample).tables}
    (lines,) = [table for head, table in tables.items() if head[0] == "step"]
    with gzip.open(sample / "dropped.jsonl.gz", "rt", encoding="utf-8") as file:
        dropped = collections.Counter(json.loads(line)["step"] for line in file)
    assert lines[0] == ["read", "-", "273"]
    assert {name: int(count) for name, count, _ in lines[1:-1]} == dropped
    assert len(dropped) >= 3
    left = 273
    for _, count, after in lines[1:-1]:
        left -= int(count)
        assert after == str(left)
    assert lines[-1] == ["kept", "-", "200"]
    assert left == 200
    assert "273 rows were read, 73 were dropped, and 200 became cases." in page_of(sample).text
    (files,) = [table for head, table in tables.items() if head[1] == "what it is"]
    assert files[0][0] == "sample"
    assert files[0][2:] == ["1", str((sample.parents[1] / "rows.jsonl").stat().st_size)]


def test_the_blocks_do_what_the_page_says(sample, monkeypatch, tmp_path):
    monkeypatch.chdir(sample.parents[1])
    page = page_of(sample)
    code = next(text for kind, text in page.code if kind == "language-python")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    names = {}
    exec(code, names)
    assert {split: len(names["dataset"][split]) for split in SPLITS} == {
        row[0]: int(row[1]) for table in page.tables if table[0][0] == "split" for row in table[1:-1]
    }
    assert len(list(names["cases"])) == len(names["dataset"]["test"])
    hashes = {row[0]: row[2] for table in page.tables if table[0][0] == "split" for row in table[1:]}
    assert all(content_hash(names["dataset"][split]) == hashes[split] for split in SPLITS)


def test_a_prompt_is_shown_in_its_template(folder):
    template = next(text for kind, text in page_of(folder).code if kind == "language-text")
    benchmark = BENCHMARKS[name_of(folder)]
    assert template == benchmark.prompt("{" + benchmark.prompt_field + "}") + "\n"


def test_the_citation_is_one_whole_entry(folder):
    entry = page_of(folder).code[-1][1]
    assert entry.startswith("@inproceedings{li2025model,\n")
    assert entry.count("{") == entry.count("}")
    assert entry.endswith("\n}\n")
    assert re.findall(r"^  (\w+) = \{.+\},?$", entry, re.MULTILINE) == ["title", "author", "booktitle", "year", "note"]


def test_names_in_tables_are_text(tmp_path, cnle_splits):
    name = "<script>x</script> | a"
    first = cnle_splits["train"][0]
    cnle_splits["train"][0] = replace(first, provenance=replace(first.provenance, source=name))
    write_dataset(tmp_path / "d", CNLE, cnle_splits, {})
    page = page_of(tmp_path / "d")
    assert [name, "CC-BY-SA-4.0", "1", "11.1 %"] in [row for table in page.tables for row in table]
