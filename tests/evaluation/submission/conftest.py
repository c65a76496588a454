"""Runs as the runner makes them, on a tiny model and a dataset of eight cases, and ways to tamper with them."""

import json
import shutil
from pathlib import Path

import pytest
import typer

from clmeeval_data.evaluation.editors import EDITORS
from clmeeval_data.evaluation.runner import TestSet, run_methods
from clmeeval_data.evaluation.submission import command as check_command
from clmeeval_data.records import CNLE, CnleNeighbour, CnleRecord, Provenance, Rephrasing
from clmeeval_data.shell import run_app
from clmeeval_data.storage import write_dataset


def make_record(row, other, number):
    return CnleRecord(
        CNLE.case_id(row["intent"], row["snippet"]),
        row["intent"],
        row["rewritten_intent"],
        row["snippet"],
        tuple(CnleNeighbour(near["intent"], near["snippet"], 50.0) for near in other),
        Provenance("test", f"q{number}", f"group {number}", "Apache-2.0"),
        Rephrasing("human", "", "1"),
    )


@pytest.fixture(scope="session")
def sample_records(sample_rows):
    return [make_record(row, sample_rows[i + 50 : i + 52], i) for i, row in enumerate(sample_rows[:10])]


@pytest.fixture(scope="session")
def published(sample_records, tmp_path_factory):
    """A dataset folder whose test split has eight cases."""
    folder = tmp_path_factory.mktemp("published")
    splits = {"train": sample_records[:1], "validation": sample_records[1:2], "test": sample_records[2:]}
    write_dataset(folder / "cnle", CNLE, splits, {})
    return folder / "cnle"


@pytest.fixture(scope="session")
def our_runs(make_lm, sample_records, tmp_path_factory):
    """A results folder with a run of the floor and one of GRACE, made by the runner."""
    out = tmp_path_factory.mktemp("ours")
    tests = TestSet.of(CNLE, "test", sample_records[2:], sample_records[:1])
    none, grace = EDITORS["none"], EDITORS["grace"]
    editors = [
        none(none.config_class()),
        grace(grace.config_class(layer=2, learning_rate=0.3, steps=20, start="zero", radius=1.5)),
    ]
    run_methods(make_lm("llama"), tests, editors, out)
    return out


class Run:
    """A copy of a run, to be tampered with."""

    def __init__(self, path):
        self.path = Path(path)

    def edit(self, name, change):
        content = json.loads((self.path / name).read_text())
        change(content)
        (self.path / name).write_text(json.dumps(content))

    def entries(self):
        return [json.loads(line) for line in (self.path / "records.jsonl").read_text().splitlines()]

    def write(self, entries):
        (self.path / "records.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))

    def edit_entry(self, change, number=0):
        entries = self.entries()
        change(entries[number])
        self.write(entries)


@pytest.fixture
def copied(our_runs, tmp_path):
    """Copy a run of a method."""

    def copy(method="grace"):
        (found,) = (path.parent for path in our_runs.rglob("run.json") if path.parent.name.startswith(f"{method}--"))
        target = tmp_path / "results" / found.relative_to(our_runs)
        shutil.copytree(found, target)
        return Run(target)

    return copy


@pytest.fixture
def check(monkeypatch, capsys):
    """Run ``check`` as a command; returns its exit code and its lines."""
    app = typer.Typer(add_completion=False)
    app.callback()(lambda: None)
    check_command.add_to(app)

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["clmeeval-leaderboard", "check", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            run_app(app)
        captured = capsys.readouterr()
        return stopped.value.code, (captured.out + captured.err).splitlines()

    return run
