import json
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from clmeeval_data.errors import ResultsError
from clmeeval_data.evaluation.editors import EDITORS
from clmeeval_data.evaluation.editors.contract import Case
from clmeeval_data.evaluation.measurement import is_out_of_memory
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.results import find_runs
from clmeeval_data.evaluation.runner import TestSet, run_method, run_methods
from clmeeval_data.records import CNLE


@pytest.fixture(scope="module")
def tests(sample_rows):
    def prompt(row, field="intent"):
        return CNLE.prompt(row[field])

    cases = [
        Case(f"case-{i}", prompt(row), prompt(row, "rewritten_intent"), row["snippet"],
             (prompt(sample_rows[i + 50]), prompt(sample_rows[i + 51])))
        for i, row in enumerate(sample_rows[:7])
    ]  # fmt: skip
    return TestSet(CNLE, "test", tuple(cases), ())


@pytest.fixture
def grace():
    cls = EDITORS["grace"]
    return cls(cls.config_class(layer=2, learning_rate=0.3, steps=5, start="zero"))


def scores(folder):
    return {key: value for key, value in folder.summary().items() if key != "cost"}


def entries(folder):
    """The journal without what is measured."""
    return {
        key: {k: v for k, v in e.items() if k not in {"cost", "details"}} for key, e in folder.journal.read().items()
    }


def test_the_batch_size_changes_no_output(tiny_lm, tests, grace, tmp_path):
    folders = [run_method(tiny_lm, tests, grace, tmp_path / str(size), batch_size=size) for size in (1, 3, 16)]
    assert entries(folders[0]) == entries(folders[1]) == entries(folders[2])
    assert len({folder.path.name for folder in folders}) == 1
    assert scores(folders[0]) == scores(folders[2])


def test_answers_that_are_taken_over_equal_generated_ones(tiny_lm, tests, tmp_path, monkeypatch):
    cls = EDITORS["grace"]
    editor = cls(cls.config_class(layer=2, learning_rate=0.3, steps=20, start="zero", radius=1.5))
    taken = run_method(tiny_lm, tests, editor, tmp_path / "taken")
    alone = [Edit.leaves_alone]

    def counted(self, lm, prefix, rows):
        alone.append(alone[0](self, lm, prefix, rows))
        return [False] * len(rows)

    monkeypatch.setattr(Edit, "leaves_alone", counted)
    generated = run_method(tiny_lm, tests, editor, tmp_path / "generated")
    assert entries(taken) == entries(generated)
    flags = [flag for flags in alone[1:] for flag in flags]
    assert any(flags)
    assert not all(flags)


def test_an_entry_holds_what_the_report_needs(tiny_lm, tests, grace, tmp_path):
    folder = run_method(tiny_lm, tests, grace, tmp_path)
    entry = folder.journal.read()["case-0"]
    assert entry["error"] is None
    assert entry["case"]["target"] == tests.cases[0].target
    assert set(entry["scores"]) == {"effectiveness", "generalisation", "specificity", "fluency"}
    assert len(entry["outputs"]["specificity"]) == 2
    assert "syntax_match" in entry["scores"]["effectiveness"]
    assert entry["cost"]["edit_seconds"] > 0
    assert entry["cost"]["batch_size"] == 7
    assert entry["details"]["steps"] == 5
    run = folder.run()
    assert run["identity"]["model"]["fingerprint"] == tiny_lm.fingerprint
    assert run["identity"]["method"] == {"name": "grace", "config": grace.config.as_dict()}
    assert run["environment"]["versions"]["torch"]


def test_no_edit_changes_nothing_and_the_unedited_answers_are_computed_once(
    tiny_lm, tests, grace, tmp_path, monkeypatch
):
    none = EDITORS["none"](EDITORS["none"].config_class())
    folder = run_method(tiny_lm, tests, none, tmp_path)
    for entry in folder.journal.read().values():
        answers = [
            entry["outputs"]["effectiveness"],
            entry["outputs"]["generalisation"],
            *entry["outputs"]["specificity"],
        ]
        assert all(answer["before"] == answer["after"] for answer in answers)
        assert entry["scores"]["specificity"]["exact_match_all"] == 1.0
    monkeypatch.setattr("clmeeval_data.evaluation.answers.UneditedAnswers._compute", None)
    run_method(tiny_lm, tests, grace, tmp_path)


def test_a_complete_run_is_not_run_again(tiny_lm, tests, grace, tmp_path, monkeypatch):
    first = run_method(tiny_lm, tests, grace, tmp_path)
    before = {file: file.read_bytes() for file in first.path.iterdir()}
    monkeypatch.setattr(type(grace), "edit_each", None)
    finished = []

    def progress(method, cases):
        finished.append((method, cases))

    assert run_methods(tiny_lm, tests, [grace], tmp_path, progress=progress)[0].path == first.path
    assert finished == [("grace", 7)]
    assert {file: file.read_bytes() for file in first.path.iterdir()} == before


def test_a_stopped_run_goes_on_where_it_stopped(tiny_lm, tests, grace, tmp_path, monkeypatch):
    whole = run_method(tiny_lm, tests, grace, tmp_path / "whole", batch_size=2)
    edit_each, seen = type(grace).edit_each, []

    def interrupted(self, lm, requests):
        if len(seen) == 4:
            raise KeyboardInterrupt
        seen.extend(request.case_id for request in requests)
        return edit_each(self, lm, requests)

    monkeypatch.setattr(type(grace), "edit_each", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_method(tiny_lm, tests, grace, tmp_path / "parts", batch_size=2)
    seen.append("restarted")
    parts = run_method(tiny_lm, tests, grace, tmp_path / "parts", batch_size=2)
    assert sorted(seen[:4] + seen[5:]) == sorted(case.case_id for case in tests.cases)
    assert scores(parts) == scores(whole)
    assert entries(parts) == entries(whole)


def test_a_failing_case_is_counted_and_does_not_end_the_run(tiny_lm, tests, grace, tmp_path):
    broken = [replace(tests.cases[1], target=""), replace(tests.cases[2], prompt="x" * 4000)]
    spoilt = replace(tests, cases=(tests.cases[0], *broken, *tests.cases[3:]))
    folder = run_method(tiny_lm, spoilt, grace, tmp_path, batch_size=4)
    found = folder.journal.read()
    assert len(found) == 7
    assert found["case-1"]["error"] == {
        "type": "CaseError",
        "message": "the target is empty: there is nothing to edit towards.",
    }
    assert "tokens and the context of tiny-llama" in found["case-2"]["error"]["message"]
    assert folder.summary()["cases"]["failed"] == 2
    assert all(found[f"case-{i}"]["error"] is None for i in (0, 3, 4, 5, 6))


def test_an_error_that_nobody_expected_is_that_cases_own(tiny_lm, tests, grace, tmp_path, monkeypatch):
    edit_each = type(grace).edit_each

    def fails(self, lm, requests):
        if any(request.case_id == "case-3" for request in requests):
            raise RuntimeError("CUDA error: device-side assert")
        return edit_each(self, lm, requests)

    monkeypatch.setattr(type(grace), "edit_each", fails)
    folder = run_method(tiny_lm, tests, grace, tmp_path)
    errors = {key: entry["error"] for key, entry in folder.journal.read().items() if entry["error"]}
    assert errors == {"case-3": {"type": "RuntimeError", "message": "CUDA error: device-side assert"}}


def test_methods_run_together_give_what_each_gives_alone_and_read_the_prompts_once(
    tiny_lm, tests, grace, tmp_path, monkeypatch
):
    from clmeeval_data.evaluation.model import prefix

    ft = EDITORS["ft"](EDITORS["ft"].config_class(layer=1, steps=3))
    alone = [run_method(tiny_lm, tests, editor, tmp_path / "alone", batch_size=4) for editor in (grace, ft)]
    read, passes = prefix.read_ids, []

    def counted(lm, ids, layers=()):
        passes.append(len(ids))
        return read(lm, ids, layers)

    monkeypatch.setattr(prefix, "read_ids", counted)
    together = run_methods(tiny_lm, tests, [grace, ft], tmp_path / "together", batch_size=4)
    assert [entries(run) for run in together] == [entries(run) for run in alone]
    assert len(passes) == 2, "seven cases in batches of four are read in two passes, whatever the number of methods"


def test_out_of_memory_halves_the_batch_and_says_so(tiny_lm, tests, grace, tmp_path, monkeypatch, caplog):
    expected = run_method(tiny_lm, tests, grace, tmp_path / "roomy")
    edit_each, sizes = type(grace).edit_each, []

    def cramped(self, lm, requests):
        sizes.append(len(requests))
        if len(requests) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return edit_each(self, lm, requests)

    monkeypatch.setattr(type(grace), "edit_each", cramped)
    with caplog.at_level(logging.WARNING):
        folder = run_method(tiny_lm, tests, grace, tmp_path / "cramped")
    assert sizes == [7, 3, 1, 2, 4, 2, 2]
    assert "out of memory with 7 edits at once: going on with 3 and 4" in caplog.text
    assert folder.summary()["cases"]["failed"] == 0
    assert entries(folder) == entries(expected)


def test_memory_of_the_host_can_run_out_too():
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("CUDA error: device-side assert"))


def test_an_edit_of_the_first_call_only_leaves_neighbours_and_sampled_text_alone(
    tiny_lm, tests, grace, tmp_path, monkeypatch
):
    """The released A-GRACE: whatever its codebook does, specificity and fluency are the unedited model's."""
    editor = type(grace)(replace(grace.config, radius=1e9, steps=60, start="zero"))
    edit_each = type(grace).edit_each
    everywhere = entries(run_method(tiny_lm, tests, editor, tmp_path / "every"))

    def once(self, lm, requests):
        return [replace(edit, first_call_only=True) for edit in edit_each(self, lm, requests)]

    monkeypatch.setattr(type(grace), "edit_each", once)
    first = entries(run_method(tiny_lm, tests, editor, tmp_path / "first"))
    assert any(e["scores"]["specificity"]["exact_match"] < 1 for e in everywhere.values())
    for key, entry in first.items():
        assert entry["scores"]["specificity"]["exact_match"] == 1
        for dimension in ("effectiveness", "generalisation"):
            assert entry["outputs"][dimension] == everywhere[key]["outputs"][dimension]


def test_what_changes_a_number_changes_the_folder(tiny_lm, make_lm, tests, grace, tmp_path):
    other = type(grace)(replace(grace.config, steps=6))
    fewer = replace(tests, cases=tests.cases[:3])
    runs = [
        run_method(tiny_lm, tests, grace, tmp_path),
        run_method(tiny_lm, tests, other, tmp_path),
        run_method(tiny_lm, fewer, grace, tmp_path),
        run_method(tiny_lm, tests, grace, tmp_path, seed=1),
        run_method(make_lm("llama", seed=9), tests, grace, tmp_path),
    ]
    assert len({run.path for run in runs}) == 5
    assert len(list(find_runs(tmp_path))) == 5
    assert len({json.dumps(run.summary()["signature"]) for run in runs}) == 4, "the method's settings are not in it"


def test_a_folder_of_another_configuration_is_refused(tiny_lm, tests, grace, tmp_path):
    folder = run_method(tiny_lm, replace(tests, cases=tests.cases[:2]), grace, tmp_path)
    described = folder.run()
    described["identity"]["seed"] = 5
    (folder.path / "run.json").write_text(json.dumps(described))
    with pytest.raises(ResultsError, match="another configuration"):
        run_method(tiny_lm, replace(tests, cases=tests.cases[:2]), grace, tmp_path)


def test_killing_a_run_loses_nothing(save_model, tests, tmp_path):
    """SIGKILL while the command runs, then the same command: the summary of a run that was never killed."""
    from clmeeval_data.records import CnleNeighbour, CnleRecord, Provenance, Rephrasing
    from clmeeval_data.storage import write_dataset

    def record(i, intent, rewritten, snippet):
        near = (CnleNeighbour(f"do {i} things", f"f({i})", 50.0),)
        made = Rephrasing("human", "", "1"), Provenance("test", f"q{i}", f"group {i}", "Apache-2.0")
        return CnleRecord(CNLE.case_id(intent, snippet), intent, rewritten, snippet, near, made[1], made[0])

    records = [record(i, f"add {i} to x", f"increase x by {i}", f"x += {i} * 7 - {i}") for i in range(24)]
    splits = {"train": records[:2], "validation": records[2:4], "test": records[4:]}
    write_dataset(tmp_path / "data", CNLE, splits, {})
    save_model(tmp_path / "model")

    def command(out):
        options = {"--model": tmp_path / "model", "--dataset": tmp_path / "data", "--out": tmp_path / out}
        words = [str(word) for pair in options.items() for word in pair]
        words += ["--method", "grace", "--batch-size", "1", "--set", "layer=2", "--set", "steps=40"]
        return [sys.executable, "-m", "clmeeval_data.evaluation.cli", "run", *words]

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run(command("whole"), env=environment, check=True, capture_output=True)
    process = subprocess.Popen(command("killed"), env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while sum(path.read_bytes().count(b"\n") for path in (tmp_path / "killed").rglob("records.jsonl")) < 3:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (killed,) = find_runs(tmp_path / "killed")
    kept = killed.journal.path.read_bytes()
    kept = kept[: kept.rfind(b"\n") + 1]
    assert 2 < kept.count(b"\n") < 20
    assert killed.summary() is None
    subprocess.run(command("killed"), env=environment, check=True, capture_output=True)
    assert killed.journal.path.read_bytes().startswith(kept)
    (whole,) = find_runs(tmp_path / "whole")
    assert scores(killed) == scores(whole)
    assert entries(killed) == entries(whole)
