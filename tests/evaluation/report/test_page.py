import re
from html.parser import HTMLParser

import pytest

from clmeeval_data.evaluation.editors import EDITORS
from clmeeval_data.evaluation.report.families import FAMILIES
from clmeeval_data.evaluation.report.page import SCRIPTS
from clmeeval_data.evaluation.report.runs import load_runs
from clmeeval_data.evaluation.report.tables import LEGEND, build_tables
from clmeeval_data.evaluation.report.untrusted import visible

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Outline(HTMLParser):
    """Tags, attributes and text of a page; complains about tags that are not closed in order."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.texts = [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def text(self):
        return "".join(data for tag, data in self.texts if tag != "style")


@pytest.fixture
def page(site):
    """A function that makes the leaderboard and returns its page."""
    return lambda: (site() / "index.html").read_text(encoding="utf-8")


def test_the_page_is_well_formed_with_unique_ids_and_only_our_scripts(four_methods, write_run, entry, page):
    write_run("grace", [entry(1)], dataset="csne")
    outline = Outline(page())
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {"iframe", "object", "embed", "form", "base"}.isdisjoint(tag for tag, _ in outline.tags)
    assert not [name for _, attributes in outline.tags for name in attributes if name.startswith("on")]
    scripts = [attributes for tag, attributes in outline.tags if tag == "script"]
    assert [script["src"] for script in scripts] == [f"leaderboard_files/assets/{name}" for name in SCRIPTS]
    assert not [data for tag, data in outline.texts if tag in ("script", "style")]
    for _, attributes in outline.tags:
        for reference in (attributes.get("aria-labelledby"), attributes.get("href", "")):
            assert not reference or not reference.startswith("#") or reference[1:] in ids


def test_every_file_that_the_page_names_is_there_and_no_other_place_is_asked(four_methods, page, tmp_path):
    outline = Outline(page())
    named = [attributes[key] for _, attributes in outline.tags for key in ("src", "href") if key in attributes]
    files = [name for name in named if not name.startswith(("#", "data:,"))]
    assert len(files) >= 10
    for name in files:
        assert (tmp_path / "site" / name).is_file(), name


def test_neither_scripts_nor_styles_name_another_place_or_write_markup(four_methods, site):
    for path in (site() / "leaderboard_files" / "assets").iterdir():
        text = path.read_text(encoding="utf-8")
        assert re.search(r"//\w|url\(|@import", text) is None, path
        markup = r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|fetch\(|Function\("
        assert re.search(markup, text) is None, path


def test_the_policy_of_the_page_allows_nothing_but_its_own_files(four_methods, page):
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page())
    assert policy.split("; ") == [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
    ]


def test_the_numbers_on_the_page_are_those_of_the_summaries(four_methods, page):
    shown = {}
    for line in re.findall(r"<tr data-family.*?</tr>", page(), flags=re.S):
        method = re.search(r'data-column="method" data-value="(\w+)"', line)[1]
        cells = re.findall(r'<td[^>]*data-column="([^"]+)"[^>]*data-value="([^"]+)"', line)
        shown.setdefault(method, {}).update((column, float(value)) for column, value in cells)
    for method in ("none", "grace", "rome"):
        summary = four_methods[method].summary()
        expected = {
            f"{dimension}.{name}": metric["mean"]
            for dimension, metrics in summary["scores"].items()
            for name, metric in metrics.items()
        }
        expected["cost.edit_seconds"] = summary["cost"]["edit_seconds"]["mean"]
        expected |= {"cost.peak_bytes": summary["cost"]["peak_bytes"], "cases": 6}
        assert shown[method] == expected


def test_the_page_says_what_each_table_is_and_how_it_was_run(four_methods, results, page):
    text = Outline(page()).text()
    (table,) = build_tables(load_runs([results]))
    assert table.signature in text and table.title in text and LEGEND in text and "protocol: single" in text
    for phrase in ("1 failed", "incomplete", "CaseError: out of memory", "unedited model", "2.13.0", "4f2c91a"):
        assert phrase in text
    for title in ("chrF", "Edit similarity", "Valid syntax", "Syntax match", "EM, all"):
        assert title in text


def test_rows_and_tables_carry_what_they_are_filtered_by(four_methods, write_run, entry, page):
    write_run("ours", [entry(1)], dataset="csne", model="org/small", protocol={"name": "sequential", "size": 20})
    outline = Outline(page())
    sections = [attributes for tag, attributes in outline.tags if tag == "section"]
    kinds = [tuple(section[f"data-{name}"] for name in ("dataset", "model", "protocol")) for section in sections]
    assert kinds == [("cnle", "tiny", "single"), ("csne", "org/small", "sequential-20")]
    rows = [attributes for tag, attributes in outline.tags if tag == "tr" and "data-run" in attributes]
    families = [row["data-family"] for row in rows]
    assert sorted(families) == ["floor", "global optimisation", "locate-then-edit", "memory", "other"]


def test_the_families_are_those_of_the_methods():
    assert {name: EDITORS[name].family for name in EDITORS} == FAMILIES


def test_a_run_of_shards_is_one_run(write_run, entry, page):
    folder = write_run("grace", [entry(i) for i in range(6)])
    lines = (folder.path / "records.jsonl").read_bytes().splitlines(keepends=True)
    (folder.path / "records.jsonl").unlink()
    (folder.path / "records-0-of-2.jsonl").write_bytes(b"".join(lines[:3]))
    (folder.path / "records-1-of-2.jsonl").write_bytes(b"".join(lines[3:]))
    assert "6/6" in Outline(page()).text()


HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "</pre></details><iframe src=//evil>",
    "{{ 7 * 7 }}{% raw %}",
    '" onmouseover="alert(1)',
    "&lt;b&gt; &amp; &#60;",
    "<!-- <style>*{display:none}</style>",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_and_errors_are_shown_as_text(write_run, entry, page, text):
    lines = [entry(0), entry(1, error=text)]
    write_run(text, lines, model=text, dataset=text, config={text: text})
    outline = Outline(page())
    assert outline.text().count(text) >= 5
    assert {"iframe", "object"}.isdisjoint(tag for tag, _ in outline.tags)
    assert [attributes["src"] for tag, attributes in outline.tags if tag == "img"] != ["x"]
    assert {"onerror", "onmouseover"}.isdisjoint(name for _, attributes in outline.tags for name in attributes)
    assert [tag for tag, _ in outline.tags].count("script") == len(SCRIPTS)


def test_names_are_shown_with_their_control_characters(write_run, entry, page):
    write_run("a\u202eb", [entry(1)], model="m\x1b[2J", config={"k\u2066": "v\x07"})
    html = page()
    assert re.search("[\u202a-\u202e\u2066-\u2069\x07\x1b]", html) is None
    for shown in ("a⟨U+202E⟩b", "m⟨U+001B⟩[2J", "k⟨U+2066⟩", "v⟨U+0007⟩"):
        assert shown in Outline(html).text()


def test_a_setting_of_a_megabyte_is_cut_with_a_note(write_run, entry, page):
    write_run("grace", [entry(1, error="e" * 1_000_000)], config={"note": "x" * 1_000_000})
    html = page()
    assert len(html) < 100_000 and "996,000 more" in html and "998,011 more" in html


def test_visible_keeps_what_can_be_seen():
    text = "naïve 日本 שלום 🙂\n\tx"
    assert visible(text) == text


def test_the_errors_of_failed_cases_are_listed_and_counted(write_run, entry, page):
    write_run("grace", [entry(0), *(entry(i, error=f"reason {i}") for i in range(1, 9))])
    text = Outline(page()).text()
    assert "cnle-0001" in text and "CaseError: reason 1" in text
    assert "CaseError: reason 8" not in text and "and 3 more" in text


def test_the_page_of_a_run_without_a_finished_case(write_run, page):
    write_run("rome", [], total=4)
    assert "0/4" in Outline(page()).text()


def test_the_page_of_a_run_in_which_all_cases_failed(write_run, entry, page):
    write_run("rome", [entry(i, error="no memory") for i in range(3)])
    assert "3 failed" in Outline(page()).text()
