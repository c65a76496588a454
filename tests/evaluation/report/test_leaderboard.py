import os
import stat
import subprocess
import sys

import pytest

from clmeeval_data.evaluation import leaderboard
from clmeeval_data.evaluation.leaderboard import write_leaderboard

FILES = {"index.html", "leaderboard.md", "leaderboard.csv"}
WRITTEN = FILES | {"leaderboard_files"}


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Run clmeeval-leaderboard in this process; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["clmeeval-leaderboard", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            leaderboard.main()
        captured = capsys.readouterr()
        return stopped.value.code, captured.out, captured.err

    return run


def test_one_command_prints_the_table_and_writes_the_page(four_methods, results, command, tmp_path):
    code, out, err = command(results)
    assert (code, err) == (0, "")
    assert "grace" in out and "signature" in out and "dataset:cnle|" in out
    assert out.splitlines()[-1] == "leaderboard/index.html"
    assert {path.name for path in (tmp_path / "leaderboard").iterdir()} == WRITTEN


def test_a_second_time_the_files_are_the_same_and_replaced(four_methods, results, command, tmp_path):
    out = tmp_path / "site" / "deep"
    command(results, "--out", out)
    first = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    (out / "leaderboard_files" / "data" / "stale.js").write_text("old")
    (out / "index.html").write_text("old")
    (out / "notes.txt").write_text("mine")
    command(results, "--out", out)
    assert (out / "notes.txt").read_text() == "mine"
    (out / "notes.txt").unlink()
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == first


def test_a_folder_that_is_not_ours_is_not_replaced(four_methods, results, command, tmp_path):
    (tmp_path / "site" / "leaderboard_files").mkdir(parents=True)
    (tmp_path / "site" / "leaderboard_files" / "thesis.tex").write_text("mine")
    finished = command(results, "--out", tmp_path / "site")
    assert one_line_error(finished) and "was not made by this command" in finished[2]
    assert (tmp_path / "site" / "leaderboard_files" / "thesis.tex").read_text() == "mine"


def test_the_page_may_be_read_by_whom_new_files_may(four_methods, results, tmp_path):
    previous = os.umask(0o022)
    try:
        write_leaderboard([results], tmp_path / "site")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "site" / "index.html").stat().st_mode) == 0o644


def test_several_results_folders_make_one_leaderboard(write_run, entry, results, command, tmp_path):
    write_run("grace", [entry(1)])
    write_run("rome", [entry(1)], under=tmp_path / "other")
    _, out, _ = command(results, tmp_path / "other")
    assert out.count("signature") == 1 and "grace" in out and "rome" in out


def one_line_error(finished):
    code, out, err = finished
    return code == 2 and out == "" and err.startswith("error: ") and err.count("\n") == 1


def test_an_empty_folder_is_one_line(results, command):
    finished = command(results)
    assert one_line_error(finished) and "no runs in" in finished[2]


def test_a_missing_folder_is_one_line(command):
    finished = command("absent")
    assert one_line_error(finished) and "no results folder absent" in finished[2]


@pytest.mark.parametrize("name", ["run.json", "records.jsonl", "summary.json"])
def test_a_damaged_file_is_one_line(four_methods, results, command, name, tmp_path):
    damaged = four_methods["grace"].path / name
    damaged.write_text('{"half": \n')
    finished = command(results)
    assert one_line_error(finished) and name in finished[2]
    assert not (tmp_path / "leaderboard").exists()


def test_an_out_that_cannot_be_written_is_one_line(four_methods, results, command, tmp_path):
    (tmp_path / "file").write_text("")
    finished = command(results, "--out", tmp_path / "file" / "site")
    assert one_line_error(finished) and "cannot write" in finished[2]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_out_is_one_line(four_methods, results, command, tmp_path):
    (tmp_path / "site").mkdir(mode=0o555)
    finished = command(results, "--out", tmp_path / "site")
    assert one_line_error(finished) and "cannot write" in finished[2]


def test_a_full_disk_leaves_the_old_page(four_methods, results, command, tmp_path, monkeypatch):
    out = tmp_path / "site"
    command(results, "--out", out)
    before = (out / "index.html").read_bytes()

    def full(self, content, **_):
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    finished = command(results, "--out", out)
    assert one_line_error(finished) and "No space left on device" in finished[2]
    assert (out / "index.html").read_bytes() == before
    assert {path.name for path in out.iterdir()} == WRITTEN


def test_help_shows_examples(command):
    code, out, _ = command("--help")
    assert code == 0 and "clmeeval-leaderboard results/" in out and "--out" in out


def test_the_report_loads_no_torch(four_methods, results, tmp_path):
    program = (
        "import sys; from pathlib import Path; from clmeeval_data.evaluation.leaderboard import write_leaderboard; "
        f"write_leaderboard([Path({str(results)!r})], Path({str(tmp_path / 'site')!r})); "
        "assert not {'torch', 'transformers', 'datasets', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    path = os.pathsep.join(filter(None, sys.path))
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONPATH": path})
