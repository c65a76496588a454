"""The case explorer's data: per table an index of its cases and the cases themselves, in pieces of at most a megabyte.

Each piece is a script with one call, ``clmeeval.put(name, value)``: a page opened from disk may load scripts, not JSON.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from clmeeval_data.evaluation.report.fragments import encoded
from clmeeval_data.evaluation.report.gathered import PIECE, TableCases
from clmeeval_data.evaluation.report.spool import Spool
from clmeeval_data.evaluation.report.tables import Row, Table
from clmeeval_data.evaluation.report.untrusted import visible

FOLDER = "data"


def write_explorer(tables: Sequence[Table], colours: dict[str, str], folder: Path) -> None:
    """Write the data of all tables, whose texts were spooled, and their list ``tables.js`` into ``folder / "data"``.

    Raises:
        OSError: If a file cannot be written.
    """
    target = folder / FOLDER
    target.mkdir(parents=True, exist_ok=True)
    listed = [_listed(table, colours, _write_table(table, target)) for table in tables]
    _write(target / "tables.js", "tables", [encoded(entry) for entry in listed])


class _Pieces(NamedTuple):
    """How many pieces the index has, and the place in it of the first case of each piece of cases."""

    indexes: int
    starts: list[int]


def _listed(table: Table, colours: dict[str, str], pieces: _Pieces) -> dict[str, Any]:
    runs = [[visible(row.run.method), visible(row.detail), colours[row.label], row.run.hash] for row in table.rows]
    return {
        "key": table.key,
        "dataset": visible(table.dataset),
        "model": visible(table.model),
        "runs": runs,
        "cases": len(table.cases.ids),
        "index": pieces.indexes,
        "starts": pieces.starts,
    }


def _write_table(table: Table, folder: Path) -> _Pieces:
    order = table.cases.order()
    indexes = _write_all(folder, f"{table.key}-index", _index_lines(table, order))
    with ExitStack() as stack:
        for spool in (table.cases.asked, table.cases.before, *(row.cases.spool for row in table.rows)):
            if spool is not None:
                stack.callback(spool.close)
        starts = _write_all(folder, f"{table.key}-cases", _cases(table.cases, table.rows, order))
    return _Pieces(len(indexes), starts)


def _write_all(folder: Path, name: str, lines: Iterable[bytes]) -> list[int]:
    """Write the lines in pieces ``<name>-0.js`` and so on; return the number of the first line of each."""
    starts = []
    for number, (first, group) in enumerate(_packed(lines)):
        starts.append(first)
        _write(folder / f"{name}-{number}.js", f"{name}-{number}", group)
    return starts


def _index_lines(table: Table, order: Iterable[int]) -> Iterator[bytes]:
    """Per case its id, the beginning of its prompt, and one character per run: see ``gathered.OUTCOMES``."""
    shared = table.cases.shared_prefix()
    skipped = shared.rfind(": ") + 2 if ": " in shared else 0
    outcomes = [row.cases.outcomes for row in table.rows]
    for place in order:
        line = [
            table.cases.ids[place],
            table.cases.titles[place][skipped:],
            bytes(own[place] for own in outcomes).decode("ascii"),
        ]
        yield encoded(line)


def _cases(cases: TableCases, rows: Sequence[Row], order: Iterable[int]) -> Iterator[bytes]:
    """Per case its id, what was asked, the unedited answers, and an answer, or 0, per run."""
    spools = [row.cases.spool for row in rows]
    for place in order:
        answers = b",".join(_fragment(spool, place) for spool in spools)
        head = b",".join([encoded(cases.ids[place]), _fragment(cases.asked, place), _fragment(cases.before, place)])
        yield b"[" + head + b",[" + answers + b"]]"


def _fragment(spool: Spool | None, place: int) -> bytes:
    return (spool.get(place) if spool is not None else b"") or b"0"


def _packed(lines: Iterable[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """Groups of lines of at most ``PIECE`` bytes together, each with the number of its first line."""
    group: list[bytes] = []
    size = first = 0
    for number, line in enumerate(lines):
        if group and size + len(line) > PIECE:
            yield first, group
            group, size, first = [], 0, number
        group.append(line)
        size += len(line) + 1
    if group:
        yield first, group


def _write(path: Path, name: str, lines: Sequence[bytes]) -> None:
    path.write_bytes(b"clmeeval.put(" + encoded(name) + b",[\n" + b",\n".join(lines) + b"\n]);\n")
