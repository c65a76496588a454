import json
import os
import subprocess
import sys
from typing import NamedTuple

import pytest
from transformers.utils import logging as transformers_logging

from clmeeval_data.evaluation.cli import main
from clmeeval_data.evaluation.editors import EDITORS
from clmeeval_data.journal import Journal
from clmeeval_data.records import CNLE, CnleNeighbour, CnleRecord, Provenance, Rephrasing
from clmeeval_data.storage import parquet_path, write_dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory, save_model):
    """A working directory with a dataset and a model."""
    root = tmp_path_factory.mktemp("work")
    save_model(root / "model")
    records = [
        CnleRecord(
            CNLE.case_id(f"add {i} to x", f"x += {i}"),
            f"add {i} to x",
            f"increase x by {i}",
            f"x += {i}",
            (CnleNeighbour(f"do {i} things", f"f({i})", 50.0),),
            Provenance("test", f"q{i}", f"group {i}", "Apache-2.0"),
            Rephrasing("human", "", "1"),
        )
        for i in range(8)
    ]
    splits = {"train": records[:2], "validation": records[2:4], "test": records[4:]}
    write_dataset(root / "data", CNLE, splits, {})
    write_dataset(root / "torn", CNLE, splits, {})
    whole = parquet_path(root / "torn", "test").read_bytes()
    parquet_path(root / "torn", "test").write_bytes(whole[: len(whole) // 2])
    (root / "file").write_text("in the way")
    return root


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def evaluate(folder, monkeypatch, capsys):
    """Run the command line in the working directory, in this process."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["clmeeval-evaluate", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        return Done(exit_.value.code, *capsys.readouterr())

    return run


KNOWN = f"Known: {', '.join(sorted(EDITORS))}."
GOOD = {"--model": "./model", "--dataset": "data", "--method": "none", "--out": "results"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--method": "grac"}, f"unknown method 'grac'. Did you mean 'grace'? {KNOWN}"),
        ({"--model": "./modle"}, "no model folder ./modle."),
        ({"--dataset": "./dta"}, "no dataset folder './dta'."),
        ({"--dataset": "torn"}, "test-00000-of-00001.parquet"),
        ({"--split": "tset"}, "unknown split 'tset' of data. Known: train, validation, test."),
        ({"--out": "file/results"}, "cannot write"),
        ({"--revision": "v1"}, "revision 'v1' was asked for, but data is a folder here, which is read first and has"),
        ({"--limit": "0"}, "expected 1 or more"),
        ({"--limit": "many"}, "Input should be a valid integer"),
        ({"--set": "layer=3"}, "has no setting 'layer'. Known: none."),
        ({"--method": "grace", "--set": "layer=77"}, "layer 77 does not exist: the model has layers 0 to 3."),
        ({"--method": "grace", "--hparams": "gone.toml"}, "cannot read the settings gone.toml"),
        ({"--device": "warp"}, "device 'warp' cannot be used"),
        ({"--method": "agrace"}, "agrace needs a trained file: make one with 'clmeeval-evaluate train --method agrace"),
        ({"--method": "malmen", "--set": "rank=4"}, "malmen needs a trained file"),
        ({"--trained": "gone.safetensors"}, "cannot read the trained file gone.safetensors"),
        ({"--trained": "file"}, "file"),
        ({"--compat": "reference"}, "--compat reference changes nothing of none. Methods with released behaviour"),
        ({"--protocol": "batch"}, "--protocol is 'batch'; expected single, batch:N or sequential:N"),
        ({"--method": "rome", "--protocol": "batch:2"}, "rome cannot be run with --protocol batch:2: its update is of"),
        ({"--shards": "2/2"}, "--shards is '2/2'; expected i/n with i from 0 to n - 1"),
        ({"--batch-size": "many"}, "--batch-size is 'many'; expected a number of 1 or more, or auto"),
        ({"--batch-size": "auto", "--shards": "0/2"}, "--batch-size auto does not go with --shards or --executor ray"),
        ({"--executor": "slurm"}, "--executor is 'slurm'; expected one of here, ray"),
        ({"--workers": "2"}, "--workers 2 is for Ray. Add --executor ray"),
        ({"--compat": "right-ish"}, "--compat is 'right-ish'; expected one of right, reference."),
    ],
)
def test_a_wrong_argument_is_one_line_and_exit_code_2(evaluate, changes, message):
    options = {**GOOD, **changes}
    done = evaluate("run", *(text for pair in options.items() for text in pair))
    assert done.code == 2
    lines = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert message in lines[0]


def test_a_run_prints_its_folder_and_the_same_command_again_does_nothing(folder, evaluate):
    arguments = ["run", *(text for pair in GOOD.items() for text in pair), "--limit", "3"]
    first = evaluate(*arguments)
    assert first.code == 0, first.err
    (path,) = first.out.split()
    described = json.loads((folder / path / "run.json").read_text())
    where = {"location": "data", "split": "test", "limit": 3, "revision": None, "commit": None}
    assert described["environment"]["dataset"] == where
    assert list(described["identity"]["dataset"]) == ["cases", "n", "name", "schema", "split"]
    records = folder / path / "records.jsonl"
    before = records.stat().st_mtime_ns, records.read_bytes()
    assert records.read_bytes().count(b"\n") == 3
    assert evaluate(*arguments).out == first.out
    assert (records.stat().st_mtime_ns, records.read_bytes()) == before


def test_a_run_that_another_process_writes_is_one_line_and_exit_code_2(folder, evaluate):
    arguments = ["run", *(text for pair in {**GOOD, "--out": "busy"}.items() for text in pair), "--limit", "2"]
    (path,) = evaluate(*arguments).out.split()
    (folder / path / "summary.json").unlink()
    with Journal(folder / path / "records.jsonl").held():
        done = evaluate(*arguments)
    assert done.code == 2
    (line,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert f"records.jsonl is being written by another process (pid {os.getpid()})." in line
    assert evaluate(*arguments).code == 0


def test_protocols_are_runs_of_their_own(folder, evaluate):
    run = ["run", *(text for pair in {**GOOD, "--out": "protocols"}.items() for text in pair)]
    paths = [evaluate(*run, "--protocol", protocol).out.strip() for protocol in ("single", "batch:2", "sequential:3")]
    assert len(set(paths)) == 3
    assert all((folder / path / "summary.json").exists() for path in paths)


AGRACE = ["--set", "layer=2", "--set", "steps=5", "--set", "encoder_epochs=3"]


@pytest.fixture(scope="module")
def elsewhere(folder, make_lm, save_model):
    """Another model of the same shape."""
    save_model(folder / "other-model", make_lm("llama", seed=8))
    return "./other-model"


def test_a_trained_method_runs_from_its_file_on_its_model_alone(evaluate, elsewhere):
    train = ["train", "--model", "./model", "--dataset", "data", "--method", "agrace", *AGRACE]
    done = evaluate(*train)
    assert done.code == 0, done.err
    file = done.out.strip()
    assert evaluate(*train).out == done.out, "the same command again finds what is complete"
    run = [
        "run",
        "--model",
        "./model",
        "--dataset",
        "data",
        "--method",
        "agrace",
        "--trained",
        file,
        "--out",
        "trained-run",
    ]
    first = evaluate(*run)
    assert first.code == 0, first.err
    again = evaluate(*run, "--compat", "reference")
    assert again.code == 0, again.err
    assert again.out != first.out, "the released behaviour is another configuration"
    refused = evaluate("run", "--model", elsewhere, "--dataset", "data", "--method", "agrace", "--trained", file)
    assert refused.code == 2
    assert "error: " in refused.err
    assert "belongs to model model" in refused.err
    unused = evaluate("run", "--model", "./model", "--dataset", "data", "--method", "none", "--trained", file)
    assert unused.code == 2
    assert "Add --method agrace" in unused.err


def test_a_method_that_is_not_trained_cannot_be(evaluate):
    done = evaluate("train", "--model", "./model", "--dataset", "data", "--method", "grace")
    assert done.code == 2
    assert [line for line in done.err.splitlines() if line.startswith("error: grace")]


@pytest.mark.parametrize(("command", "method"), [("train", "agrace"), ("tune", "grace")])
def test_a_revision_of_a_folder_is_refused_before_the_model_is_loaded(evaluate, command, method):
    done = evaluate(command, "--model", "./gone", "--dataset", "data", "--method", method, "--revision", "v1")
    assert done.code == 2
    assert [line for line in done.err.splitlines() if line.startswith("error: revision 'v1' was asked for, but data")]


def test_tune_writes_settings_that_run_takes(evaluate):
    fixed = ["--set", "steps=4", "--set", "start=zero", "--set", "learning_rate=0.3"]
    done = evaluate("tune", "--model", "./model", "--dataset", "data", "--method", "grace", "--cases", "2",
                    "--budget", "60", *fixed)  # fmt: skip
    assert done.code == 0, done.err
    run = ["run", "--model", "./model", "--dataset", "data", "--method", "grace", "--out", "tuned-run"]
    tuned = evaluate(*run, "--hparams", done.out.strip())
    assert tuned.code == 0, tuned.err


def test_verify_shows_nothing_of_the_libraries(evaluate):
    run = evaluate("run", *(text for pair in {**GOOD, "--out": "quiet"}.items() for text in pair), "--limit", "2")
    transformers_logging.enable_progress_bar()
    done = evaluate("verify", run.out.strip())
    assert (done.code, done.out) == (0, "2 of 2 cases are equal\n")
    assert "running again" in done.err
    assert "Loading weights" not in done.err


def test_list_names_every_method(evaluate):
    output = evaluate("list").out
    assert all(name in output for name in EDITORS)
    assert "locate-then-edit" in output
    assert "key statistics" in output


def test_help_has_examples(evaluate):
    output = evaluate("run", "--help").out
    assert "clmeeval-evaluate run --model smollm2 --dataset clmeeval/cnle --method grace" in output


def test_ctrl_c_is_one_line_and_exit_code_130(evaluate, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("clmeeval_data.evaluation.cluster.run_methods", interrupted)
    done = evaluate("run", *(text for pair in {**GOOD, "--out": "other"}.items() for text in pair))
    assert done.code == 130
    assert done.err.splitlines()[-1].startswith("stopped. Finished work is kept")


def test_the_shell_sees_one_line_and_no_traceback(folder):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HF_HUB_OFFLINE": "1"}
    options = {**GOOD, "--method": "grac"}
    words = [word for pair in options.items() for word in pair]
    command = [sys.executable, "-m", "clmeeval_data.evaluation.cli", "run", *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [f"error: unknown method 'grac'. Did you mean 'grace'? {KNOWN}"]
