"""``clmeeval-evaluate compare`` as a user meets it: what it prints, writes and refuses."""

import json
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from clmeeval_data.evaluation.commands.compare import add_to
from clmeeval_data.evaluation.results import RunFolder, RunIdentity
from clmeeval_data.evaluation.scoring.metrics import text_scores
from clmeeval_data.records import CNLE
from clmeeval_data.storage import read_split

HOSTILE = "x = 1\x1b[2J\x1b]0;gone\x07\u202ereversed[bold]"


def make_entry(record, after, error=None):
    row = CNLE.to_row(record)
    case = {
        "prompt": CNLE.prompt(row["intent"]),
        "rephrased_prompt": CNLE.prompt(row["rewritten_intent"]),
        "target": row["snippet"],
        "neighbour_prompts": [CNLE.prompt(item["intent"]) for item in row["neighborhood"]],
    }
    if error:
        return {"id": record.case_id, "error": {"type": "CaseError", "message": error}, "case": case}
    near = {**text_scores("pass", "pass", code=False), "exact_match_all": 1.0}
    return {
        "id": record.case_id,
        "error": None,
        "case": case,
        "outputs": {
            "effectiveness": {"before": "pass", "after": after},
            "generalisation": {"before": "pass", "after": "pass"},
            "specificity": [{"before": "pass", "after": "pass"} for _ in row["neighborhood"]],
            "fluency": {"after": "a b c"},
        },
        "scores": {
            "effectiveness": text_scores(after, row["snippet"], code=True),
            "generalisation": text_scores("pass", row["snippet"], code=True),
            "specificity": near,
            "fluency": {"ngram_entropy": 1.0},
        },
        "cost": {"edit_seconds": 1.0, "peak_bytes": None, "batch_size": 1},
    }


@pytest.fixture
def records(cnle_folder):
    return read_split(cnle_folder, "test")


@pytest.fixture
def runs(tmp_path, records):
    """Two run folders on the test split of a dataset: one hits every target, one writes something hostile."""

    def write(method, entries):
        identity = RunIdentity(
            dataset={"name": "cnle", "split": "test", "schema": 1, "n": len(entries), "cases": "ab12cd34"},
            model={"name": "tiny", "fingerprint": "0123456789", "dtype": "float32"},
            method={"name": method, "config": {}},
            decoding={"strategy": "greedy"},
            seed=0,
        )
        folder = RunFolder(tmp_path / "results" / identity.folder)
        folder.open(identity, {"versions": {"clmeeval-data": "0.1.0"}})
        folder.journal.append(entries)
        return folder

    return (
        write("good", [make_entry(record, record.snippet) for record in records]),
        write(
            "[red]bad",
            [make_entry(records[0], "", error="no\x1b[2Jmemory")]
            + [make_entry(record, HOSTILE) for record in records[1:]],
        ),
    )


@pytest.fixture
def invoke(tmp_path):
    app = typer.Typer()
    add_to(app)
    app.callback()(lambda: None)

    def invoked(*arguments):
        results = ("--results", str(tmp_path / "results"))
        return CliRunner().invoke(app, ["compare", *map(str, arguments), *results])

    return invoked


def test_both_runs_all_measures_and_cases_are_shown(runs, invoke, records):
    done = invoke(runs[0].path, runs[1].run()["hash"][:8])
    assert done.exit_code == 0, done.output
    assert f"{len(records)} cases in common" in done.output
    (line,) = [text for text in done.output.splitlines() if "effectiveness" in text and "exact match" in text][:1]
    assert f"{len(records)} : 0" in line and "+1.000" in line
    assert "specificity" in done.output and "identifier match" in done.output
    assert records[-1].snippet in done.output and "(equal)" in done.output


def test_what_models_and_files_say_reaches_the_terminal_only_in_visible_form(runs, invoke):
    output = invoke(*(run.path for run in runs), "--cases", "99").output
    assert "⟨U+001B⟩[2J" in output and "⟨U+202E⟩" in output and "[red]bad" in output and "reversed[bold]" in output
    assert not {"\x1b", "\x07", "\u202e"} & set(output)
    assert "failed: CaseError: no⟨U+001B⟩[2Jmemory" in output


def test_everything_is_written_as_json(runs, invoke, tmp_path):
    done = invoke(*(run.path for run in runs), "--json", tmp_path / "found.json", "--by", "target", "--cases", "1")
    assert done.exit_code == 0
    content = json.loads((tmp_path / "found.json").read_text())
    assert content["first"]["method"] == "good"
    assert {"dimension", "metric", "first", "second", "difference", "low", "high", "p"} <= set(content["measures"][0])
    assert content["slices"] and len(content["cases"]) == 1


def test_slices_by_source_need_the_dataset_and_take_it(runs, invoke, cnle_folder, records):
    done = invoke(*(run.path for run in runs), "--by", "source", "--by", "similarity", "--dataset", cnle_folder)
    assert done.exit_code == 0, done.output
    assert records[0].provenance.source in done.output


def run_command(*arguments):
    code = (
        "import typer; from clmeeval_data.evaluation.commands.compare import add_to; "
        "from clmeeval_data.shell import run_app; "
        "app = typer.Typer(); app.callback()(lambda: None); add_to(app); run_app(app)"
    )
    command = [sys.executable, "-c", code, "compare", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--by", "source"), "need the dataset"),
        (("--by", "colour"), "no slices by 'colour'"),
        (("--metric", "rouge"), "Did you mean 'rouge_l'"),
        (("--revision", "v1.0.0"), "--revision is that of --dataset"),
    ],
)
def test_an_expected_error_is_one_line_and_exit_code_2(runs, arguments, said):
    done = run_command(*(run.path for run in runs), *arguments)
    assert done.returncode == 2
    assert said in done.stderr and done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1


def test_a_folder_has_no_revisions(runs, cnle_folder):
    done = run_command(*(run.path for run in runs), "--dataset", cnle_folder, "--revision", "v1.0.0")
    assert done.returncode == 2 and "has no revisions" in done.stderr


def test_a_dataset_without_the_runs_cases_is_refused(runs, csne_folder):
    done = run_command(*(run.path for run in runs), "--by", "source", "--dataset", csne_folder)
    assert done.returncode == 2
    assert "has no case of" in done.stderr
