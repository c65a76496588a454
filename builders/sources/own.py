"""The user's own pairs, from a file of any form that the sources read, with a mapping of its columns."""

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from clmeeval_data.builders.sources import (
    DEFAULT_OPTIONS,
    UNKNOWN_LICENCE,
    Pair,
    Reading,
    Row,
    SourceOptions,
    Unreadable,
)
from clmeeval_data.builders.sources.corpus import FileSource
from clmeeval_data.builders.sources.fields import content_key, text_or_none, unusable
from clmeeval_data.builders.sources.formats import Columns, excerpt
from clmeeval_data.builders.sources.functions import function_name, undocumented
from clmeeval_data.errors import ConfigError
from clmeeval_data.records import Provenance


class OwnPairs(FileSource):
    """Rows with a prompt and a target, and what else of a pair the user has.

    For CNLE the prompt is an intent and the target a snippet; for CSNE the prompt is a function, whose docstrings are
    taken away, and the target its description. Rows without a group that have the same prompt form one. The option
    ``columns`` says which column holds what; the option ``licence`` holds for rows that state none.
    """

    name = "jsonl"
    benchmarks = ("cnle", "csne")
    licence = "as the rows say"
    summary = "your own pairs: JSON lines, a JSON array or parquet, with columns of any name"
    default = None
    wanted = re.compile(r"\.(jsonl?|parquet)(\.gz)?$")
    fields = ("prompt", "target", "func_name", "rephrasing", "group", "licence", "origin")

    def __init__(
        self,
        location: str | Path | None = None,
        benchmark: str | None = None,
        options: SourceOptions = DEFAULT_OPTIONS,
    ) -> None:
        super().__init__(location, benchmark, options)
        unknown = sorted(set(options.columns) - set(self.fields))
        if unknown:
            raise ConfigError(f"unknown column {unknown[0]!r} of source 'jsonl'. Known: {', '.join(self.fields)}.")

    @cached_property
    def columns(self) -> Columns:
        """The user's names."""
        return {name: (self.options.columns.get(name, name),) for name in self.fields}

    def pairs(self, row: Row) -> Iterator[Reading]:
        """The pair of a row."""
        flaw = unusable(row, ("prompt", "target"), optional=self.fields[2:])
        if flaw is not None:
            yield flaw
            return
        name = text_or_none(row, "func_name") or function_name(row["prompt"]) if self.benchmark == "csne" else ""
        if self.benchmark == "csne" and not name:
            yield Unreadable("no function in field 'prompt'", excerpt(row["prompt"]))
            return
        prompt = undocumented(row["prompt"]) if name else row["prompt"].strip()
        provenance = Provenance(
            source=self.name,
            origin=text_or_none(row, "origin") or "",
            group=text_or_none(row, "group") or f"{self.name}-{content_key(prompt)}",
            licence=text_or_none(row, "licence") or self.options.licence or UNKNOWN_LICENCE,
        )
        yield Pair(prompt, row["target"], name, text_or_none(row, "rephrasing"), provenance)
