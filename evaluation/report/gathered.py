"""What one pass over the journals of a table leaves: numbers by case in memory, texts on disk for the case explorer."""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from clmeeval_data.errors import ResultsError
from clmeeval_data.evaluation.report import fragments
from clmeeval_data.evaluation.report.fragments import Entry, reason
from clmeeval_data.evaluation.report.journals import stream
from clmeeval_data.evaluation.report.runs import RIGHT_AFTER, Measure, Run
from clmeeval_data.evaluation.report.spool import Spool
from clmeeval_data.evaluation.report.untrusted import clip, one_line

PIECE = 900_000  # bytes of a file of the explorer's data
FAILURES_SHOWN = 5
TITLE = 120  # characters of a prompt in the list of cases
LONGEST_ID = 200
LONGEST_REASON = 2000
ABSENT, FAILED = ord("-"), ord("x")
# A digit's bits: the answer equals the target, also to the rephrased prompt, all neighbours are unchanged. Letters are
# 0 to 3 of a case without neighbours.
OUTCOMES = b"01234567abcd"


class Failure(NamedTuple):
    """A case that failed, and why."""

    case_id: str
    reason: str


class ScoreBlocks:
    """The scores of a run's cases as they come: rows of equal layout together."""

    def __init__(self) -> None:
        self._blocks: dict[tuple[tuple[str, tuple[str, ...]], ...], tuple[array[float], array[int]]] = {}

    def add(self, place: int, scores: Mapping[str, Mapping[str, float]]) -> None:
        """Take the scores of one case."""
        layout = tuple([(dimension, tuple(metrics)) for dimension, metrics in scores.items()])
        block = self._blocks.get(layout)
        if block is None:
            block = self._blocks[layout] = array("f"), array("I")
        row, places = block
        for metrics in scores.values():
            row.extend(metrics.values())
        places.append(place)

    def columns(self, n: int, failed: Sequence[int]) -> dict[Measure, "array[float]"]:
        """Per measure one number for each of ``n`` cases: NaN where there is none, 0 where the case has failed."""
        import numpy as np

        found: dict[Measure, np.ndarray[Any, Any]] = {}
        for layout, (rows, places) in self._blocks.items():
            measures = [(dimension, metric) for dimension, metrics in layout for metric in metrics]
            at = np.frombuffer(places, dtype=np.uint32)
            matrix = np.frombuffer(rows, dtype=np.float32).reshape(len(places), len(measures))
            for number, measure in enumerate(measures):
                column = found.setdefault(measure, np.full(n, np.nan, dtype=np.float32))
                column[at] = matrix[:, number]
        for column in found.values():
            column[list(failed)] = 0
        return {measure: array("f", column.tobytes()) for measure, column in found.items()}


@dataclass
class RunCases:
    """One run's cases by their place in the table.

    ``outcomes``: one character per case. ``scores``: per measure one number per case, NaN where there is none, 0 for a
    failed case. ``near``, ``far``: of a codebook method the distances of the rephrased prompt's and the neighbours'
    keys to the edit's key, divided by its radius. ``failures``: the first few. ``spool``: the answers.
    """

    outcomes: bytearray = field(default_factory=bytearray)
    scores: dict[Measure, "array[float]"] = field(default_factory=dict)
    near: "array[float]" = field(default_factory=lambda: array("f"))
    far: "array[float]" = field(default_factory=lambda: array("f"))
    failures: list[Failure] = field(default_factory=list)
    spool: Spool | None = None


@dataclass
class TableCases:
    """The cases of a table by their place: ids, beginnings of their prompts, lengths of their targets in characters.

    ``asked`` and ``before``: what was asked, and what the unedited model answered.
    """

    ids: list[str] = field(default_factory=list)
    titles: list[str] = field(default_factory=list)
    target_lengths: "array[int]" = field(default_factory=lambda: array("I"))
    asked: Spool | None = None
    before: Spool | None = None

    def order(self) -> list[int]:
        """The places in the order of their ids."""
        return sorted(range(len(self.ids)), key=self.ids.__getitem__)

    def shared_prefix(self) -> str:
        """What all prompts begin with, which the list of cases need not repeat."""
        if len(self.titles) < 2:
            return ""
        first, last = min(self.titles), max(self.titles)
        differs = (at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other)
        return first[: next(differs, len(first))]


class Gatherer:
    """Reads the runs of one table. With a ``folder`` the texts are spooled into it."""

    def __init__(self, runs: Sequence[Run], folder: Path | None = None) -> None:
        self.cases = TableCases()
        self.runs: list[RunCases] = []
        self._folder = folder
        self._budget = PIECE // (len(runs) + 2)
        self._places: dict[str, int] = {}
        self._unedited: dict[int, int] = {}
        if folder is not None:
            self.cases.asked, self.cases.before = Spool(folder / "asked"), Spool(folder / "before")
        blocks: list[ScoreBlocks] = []
        try:
            for number, run in enumerate(runs):
                self.runs.append(RunCases(spool=None if folder is None else Spool(folder / str(number))))
                blocks.append(self._read(run, self.runs[-1]))
        finally:
            self._close()
        n = len(self.cases.ids)
        for found in self.runs:
            _reach(found.outcomes, n - 1)
            failed = [place for place, outcome in enumerate(found.outcomes) if outcome == FAILED]
            found.scores = blocks.pop(0).columns(n, failed)

    def _close(self) -> None:
        for spool in (self.cases.asked, self.cases.before, *(found.spool for found in self.runs)):
            if spool is not None:
                spool.close()

    def _read(self, run: Run, found: RunCases) -> ScoreBlocks:
        scores = ScoreBlocks()
        for entry in stream(run.folder):
            try:
                place = self._place(entry)
                _reach(found.outcomes, place)
                if entry.get("error") is not None:
                    found.outcomes[place] = FAILED
                    _note_failure(entry, found)
                else:
                    found.outcomes[place] = _outcome(entry["scores"])
                    scores.add(place, {**entry["scores"], **_right_after(entry)})
                    _note_distances(entry.get("details"), found)
                if found.spool is not None:
                    found.spool.put(place, fragments.answer(entry, self._own(entry, place), self._budget))
            except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
                raise _damaged(run, entry, error) from None
        if found.spool is not None:
            found.spool.close()
        return scores

    def _place(self, entry: Entry) -> int:
        place = self._places.get(entry["id"])
        if place is not None:
            return place
        place = self._places[entry["id"]] = len(self._places)
        self.cases.ids.append(one_line(clip(entry["id"], LONGEST_ID).text))
        case = entry["case"]
        self.cases.titles.append(one_line(case["prompt"][: 2 * TITLE])[:TITLE])
        self.cases.target_lengths.append(len(case["target"].strip()))
        if self.cases.asked is not None:
            self.cases.asked.put(place, fragments.asked(entry, self._budget))
        return place

    def _own(self, entry: Entry, place: int) -> tuple[str, ...] | None:
        """The unedited answers of this run where they are not those that the case shows."""
        if entry.get("error") is not None:
            return None
        texts = fragments.unedited(entry["outputs"])
        digest = hash(texts)
        if place not in self._unedited and self.cases.before is not None:
            self.cases.before.put(place, fragments.before(texts, self._budget))
        return None if self._unedited.setdefault(place, digest) == digest else texts


def _damaged(run: Run, entry: Entry, error: Exception) -> ResultsError:
    what = f"lacks {error}" if isinstance(error, KeyError) else f"is not of the expected form ({error})"
    return ResultsError(
        f"{run.folder.path}: the line of case {entry['id']!r} in records.jsonl {what}, although the case did not fail. "
        "Expected a file of clmeeval-evaluate run: move the folder away and run again."
    )


def _note_failure(entry: Entry, found: RunCases) -> None:
    if len(found.failures) < FAILURES_SHOWN:
        shown = clip(reason(entry), LONGEST_REASON)
        more = f" … {shown.hidden:,} more characters" if shown.hidden else ""
        found.failures.append(Failure(one_line(entry["id"]), shown.text + more))


def _outcome(scores: Mapping[str, Any]) -> int:
    specificity = scores.get("specificity")
    value = int(scores["effectiveness"]["exact_match"] == 1) + 2 * int(scores["generalisation"]["exact_match"] == 1)
    if not specificity:
        return OUTCOMES[8 + value]
    kept = int(specificity.get("exact_match_all", specificity.get("exact_match")) == 1)
    return OUTCOMES[value + 4 * kept]


def _right_after(entry: Entry) -> dict[str, dict[str, float]]:
    """What a case of a sequence scored when its edit was the last one, in the one metric that tables show."""
    found = entry.get("right_after")
    dimension, metric = RIGHT_AFTER
    return {} if found is None else {dimension: {metric: found["scores"]["effectiveness"][metric]}}


def _note_distances(details: Any, found: RunCases) -> None:
    if not isinstance(details, Mapping) or not details.get("radius"):
        return
    radius = float(details["radius"])
    if details.get("distance_rephrased") is not None:
        found.near.append(float(details["distance_rephrased"]) / radius)
    found.far.extend(float(distance) / radius for distance in details.get("distance_neighbours") or ())


def _reach(outcomes: bytearray, place: int) -> None:
    if len(outcomes) <= place:
        outcomes.extend(bytes([ABSENT]) * (place + 1 - len(outcomes)))
