import json
import signal
import subprocess
import sys
import time

import pytest

from clmeeval_data.errors import ResultsError
from clmeeval_data.journal import Journal

WRITER = """
import sys
from pathlib import Path
from clmeeval_data.journal import Journal
journal = Journal(Path(sys.argv[1]))
for number in range(10**9):
    journal.append([{"id": f"{number}-{part}", "text": "x" * 300} for part in range(3)])
"""


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "run" / "records.jsonl")


def test_a_journal_that_was_never_written_is_empty(journal):
    assert journal.read() == {}
    assert not journal.path.exists()


def test_entries_come_back_by_id_in_order(journal):
    journal.append([{"id": "b", "score": 0.1}])
    journal.append([{"id": "a", "text": "zwei\nZeilen\u2028\r – 野菜"}, {"id": "c", "none": None}])
    found = journal.read()
    assert list(found) == ["b", "a", "c"]
    assert found["a"] == {"id": "a", "text": "zwei\nZeilen\u2028\r – 野菜"}


def test_a_lone_surrogate_survives(journal):
    journal.append([{"id": "a", "text": "broken \ud83d output"}])
    assert journal.read()["a"]["text"] == "broken \ud83d output"


@pytest.mark.parametrize("torn", [b'{"id": "c", "sc', b"{", '{"id": "c", "text": "ü'.encode()[:-1]])
def test_a_torn_last_line_is_cut_off_and_computed_again(journal, torn):
    journal.append([{"id": "a"}, {"id": "b"}])
    with journal.path.open("ab") as file:
        file.write(torn)
    assert list(journal.read()) == ["a", "b"]
    journal.append([{"id": "c"}])
    assert list(journal.read()) == ["a", "b", "c"]


@pytest.mark.parametrize("damaged", ["{", "[1]", '"id"', '{"name": "no id"}', "", "17"])
def test_a_damaged_line_in_the_middle_is_named_by_its_number(journal, damaged):
    journal.append([{"id": "a"}])
    with journal.path.open("a") as file:
        file.write(f"{damaged}\n")
    journal.append([{"id": "b"}])
    before = journal.path.read_bytes()
    with pytest.raises(ResultsError, match=r"records\.jsonl:2: not a JSON object with an 'id'"):
        journal.read()
    assert journal.path.read_bytes() == before


def test_an_id_that_occurs_twice_is_refused_with_its_line(journal):
    journal.append([{"id": "a"}, {"id": "b"}])
    journal.append([{"id": "a"}])
    with pytest.raises(ResultsError, match=r"records\.jsonl:3: id 'a' occurs twice"):
        journal.read()


def test_same_entries_same_bytes(tmp_path):
    one, two = Journal(tmp_path / "one"), Journal(tmp_path / "two")
    one.append([{"id": "a", "x": 1, "y": 0.1}])
    two.append([{"y": 0.1, "x": 1, "id": "a"}])
    assert one.path.read_bytes() == two.path.read_bytes()


def test_a_killed_writer_leaves_whole_groups(journal, root):
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(journal.path)], cwd=root)
    try:
        deadline = time.monotonic() + 60
        while not journal.path.exists() or journal.path.stat().st_size < 20_000:
            assert time.monotonic() < deadline, "the writer never got going"
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    found = list(journal.read())
    assert found == [f"{number}-{part}" for number in range(len(found) // 3) for part in range(3)]
    journal.append([{"id": "after"}])
    assert list(journal.read()) == [*found, "after"]
    assert json.loads(journal.path.read_text().splitlines()[-1]) == {"id": "after"}


def test_a_held_journal_is_refused_and_can_be_waited_for(journal):
    journal.append([{"id": "a"}])
    with journal.held():
        journal.append([{"id": "b"}])
        message = r"records\.jsonl is being written by another process \(pid \d+\)"
        with pytest.raises(ResultsError, match=message), Journal(journal.path).held():
            pass
    with journal.held(wait=True):
        assert list(journal.read()) == ["a", "b"]


def test_a_lock_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ResultsError, match="cannot write"), Journal(tmp_path / "file" / "records.jsonl").held():
        pass
