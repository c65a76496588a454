"""Pairs in a file: what a build holds of them in memory is their bytes and one number each."""

import mmap
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from json import loads
from pathlib import Path
from typing import Any, overload

from clmeeval_data.builders.sources import Pair
from clmeeval_data.records import Provenance


def to_row(pair: Pair) -> dict[str, Any]:
    """A pair as JSON values."""
    return asdict(pair)


def from_row(row: Mapping[str, Any]) -> Pair:
    """The inverse of ``to_row``."""
    return Pair(**{**row, "provenance": Provenance(**row["provenance"])})


class Pool(Sequence[Pair]):
    """The pairs of a file of JSON lines, each made when it is asked for.

    Args:
        content: The bytes of the file, or its memory map, whose pages the system shares among processes.
    """

    def __init__(self, content: bytes | mmap.mmap) -> None:
        self._content = content
        self._starts = array("Q", [0])
        while end := content.find(b"\n", self._starts[-1]) + 1:
            self._starts.append(end)

    @classmethod
    def open(cls, path: Path) -> "Pool":
        """The pairs of a file, which is mapped rather than read.

        Raises:
            OSError: If it can't be opened.
        """
        with path.open("rb") as file:
            if path.stat().st_size == 0:
                return cls(b"")  # an empty file can't be mapped
            return cls(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, place: int) -> Pair: ...

    @overload
    def __getitem__(self, place: slice) -> list[Pair]: ...

    def __getitem__(self, place: int | slice) -> Pair | list[Pair]:
        """The pair at a place, or those of a slice."""
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(f"no pair {place} in a pool of {len(self)}")
        place %= len(self)
        return from_row(loads(self._content[self._starts[place] : self._starts[place + 1]]))

    def __iter__(self) -> Iterator[Pair]:
        return (self[place] for place in range(len(self)))
