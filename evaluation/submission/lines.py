"""The lines of a run's journals, a few at a time."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from clmeeval_data.errors import ResultsError

LONGEST_LINE = 64_000_000  # bytes
CHUNK_LINES, CHUNK_BYTES = 64, 8_000_000


class Line(NamedTuple):
    """One line of a journal: its file's name, its number from 1, where it begins, and its bytes.

    ``whole``: whether it ends, within 64 MB.
    """

    file: str
    number: int
    offset: int
    content: bytes
    whole: bool = True

    @property
    def place(self) -> str:
        """File and number."""
        return f"{self.file}:{self.number}"


def journals_of(folder: Path) -> list[Path]:
    """The journals of a run: of the whole run, then of its shards.

    Raises:
        ResultsError: If the folder cannot be read.
    """
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise ResultsError(f"cannot read {folder}: {error.strerror}. Check its permissions.") from error
    shards = [name for name in names if name.startswith("records-") and name.endswith(".jsonl")]
    return [folder / name for name in [*(name for name in names if name == "records.jsonl"), *shards]]


def chunks_of(path: Path) -> Iterator[list[Line]]:
    """The lines of a journal, some at a time: at most 64, and few where they are long.

    Raises:
        ResultsError: If the file cannot be read.
    """
    waiting: list[Line] = []
    held = 0
    for line in _lines_of(path):
        waiting.append(line)
        held += len(line.content)
        if len(waiting) >= CHUNK_LINES or held >= CHUNK_BYTES:
            yield waiting
            waiting, held = [], 0
    if waiting:
        yield waiting


def line_at(path: Path, offset: int) -> bytes:
    """The line that begins at an offset.

    Raises:
        ResultsError: If the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.readline(LONGEST_LINE)
    except OSError as error:
        raise ResultsError(f"cannot read {path}: {error.strerror}. Check its permissions.") from error


def _lines_of(path: Path) -> Iterator[Line]:
    try:
        with path.open("rb") as file:
            offset, number = 0, 1
            while content := file.readline(LONGEST_LINE):
                whole = content.endswith(b"\n")
                yield Line(path.name, number, offset, content if whole else b"", whole)
                while content and not content.endswith(b"\n"):  # the rest of a line that is too long
                    content = file.readline(LONGEST_LINE)
                offset, number = file.tell(), number + 1
    except OSError as error:
        raise ResultsError(f"cannot read {path}: {error.strerror}. Check its permissions.") from error
