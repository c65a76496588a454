"""The replies that were paid for, in one sqlite database that several processes may use at once.

A reply is committed before it is looked at: whatever becomes of the process, it isn't asked for again. (The disk itself
is waited for at the end of a call and every few hundred replies: a power failure may take the last ones.)
"""

import hashlib
import json
import os
import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple

from clmeeval_data.errors import ChatError, ConfigError
from clmeeval_data.llm.contract import ChatRequest

FILE_NAME = "replies.sqlite"
_APPLICATION = 0x434C4D45  # "CLME" in the file's header
_VERSION = 1
_PATIENCE = 60.0  # seconds to wait for other processes that write
_TABLES = """
CREATE TABLE replies (key TEXT PRIMARY KEY, server TEXT, model TEXT, received REAL, body TEXT) WITHOUT ROWID;
CREATE TABLE batches (digest TEXT PRIMARY KEY, server TEXT, model TEXT, id TEXT, keys TEXT);
"""


class Batch(NamedTuple):
    """A batch that was or may have been sent, and whose replies aren't in the cache yet.

    ``digest`` names it by its requests; ``id`` is the server's, None where the process ended before it came.
    """

    digest: str
    id: str | None
    keys: list[str]


def key_of(server: str, model: str, request: ChatRequest) -> str:
    """The name of a reply: SHA-256 of the server's URL without credentials, the model and the whole request."""
    parts = {"server": server, "model": model, "request": asdict(request)}
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def default_folder() -> Path:
    """Where replies are kept on this system: below XDG_CACHE_HOME where it is set."""
    home = os.environ.get("XDG_CACHE_HOME")
    if home:
        base = Path(home)
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path.home() / ".cache"
    return base / "clmeeval" / "llm"


class ReplyCache:
    """The replies of all servers and models. A context manager: it is closed at the end of the block.

    Args:
        folder: Where the database is; it is created where there is none.

    Raises:
        ConfigError: If the file there is no such database, or one of another version, or cannot be opened.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(f"{self.path} cannot be opened: {error}. Choose another folder for replies.") from error
        try:
            self._prepare()
        except sqlite3.DatabaseError as error:
            self._database.close()
            raise ConfigError(
                f"{self.path} is not a database of replies: {error}. Move it away, or choose another folder."
            ) from error
        except ConfigError:
            self._database.close()
            raise

    def __enter__(self) -> "ReplyCache":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def get(self, key: str) -> str | None:
        """The body of the reply under a key, or None.

        Raises:
            ChatError: If the database cannot be read.
        """
        with self._reporting("read"):
            row = self._database.execute("SELECT body FROM replies WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def put(self, server: str, model: str, replies: Iterable[tuple[str, str]]) -> None:
        """Keep replies, each a key and a body; they are committed when this returns. An earlier one under a key stays.

        Raises:
            ChatError: If they cannot be written.
        """
        rows = [(key, server, model, time.time(), body) for key, body in replies]
        with self._reporting("written"), self._transaction():
            self._database.executemany("INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?, ?)", rows)

    def batches(self, server: str, model: str) -> list[Batch]:
        """The batches of a server and a model that aren't finished, in the order of their digests."""
        with self._reporting("read"):
            rows = self._database.execute(
                "SELECT digest, id, keys FROM batches WHERE server = ? AND model = ? ORDER BY digest", (server, model)
            ).fetchall()
        return [Batch(digest, number, keys.split()) for digest, number, keys in rows]

    def note_batch(self, server: str, model: str, batch: Batch) -> None:
        """Remember a batch, before it is sent and again once its id is known."""
        row = (batch.digest, server, model, batch.id, " ".join(batch.keys))
        with self._reporting("written"), self._transaction():
            self._database.execute("INSERT OR REPLACE INTO batches VALUES (?, ?, ?, ?, ?)", row)

    def forget_batch(self, batch: Batch) -> None:
        """Forget a batch whose replies are kept, or that was never sent."""
        with self._reporting("written"), self._transaction():
            self._database.execute("DELETE FROM batches WHERE digest = ?", (batch.digest,))

    @contextmanager
    def _transaction(self, kind: Literal["DEFERRED", "IMMEDIATE"] = "IMMEDIATE") -> Iterator[None]:
        self._database.execute(f"BEGIN {kind}")
        try:
            yield
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    @contextmanager
    def _reporting(self, doing: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise ChatError(
                f"{self.path} cannot be {doing}: {error}. Make room, or move a damaged file away."
            ) from error

    def _prepare(self) -> None:
        with self._transaction("DEFERRED"):  # one moment of the file, which another process may be creating
            self._is_ours()  # before anything is written to it
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._to_write_ahead()
        with self._transaction():
            if not self._is_ours():
                self._create()

    def _is_ours(self) -> bool:
        """Whether the tables are there; False in a new file."""
        application, version = self._header("application_id"), self._header("user_version")
        tables = self._database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if (application, version, tables) == (0, 0, 0):
            return False
        if application != _APPLICATION:
            raise ConfigError(
                f"{self.path} is a database of something else. Move it away, or choose another folder for replies."
            )
        if version != _VERSION:
            raise ConfigError(
                f"{self.path} is of version {version}. Expected {_VERSION}: move it away, or choose another folder."
            )
        return True

    def _to_write_ahead(self) -> None:
        """Switch to the mode in which readers and a writer don't wait for each other."""
        deadline = time.monotonic() + _PATIENCE
        while self._database.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            try:
                self._database.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:  # sqlite doesn't wait by itself while another process switches
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def _create(self) -> None:
        for statement in filter(str.strip, _TABLES.split(";")):
            self._database.execute(statement)
        self._database.execute(f"PRAGMA application_id = {_APPLICATION}")
        self._database.execute(f"PRAGMA user_version = {_VERSION}")

    def _header(self, name: str) -> int:
        return int(self._database.execute(f"PRAGMA {name}").fetchone()[0])
