"""Two processes on one folder, a full disk, damaged journals, sequences that are killed: no finished case is lost."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from clmeeval_data.errors import ResultsError
from clmeeval_data.evaluation.cluster import execute
from clmeeval_data.evaluation.protocols import EvaluationProtocol
from clmeeval_data.evaluation.recorder import Shard
from clmeeval_data.evaluation.results import same_result
from clmeeval_data.evaluation.runner import run_method, run_methods
from clmeeval_data.journal import Journal
from tests.evaluation.observer import Unwatched

HOLDER = """
import sys, time
from pathlib import Path
from clmeeval_data.journal import Journal
with Journal(Path(sys.argv[1])).held():
    print("held", flush=True)
    time.sleep(600)
"""
SEVEN = EvaluationProtocol("sequential", 7)


@pytest.fixture
def holder(root):
    """Start a process that holds a journal; it is killed in the end."""
    started = []

    def start(path):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(path)], cwd=root, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline().strip() == "held"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_journal_that_another_process_writes_is_refused_until_that_is_killed(
    holder, tiny_lm, protocol_tests, make_method, tmp_path
):
    tests, editor = replace(protocol_tests, cases=protocol_tests.cases[:2]), make_method("none")
    path = run_method(tiny_lm, tests, editor, tmp_path).path
    (path / "summary.json").unlink()
    process = holder(path / "records.jsonl")
    with pytest.raises(
        ResultsError, match=rf"records\.jsonl is being written by another process \(pid {process.pid}\)"
    ):
        run_method(tiny_lm, tests, editor, tmp_path)
    with pytest.raises(ResultsError, match=r"records\.jsonl is being written by another process"):
        run_methods(tiny_lm, tests, [editor], tmp_path, shard=Shard(0, 2))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert run_method(tiny_lm, tests, editor, tmp_path).summary() is not None


def test_shards_of_one_number_stand_beside_each_other_and_the_whole_run_waits(
    holder, tiny_lm, protocol_tests, make_method, tmp_path
):
    editor, options = make_method("none"), {"batch_size": 2, "shard": Shard(0, 2)}
    (folder,) = run_methods(tiny_lm, protocol_tests, [editor], tmp_path, **options)
    holder(folder.shard(1, 2).path)
    folder.shard(1, 2).path.touch()
    run_methods(tiny_lm, protocol_tests, [editor], tmp_path, **options)
    with pytest.raises(ResultsError, match=r"records-1-of-2\.jsonl is being written by another process"):
        run_method(tiny_lm, protocol_tests, editor, tmp_path, batch_size=2)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_is_one_line_and_the_same_run_goes_on(tiny_lm, protocol_tests, make_method, entries, tmp_path):
    editor = make_method("grace")
    whole = run_method(tiny_lm, protocol_tests, editor, tmp_path / "whole", batch_size=3)
    progress = []

    def filling(method, cases):
        progress.append(cases)
        path = folder / "records.jsonl"
        if len(progress) == 2:  # the first was told of what earlier runs had done: nothing
            path.rename(folder / "kept.jsonl")
            path.symlink_to("/dev/full")

    folder = tmp_path / "full" / whole.path.relative_to(tmp_path / "whole")
    with pytest.raises(ResultsError, match=r"cannot write .*records\.jsonl: No space left on device\. Make room"):
        run_methods(tiny_lm, protocol_tests, [editor], tmp_path / "full", batch_size=3, progress=filling)
    (folder / "records.jsonl").unlink()
    (folder / "kept.jsonl").rename(folder / "records.jsonl")
    assert len(Journal(folder / "records.jsonl").read()) == 3
    again = run_method(tiny_lm, protocol_tests, editor, tmp_path / "full", batch_size=3)
    assert again.path == folder
    assert entries(again) == entries(whole)


def test_a_full_disk_keeps_the_last_state_of_a_sequence(
    tiny_lm, protocol_tests, make_method, entries, tmp_path, monkeypatch
):
    editor = make_method("rome")
    whole = run_method(tiny_lm, protocol_tests, editor, tmp_path / "whole", protocol=SEVEN)
    append, edit, computed = Journal.append, type(editor).edit, []

    def full(self, lines):
        if self.path.name == "records.jsonl":
            raise ResultsError(f"cannot write {self.path}: No space left on device.")
        append(self, lines)

    def counted(self, lm, requests):
        computed.extend(request.case_id for request in requests)
        return edit(self, lm, requests)

    monkeypatch.setattr(Journal, "append", full)
    with pytest.raises(ResultsError, match="No space left"):
        run_method(tiny_lm, protocol_tests, editor, tmp_path / "full", protocol=SEVEN)
    monkeypatch.setattr(Journal, "append", append)
    monkeypatch.setattr(type(editor), "edit", counted)
    again = run_method(tiny_lm, protocol_tests, editor, tmp_path / "full", protocol=SEVEN)
    assert computed == [], "the sequence was complete, and only its entries were not written"
    assert entries(again) == entries(whole)
    assert not (again.path / "states").exists()


def test_a_sequence_that_stopped_goes_on_from_its_last_checkpoint(
    tiny_lm, protocol_tests, make_method, entries, tmp_path, monkeypatch
):
    monkeypatch.setattr("clmeeval_data.evaluation.protocols.sequence.SAVED_EVERY", 3)
    editor = make_method("grace", radius=3.0)
    whole = run_method(tiny_lm, protocol_tests, editor, tmp_path / "whole", protocol=SEVEN)
    edit, computed = type(editor).edit, []

    def interrupted(self, lm, requests):
        if len(computed) == 5:
            computed.append("stopped")
            raise KeyboardInterrupt
        computed.extend(request.case_id for request in requests)
        return edit(self, lm, requests)

    monkeypatch.setattr(type(editor), "edit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_method(tiny_lm, protocol_tests, editor, tmp_path / "parts", protocol=SEVEN)
    parts = run_method(tiny_lm, protocol_tests, editor, tmp_path / "parts", protocol=SEVEN)
    ids = [case.case_id for case in protocol_tests.cases]
    assert computed == [*ids[:5], "stopped", *ids[3:]]
    assert entries(parts) == entries(whole)
    mine, theirs = ({k: v for k, v in run.summary().items() if k != "cost"} for run in (parts, whole))
    assert mine == theirs
    assert not (parts.path / "states").exists()


def test_a_damaged_state_is_passed_over(tiny_lm, protocol_tests, make_method, entries, tmp_path):
    tests = replace(protocol_tests, cases=protocol_tests.cases[:3])
    editor, protocol = make_method("none"), EvaluationProtocol("sequential", 3)
    whole = run_method(tiny_lm, tests, editor, tmp_path / "whole", protocol=protocol)
    states = tmp_path / "other" / whole.path.relative_to(tmp_path / "whole") / "states"
    states.mkdir(parents=True)
    (states / "000000.json").write_text('{"done": 2, "edit": "000000-2.safetensors", "parts": {}, "failed": {}}')
    (states / "000000-2.safetensors").write_bytes(b"torn")
    assert entries(run_method(tiny_lm, tests, editor, tmp_path / "other", protocol=protocol)) == entries(whole)


def test_a_corrupt_line_is_reported_and_a_torn_one_computed_again(tiny_lm, protocol_tests, make_method, tmp_path):
    editor = make_method("none")
    folder = run_method(tiny_lm, protocol_tests, editor, tmp_path)
    lines = folder.journal.path.read_bytes().splitlines(keepends=True)
    (folder.path / "summary.json").unlink()
    folder.journal.path.write_bytes(b"".join([*lines[:2], b"{broken\n", *lines[3:]]))
    with pytest.raises(ResultsError, match=r"records\.jsonl:3: not a JSON object with an 'id'"):
        run_method(tiny_lm, protocol_tests, editor, tmp_path)
    folder.journal.path.write_bytes(b"".join(lines)[:-20])
    again = run_method(tiny_lm, protocol_tests, editor, tmp_path)
    kept = again.journal.path.read_bytes().splitlines(keepends=True)
    assert kept[:-1] == lines[:-1]
    assert same_result(json.loads(kept[-1]), json.loads(lines[-1]))


def test_out_of_memory_while_a_group_is_asked_halves_it(
    tiny_lm, protocol_tests, make_method, entries, tmp_path, monkeypatch, caplog
):
    from clmeeval_data.evaluation import measurement

    editor, protocol = make_method("ft"), EvaluationProtocol("batch", 7)
    roomy = run_method(tiny_lm, protocol_tests, editor, tmp_path / "roomy", protocol=protocol)
    read = measurement.read_prompts

    def cramped(lm, prompts, layers=()):
        if len(prompts) > 9:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return read(lm, prompts, layers)

    monkeypatch.setattr(measurement, "read_prompts", cramped)
    folder = run_method(tiny_lm, protocol_tests, editor, tmp_path / "cramped", protocol=protocol)
    assert "out of memory with 7 cases at once: going on with 3 and 4" in caplog.text
    assert folder.summary()["cases"]["failed"] == 0
    assert entries(folder) == entries(roomy)


def test_a_sequence_that_is_killed_is_taken_up_again(sequence_command):
    """SIGKILL in the middle of the command's only sequence, then the same command."""
    command = sequence_command("killed")
    process = subprocess.Popen(
        command.words, env=command.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 200
    while not list(command.out.rglob("states/000000.json")):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (state,) = command.out.rglob("states/000000.json")
    assert 1 <= json.loads(state.read_text())["done"] < 12
    (killed,) = execute(command.plan(command.out), Unwatched())
    (whole,) = execute(command.plan(command.out.with_name("whole")), Unwatched())
    first, second = ({k: v for k, v in run.summary().items() if k != "cost"} for run in (whole, killed))
    assert first == second
    assert [same_result(whole.entries()[key], entry) for key, entry in killed.entries().items()] == [True] * 12
    assert not list(command.out.rglob("states"))
