"""Run folders as clmeeval-evaluate run writes them, made without a model."""

import json
import shutil
from collections.abc import Mapping
from functools import partial

import pytest

from clmeeval_data.evaluation.leaderboard import write_leaderboard
from clmeeval_data.evaluation.results import RunFolder, RunIdentity
from clmeeval_data.evaluation.scoring.metrics import ngram_entropy, text_scores
from clmeeval_data.evaluation.scoring.signature import signature
from clmeeval_data.evaluation.scoring.summary import summarise
from tests.evaluation.report.reader import WAIT

TARGET = "sorted(values, key=len, reverse=True)"
WRONG = "print(values, sep=', ')"
KEPT = "import os\nos.getcwd()"
ENVIRONMENT = {"versions": {"clmeeval-data": "0.1.0", "torch": "2.13.0"}, "commit": "4f2c91a", "device": "cpu"}

BROWSER_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars",
]  # fmt: skip


def make_entry(number, after=TARGET, rephrased=WRONG, neighbour=KEPT, before=WRONG, target=TARGET, error=None):
    """One line of records.jsonl: what a method answered in one case."""
    case = {
        "prompt": f"Intent: sort {number}\nCode:",
        "rephrased_prompt": f"Intent: put {number} in order\nCode:",
        "target": target,
        "neighbour_prompts": ["Intent: first neighbour\nCode:", "Intent: second neighbour\nCode:"],
    }
    case_id = f"cnle-{number:04}"
    if error:
        return {"id": case_id, "error": {"type": "CaseError", "message": error}, "case": case}
    texts = text_scores(neighbour, KEPT, code=False)
    specificity = {name: (score + 1) / 2 for name, score in texts.items()}  # the first neighbour never changes
    return {
        "id": case_id,
        "error": None,
        "case": case,
        "outputs": {
            "effectiveness": {"before": before, "after": after},
            "generalisation": {"before": before, "after": rephrased},
            "specificity": [{"before": KEPT, "after": KEPT}, {"before": KEPT, "after": neighbour}],
            "fluency": {"after": "a b c d e f g"},
        },
        "scores": {
            "effectiveness": text_scores(after, target, code=True),
            "generalisation": text_scores(rephrased, target, code=True),
            "specificity": {**specificity, "exact_match_all": texts["exact_match"]},
            "fluency": {"ngram_entropy": ngram_entropy("a b c d e f g")},
        },
        "cost": {"edit_seconds": 1.5 + number / 10, "peak_bytes": 1_500_000_000, "batch_size": 4},
        "details": {"loss": 0.01},
    }


@pytest.fixture
def entry():
    """``make_entry``, for tests that shape cases themselves."""
    return make_entry


@pytest.fixture
def results(tmp_path):
    """An empty results folder."""
    folder = tmp_path / "results"
    folder.mkdir()
    return folder


def write_run_below(
    results, method, entries, total=None, dataset="cnle", model="tiny", dtype="float32", config=None, protocol=None,
    checkpoints=None,
):  # fmt: skip
    """Write one run and return its folder; with ``total`` above the entries it is incomplete."""
    entries = list(entries)
    total = len(entries) if total is None else total
    identity = RunIdentity(
        dataset={"name": dataset, "split": "test", "schema": 1, "n": total, "cases": "ab12cd34"},
        model={"name": model, "fingerprint": "0123456789", "dtype": dtype},
        method={"name": method, "config": config or {}},
        decoding={"strategy": "greedy"},
        seed=0,
    )
    folder = RunFolder(results / identity.folder)
    folder.open(identity, ENVIRONMENT)
    folder.journal.append(entries)
    if protocol is not None:
        described = folder.run()
        described["identity"]["protocol"] = protocol
        (folder.path / "run.json").write_text(json.dumps(described))
    if len(entries) == total:
        summary: Mapping = summarise(entries, total)
        more = {"checkpoints": checkpoints} if checkpoints else {}
        folder.finish({"hash": identity.hash, **summary, **more, "signature": signature(folder.run())})
    return folder


@pytest.fixture
def write_run(results):
    """A function that writes one run below ``results``, or below another folder, and returns its folder."""

    def write(method, entries, under=results, **settings):
        return write_run_below(under, method, entries, **settings)

    return write


@pytest.fixture(scope="session")
def make_run():
    """``write_run_below``, for fixtures that live longer than a test."""
    return write_run_below


@pytest.fixture(scope="session")
def make():
    """``make_entry``, for fixtures that live longer than a test."""
    return make_entry


@pytest.fixture
def site(results, tmp_path):
    """A function that makes the leaderboard of ``results`` and returns its folder."""

    def build():
        write_leaderboard([results], tmp_path / "site")
        return tmp_path / "site"

    return build


@pytest.fixture(scope="session")
def read_pieces():
    """A function that reads the data of a page: its pieces by name."""

    def read(folder):
        found = {}
        for path in (folder / "leaderboard_files" / "data").iterdir():
            script = path.read_text(encoding="utf-8")
            assert script.startswith("clmeeval.put(") and script.endswith(");\n")
            name, value = json.loads(f"[{script.removeprefix('clmeeval.put(').removesuffix(');' + chr(10))}]")
            assert path.name == f"{name}.js"
            found[name] = value
        return found

    return read


@pytest.fixture(scope="module")  # while it lives, its event loop is the one of this process
def browser():
    """The system's Chromium, driven by Playwright; tests that need it are skipped where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no Chromium on this system")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=BROWSER_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit_in(browser):
    """A function that opens a leaderboard's page; afterwards no error was reported and nothing else was asked for."""
    opened, complaints, asked, folders = [], [], [], []

    def go(folder, hash_="", **settings):
        context = browser.new_context(**settings)
        context.set_default_timeout(WAIT)
        opened.append(context)
        folders.append(f"{folder.as_uri()}/")
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{folder.as_uri()}/index.html{hash_}")
        return page

    yield go
    for context in opened:
        context.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith((*folders, "data:,"))] == []


@pytest.fixture
def visit(visit_in, folder):
    """``visit_in`` for the leaderboard that a module has as ``folder``."""
    return partial(visit_in, folder)


@pytest.fixture
def four_methods(write_run):
    """``none`` changes nothing, ``grace`` hits all targets, ``rome`` some, changing neighbours; ``ft`` was cut off."""
    return {
        "none": write_run("none", [make_entry(i, after=WRONG) for i in range(6)]),
        "grace": write_run("grace", [make_entry(i) for i in range(6)]),
        "rome": write_run(
            "rome",
            [make_entry(i, after=TARGET if i % 2 else WRONG, rephrased=TARGET, neighbour=WRONG) for i in range(5)]
            + [make_entry(5, error="out of memory")],
        ),
        "ft": write_run("ft", [make_entry(i, after=WRONG) for i in range(3)], total=6),
    }
