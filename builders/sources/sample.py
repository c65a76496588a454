"""A small sample of intents with their snippets and rewordings, written by hand for this project."""

import hashlib
from collections.abc import Iterator, Mapping
from importlib.resources import as_file, files
from pathlib import Path

from clmeeval_data import syntax
from clmeeval_data.builders.sources import Pair
from clmeeval_data.errors import SourceError
from clmeeval_data.records import Provenance
from clmeeval_data.storage import read_jsonl

_FIELDS = ("topic", "intent", "rewritten_intent", "snippet")


class SampleSource:
    """The sample that comes with this package; works without a network.

    Args:
        path: Another file of the same form: JSON lines with topic, intent, rewritten_intent and snippet.
    """

    name = "sample"
    benchmark = "cnle"
    licence = "Apache-2.0"
    summary = "intents with snippets and rewordings, written by hand; comes with the package"

    def __init__(self, path: Path | None = None) -> None:
        self._path = path

    def read(self) -> Iterator[Pair]:
        """The pairs in the order of the file. Rows whose snippets are equal when normalised form a group.

        Raises:
            SourceError: If the file is missing or damaged, or a line lacks a field.
        """
        if self._path is not None:
            yield from self._read(self._path)
        else:
            with as_file(files("clmeeval_data") / "samples" / "cnle.jsonl") as path:
                yield from self._read(path)

    def _read(self, path: Path) -> Iterator[Pair]:
        for number, row in enumerate(read_jsonl(path), start=1):
            _check(row, f"row {number} of {path.name}")
            form = hashlib.sha256(syntax.normalised(row["snippet"]).encode("utf-8", "replace")).hexdigest()
            provenance = Provenance(
                source=self.name,
                origin=f"clmeeval_data/samples/{path.name}#{row['topic']}",
                group=f"{self.name}-{form[:12]}",
                licence=self.licence,
            )
            yield Pair(row["intent"], row["snippet"], "", row["rewritten_intent"], provenance)


def _check(row: Mapping[str, object], where: str) -> None:
    for field in _FIELDS:
        if not isinstance(row.get(field), str):
            found = f"{row[field]!r}" if field in row else "missing"
            raise SourceError(f"{where}: field {field!r} is {found}, expected text. Repair or remove the row.")
