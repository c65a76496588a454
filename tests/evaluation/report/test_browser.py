"""The page in the system's Chromium: what a reader can do with it, and what a hostile result file cannot."""

import random

import pytest

from tests.evaluation.report.reader import (
    IMAGE,
    LONG,
    MARKS,
    PHONE,
    SCRIPT,
    check_dark_mode,
    check_filter,
    check_keyboard,
    check_marks_are_shown,
    check_markup_is_text,
    check_phone,
    check_sorting,
    check_ten_megabytes_are_cut,
    methods,
    open_case,
    section_of,
)

SEQUENTIAL = {"name": "sequential", "size": 20, "checkpoints": [1, 20]}
SCORE = {"mean": 0.5, "low": 0.4, "high": 0.6, "n": 6}
CHECKPOINTS = [
    {"edits": edits, "scores": {name: {"exact_match": SCORE} for name in ("effectiveness", "specificity")}}
    for edits in (1, 20)
]


def hostile(make):
    """Four cases with answers that try to be more than text."""
    lines = [make(i) for i in range(20, 24)]
    lines[0]["outputs"]["effectiveness"]["after"] = IMAGE
    lines[0]["outputs"]["generalisation"]["after"] = SCRIPT
    lines[1]["outputs"]["effectiveness"]["after"] = MARKS
    lines[2]["outputs"]["effectiveness"]["after"] = LONG
    lines[3]["case"]["prompt"] = lines[3]["case"]["target"] = IMAGE
    return lines


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_run, make):
    """The leaderboard of runs of two data sets, two models and two protocols."""
    from clmeeval_data.evaluation.leaderboard import write_leaderboard

    results = tmp_path_factory.mktemp("browser") / "results"
    wrong = "print(values, sep=', ')"
    bad = hostile(make)
    make_run(results, "none", [make(i, after=wrong) for i in range(20)] + [make(i) for i in range(20, 24)])
    make_run(results, "grace", [make(i) for i in range(20)] + bad)
    lines = [make(i, after=wrong, rephrased="x", neighbour="y") if i % 2 else make(i) for i in range(23)]
    make_run(results, "rome", [*lines, make(23, error=IMAGE)])
    make_run(results, "ft", [make(i, after=wrong) for i in range(3)], total=24)
    more = {"protocol": SEQUENTIAL, "checkpoints": CHECKPOINTS}
    make_run(results, "grace", [make(i) for i in range(6)], dataset="csne", **more)
    make_run(results, "memit", [make(i) for i in range(6)], model="org/small")
    write_leaderboard([results], results.parent / "site")
    return results.parent / "site"


def test_a_header_sorts_all_tables_and_the_address_keeps_it(visit):
    page = visit()
    first, by_name, falling, rising = check_sorting(page, section_of(page))
    assert first == falling == ["grace", "rome", "ft", "none"]
    assert by_name == ["ft", "grace", "rome", "none"] and rising == ["ft", "rome", "grace", "none"]


@pytest.mark.parametrize(
    ("label", "value", "left"),
    [
        ("Data set", "csne", ["CSNE · tiny"]),
        ("Model", "org/small", ["CNLE · org/small"]),
        ("Protocol", "sequential-20", ["CSNE · tiny"]),
        ("Method family", "locate-then-edit", ["CNLE · org/small", "CNLE · tiny"]),
    ],
)
def test_filters_leave_what_fits_and_links_keep_them(visit, label, value, left):
    assert check_filter(visit, label, value) == left


def test_a_filter_hides_the_rows_of_other_families(visit):
    page = visit("#family=memory&dataset=cnle")
    assert methods(section_of(page)) == ["grace"]
    page.get_by_label("Model").select_option("org/small")
    assert "No table fits" in page.locator("#shown").inner_text()


def test_a_link_opens_its_case_with_all_methods_side_by_side(visit):
    case = open_case(visit("#case=cnle/tiny/cnle-0003"))
    text = case.inner_text()
    assert "Case cnle-0003" in text and "Intent: sort 3\nCode:" in text and "put 3 in order" in text
    assert case.locator(".method h4").all_inner_texts() == ["grace", "rome", "ft", "none"]
    verdicts = case.locator(".method").nth(1).locator(".verdict").all_inner_texts()
    assert verdicts == ["✗ as before", "✗ not the target", "✓ unchanged", "✗ changed"]
    assert case.locator(".method").nth(2).inner_text().strip().endswith("not reached yet")
    changed = case.locator(".method").nth(1)
    assert changed.locator("ins").all_inner_texts() == ["x", "y"]


@pytest.mark.parametrize(
    ("hash_", "said"),
    [
        ("#case=cnle/tiny/cnle-9999", "no such case"),
        ("#case=apps/tiny/cnle-0001", "does not have"),
        ("#case=%E0%A4%A&sort=::&family=%", "does not have"),
    ],
)
def test_a_link_that_means_nothing_says_so(visit, hash_, said):
    page = visit(hash_)
    page.get_by_text(said).wait_for()


def test_the_list_finds_cases_by_words_and_by_outcome_in_pages(visit):
    page = visit()
    section = section_of(page)
    section.locator(".explorer").scroll_into_view_if_needed()
    lines = section.locator("table.cases tbody tr")
    lines.nth(14).wait_for()
    count = section.locator("span.count")
    assert count.inner_text() == "1–15 of 24"
    section.get_by_role("button", name="Next →").click()
    assert count.inner_text() == "16–24 of 24" and lines.count() == 9
    section.get_by_label("Find").fill("SORT 20")
    assert lines.locator("a").all_inner_texts() == ["cnle-0020"]
    section.get_by_label("Find").fill("")
    section.get_by_label("Outcome").select_option("failed")
    assert lines.locator("a").all_inner_texts() == ["cnle-0023"]
    section.get_by_label("Outcome").select_option("missed")
    section.get_by_label("By").select_option(label="grace")
    assert lines.locator("a").all_inner_texts() == []  # the scores say that all of grace's answers were the targets
    section.get_by_label("By").select_option(label="rome")
    assert lines.count() == 11
    section.get_by_label("Outcome").select_option("differ")
    assert section.get_by_label("By").is_disabled() and lines.count() == 15


def test_a_case_opened_from_the_list_is_closed_by_the_back_button(visit):
    page = visit("#family=memory")
    page.locator("section[data-dataset=csne] .explorer").scroll_into_view_if_needed()
    page.get_by_role("link", name="cnle-0004").click()
    case = open_case(page)
    assert page.url.endswith("#family=memory&case=csne/tiny/cnle-0004")
    case.get_by_role("button", name="Case →").click()
    page.locator(".case .id", has_text="cnle-0005").wait_for()
    page.go_back()
    page.locator(".case .id", has_text="cnle-0004").wait_for()
    page.go_back()
    page.wait_for_selector("section[data-dataset=csne] .case", state="hidden")


def test_hostile_answers_are_shown_as_text(visit):
    check_markup_is_text(visit("#case=cnle/tiny/cnle-0020"))
    check_marks_are_shown(visit("#case=cnle/tiny/cnle-0021"))
    text = open_case(visit("#case=cnle/tiny/cnle-0023")).inner_text()
    assert text.count(IMAGE) >= 3 and f"CaseError: {IMAGE}" in text


def test_ten_megabytes_are_cut_with_a_note(visit):
    check_ten_megabytes_are_cut(visit("#case=cnle/tiny/cnle-0022"))


def test_everything_can_be_done_by_keyboard(visit):
    assert check_keyboard(visit, "#dataset=csne") == [
        "filter-dataset",
        "filter-model",
        "filter-family",
        "filter-protocol",
    ]


def test_dark_mode_is_dark_in_page_and_pictures(visit):
    check_dark_mode(visit)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_problem_and_a_phone_needs_no_sideways_scrolling(visit, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    hash_ = "#case=cnle/tiny/cnle-0003&sort=method:ascending"
    page = visit(hash_, color_scheme=scheme, viewport=PHONE)
    section_of(page, "csne").locator(".explorer").scroll_into_view_if_needed()
    section_of(page, "csne").locator("table.cases tbody tr").first.wait_for()
    open_case(page)
    check_phone(page, axe)


def test_without_script_the_tables_are_there(visit):
    page = visit(java_script_enabled=False)
    assert page.locator("section[data-table]:visible").count() == 3
    assert page.locator("#filters").is_hidden() and page.locator("main").inner_text().count("need JavaScript") == 3
    assert "1.000" in page.locator("table.results").first.inner_text()


def common(one, other):
    """Length of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for token in one:
        last = 0
        for place, candidate in enumerate(other, start=1):
            last, row[place] = row[place], last + 1 if token == candidate else max(row[place], row[place - 1])
    return row[-1]


def test_differences_rebuild_both_texts_and_share_as_much_as_can_be(visit):
    page = visit()
    source = random.Random(0)
    pairs = [["".join(source.choices("ab.,", k=source.randint(1, 14))) for _ in range(2)] for _ in range(60)]
    pairs = [[" ".join(text) for text in pair] for pair in pairs]
    compared = page.evaluate("pairs => pairs.map(([a, b]) => clmeeval.texts.compare(a, b))", pairs)
    interleaved = 0
    for (answer, reference), pieces in zip(pairs, compared, strict=True):
        assert "".join(text for kind, text in pieces if kind != "missing") == answer
        shared = sum(len(text) for kind, text in pieces if kind == "same")
        if shared:
            interleaved += 1
            assert "".join(text for kind, text in pieces if kind != "added") == reference
            assert shared == common(answer, reference)
    assert interleaved > 20


@pytest.mark.parametrize("pair", [("a b c " * 600, "c b a " * 600), ("import os", "sorted(items, key=len)")])
def test_texts_that_are_long_or_have_little_in_common_are_marked_as_a_whole(visit, pair):
    page = visit()
    assert page.evaluate("([a, b]) => clmeeval.texts.compare(a, b)", list(pair)) == [["added", pair[0].strip()]]
