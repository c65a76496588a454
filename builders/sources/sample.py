"""A small sample of intents with their snippets and rewordings, written by hand for this project."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import PurePath

import clmeeval_data
from clmeeval_data import syntax
from clmeeval_data.builders.sources import Pair, Reading, Row, SourceFile
from clmeeval_data.builders.sources.corpus import FileSource
from clmeeval_data.builders.sources.fields import unusable
from clmeeval_data.builders.sources.location import LocalFile
from clmeeval_data.records import Provenance

_ADDRESS = "clmeeval_data/samples/cnle.jsonl"


class SampleSource(FileSource):
    """The sample that comes with this package, or another file of the same form; works without a network.

    Rows whose snippets are equal when normalised form a group.
    """

    name = "sample"
    benchmarks = ("cnle",)
    licence = "Apache-2.0"
    file_licence = licence
    summary = "intents with snippets and rewordings, written by hand; comes with the package"
    default = ""
    wanted = re.compile(r"\.jsonl(\.gz)?$")
    fields = ("topic", "intent", "rewritten_intent", "snippet")

    def rows(self) -> Iterator[Row]:
        """The rows in the order of the file.

        Raises:
            SourceError: If another file is read, and is missing, damaged as a whole or empty.
        """
        if self._location is not None:
            yield from super().rows()
            return
        with _packaged() as file:
            yield from self.rows_of(file)

    def files(self) -> tuple[SourceFile, ...]:
        """The file, by its place in the package."""
        if self._location is not None:
            return super().files()
        with _packaged() as file:
            return (self._described(file),)

    def pairs(self, row: Row) -> Iterator[Reading]:
        """The pair of a row, whose rephrasing is the reworded intent."""
        flaw = unusable(row, self.fields)
        if flaw is not None:
            yield flaw
            return
        form = hashlib.sha256(syntax.normalised(row["snippet"]).encode("utf-8", "replace")).hexdigest()
        place = _ADDRESS if self._location is None else PurePath(self._location.place).name
        provenance = Provenance(
            source=self.name,
            origin=f"{place}#{row['topic']}",
            group=f"{self.name}-{form[:12]}",
            licence=self.licence,
        )
        yield Pair(row["intent"], row["snippet"], "", row["rewritten_intent"], provenance)


@contextmanager
def _packaged() -> Iterator[LocalFile]:
    with as_file(files("clmeeval_data") / "samples" / "cnle.jsonl") as path:
        yield LocalFile(path, _ADDRESS, clmeeval_data.__version__)
