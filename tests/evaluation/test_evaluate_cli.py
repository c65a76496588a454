import os
import subprocess
import sys

import pytest

from clmeeval_data.evaluation.editors import EDITORS
from clmeeval_data.records import CNLE, CnleNeighbour, CnleRecord, Provenance, Rephrasing
from clmeeval_data.storage import parquet_path, write_dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_lm):
    """A working directory with a dataset and a model."""
    root = tmp_path_factory.mktemp("work")
    lm = make_lm("llama")
    lm.model.save_pretrained(root / "model")
    lm.tokenizer.save_pretrained(root / "model")
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


def evaluate(folder, *arguments):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    command = [sys.executable, "-m", "clmeeval_data.evaluation.cli", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


GOOD = {"--model": "./model", "--dataset": "data", "--method": "none", "--out": "results"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--method": "grac"}, "unknown method 'grac'. Did you mean 'grace'? Known: ft, grace, none, rome."),
        ({"--model": "./modle"}, "no model folder ./modle."),
        ({"--dataset": "./dta"}, "no dataset folder ./dta."),
        ({"--dataset": "torn"}, "test-00000-of-00001.parquet"),
        ({"--split": "tset"}, "unknown split 'tset' of data. Known: train, validation, test."),
        ({"--out": "file/results"}, "cannot write"),
        ({"--limit": "0"}, "expected 1 or more"),
        ({"--limit": "many"}, "'many' is not a valid int"),
        ({"--set": "layer=3"}, "has no setting 'layer'. Known: none."),
        ({"--method": "grace", "--set": "layer=77"}, "layer 77 does not exist: the model has layers 0 to 3."),
        ({"--method": "grace", "--hparams": "gone.toml"}, "cannot read the settings gone.toml"),
        ({"--device": "warp"}, "device 'warp' cannot be used"),
    ],
)
def test_a_wrong_argument_is_one_line_and_exit_code_2(folder, changes, message):
    options = {**GOOD, **changes}
    done = evaluate(folder, "run", *(text for pair in options.items() for text in pair))
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in done.stderr


def test_a_run_prints_its_folder_and_the_same_command_again_does_nothing(folder):
    arguments = ["run", *(text for pair in GOOD.items() for text in pair), "--limit", "3"]
    first = evaluate(folder, *arguments)
    assert first.returncode == 0, first.stderr
    (path,) = first.stdout.split()
    records = folder / path / "records.jsonl"
    before = records.stat().st_mtime_ns, records.read_bytes()
    assert records.read_bytes().count(b"\n") == 3
    assert evaluate(folder, *arguments).stdout == first.stdout
    assert (records.stat().st_mtime_ns, records.read_bytes()) == before


def test_list_names_every_method(folder):
    output = evaluate(folder, "list").stdout
    assert all(name in output for name in EDITORS)
    assert "CodeLlama-7b-hf" in output


def test_help_has_examples(folder):
    output = evaluate(folder, "run", "--help").stdout
    assert "clmeeval-evaluate run --model smollm2 --dataset clmeeval/cnle --method grace" in output
