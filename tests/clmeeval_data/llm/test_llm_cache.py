import sqlite3
import subprocess
import sys
from contextlib import closing, suppress

import pytest

from clmeeval_data.errors import ChatError, ConfigError
from clmeeval_data.llm.cache import _APPLICATION, _TABLES, _VERSION, FILE_NAME, Batch, ReplyCache


def test_replies_stay_as_they_came(tmp_path):
    with ReplyCache(tmp_path) as cache:
        assert cache.get("a") is None
        cache.put("server", "model", [("a", "first 🥕"), ("b", "")])
        cache.put("server", "model", [("a", "second")])
        assert cache.get("a") == "first 🥕"
    with ReplyCache(tmp_path) as cache:
        assert (cache.get("a"), cache.get("b")) == ("first 🥕", "")


def test_a_reply_is_there_for_others_at_once(tmp_path):
    with ReplyCache(tmp_path) as one, ReplyCache(tmp_path) as other:
        one.put("server", "model", [("a", "reply")])
        assert other.get("a") == "reply"


def test_batches_are_remembered_until_they_are_forgotten(tmp_path):
    batch = Batch("digest", None, ["a", "b"])
    with ReplyCache(tmp_path) as cache:
        cache.note_batch("server", "model", batch)
        cache.note_batch("server", "other", Batch("another", None, ["c"]))
        cache.note_batch("server", "model", batch._replace(id="batch_1"))
    with ReplyCache(tmp_path) as cache:
        assert cache.batches("server", "model") == [batch._replace(id="batch_1")]
        cache.forget_batch(batch)
        assert cache.batches("server", "model") == []
        assert len(cache.batches("server", "other")) == 1


def test_a_new_folder_is_opened_by_many_at_once(tmp_path, root):
    code = (
        "import sys; from pathlib import Path; from clmeeval_data.llm.cache import ReplyCache\n"
        "with ReplyCache(Path(sys.argv[1])) as cache:\n"
        "    cache.put('s', 'm', [(f'{sys.argv[2]}{n}', 'x') for n in range(9)])"
    )
    folder = tmp_path / "new" / "cache"
    running = [subprocess.Popen([sys.executable, "-c", code, str(folder), f"{n}-"], cwd=root) for n in range(6)]
    assert [process.wait(60) for process in running] == [0] * 6
    with ReplyCache(folder) as cache:
        assert all(cache.get(f"{n}-{k}") == "x" for n in range(6) for k in range(9))


@pytest.mark.parametrize("after", ["application_id", "user_version"])
@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_the_file_is_created_by_another_while_it_is_looked_at(tmp_path, monkeypatch, after, mode):
    original, times = ReplyCache._header, []

    def create() -> None:
        with closing(sqlite3.connect(tmp_path / FILE_NAME, timeout=0, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for statement in _TABLES.split(";"):
                other.execute(statement)
            other.execute(f"PRAGMA application_id = {_APPLICATION}")
            other.execute(f"PRAGMA user_version = {_VERSION}")
            other.execute("COMMIT")

    def header(cache: ReplyCache, name: str) -> int:
        value = original(cache, name)
        if name == after and not times:
            times.append(name)
            with suppress(sqlite3.OperationalError):  # where the one who looks holds the file, this one comes later
                create()
        return value

    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as empty:
        empty.execute(f"PRAGMA journal_mode = {mode}")
    monkeypatch.setattr(ReplyCache, "_header", header)
    with ReplyCache(tmp_path) as cache:
        cache.put("server", "model", [("a", "reply")])
        assert cache.get("a") == "reply"
    assert times == [after]


def test_an_empty_file_becomes_a_database(tmp_path):
    (tmp_path / FILE_NAME).touch()
    with ReplyCache(tmp_path) as cache:
        cache.put("server", "model", [("a", "reply")])


def test_other_files_are_refused_and_stay_as_they_are(tmp_path):
    path = tmp_path / FILE_NAME
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(ConfigError, match=r"replies.sqlite is not a database of replies.*Move it away"):
        ReplyCache(tmp_path)
    assert path.read_bytes() == b"not a database at all" * 100


def test_a_foreign_database_is_refused_and_stays_as_it_is(tmp_path):
    path = tmp_path / FILE_NAME
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE photos (name)")
    content = path.read_bytes()
    with pytest.raises(ConfigError, match="is a database of something else"):
        ReplyCache(tmp_path)
    assert path.read_bytes() == content


def test_a_database_of_another_version_is_refused(tmp_path):
    ReplyCache(tmp_path).__exit__(None, None, None)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as database:
        database.execute("PRAGMA user_version = 2")
    with pytest.raises(ConfigError, match=r"is of version 2\. Expected 1"):
        ReplyCache(tmp_path)


def test_a_half_written_database_is_refused(tmp_path):
    with ReplyCache(tmp_path) as cache:
        cache.put("server", "model", [(str(number), "reply" * 500) for number in range(200)])
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])

    def read_all():
        with ReplyCache(tmp_path) as cache:
            return [cache.get(str(number)) for number in range(200)]

    with pytest.raises(
        (ChatError, ConfigError), match=r"replies.sqlite (is not|cannot be read).*ove (it|a damaged file)"
    ):
        read_all()


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be opened"):
        ReplyCache(tmp_path / "file")
