"""An append-only JSON-lines file with one line per finished id: what "resume" means, for builds and evaluations alike.

Lines that belong together are appended by one write and flushed to disk, so a killed process leaves whole groups behind
and at most one torn line, which ``read`` passes over and the next ``append`` cuts off. One process writes at a time:
``held`` keeps others away for as long as its process lives.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from clmeeval_data.errors import ResultsError


class Journal:
    """The finished entries of a job, keyed by their ``id``.

    Args:
        path: The file; it is created, with its folder, by the first ``append``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, dict[str, Any]]:
        """All finished entries by id, oldest first. A torn last line is passed over; its id counts as not done.

        Raises:
            ResultsError: If a line other than a torn last one is damaged, or an id occurs twice.
        """
        if not self.path.exists():
            return {}
        content = self.path.read_bytes()
        entries: dict[str, dict[str, Any]] = {}
        for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), start=1):
            entry = self._parse(line, number)
            if entry["id"] in entries:
                raise ResultsError(f"{self.path}:{number}: id {entry['id']!r} occurs twice. Remove one of the lines.")
            entries[entry["id"]] = entry
        return entries

    def append(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Add finished entries, each with an ``id``, by one write that is on disk when this returns.

        Raises:
            ResultsError: If they cannot be written.
        """
        lines = "".join(json.dumps(entry, ensure_ascii=False, sort_keys=True) + "\n" for entry in entries)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as file:
                _cut_torn_line(file)
                file.write(lines.encode("utf-8", "backslashreplace"))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise self._unwritable(error) from error

    @contextmanager
    def held(self, wait: bool = False) -> Iterator[None]:
        """Inside the block no other process holds this journal. A process that is killed lets go of it.

        Args:
            wait: For the other process, rather than to refuse.

        Raises:
            ResultsError: If another process holds it, or the lock cannot be made.
        """
        from filelock import FileLock, Timeout

        path = self.path.with_name(f".{self.path.name}.lock")
        lock = FileLock(path, blocking=wait)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            holder = _pid_in(path)
            raise ResultsError(
                f"{self.path} is being written by another process{f' ({holder})' if holder else ''}. "
                "Wait for it or stop it, or choose another folder."
            ) from None
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            with suppress(OSError):  # it only tells others whom they wait for
                path.write_text(f"pid {os.getpid()}\n")
            yield
        finally:
            lock.release()

    def _unwritable(self, error: OSError) -> ResultsError:
        return ResultsError(f"cannot write {self.path}: {error.strerror}. Make room, or choose another folder.")

    def _parse(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            entry = json.loads(line)
            return {**entry, "id": str(entry["id"])}
        except (ValueError, KeyError, TypeError):
            raise ResultsError(
                f"{self.path}:{number}: not a JSON object with an 'id'. Remove the line to have it computed again."
            ) from None


def _pid_in(lock: Path) -> str:
    """``pid N`` of the process that holds a lock, empty where it cannot be told."""
    try:
        found = lock.read_text().strip()
    except (OSError, ValueError):
        return ""
    return found if found.removeprefix("pid ").isdigit() else ""


def _cut_torn_line(file: BinaryIO) -> None:
    """Cut what a killed process left behind the last line feed."""
    end = file.seek(0, os.SEEK_END)
    if end == 0:
        return
    file.seek(end - 1)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
