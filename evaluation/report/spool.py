"""Fragments of JSON on disk, one per case, found again by the case's place."""

from array import array
from pathlib import Path
from typing import BinaryIO


class Spool:
    """A file of fragments, first written, then read; kept in memory is where each begins and how long it is.

    The file is opened when it is needed; ``close`` ends writing, and later reading.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None
        self._starts, self._lengths = array("Q"), array("I")
        self._end = 0

    def put(self, place: int, fragment: bytes) -> None:
        """Keep the fragment of a place."""
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("wb")
        missing = place + 1 - len(self._starts)
        if missing > 0:
            self._starts.frombytes(bytes(missing * self._starts.itemsize))
            self._lengths.frombytes(bytes(missing * self._lengths.itemsize))
        self._starts[place], self._lengths[place] = self._end, len(fragment)
        self._file.write(fragment)
        self._end += len(fragment)

    def get(self, place: int) -> bytes:
        """The fragment of a place, empty where there is none."""
        if place >= len(self._starts) or not self._lengths[place]:
            return b""
        if self._file is None:
            self._file = self.path.open("rb")
        self._file.seek(self._starts[place])
        return self._file.read(self._lengths[place])

    def close(self) -> None:
        """Close the file until it is needed again."""
        if self._file is not None:
            self._file.close()
            self._file = None
