"""The page of real runs: all methods on SmolLM2, both samples, single and sequential, in the system's Chromium.

Making the runs takes about ten minutes of one core. CLMEEVAL_RUNS names a results folder that is there already:
``CLMEEVAL_RUNS=results make long``, with all methods and sequences in it.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest

from clmeeval_data.evaluation.editors import EDITORS
from clmeeval_data.evaluation.editors.contract import cannot_do
from clmeeval_data.evaluation.leaderboard import write_leaderboard
from clmeeval_data.evaluation.model.smollm2 import PACKAGE
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

pytestmark = [pytest.mark.long, pytest.mark.timeout(2400)]

GIVEN = os.environ.get("CLMEEVAL_RUNS")
MODEL = "smollm2"
PROTOCOLS = {"single": "single", "sequential": "sequential:2"}
BUILDS = {  # short texts, so that an edit takes a second
    "cnle": ("target_length.most=50",),
    "csne": ("prompt_length.most=350", "target_length.most=60"),
}
CASES, RECORDS = "2", "60"
TRAINING = {
    "agrace": ("--limit", "16", "--validation-limit", "8"),
    "malmen": ("--limit", "4", "--validation-limit", "2", "--set", "steps=4", "--set", "validate_every=2"),
}
SCORED = ("effectiveness", "generalisation", "specificity")
SVG = "{http://www.w3.org/2000/svg}"


class RealRun(NamedTuple):
    """A run folder, its data set, protocol and method, and the contents of summary.json."""

    folder: Path
    dataset: str
    protocol: str
    method: str
    summary: dict[str, Any]

    @property
    def hash(self):
        return self.folder.name.rpartition("--")[2]

    def mean(self, dimension, metric="exact_match"):
        return self.summary["scores"][dimension][metric]["mean"]

    def entries(self):
        lines = (self.folder / "records.jsonl").read_text(encoding="utf-8").splitlines()
        return {entry["id"]: entry for entry in map(json.loads, lines)}


def command(program, *words, cwd, code=0):
    """Run one of the console commands in a process of its own; gives what it printed."""
    words = [sys.executable, "-c", f"from clmeeval_data.{program} import main; main()", *words]
    root = str(Path(__file__).parents[3])
    environment = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, (words, done.stderr[-2000:])
    return done.stdout + done.stderr


def able(protocol):
    return [name for name in EDITORS if cannot_do(EDITORS[name], protocol) is None]


def make_runs(work):
    """All methods on both samples under both protocols, in ``work / "results"``."""
    datasets = []
    for benchmark, settings in BUILDS.items():
        chosen = [word for setting in settings for word in ("--set", setting)]
        command("commands", benchmark, "--limit", RECORDS, *chosen, "--out", f"clmeeval/{benchmark}", cwd=work)
        datasets += ["--dataset", f"clmeeval/{benchmark}"]
    trained = []
    for method, extent in TRAINING.items():
        words = ("train", "--model", MODEL, "--dataset", "clmeeval/cnle", "--method", method, *extent)
        trained += ["--trained", command("evaluation.cli", *words, cwd=work).splitlines()[0]]
    for name, protocol in PROTOCOLS.items():
        chosen = [word for method in able(name) for word in ("--method", method)]
        words = ("run", "--model", MODEL, *datasets, "--limit", CASES, "--protocol", protocol, *chosen, *trained)
        command("evaluation.cli", *words, cwd=work)
    return work / "results"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A results folder with real runs: the one that CLMEEVAL_RUNS names, or else new ones."""
    if GIVEN:
        return Path(GIVEN).resolve()
    try:
        metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{PACKAGE} is not installed")
    return make_runs(tmp_path_factory.mktemp("real"))


@pytest.fixture(scope="module")
def runs(results):
    """The runs that are complete."""
    found = []
    for path in sorted(results.rglob("summary.json")):
        identity = json.loads((path.parent / "run.json").read_text())["identity"]
        protocol = "-".join(str(identity["protocol"][key]) for key in ("name", "size") if key in identity["protocol"])
        dataset, method = (identity[part]["name"] for part in ("dataset", "method"))
        found.append(RealRun(path.parent, dataset, protocol, method, json.loads(path.read_text())))
    return found


@pytest.fixture(scope="module")
def folder(results, tmp_path_factory):
    """The leaderboard of the real runs."""
    site = tmp_path_factory.mktemp("page") / "site"
    write_leaderboard([results], site)
    return site


@pytest.fixture(scope="module")
def tables(folder, read_pieces):
    """Per data set and protocol what the page says of a table: its key, and the runs with their colours."""
    page = (folder / "index.html").read_text(encoding="utf-8")
    protocols = dict(re.findall(r'data-table="(\w+)"[^>]*data-protocol="([^"]+)"', page))
    return {(table["dataset"], protocols[table["key"]]): table for table in read_pieces(folder)["tables"]}


def of_table(runs, place):
    return {run.method: run for run in runs if (run.dataset, run.protocol) == place}


def picture_of(folder, table, kind):
    """The root of a picture of a table, and its text for who cannot see it."""
    path = folder / "leaderboard_files" / "pictures" / f"{table['key']}-{kind}.svg"
    root = ElementTree.parse(path).getroot()
    return root, root.find(f"{SVG}title").text


def strokes(root, colour):
    """The lines of a colour, each as its points; intervals, which are upright, left out."""
    lines = (path for path in root.iter(f"{SVG}path") if f"fill: none; stroke: {colour}" in path.get("style", ""))
    points = [re.findall(r"[ML] ([-\d.]+) ([-\d.]+)", line.get("d")) for line in lines]
    return [line for line in points if len({x for x, _ in line}) > 1]


def test_every_method_ran_wherever_it_can(runs):
    places = {(run.dataset, run.protocol) for run in runs}
    assert GIVEN or places == {(data, name) for data in BUILDS for name in ("single", "sequential-2")}
    for place in places:
        assert set(of_table(runs, place)) == set(able(place[1].partition("-")[0])), place
    assert set(able("single")) == set(EDITORS) and len(EDITORS) == 12


def test_a_method_that_cannot_refuses_with_its_reason(tmp_path):
    unable = set(EDITORS) - set(able("sequential"))
    assert unable
    for method in unable:
        words = ("run", "--model", MODEL, "--dataset", "nowhere", "--method", method, "--protocol", "sequential:2")
        said = " ".join(command("evaluation.cli", *words, cwd=tmp_path, code=2).split())
        reason = " ".join(cannot_do(EDITORS[method], "sequential").split())
        assert f"{method} cannot be run with --protocol sequential:2: {reason}" in said


def test_the_check_accepts_every_run(results, runs, tmp_path):
    datasets = () if GIVEN else sorted((results.parent / "clmeeval").iterdir())
    published = [word for dataset in datasets for word in ("--dataset", str(dataset))]
    words = ("check", *(str(run.folder) for run in runs), *published)
    said = command("evaluation.leaderboard", *words, cwd=tmp_path)
    assert f"{len(runs)} runs, no problems" in said


def test_every_run_has_its_row_with_the_figures_of_its_summary(visit, runs):
    page = visit()
    found = page.locator("tr[data-run]").evaluate_all(
        "rows => rows.map(row => [row.dataset.run, row.closest('section').dataset.dataset,"
        " row.closest('section').dataset.protocol, row.querySelector('th').dataset.value,"
        " Object.fromEntries([...row.cells].map(cell => [cell.dataset.column, [cell.dataset.value, cell.innerText]]))])"
    )
    rows = {row[0]: row[1:] for row in found}
    for run in runs:
        dataset, protocol, label, cells = rows[run.hash]
        assert (dataset, protocol, label) == (run.dataset, run.protocol, run.method)
        assert int(cells["cases"][0]) == run.summary["cases"]["finished"]
        for dimension in SCORED:
            for metric in ("exact_match", "bleu", "rouge_l"):
                shown, text = cells[f"{dimension}.{metric}"]
                mean = run.mean(dimension, metric)
                assert float(shown) == mean and text.startswith(f"{mean:.3f}")
        assert float(cells["specificity.exact_match_all"][0]) == run.mean("specificity", "exact_match_all")
        assert float(cells["fluency.ngram_entropy"][0]) == run.mean("fluency", "ngram_entropy")
        right_after = run.summary.get("right_after")
        assert ("right_after.exact_match" in cells) == (right_after is not None)
        if right_after is not None:
            assert float(cells["right_after.exact_match"][0]) == right_after["effectiveness"]["exact_match"]["mean"]
        cost = run.summary["cost"]
        assert float(cells["cost.edit_seconds"][0]) == cost["edit_seconds"]["mean"] > 0
        assert float(cells["cost.peak_bytes"][0]) == cost["peak_bytes"]


def test_trade_offs_have_a_point_per_method(folder, tables, runs):
    for place, table in tables.items():
        for across in ("effectiveness", "generalisation"):
            root, text = picture_of(folder, table, f"{across}-specificity")
            drawn = [mark.get("style", "") for mark in root.iter(f"{SVG}use")]
            colours = {colour for _, _, colour, _ in table["runs"]}
            assert len(colours) == len(table["runs"])
            assert all(any(f"fill: {colour}" in style for style in drawn) for colour in colours)
            for run in of_table(runs, place).values():
                assert f"{run.method} {run.mean(across):.3f}, {run.mean('specificity'):.3f}" in text


def test_sequences_have_a_line_per_method_and_dimension(folder, tables, runs):
    sequential = {place: table for place, table in tables.items() if place[1].startswith("sequential")}
    assert sequential
    for place, table in sequential.items():
        root, text = picture_of(folder, table, "sequential")
        own = of_table(runs, place)
        for method, _, colour, _ in table["runs"]:
            *lines, _ = strokes(root, colour)  # the last is the legend's
            points = len(own[method].summary["checkpoints"])
            assert [len(line) for line in lines] == [points] * 3, method
            last = own[method].summary["checkpoints"][-1]
            means = ", ".join(f"{last['scores'][dimension]['exact_match']['mean']:.3f}" for dimension in SCORED)
            assert f"{method} after {last['edits']}: {means}" in text


def test_distances_are_shown_of_both_codebooks(folder, tables):
    single = [table for (_, protocol), table in tables.items() if protocol == "single"]
    assert single
    for table in single:
        root, text = picture_of(folder, table, "distances")
        drawn = {"".join(part.itertext()) for part in root.iter(f"{SVG}text")}
        assert {"grace", "agrace", "radius", "neighbours"} <= drawn
        assert re.search(r"\bgrace: [\d.]+% of the rephrased", text) and "agrace: " in text


def test_every_table_sorts(visit, tables):
    for dataset, protocol in tables:
        page = visit()
        section = section_of(page, dataset, MODEL, protocol)
        first, *_ = check_sorting(page, section)
        assert set(first) == {method for method, *_ in tables[dataset, protocol]["runs"]}


def test_filters_leave_what_fits(visit, tables):
    protocols = sorted({protocol for _, protocol in tables})
    for protocol in protocols:
        assert len(check_filter(visit, "Protocol", protocol)) == sum(own == protocol for _, own in tables)
    for dataset in {data for data, _ in tables} if len({data for data, _ in tables}) > 1 else ():
        assert len(check_filter(visit, "Data set", dataset)) == sum(own == dataset for own, _ in tables)
    page = visit("#family=memory")
    for section in page.locator("section[data-table]:visible").all():
        assert set(methods(section)) == {"grace", "agrace", "incontext"}


def test_a_link_opens_its_case_with_what_every_method_answered(visit, tables, runs):
    for place, table in tables.items():
        own = of_table(runs, place)
        page = visit(f"#dataset={place[0]}&protocol={place[1]}")
        section = section_of(page, place[0], MODEL, place[1])
        section.locator(".explorer").scroll_into_view_if_needed()
        link = section.locator("table.cases a").last
        case_id, address = link.inner_text(), link.get_attribute("href")
        case = open_case(visit(address))
        assert sorted(case.locator(".method h4").all_inner_texts()) == sorted(own)
        for number, (method, *_) in enumerate(table["runs"]):
            entry = own[method].entries()[case_id]
            verdicts = case.locator(".method").nth(number).locator(".verdict b").all_inner_texts()
            hits = [entry["scores"][name]["exact_match"] == 1 for name in SCORED[:2]]
            kept = [pair["before"].strip() == pair["after"].strip() for pair in entry["outputs"]["specificity"]]
            if "right_after" in entry:
                hits.insert(0, entry["right_after"]["scores"]["effectiveness"]["exact_match"] == 1)
            assert verdicts == ["✓" if good else "✗" for good in [*hits, *kept]], (place, method)


def test_everything_can_be_done_by_keyboard(visit, tables):
    dataset, protocol = next(iter(tables))
    filters = check_keyboard(visit, f"#dataset={dataset}&protocol={protocol}")
    assert {"filter-family", "filter-protocol"} <= set(filters)


def test_dark_mode_is_dark_in_page_and_pictures(visit):
    check_dark_mode(visit)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_problem_and_a_phone_needs_no_sideways_scrolling(visit, tables, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = visit("#sort=method:ascending", color_scheme=scheme, viewport=PHONE)
    for dataset, protocol in tables:
        section = section_of(page, dataset, MODEL, protocol)
        section.locator(".explorer").scroll_into_view_if_needed()
        section.locator("table.cases tbody tr").first.wait_for()
    section.locator("table.cases a").first.click()
    open_case(page)
    check_phone(page, axe)


@pytest.fixture(scope="module")
def tampered(results, runs, tmp_path_factory):
    """The leaderboard of copies of a table's runs, with some answers of one of them replaced by hostile ones.

    Returns its folder and the ids of the two cases: with markup, and with marks and ten megabytes.
    """
    copied = tmp_path_factory.mktemp("tampered")
    chosen = [run for run in runs if run.protocol == "single" and run.dataset == "cnle"]
    for run in chosen:
        target = copied / "results" / run.folder.relative_to(results)
        shutil.copytree(run.folder, target)
        if run.method == "grace":
            entries = list(run.entries().values())
            first, second = (entry["outputs"] for entry in entries[:2])
            first["effectiveness"]["after"], first["generalisation"]["after"] = IMAGE, SCRIPT
            second["effectiveness"]["after"], second["generalisation"]["after"] = MARKS, LONG
            lines = [json.dumps(entry) + "\n" for entry in entries]
            (target / "records.jsonl").write_text("".join(lines), encoding="utf-8")
            ids = [entry["id"] for entry in entries[:2]]
    write_leaderboard([copied / "results"], copied / "site")
    return copied / "site", *ids


def test_hostile_answers_in_a_copy_of_a_real_run_are_shown_as_text(visit_in, tampered):
    site, marked_up, long = tampered
    check_markup_is_text(visit_in(site, f"#case=cnle/{MODEL}/{marked_up}"))
    page = visit_in(site, f"#case=cnle/{MODEL}/{long}")
    check_marks_are_shown(page)
    check_ten_megabytes_are_cut(page)
