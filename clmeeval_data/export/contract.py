"""What a format gives: files, each with its rows and how these are laid out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from clmeeval_data.records import Benchmark, Record


@dataclass(frozen=True)
class ExportedFile:
    """One file of an export.

    Args:
        name: Its path below the export's folder, with forward slashes.
        layout: "array" for one JSON array in ASCII with a row on each line, "lines" for JSON lines in UTF-8.
        rows: JSON values, drawn once.
    """

    name: str
    layout: Literal["array", "lines"]
    rows: Iterable[Mapping[str, Any]]


class Format(Protocol):
    """A format is a function: the cases of some splits, in their order, to the files that another tool reads."""

    def __call__(self, benchmark: Benchmark[Any], splits: Mapping[str, Sequence[Record]]) -> list[ExportedFile]:
        """The files of an export of those splits."""
        ...
