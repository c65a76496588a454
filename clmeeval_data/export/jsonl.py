"""JSON lines in our own schema: one record a line, ``SPLIT.jsonl``."""

from collections.abc import Mapping, Sequence
from typing import Any

from clmeeval_data.export.contract import ExportedFile
from clmeeval_data.records import Benchmark, Record


def files(benchmark: Benchmark[Any], splits: Mapping[str, Sequence[Record]]) -> list[ExportedFile]:
    """A file for each split; ``benchmark.from_row`` makes the record of a line again."""
    return [ExportedFile(f"{split}.jsonl", "lines", map(benchmark.to_row, cases)) for split, cases in splits.items()]
