import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from clmeeval_data.errors import ResultsError
from clmeeval_data.evaluation.report.cases import LONGEST, choose_cases, compare
from clmeeval_data.evaluation.report.page import page
from clmeeval_data.evaluation.report.plots import PALETTE, colours, trade_off
from clmeeval_data.evaluation.report.runs import load_runs
from clmeeval_data.evaluation.report.tables import build_tables
from clmeeval_data.evaluation.report.untrusted import clip, visible

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


def tables_of(results):
    return build_tables(load_runs([results]))


def page_of(results):
    return page(tables_of(results))


def pieces(answer, kind):
    return [piece.text for piece in answer.pieces if piece.kind == kind]


def test_the_page_is_well_formed_with_unique_ids_and_no_script(four_methods, write_run, entry, results):
    write_run("grace", [entry(1)], dataset="csne")
    html = page_of(results)
    outline = Outline(html)
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {"script", "iframe", "img", "object", "embed", "form", "base"}.isdisjoint(tag for tag, _ in outline.tags)
    assert not [name for _, attributes in outline.tags for name in attributes if name.startswith("on")]
    for _, attributes in outline.tags:
        for reference in (attributes.get("aria-labelledby"), attributes.get("href", "").removeprefix("#")):
            assert not reference or reference == "data:," or reference in ids


def test_the_page_asks_the_network_for_nothing(four_methods, results):
    html = page_of(results)
    assert re.findall(r"""(?:src|href|action|data|poster)\s*=\s*["']?\s*(?:https?:)?//""", html) == []
    assert set(re.findall(r"url\(([^)]{0,2})", html)) <= {"#t"}  # clip paths of the plots
    assert "@import" not in html
    assert set(re.findall(r"https?://[^\"'<> ]*", html)) == {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert "Content-Security-Policy" in html and "default-src 'none'" in html


def test_the_numbers_on_the_page_are_those_of_the_summaries(four_methods, results):
    html = page_of(results)
    shown = {}
    for line in re.findall(r"<tr[^>]*>\s*<th scope=\"row\".*?</tr>", html, flags=re.S):
        method = re.search(r"</i>(\w+)", line)[1]
        shown.setdefault(method, []).extend(float(mean) for mean in re.findall(r'data-mean="([^"]+)"', line))
    for method in ("none", "grace", "rome"):
        summary = four_methods[method].summary()
        expected = [metric["mean"] for metrics in summary["scores"].values() for metric in metrics.values()]
        expected += [summary["cost"]["edit_seconds"]["mean"], summary["cost"]["peak_bytes"]]
        assert sorted(shown[method]) == sorted(expected)


def test_the_page_says_what_each_table_is_and_how_it_was_run(four_methods, results):
    text = Outline(page_of(results)).text()
    (table,) = tables_of(results)
    assert table.signature in text and table.title in text
    for phrase in ("1 failed", "incomplete", "CaseError: out of memory", "unedited model", "2.13.0", "4f2c91a"):
        assert phrase in text
    for title in ("chrF", "Edit similarity", "Valid syntax", "Syntax match", "EM, all"):
        assert title in text


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
def test_hostile_text_is_shown_as_text(write_run, entry, results, text):
    lines = [entry(0, after=text, rephrased=text, neighbour=text, before=text, target=text), entry(1, error=text)]
    for field in ("prompt", "rephrased_prompt"):
        lines[0]["case"][field] = text
    write_run("grace", lines)
    outline = Outline(page_of(results))
    assert outline.text().count(text) >= 6
    assert {"script", "iframe", "img"}.isdisjoint(tag for tag, _ in outline.tags)
    assert {"onerror", "onmouseover"}.isdisjoint(name for _, attributes in outline.tags for name in attributes)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_are_shown_as_text(write_run, entry, results, text):
    write_run(text, [entry(1)], model=text, dataset=text, config={text: text})
    outline = Outline(page_of(results))
    assert outline.text().count(text) >= 4
    assert {"script", "iframe", "img"}.isdisjoint(tag for tag, _ in outline.tags)


def test_characters_that_hide_or_reorder_text_are_shown_as_code_points(write_run, entry, results):
    write_run("grace", [entry(1, after="a\u202eb\u200fc\x1b[2Jd\ud800e\x00f\u2066")])
    html = page_of(results)
    shown = "a⟨U+202E⟩b⟨U+200F⟩c⟨U+001B⟩[2Jd⟨U+D800⟩e⟨U+0000⟩f⟨U+2066⟩"
    assert shown in Outline(html).text()
    html.encode("utf-8")
    assert re.search("[\u202a-\u202e\u2066-\u2069\x00\x1b]", html) is None


def test_names_are_shown_with_their_control_characters(write_run, entry, results):
    write_run("a\u202eb", [entry(1)], model="m\x1b[2J", config={"k\u2066": "v\x07"})
    html = page_of(results)
    assert re.search("[\u202a-\u202e\u2066-\u2069\x07\x1b]", html) is None
    for shown in ("a⟨U+202E⟩b", "m⟨U+001B⟩[2J", "k⟨U+2066⟩", "v⟨U+0007⟩"):
        assert shown in Outline(html).text()


def test_visible_keeps_what_can_be_seen():
    text = "naïve 日本 שלום 🙂\n\tx"
    assert visible(text) == text


def test_a_text_of_a_megabyte_is_cut_with_a_note(write_run, entry, results):
    write_run("grace", [entry(1, after="x" * 1_000_000)])
    html = page_of(results)
    assert len(html) < 300_000
    assert "… 996,000 more characters are not shown" in Outline(html).text()
    assert clip("x" * LONGEST, LONGEST).hidden == 0


@pytest.mark.timeout(20)
@pytest.mark.parametrize(("answer", "reference"), [("a b c " * 600, "c b a " * 600), ("(a" * 200, "a)" * 200)])
def test_comparing_repetitive_answers_ends_soon(answer, reference):
    assert not compare(answer, reference).equal  # the first pair takes minutes when it is compared token by token


def test_an_equal_answer_is_one_piece():
    answer = compare(" f(x)\n", "f(x)")
    assert answer.equal and pieces(answer, "same") == ["f(x)"] and len(answer.pieces) == 1


def test_a_near_miss_marks_what_was_added_and_what_is_missing():
    answer = compare("sorted(items, key=size)", "sorted(items, key=len, reverse=True)")
    assert not answer.equal
    assert "size" in "".join(pieces(answer, "added")) and "reverse" in "".join(pieces(answer, "missing"))
    assert "".join(piece.text for piece in answer.pieces if piece.kind != "missing") == "sorted(items, key=size)"
    assert (
        "".join(piece.text for piece in answer.pieces if piece.kind != "added")
        == "sorted(items, key=len, reverse=True)"
    )


def test_another_text_is_marked_as_a_whole():
    assert [piece.kind for piece in compare("import os", "sorted(items, key=len)").pieces] == ["added"]


def test_an_empty_answer_is_said_to_be_empty(write_run, entry, results):
    write_run("grace", [entry(1, after="", before="")])
    assert Outline(page_of(results)).text().count("(empty)") == 2  # before and after the edit


def test_a_difference_beyond_the_cut_still_counts():
    assert not compare("x" * LONGEST + "a", "x" * LONGEST + "b").equal


def test_cases_on_which_methods_differ_come_first_and_are_the_same_for_all(write_run, entry, results):
    target = "sorted(values, key=len, reverse=True)"
    write_run("grace", [entry(i) for i in range(9)])
    write_run("rome", [entry(i, after=target if i < 5 else "x") for i in range(9)])
    cases = choose_cases(tables_of(results)[0])
    assert [case.case_id for case in cases] == ["cnle-0005", "cnle-0006", "cnle-0007", "cnle-0000", "cnle-0001"]
    assert all([found.row.label for found in case.methods] == ["grace", "rome"] for case in cases)


def test_cases_that_all_runs_have_reached_are_preferred(write_run, entry, results):
    write_run("grace", [entry(i) for i in range(9)])
    write_run("rome", [entry(i, after="x") for i in range(7, 9)], total=9)
    assert [case.case_id for case in choose_cases(tables_of(results)[0])] == ["cnle-0007", "cnle-0008"]


def test_the_neighbour_shown_is_one_that_changed(write_run, entry, results):
    write_run("grace", [entry(1, neighbour="import sys")])
    (case,) = choose_cases(tables_of(results)[0])
    assert case.neighbour_prompt.text.startswith("Intent: second neighbour")
    assert not case.methods[0].neighbour.equal


def test_a_case_without_neighbours_is_shown_without(write_run, entry, results):
    lonely = entry(1)
    lonely["case"]["neighbour_prompts"], lonely["outputs"]["specificity"], lonely["scores"]["specificity"] = [], [], {}
    write_run("grace", [lonely])
    (case,) = choose_cases(tables_of(results)[0])
    assert case.neighbour_prompt is None and case.methods[0].neighbour is None
    assert "To the neighbour" not in page_of(results)


def test_the_errors_of_failed_cases_are_listed_and_counted(write_run, entry, results):
    write_run("grace", [entry(0), *(entry(i, error=f"reason {i}") for i in range(1, 9))])
    text = Outline(page_of(results)).text()
    assert "cnle-0001" in text and "CaseError: reason 1" in text
    assert "CaseError: reason 8" not in text and "and 3 more" in text


def test_a_case_that_failed_everywhere_shows_its_error(write_run, entry, results):
    write_run("grace", [entry(1, error="the prompt is too long")])
    (case,) = choose_cases(tables_of(results)[0])
    assert case.before is None and case.methods[0].error == "CaseError: the prompt is too long"
    assert "the prompt is too long" in page_of(results)


def test_an_answer_that_the_edit_did_not_move_is_said_to_be_as_before(write_run, entry, results):
    write_run("ft", [entry(1, before="print(x)", after=" print(x)\n", rephrased="print(y)")])
    (case,) = choose_cases(tables_of(results)[0])
    (found,) = case.methods
    assert found.after.unmoved and not found.rephrased.unmoved and not found.neighbour.unmoved
    assert Outline(page_of(results)).text().count("as before") == 1


def test_another_unedited_answer_is_not_passed_off_as_the_same(write_run, entry, results):
    write_run("grace", [entry(1, before="first")])
    write_run("rome", [entry(1, before="second")])
    (case,) = choose_cases(tables_of(results)[0])
    assert case.before.text == "first"
    assert [found.before and found.before.text for found in case.methods] == [None, "second"]


@pytest.mark.parametrize("path", [("outputs",), ("outputs", "generalisation", "after"), ("case", "target")])
def test_a_line_that_lacks_an_answer_is_named(write_run, entry, results, path):
    folder = write_run("grace", [entry(1)])
    line = json.loads((folder.path / "records.jsonl").read_text())
    inner = line
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    (folder.path / "records.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(ResultsError, match=rf"records.jsonl has no '.*{path[-1]}'"):
        page_of(results)


def test_the_page_of_a_run_without_a_finished_case(write_run, results):
    write_run("rome", [], total=4)
    assert "0/4" in Outline(page_of(results)).text()


def test_a_plot_is_the_same_every_time_and_follows_the_theme(four_methods, results):
    (table,) = tables_of(results)
    chosen = colours([table])
    drawn = trade_off(table, "effectiveness", chosen, "one")
    assert drawn == trade_off(table, "effectiveness", chosen, "one")
    assert "var(--ink, #" in drawn and "var(--line, #" in drawn
    assert re.search(r"#0[123]0[123]0[123]|<style|<metadata|xlink", drawn) is None


def test_a_plot_names_every_method_and_tells_its_numbers(four_methods, results):
    (table,) = tables_of(results)
    root = ElementTree.fromstring(trade_off(table, "generalisation", colours([table]), "one"))
    texts = " ".join("".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text"))
    for label in ("none", "grace", "rome", "ft"):
        assert label in texts
    title = root.find("{http://www.w3.org/2000/svg}title").text
    assert "grace 0.000, 1.000" in title and "rome 0.833, 0.417" in title


def test_a_plot_draws_hostile_names_as_text(write_run, entry, results):
    write_run("<b>$x^2$</b>", [entry(1)])
    (table,) = tables_of(results)
    root = ElementTree.fromstring(trade_off(table, "effectiveness", colours([table]), "one"))
    assert "<b>$x^2$</b>" in "".join(root.itertext())


def test_a_method_has_one_colour_in_all_tables_and_the_floor_is_grey(four_methods, write_run, entry, results):
    write_run("grace", [entry(1)], dataset="csne")
    chosen = colours(tables_of(results))
    assert set(chosen) == {"none", "grace", "rome", "ft"}
    assert {chosen[label] for label in ("grace", "rome", "ft")} <= set(PALETTE) and chosen["none"] not in PALETTE
    assert len(set(chosen.values())) == 4
