"""Rows out of files: JSON lines, JSON arrays and parquet, plain, gzipped or in a zip, told apart by their content.

Rows are streamed: what is in memory at a time is a line, an item of an array, or a batch of a parquet file.
"""

import codecs
import gzip
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clmeeval_data.errors import SourceError

DAMAGE = "unreadable"
EXCERPT = 200

_LONGEST = 64 * 2**20  # bytes of one line, characters of one item of an array
_CHUNK = 2**20
_BATCH = 200
_PARQUET = b"PAR1"
_GZIP = b"\x1f\x8b"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_MARK_OR_BLANK = b"\xef\xbb\xbf \t\r\n"
_BLANKS = re.compile(r"[ \t\r\n]*")
_MAC_TWIN = re.compile(r"(^|/)(__MACOSX/|\._)")  # what macOS puts into archives beside each file

Columns = Mapping[str, Sequence[str]]
_Stream = io.BufferedReader | gzip.GzipFile | zipfile.ZipExtFile


class _Damage(NamedTuple):
    """A line that is no row."""

    reason: str
    text: str


_Raw = dict[str, Any] | _Damage


def read_rows(path: Path, columns: Columns, wanted: re.Pattern[str]) -> Iterator[dict[str, Any]]:
    """The rows of a file in their order, each with those of the columns that it has.

    A line that is no JSON object is the row ``{"unreadable": reason, "text": where and what}``.

    Args:
        path: The file.
        columns: What to call a column, and the names that it may have in the file; the first one found counts.
        wanted: Matches the names of the members to read, where the file is a zip.

    Raises:
        SourceError: If the file can't be opened, is in no known form, or is damaged beyond one line: a broken archive,
            an array that breaks off. The rows before the damage have been given by then.
    """
    number = 0
    try:
        with path.open("rb") as file:
            for row in _rows(file, path.name, columns, wanted):
                number += 1
                yield {DAMAGE: row.reason, "text": row.text} if isinstance(row, _Damage) else _chosen(row, columns)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or str(error).rstrip(".") or type(error).__name__
        raise SourceError(f"{path} cannot be read after row {number} ({reason}). Get the file again.") from error


def excerpt(value: object) -> str:
    """The beginning of a row or a line, as text that can be written anywhere."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text[:EXCERPT].encode("utf-8", "backslashreplace").decode("utf-8")


def _chosen(row: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
    found = {name: next((each for each in names if each in row), None) for name, names in columns.items()}
    return {name: row[each] for name, each in found.items() if each is not None}


def _rows(file: _Stream, where: str, columns: Columns, wanted: re.Pattern[str]) -> Iterator[_Raw]:
    start = file.peek(64)[:64]
    if start.startswith(_ZIP):
        yield from _zip_rows(file, where, columns, wanted)
    elif start.startswith(_PARQUET):
        yield from _parquet_rows(file, where, columns)
    elif start.startswith(_GZIP):
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield from _rows(unpacked, where.removesuffix(".gz"), columns, wanted)
    else:
        yield from _json_rows(file, where, start.lstrip(_MARK_OR_BLANK))


def _zip_rows(file: _Stream, where: str, columns: Columns, wanted: re.Pattern[str]) -> Iterator[_Raw]:
    with zipfile.ZipFile(file) as archive:
        names = sorted(name for name in archive.namelist() if wanted.search(name) and not _MAC_TWIN.search(name))
        if not names:
            found = ", ".join(archive.namelist()[:5]) or "nothing"
            raise SourceError(
                f"{where} has no member that this source reads. Expected a name that matches {wanted.pattern!r}; "
                f"found {found}. Check that it is the archive of this source."
            )
        for name in names:
            try:
                member = archive.open(name)
            except RuntimeError as error:  # encrypted, or packed in an unknown way
                raise SourceError(
                    f"{where}/{name} cannot be unpacked ({error}). Unpack the archive yourself."
                ) from error
            with member:
                yield from _rows(member, f"{where}/{name}", columns, wanted)  # type: ignore[arg-type]  # a ZipExtFile


def _parquet_rows(file: _Stream, where: str, columns: Columns) -> Iterator[_Raw]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    asked = {name for names in columns.values() for name in names}
    try:
        with pq.ParquetFile(file) as table:
            present = [name for name in table.schema_arrow.names if name in asked]
            for batch in table.iter_batches(batch_size=_BATCH, columns=present):
                yield from batch.to_pylist()
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise SourceError(f"{where} is damaged: {' '.join(str(error).split())}. Get the file again.") from error


def _json_rows(file: _Stream, where: str, start: bytes) -> Iterator[_Raw]:
    if start.startswith(b"["):
        yield from _array_rows(file, where)
    elif not start.startswith(b"<") and (start.startswith(b"{") or ".jsonl" in where):
        yield from _line_rows(file, where)
    elif start:
        raise SourceError(
            f"{where} begins with {start[:20]!r}. Expected JSON lines, a JSON array, parquet, gzip or zip: check that "
            "the address leads to the file itself rather than to a page about it."
        )


def _line_rows(file: _Stream, where: str) -> Iterator[_Raw]:
    for number, line in enumerate(iter(lambda: file.readline(_LONGEST), b""), start=1):
        place = f"{where}:{number}"
        if len(line) == _LONGEST and not line.endswith(b"\n"):
            while (rest := file.readline(_LONGEST)) and not rest.endswith(b"\n"):
                pass
            yield _damage("a line too long", place, line)
        elif line.strip():
            yield _parsed(line, place)


def _parsed(line: bytes, place: str) -> _Raw:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return _damage("not UTF-8", place, line)
    except (ValueError, RecursionError):
        return _damage("not JSON", place, line)
    return row if isinstance(row, dict) else _damage("not a JSON object", place, line)


def _array_rows(file: _Stream, where: str) -> Iterator[_Raw]:
    """The items of one JSON array, without holding all of it."""
    ahead = _Ahead(file)
    ahead.skip("[")
    number = 0
    while not ahead.skip("]"):
        number += 1
        try:
            item = ahead.item()
        except (ValueError, RecursionError) as error:
            raise SourceError(
                f"{where}: the JSON array is damaged or breaks off at item {number} ({error}). Get the file again."
            ) from error
        yield item if isinstance(item, dict) else _damage("not a JSON object", f"{where}:{number}", repr(item).encode())
        ahead.skip(",")


class _Ahead:
    """Text that is read as far as the next JSON value needs.

    A byte that is no UTF-8 becomes a lone surrogate, which the source will find in the row that has it.
    """

    def __init__(self, file: _Stream) -> None:
        self._file = file
        self._buffer = ""
        self._place = 0
        self._text = codecs.getincrementaldecoder("utf-8-sig")(errors="surrogateescape")
        self._values = json.JSONDecoder()

    def skip(self, sign: str) -> bool:
        """Whether that sign comes next, after blanks; if so it is passed over."""
        while True:
            blanks = _BLANKS.match(self._buffer, self._place)
            self._place = blanks.end() if blanks else self._place
            if self._place < len(self._buffer) or not self._fill():
                break
        found = self._buffer.startswith(sign, self._place)
        self._place += found
        return found

    def item(self) -> Any:
        """The next JSON value.

        Raises:
            ValueError: If there is no whole value.
        """
        while True:
            try:
                item, end = self._values.raw_decode(self._buffer, self._place)
            except ValueError:
                if len(self._buffer) - self._place > _LONGEST or not self._fill():
                    raise
            else:
                if end == len(self._buffer) and self._fill():  # a number may go on
                    continue
                self._place = end
                return item

    def _fill(self) -> bool:
        """Read on, at least as much as is there; False at the end of the file."""
        more = ""
        while not more:
            content = self._file.read(max(_CHUNK, len(self._buffer) - self._place))
            more = self._text.decode(content, final=not content)
            if not content:
                break
        self._buffer = self._buffer[self._place :] + more
        self._place = 0
        return bool(more)


def _damage(reason: str, place: str, content: bytes) -> _Damage:
    return _Damage(reason, f"{place}: {excerpt(content[:EXCERPT].decode('utf-8', 'backslashreplace'))}")
