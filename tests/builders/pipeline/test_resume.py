"""Builds that are killed, that meet a full disk, or that share a work folder: what is finished is kept, and no more."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path

import pytest

from clmeeval_data.builders.pipeline.work import Work
from clmeeval_data.errors import DatasetError
from clmeeval_data.validate import check_dataset

ROOT = Path(__file__).parents[3]
ROWS, SHARD = 100, 10

# A build of 100 rows in shards of 10, in a process of its own. Every row that is worked on is noted, and every file of
# the work folder takes its time, so that there is something to interrupt.
BUILD = """
import hashlib, json, os, resource, sys, time
from pathlib import Path
from clmeeval_data.builders.pipeline import work
from clmeeval_data.builders.execution import open_executor
from clmeeval_data.builders.pipeline import build
from clmeeval_data.builders.recipes import CNLE_SAMPLE
from clmeeval_data.builders.sources import DEFAULT_OPTIONS, Pair, SourceFile
from clmeeval_data.errors import ClmeevalError
from clmeeval_data.records import Provenance

class Rows:
    name = spec = "rows"
    benchmark, licence, summary, options = "cnle", "MIT", "rows that are noted", DEFAULT_OPTIONS

    def __init__(self, path, log):
        self.path, self.log = path, log

    def rows(self):
        with open(self.path) as lines:
            yield from map(json.loads, lines)

    def pairs(self, row):
        with open(self.log, "a") as log:
            log.write(f"{row['number']}\\n")
        provenance = Provenance("rows", str(row["number"]), f"rows-{row['number']}", "MIT")
        yield Pair(row["intent"], row["snippet"], "", row["rewritten_intent"], provenance)

    def files(self):
        digest = hashlib.sha256(Path(self.path).read_bytes()).hexdigest()
        return (SourceFile("rows.jsonl", "", 0, digest, "MIT"),)

def main():
    options = json.loads(sys.argv[1])
    if options.get("file_size"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (options["file_size"], resource.RLIM_INFINITY))
    write = work.Work._write
    def slowly(self, path, rows):
        time.sleep(options.get("pause", 0))
        write(self, path, rows)
    work.Work._write = slowly
    executor = open_executor(options.get("executor"), options.get("jobs", 1))
    try:
        build(CNLE_SAMPLE, [Rows(options["rows"], options["log"])], Path(options["out"]),
              seed=options.get("seed", 0), executor=executor, shard_size=options.get("shard_size", 10))
    except ClmeevalError as error:
        sys.exit(f"{type(error).__name__}: {error}")

if __name__ == "__main__":
    main()
"""


class Command:
    """The same command again and again, as a user would give it."""

    def __init__(self, folder):
        self.folder = folder
        self.out = folder / "made" / "cnle"
        self.log = folder / "log"
        lines = (files("clmeeval_data") / "samples" / "cnle.jsonl").read_text().splitlines()[:ROWS]
        rows = [{**json.loads(line), "number": number} for number, line in enumerate(lines)]
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / "build.py").write_text(BUILD)

    def start(self, **options):
        given = {"rows": str(self.folder / "rows.jsonl"), "log": str(self.log), "out": str(self.out), **options}
        return subprocess.Popen(
            [sys.executable, self.folder / "build.py", json.dumps(given)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, **options):
        """The exit code and what was said on stderr."""
        process = self.start(**options)
        _, errors = process.communicate(timeout=120)
        return process.returncode, errors

    def finished(self):
        """The finished files in the work folder."""
        return [path for path in self.out.parent.rglob("*.jsonl") if not path.name.startswith(".")]

    def finished_rows(self):
        """The rows whose shards of the first step are finished."""
        shards = [int(path.stem) for path in self.finished() if path.parent.name == "selected"]
        return {number for shard in shards for number in range(shard * SHARD, (shard + 1) * SHARD)}

    def noted(self):
        return [int(line) for line in self.log.read_text().split()] if self.log.exists() else []


@pytest.fixture
def command(tmp_path):
    return Command(tmp_path)


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What the command gives when nothing happens."""
    command = Command(tmp_path_factory.mktemp("undisturbed"))
    assert command.run() == (0, "")
    assert sorted(command.noted()) == list(range(ROWS))
    assert [path.name for path in command.out.parent.iterdir()] == ["cnle"], "the work folder was left behind"
    return content(command.out)


def drawn(seed, number):
    """A number in [0, 1) for each number."""
    return int.from_bytes(hashlib.sha256(f"{seed} {number}".encode()).digest()[:4]) / 2**32


@pytest.mark.parametrize(("jobs", "seed"), [(1, 1), (2, 2)])
def test_a_build_killed_three_times_ends_the_same(command, undisturbed, jobs, seed):
    for attempt in range(3):
        before, noted = command.finished_rows(), len(command.noted())
        files_before = len(command.finished())
        process = command.start(jobs=jobs, pause=0.05)
        wanted = files_before + 1 + int(drawn(seed, attempt) * 12)
        while process.poll() is None and len(command.finished()) < wanted:
            time.sleep(0.002)
        time.sleep(drawn(seed, attempt + 10) * 0.05)
        assert process.poll() is None, f"it ended by itself: {process.stderr.read()}"
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not command.out.exists(), "no half of a dataset"
        assert not before & set(command.noted()[noted:]), "finished shards were worked on again"
        assert len(command.finished()) > files_before
    before, noted = command.finished_rows(), len(command.noted())
    assert command.run(jobs=jobs) == (0, "")
    assert not before & set(command.noted()[noted:])
    assert content(command.out) == undisturbed
    assert [path.name for path in command.out.parent.iterdir()] == ["cnle"]


def test_a_build_killed_while_it_writes_the_dataset_ends_the_same(command, undisturbed):
    process = command.start()
    while process.poll() is None and not list(command.out.parent.glob(".cnle.new-*")):
        time.sleep(0.0005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    noted = len(command.noted())
    assert command.run() == (0, "")
    assert len(command.noted()) == noted, "all shards were finished"
    assert content(command.out) == undisturbed
    assert [path.name for path in command.out.parent.iterdir()] == ["cnle"]


@pytest.mark.parametrize(("jobs", "file_size"), [(1, 3_500), (2, 20_000)])
def test_a_disk_that_takes_no_more_is_one_clear_error_and_the_same_command_goes_on(
    command, undisturbed, jobs, file_size
):
    """The system refuses to make a file larger than that: first the shards, or else the table of all pairs."""
    code, errors = command.run(jobs=jobs, file_size=file_size)
    assert code == 1
    assert errors.startswith("DatasetError: cannot write to the work folder ")
    assert "File too large. Make room there and run the same command again" in errors
    assert errors.count("\n") == 1
    assert not command.out.exists()
    assert not [path for path in command.out.parent.rglob(".*.jsonl.*")], "half a file was left behind"
    before, noted = command.finished_rows(), len(command.noted())
    assert command.run(jobs=jobs) == (0, "")
    assert not before & set(command.noted()[noted:])
    assert content(command.out) == undisturbed


def test_ctrl_c_keeps_what_is_finished(command, undisturbed):
    process = command.start(pause=0.05)
    while process.poll() is None and len(command.finished()) < 3:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert len(command.finished_rows()) >= 3 * SHARD
    assert not [path for path in command.out.parent.rglob(".*.jsonl.*")], "half a file was left behind"
    assert command.run() == (0, "")
    assert content(command.out) == undisturbed


def test_another_configuration_takes_nothing_over(command, undisturbed):
    """Work of one seed is poisoned: a build of that seed shows it, and one of another seed doesn't."""
    process = command.start(pause=0.05)
    while process.poll() is None and not [path for path in command.finished() if path.name == "pool.jsonl"]:
        time.sleep(0.005)
    process.kill()
    process.communicate()
    path = next(path for path in command.finished() if path.name == "pool.jsonl")
    path.write_text(path.read_text().replace("MIT", "POISON"))
    noted = len(command.noted())
    assert command.run(seed=1) == (0, "")
    assert len(command.noted()) == noted + ROWS
    assert "POISON" not in (command.out / "README.md").read_text()
    assert command.run(shard_size=20) == (0, "")
    assert content(command.out) == undisturbed
    assert command.run(seed=0) == (0, "")
    assert len(command.noted()) == noted + 2 * ROWS, "nothing was left to read for the first seed"
    assert "POISON" in (command.out / "README.md").read_text()
    assert check_dataset(command.out) == []


def test_changed_files_of_a_source_take_nothing_over(command, undisturbed):
    process = command.start(pause=0.05)
    while process.poll() is None and len(command.finished()) < 3:
        time.sleep(0.005)
    process.kill()
    process.communicate()
    noted = len(command.noted())
    rows = (command.folder / "rows.jsonl").read_text()
    (command.folder / "rows.jsonl").write_text(rows.splitlines(keepends=True)[-1] + rows)
    assert command.run() == (0, "")
    assert len(command.noted()) == noted + ROWS + 1
    assert content(command.out) != undisturbed


def test_two_builds_of_the_same_do_not_meet(command):
    first = command.start(pause=0.1)
    while first.poll() is None and not command.finished():
        time.sleep(0.005)
    code, errors = command.run()
    assert code == 1
    assert errors.startswith("DatasetError: another process is building the same dataset in ")
    first.kill()
    first.communicate()
    assert command.run() == (0, ""), "the death of a process lets go of its work"


# The work folder itself


def test_what_is_there_is_not_asked_for_again(tmp_path):
    work = Work(tmp_path / "work", {"seed": 0})
    path = work.whole("pool", lambda: [{"a": 1}])

    def unwanted():
        raise AssertionError("asked for again")

    assert work.whole("pool", unwanted) == path
    assert path.read_text() == '{"a": 1}\n'


def test_a_full_disk_is_one_clear_error(tmp_path, monkeypatch):
    work = Work(tmp_path / "work", {"seed": 0})

    def half(path, rows, packed):
        path.write_text("{")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("clmeeval_data.storage._write_lines", half)
    with pytest.raises(DatasetError, match=r"No space left on device\. Make room there .* or choose another --work"):
        work.whole("pool", lambda: [{}])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_error_of_the_rows_is_not_taken_for_one_of_the_disk(tmp_path):
    work = Work(tmp_path / "work", {"seed": 0})

    def rows():
        yield {}
        raise DatasetError("a worker died")

    with pytest.raises(DatasetError, match=r"^a worker died$"):
        work.whole("pool", rows)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_work_folder_that_cannot_be_made_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    work = Work(tmp_path / "file" / "work", {"seed": 0})
    with pytest.raises(DatasetError, match="cannot write to the work folder"), work.held():
        raise AssertionError("the block ran")


def test_the_work_of_others_is_seen_and_left_alone(tmp_path):
    first, second = (Work(tmp_path / "work", {"seed": seed}) for seed in (0, 1))
    for work in (first, second):
        with work.held():
            work.whole("pool", lambda: [{}])
    assert first.others() == [second.folder]
    first.remove()
    assert not first.folder.exists()
    assert (second.folder / "pool.jsonl").exists()
    second.remove()
    assert not (tmp_path / "work").exists()
