"""A run in parts: by hand, in one folder or in several, brought together, and run again to compare."""

import json
import sys

import pytest

from clmeeval_data.errors import ConfigError, ResultsError
from clmeeval_data.evaluation.batch_size import LARGEST, parse_batch_size, scaled
from clmeeval_data.evaluation.cli import main
from clmeeval_data.evaluation.cluster import execute
from clmeeval_data.evaluation.merge import merge
from clmeeval_data.evaluation.protocols import SINGLE, EvaluationProtocol
from clmeeval_data.evaluation.recorder import Shard
from clmeeval_data.evaluation.results import RunFolder, find_runs
from clmeeval_data.evaluation.verify import verify
from tests.evaluation.observer import Unwatched


def run(plan):
    (folder,) = execute(plan, Unwatched())
    return folder


def unmeasured(folder):
    return {key: {k: v for k, v in e.items() if k != "cost"} for key, e in folder.entries().items()}


def summary(folder):
    """The text of the summary, less what was measured."""
    content = json.loads((folder.path / "summary.json").read_text())
    del content["cost"]
    return json.dumps(content)


@pytest.fixture
def command(monkeypatch, capsys):
    """Run the command line in this process: (exit code, stdout, stderr)."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["clmeeval-evaluate", *map(str, words)])
        with pytest.raises(SystemExit) as exit_:
            main()
        return exit_.value.code, *capsys.readouterr()

    return call


@pytest.mark.parametrize("protocol", [SINGLE, EvaluationProtocol("batch", 3), EvaluationProtocol("sequential", 5)])
def test_two_shards_in_one_folder_are_the_whole_run(protocol, plan_of, tmp_path):
    whole = run(plan_of(tmp_path / "whole", protocol=protocol))
    first = run(plan_of(tmp_path / "parts", protocol=protocol, shard=Shard(0, 2)))
    assert first.summary() is None
    assert 0 < len(first.entries()) < 12
    last = run(plan_of(tmp_path / "parts", protocol=protocol, shard=Shard(1, 2)))
    assert sorted(path.name for path in last.path.glob("records*")) == ["records-0-of-2.jsonl", "records-1-of-2.jsonl"]
    assert unmeasured(last) == unmeasured(whole)
    assert summary(last) == summary(whole)


def test_shards_of_two_machines_are_merged(plan_of, tmp_path, command):
    whole = run(plan_of(tmp_path / "whole"))
    for index in (0, 1):
        run(plan_of(tmp_path / f"machine-{index}", shard=Shard(index, 2)))
    out = tmp_path / "merged"
    code, printed, _ = command("merge", tmp_path / "machine-0", "--out", out)
    assert (code, printed.endswith(": 6 of 12 cases, lacks cases\n")) == (1, True)
    code, printed, _ = command("merge", tmp_path / "machine-1", tmp_path / "machine-0", "--out", out)
    assert (code, printed.endswith(": 12 of 12 cases, complete\n")) == (0, True)
    (merged,) = find_runs(out)
    assert unmeasured(merged) == unmeasured(whole)
    assert summary(merged) == summary(whole)
    before = merged.journal.path.read_bytes()
    assert command("merge", out, tmp_path / "machine-0", "--out", out)[0] == 0
    assert merged.journal.path.read_bytes() == before


def test_copied_shards_are_completed_in_place_and_by_the_plain_command(plan_of, tmp_path, monkeypatch):
    for index in (0, 1):
        folder = run(plan_of(tmp_path, shard=Shard(index, 2)))
    expected = summary(folder)
    (folder.path / "summary.json").unlink()
    (merged,) = merge([tmp_path], tmp_path)
    assert (merged.finished, merged.total) == (12, 12)
    assert summary(folder) == expected
    (folder.path / "summary.json").unlink()
    monkeypatch.setattr("clmeeval_data.evaluation.editors.grace.Grace.prepare", None)
    monkeypatch.setattr("clmeeval_data.evaluation.editors.grace.Grace.edit_each", None)
    assert summary(run(plan_of(tmp_path))) == expected


def test_results_that_differ_are_not_merged(plan_of, tmp_path):
    for name in ("a", "b"):
        folder = run(plan_of(tmp_path / name, shard=Shard(0, 2)))
    journal = folder.shard(0, 2).path
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    lines[2]["outputs"]["effectiveness"]["after"] = "something else"
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(ResultsError, match=rf"another result for case '{lines[2]['id']}'"):
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    with pytest.raises(ResultsError, match="no results folder"):
        merge([tmp_path / "nowhere"], tmp_path / "out")


@pytest.mark.parametrize("protocol", [SINGLE, EvaluationProtocol("sequential", 5)])
def test_verify_runs_a_sample_again_and_finds_what_was_changed(protocol, plan_of, tmp_path, command):
    folder = run(plan_of(tmp_path, protocol=protocol))
    code, printed, _ = command("verify", folder.path, "--sample", "4")
    assert (code, printed) == (
        0,
        f"{4 if protocol == SINGLE else 5} of {4 if protocol == SINGLE else 5} cases are equal\n",
    )
    lines = [json.loads(line) for line in folder.journal.path.read_text().splitlines()]
    lines[1]["scores"]["effectiveness"]["chrf"] += 1e-9
    folder.journal.path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, printed, _ = command("verify", folder.path, "--sample", "12")
    assert code == 1
    assert printed.startswith(f"{lines[1]['id']} scores.effectiveness.chrf: stored ")
    assert printed.endswith("11 of 12 cases are equal\n")


def test_verify_refuses_another_model_and_a_run_that_does_not_say_what_it_was(plan_of, tmp_path, make_lm, saved_run):
    folder = run(plan_of(tmp_path))
    described = folder.run()
    described["identity"]["model"]["fingerprint"] = "0" * 16
    (folder.path / "run.json").write_text(json.dumps(described))
    with pytest.raises(ResultsError, match="was run with another model than there is now"):
        verify(folder)
    del described["environment"]["dataset"]
    (folder.path / "run.json").write_text(json.dumps(described))
    with pytest.raises(ResultsError, match="does not say 'dataset'"):
        verify(folder)
    with pytest.raises(ResultsError, match=r"run\.json is missing"):
        verify(RunFolder(tmp_path / "nowhere"))


def test_run_json_holds_what_is_needed_to_run_it_again(plan_of, tmp_path, saved_run):
    folder = run(plan_of(tmp_path, limit=5, command=("clmeeval-evaluate", "run"), seed=3))
    environment = folder.run()["environment"]
    assert environment["command"] == ["clmeeval-evaluate", "run"]
    assert environment["model"] == str(saved_run / "model")
    where = {"location": str(saved_run / "data"), "split": "test", "limit": 5, "revision": None, "commit": None}
    assert environment["dataset"] == where
    assert environment["threads"] >= 1
    assert (environment["device"], environment["device_asked"], environment["dtype"]) == ("cpu", "cpu", "float32")
    assert environment["trained"] is None
    assert folder.run()["identity"]["seed"] == 3


def test_the_automatic_batch_size_is_16_on_the_cpu_and_noted(plan_of, tmp_path):
    folder = run(plan_of(tmp_path, batch_size=None))
    assert folder.run()["environment"]["batch_size"] == 16
    assert {entry["cost"]["batch_size"] for entry in folder.entries().values()} == {12}
    for options in ({"shard": Shard(0, 2)}, {"executor": "ray"}):
        with pytest.raises(ConfigError, match="--batch-size auto does not go with"):
            plan_of(tmp_path, batch_size=None, **options)


def test_a_batch_size_fits_into_what_is_free():
    assert scaled(free=10_000, taken=1_000, cases=4) == 32  # 0.8 * 40, as a power of two
    assert scaled(free=10_100, taken=1_300, cases=4) == 16
    assert scaled(free=10, taken=1_000, cases=4) == 1
    assert scaled(free=10**12, taken=1, cases=4) == LARGEST
    assert (parse_batch_size("8"), parse_batch_size("auto")) == (8, None)
    with pytest.raises(ConfigError, match="expected a number of 1 or more, or auto"):
        parse_batch_size("0")
