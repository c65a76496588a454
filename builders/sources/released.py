"""The form in which the data of the paper was released (Zenodo 12818365): read as pairs, or as whole cases.

A case is ``{"case_id", "edit_request": {"intent", "rewritten_intent", "snippet"}, "neighborhoods": {"items":
[{"intent"}, ...], "answers": {MODEL: [...]}}}``, with ``code``, ``code_rewrite`` and ``code_doc`` for CSNE. The answers
are those of models before the edit; which answer to a neighbour is right, the form does not say.

A case that ``clmeeval-build export`` wrote has all else of its record under the key ``clmeeval``, and comes back as it
was.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rapidfuzz import fuzz

from clmeeval_data.builders.sources import UNKNOWN_LICENCE, Pair, Reading, Row, Skipped, Unreadable
from clmeeval_data.builders.sources.conala import LICENCE as CONALA_LICENCE
from clmeeval_data.builders.sources.corpus import FileSource
from clmeeval_data.builders.sources.fields import content_key, text_or_none, unusable
from clmeeval_data.builders.sources.formats import excerpt
from clmeeval_data.builders.sources.functions import function_name
from clmeeval_data.export.code_llmedit import OURS, from_case
from clmeeval_data.records import BENCHMARKS, Benchmark, Provenance, Record, Rephrasing


class Released(FileSource):
    """The cases as pairs, each with its rephrasing; neighbours are chosen anew by a build.

    The form names neither questions nor repositories: cases with the same prompt form a group.
    """

    name = "clmeeval-json"
    benchmarks = ("cnle", "csne")
    licence = "CC-BY-SA-3.0 (CNLE), per repository (CSNE)"
    summary = "CNLE or CSNE in the form in which the paper released them"
    default = None
    wanted = re.compile(r"\.jsonl?(\.gz)?$")
    fields = ("case_id", "edit_request", "neighborhoods", OURS)

    def pairs(self, row: Row) -> Iterator[Reading]:
        """The pair of a case, whose code is left as it was released; an exported one keeps its name and provenance."""
        benchmark = BENCHMARKS[self.benchmark]
        request = _request(row, benchmark)
        if isinstance(request, Unreadable | Skipped):
            yield request
            return
        if OURS in row:
            exported = _exported(row, benchmark)
            yield exported if isinstance(exported, Unreadable) else _pair(exported, benchmark)
            return
        prompt = request[benchmark.prompt_field]
        name = function_name(prompt) if benchmark.name == "csne" else ""
        if benchmark.name == "csne" and not name:
            yield Unreadable(f"no function in field {benchmark.prompt_field!r}", excerpt(prompt))
            return
        default = CONALA_LICENCE if benchmark.name == "cnle" else UNKNOWN_LICENCE
        provenance = Provenance(
            source=self.name,
            origin=f"{self.name}#{row.get('case_id', '')}",
            group=f"{self.name}-{content_key(prompt)}",
            licence=self.options.licence or default,
        )
        target, rephrasing = request[benchmark.target_field], text_or_none(request, benchmark.rephrased_field)
        yield Pair(prompt, target, name, rephrasing, provenance)


@dataclass(frozen=True)
class ReleasedCases:
    """A released file as records of our schema.

    Args:
        records: The cases in their order, under our ids. A neighbour's own answer is the target of the case that has
            it for its prompt, and "" where the file has none; its similarity is rapidfuzz's plain ratio. An exported
            case is the record that it was made of.
        unreadable: The cases that are damaged or empty.
        unanswered: How many neighbours have no answer.
    """

    records: Sequence[Record]
    unreadable: Sequence[Unreadable | Skipped]
    unanswered: int


def records(path: Path, benchmark: Benchmark[Any]) -> ReleasedCases:
    """All cases of a released file with their neighbours, so that they can be validated and written in our schema.

    Raises:
        SourceError: If the file is missing or damaged as a whole.
    """
    source = Released(path, benchmark.name)
    rows = list(source.rows())
    readings = [next(source.pairs(row)) for row in rows]
    answers = {content_key(found.prompt): found.target for found in readings if isinstance(found, Pair)}
    found: list[Record] = []
    unreadable = [reading for reading in readings if not isinstance(reading, Pair)]
    for row, pair in zip(rows, readings, strict=True):
        if isinstance(pair, Pair):
            reading = from_case(benchmark, row) if OURS in row else _record(row, pair, answers, benchmark)
            if isinstance(reading, Unreadable | Skipped):
                unreadable.append(reading)
            else:
                found.append(reading)
    unanswered = sum(not getattr(near, benchmark.target_field) for record in found for near in record.neighborhood)
    return ReleasedCases(found, unreadable, unanswered)


def _request(row: Row, benchmark: Benchmark[Any]) -> Mapping[str, Any] | Unreadable | Skipped:
    """The edit of a case, or what is wrong with it."""
    flaw = unusable(row, ())
    if flaw is not None:
        return flaw
    request = row.get("edit_request")
    if not isinstance(request, dict):
        return Unreadable("field 'edit_request' is no object", excerpt(row))
    texts = (benchmark.prompt_field, benchmark.target_field)
    return unusable(request, texts, optional=(benchmark.rephrased_field,)) or request


def _neighbours(row: Row, benchmark: Benchmark[Any]) -> list[str] | Unreadable | Skipped:
    """The prompts of a case's neighbours, or what is wrong with them."""
    near = row.get("neighborhoods")
    items = near.get("items") if isinstance(near, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        return Unreadable("field 'neighborhoods' has no list of items", excerpt(row))
    flaw = next((flaw for item in items if (flaw := unusable(item, (benchmark.prompt_field,)))), None)
    return flaw or [item[benchmark.prompt_field] for item in items]


def _exported(row: Row, benchmark: Benchmark[Any]) -> Record | Unreadable:
    """The record of which an exported case was made, or what is wrong with it."""
    try:
        return from_case(benchmark, row)
    except ValueError as error:
        return Unreadable(f"field {OURS!r}: {error}", excerpt(row))


def _pair(record: Record, benchmark: Benchmark[Any]) -> Pair:
    prompt, target, rephrasing = (
        getattr(record, field) for field in (benchmark.prompt_field, benchmark.target_field, benchmark.rephrased_field)
    )
    return Pair(prompt, target, getattr(record, "func_name", ""), rephrasing or None, record.provenance)


def _record(
    row: Row, pair: Pair, answers: Mapping[str, str], benchmark: Benchmark[Any]
) -> Record | Unreadable | Skipped:
    """A released case as a record, or what is wrong with its neighbours."""
    items = _neighbours(row, benchmark)
    if isinstance(items, Unreadable | Skipped):
        return items
    close = sorted(((fuzz.ratio(pair.prompt, item), item) for item in items), key=lambda each: -each[0])
    fields = {
        "case_id": benchmark.case_id(pair.prompt, pair.target),
        benchmark.prompt_field: pair.prompt,
        benchmark.rephrased_field: pair.rephrasing or "",
        benchmark.target_field: pair.target,
        "neighborhood": tuple(
            benchmark.neighbour(item, answers.get(content_key(item), ""), similarity) for similarity, item in close
        ),
        "provenance": pair.provenance,
        "rephrasing": Rephrasing("released", "", "1"),
    }
    if benchmark.name == "csne":
        fields["func_name"] = pair.func_name
    record: Record = benchmark.record(**fields)
    return record
