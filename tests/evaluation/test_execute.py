"""Outputs of a run, executed with tests: what passes, what is written, and what the command prints."""

import json
import sys

import pytest
import typer

from clmeeval_data.errors import ConfigError, ResultsError
from clmeeval_data.evaluation.commands import execute as execute_command
from clmeeval_data.evaluation.execute import FILE, PACKAGED, execute_run, read_tests
from clmeeval_data.evaluation.results import RunFolder
from clmeeval_data.evaluation.scoring.significance import interval
from clmeeval_data.shell import run_app

# by case: outputs to the prompt before and after, to the rephrased prompt before and after
CASES = {
    "a": ("x", "x + 1", "add one", "y = x + 1"),
    "b": ("", "x + 1", "", "while True: pass"),
    "c": ("x + 1", "x / 0", "x + 1", "x + 1"),
}
TEST = {"setup": "x = 2", "test": "assert result == 3"}


def entry(case_id, texts):
    sides = [{"before": texts[i], "after": texts[i + 1]} for i in (0, 2)]
    return {"id": case_id, "error": None, "outputs": dict(zip(("effectiveness", "generalisation"), sides, strict=True))}


@pytest.fixture
def folder(tmp_path):
    """A run with three finished cases, one that failed, and one that has no test."""
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    (run.path / "run.json").write_text(json.dumps({"hash": "0123456789", "identity": {}}))
    run.journal.append([entry(name, texts) for name, texts in CASES.items()])
    run.journal.append([{"id": "failed", "error": {"type": "EditError", "message": "no"}}, entry("other", ["1"] * 4)])
    return run


@pytest.fixture
def tests(tmp_path):
    path = tmp_path / "tests.jsonl"
    path.write_text("".join(json.dumps({"case_id": name, **TEST}) + "\n" for name in (*CASES, "failed", "unseen")))
    return path


@pytest.fixture
def evaluate(monkeypatch, capsys):
    """The command line, with this one command and another."""
    app = typer.Typer()
    execute_command.add_to(app)
    app.command("nothing")(lambda: None)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["clmeeval-evaluate", "execute", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            run_app(app)
        return exit_.value.code, *capsys.readouterr()

    return run


def test_outputs_are_run_and_counted(folder, tests):
    found = execute_run(folder, read_tests(tests), timeout=5.0, jobs=2)
    outcomes = {
        (case, dimension, side): verdict["outcome"]
        for case, dimensions in found["cases"].items()
        for dimension, sides in dimensions.items()
        for side, verdict in sides.items()
    }
    wanted = {
        "a": ("failed", "passed", "error", "error"),
        "b": ("error", "passed", "error", "timeout"),
        "c": ("passed", "error", "passed", "passed"),
    }
    places = [(dimension, side) for dimension in ("effectiveness", "generalisation") for side in ("before", "after")]
    assert outcomes == {
        (case, *place): outcome for case, row in wanted.items() for place, outcome in zip(places, row, strict=True)
    }
    assert found["counts"]["generalisation"]["after"] == {
        **{"passed": 1, "failed": 0, "error": 1, "timeout": 1},
        "failed_cases": 1,
    }
    rates = found["pass_rates"]
    assert rates["effectiveness"]["after"] == interval([1.0, 1.0, 0.0, 0.0]).as_dict()  # the failed case passes nothing
    assert rates["effectiveness"]["before"] == interval([0.0, 0.0, 1.0]).as_dict()
    assert found["tests"]["cases"] == 4
    assert found["run"] == "0123456789"
    assert json.loads((folder.path / FILE).read_text()) == found


def test_equal_outputs_run_once_and_the_same_again_gives_the_same_file(folder, tests):
    totals = []

    def track(verdicts, total):
        totals.append(total)
        return verdicts

    execute_run(folder, read_tests(tests), timeout=5.0, track=track)
    first = (folder.path / FILE).read_bytes()
    execute_run(folder, read_tests(tests), timeout=5.0, jobs=1, track=track)
    assert totals == [len({text for texts in CASES.values() for text in texts})] * 2
    assert (folder.path / FILE).read_bytes() == first


def test_the_tests_file_is_part_of_what_was_done(folder, tests):
    before = execute_run(folder, read_tests(tests), timeout=5.0)["tests"]
    tests.write_text(tests.read_text().replace("== 3", "== 4"))
    after = execute_run(folder, read_tests(tests), timeout=5.0)
    assert before["sha256"] != after["tests"]["sha256"]
    assert after["pass_rates"]["effectiveness"]["after"]["mean"] == 0


def test_the_packaged_tests_are_the_default():
    found = read_tests()
    assert found.origin == PACKAGED
    assert len(found.tests) >= 200


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the tests"),
        ("{}", "tests.jsonl:1: expected a JSON object"),
        ("[]", "tests.jsonl:1: expected a JSON object"),
        ('{"case_id": "a", "setup": "", "test": " "}', "tests.jsonl:1: expected a JSON object"),
        ('{"case_id": "a", "setup": "", "test": "x"}\n' * 2, "tests.jsonl:2: case 'a' has two tests"),
    ],
)
def test_tests_that_cannot_be_used_are_an_error(tmp_path, content, message):
    path = tmp_path / "tests.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_tests(path)


def test_a_run_without_a_case_that_has_a_test_is_an_error(folder):
    with pytest.raises(ResultsError, match=r"no finished case of .* has a test in the tests of the packaged sample"):
        execute_run(folder, read_tests())
    assert not (folder.path / FILE).exists()


def test_the_command_prints_rates_intervals_and_counts(folder, tests, evaluate):
    code, out, _ = evaluate(folder.path, "--tests", tests, "--timeout", "5")
    assert code == 0
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]
    half, quarter = interval([1.0, 1.0, 0.0, 0.0]), interval([1.0, 0.0, 0.0, 0.0])
    spreads = [f"{found.low:.2f} to {found.high:.2f}" for found in (half, quarter)]
    assert ["effectiveness", "after", "0.50", spreads[0], "0", "1", "0", "1"] in rows
    assert ["generalisation", "after", "0.25", spreads[1], "0", "1", "1", "1"] in rows
    assert "4 cases with a test, of tests.jsonl" in out
    assert out.splitlines()[-1] == str(folder.path / FILE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone"], "gone/run.json is missing"),
        (["run", "--tests", "gone.jsonl"], "cannot read the tests gone.jsonl"),
        (["run", "--jobs", "0"], "--jobs 0; expected numbers above 0"),
        (["run", "--timeout", "nan"], "--timeout is nan"),
    ],
)
def test_a_wrong_argument_is_one_line_and_exit_code_2(folder, evaluate, monkeypatch, arguments, message):
    monkeypatch.chdir(folder.path.parent)
    code, _, err = evaluate(*arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
