"""A few cases side by side: what the methods of one table answered, and where it departs from what was asked."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from clmeeval_data.errors import ResultsError
from clmeeval_data.evaluation.report.tables import Row, Table
from clmeeval_data.evaluation.report.untrusted import Clipped, clip

SHOWN = 5
DIFFERING = 3  # of those, at first: cases on which the methods differ
LONGEST = 4000  # characters of a text on the page
MOST_COMPARED = 400  # tokens: beyond, what differs is marked as one piece (the comparison takes quadratic time)
LEAST_ALIKE = 0.3  # below this share of common tokens, an interleaved comparison is unreadable

Entry = Mapping[str, Any]


class Piece(NamedTuple):
    """A part of an answer: as in the reference, added to it, or missing from the answer."""

    kind: Literal["same", "added", "missing"]
    text: str


@dataclass(frozen=True)
class Answer:
    """An answer compared with its reference; ``hidden`` characters of it are not shown.

    ``unmoved``: it is the unedited answer still, though that is not the reference.
    """

    pieces: tuple[Piece, ...]
    equal: bool
    hidden: int
    unmoved: bool = False

    @property
    def text(self) -> str:
        """The answer without what it misses."""
        return "".join(piece.text for piece in self.pieces if piece.kind != "missing")


@dataclass(frozen=True)
class MethodAnswers:
    """What one method answered: to the prompt and its rephrasing (against the target), to a neighbour (against before).

    ``before`` is set where the unedited answer that this run kept is another than the one its case shows.
    """

    row: Row
    error: str | None = None
    before: Clipped | None = None
    after: Answer | None = None
    rephrased: Answer | None = None
    neighbour: Answer | None = None


@dataclass(frozen=True)
class Case:
    """One case with the answers of every method of a table that has reached it."""

    case_id: str
    prompt: Clipped
    target: Clipped
    rephrased_prompt: Clipped
    neighbour_prompt: Clipped | None
    before: Clipped | None
    neighbour_before: Clipped | None
    methods: tuple[MethodAnswers, ...]


class Failure(NamedTuple):
    """A case that failed, and why."""

    case_id: str
    reason: str


def failures(row: Row) -> list[Failure]:
    """The failed cases of a run, in the order in which they failed.

    Raises:
        ResultsError: If the journal is damaged.
    """
    if not row.run.cases.failed:
        return []
    found = ((case_id, entry.get("error")) for case_id, entry in row.run.entries().items())
    return [Failure(case_id, _reason(error)) for case_id, error in found if error is not None]


def choose_cases(table: Table) -> list[Case]:
    """Up to five cases, the same for all methods of the table: first some on which the methods differ, then others.

    Raises:
        ResultsError: If a journal is damaged.
    """
    journals = [row.run.entries() for row in table.rows]
    ids = list(dict.fromkeys(case_id for journal in journals for case_id in journal))
    outcomes = {case_id: [_outcome(journal.get(case_id)) for journal in journals] for case_id in ids}
    return [_case(table.rows, [journal.get(case_id) for journal in journals]) for case_id in _chosen(outcomes)]


def _chosen(outcomes: Mapping[str, Sequence[tuple[object, ...] | None]]) -> list[str]:
    """Of the ids that most runs have reached, up to three with the most different outcomes, then the others."""
    reached = {case_id: sum(found is not None for found in row) for case_id, row in outcomes.items()}
    full = [case_id for case_id in sorted(outcomes) if reached[case_id] == max(reached.values())]
    variety = {case_id: len(set(outcomes[case_id])) for case_id in full}
    differing = sorted((case_id for case_id in full if variety[case_id] > 1), key=lambda case_id: -variety[case_id])
    agreeing = [case_id for case_id in full if variety[case_id] == 1]
    first = differing[: max(DIFFERING, SHOWN - len(agreeing))]
    return [*first, *agreeing][:SHOWN]


def _outcome(entry: Entry | None) -> tuple[object, ...] | None:
    if entry is None or entry.get("error") is not None:
        return None if entry is None else ("failed",)
    scores = entry.get("scores", {})
    return tuple(scores.get(name, {}).get("exact_match") for name in ("effectiveness", "generalisation", "specificity"))


def _case(rows: Sequence[Row], entries: Sequence[Entry | None]) -> Case:
    found = [(row, entry) for row, entry in zip(rows, entries, strict=True) if entry is not None]
    asked = _part(found[0][1], "case")
    target = _text(asked, "target")
    answered = [entry for _, entry in found if entry.get("error") is None]
    position = _telling_neighbour(answered)
    first = _part(answered[0], "outputs") if answered else None
    neighbours = asked.get("neighbour_prompts") or []
    return Case(
        case_id=str(found[0][1]["id"]),
        prompt=clip(_text(asked, "prompt"), LONGEST),
        target=clip(target, LONGEST),
        rephrased_prompt=clip(_text(asked, "rephrased_prompt"), LONGEST),
        neighbour_prompt=None if position is None else clip(str(neighbours[position]), LONGEST),
        before=None if first is None else clip(_text(first, "effectiveness", "before"), LONGEST),
        neighbour_before=_neighbour_before(first, position),
        methods=tuple(_answers(row, entry, target, position, first) for row, entry in found),
    )


def _reason(error: Any) -> str:
    return clip(f"{_text(error, 'type')}: {_text(error, 'message')}", LONGEST).text


def _neighbour_before(outputs: Entry | None, position: int | None) -> Clipped | None:
    if outputs is None or position is None:
        return None
    return clip(_text(outputs, "specificity", position, "before"), LONGEST)


def _answers(row: Row, entry: Entry, target: str, position: int | None, first: Entry | None) -> MethodAnswers:
    error = entry.get("error")
    if error is not None:
        return MethodAnswers(row, error=_reason(error))
    outputs = _part(entry, "outputs")
    neighbour = None if position is None else _part(outputs, "specificity", position)
    before = _text(outputs, "effectiveness", "before")
    return MethodAnswers(
        row,
        before=clip(before, LONGEST) if first and before != _text(first, "effectiveness", "before") else None,
        after=_compared(outputs, "effectiveness", target),
        rephrased=_compared(outputs, "generalisation", target),
        neighbour=None if neighbour is None else compare(_text(neighbour, "after"), _text(neighbour, "before")),
    )


def _telling_neighbour(entries: Sequence[Entry]) -> int | None:
    """Position of the first neighbour whose answer some method changed; else the first; None where there is none."""
    groups = [_part(entry, "outputs").get("specificity") or [] for entry in entries]
    shared = min(map(len, groups), default=0)
    changed = (
        position
        for position in range(shared)
        if any(_text(group, position, "before") != _text(group, position, "after") for group in groups)
    )
    return next(changed, 0 if shared else None)


def _compared(outputs: Entry, dimension: str, target: str) -> Answer:
    before, after = (_text(outputs, dimension, when).strip() for when in ("before", "after"))
    answer = compare(after, target)
    return replace(answer, unmoved=after == before and not answer.equal)


def compare(answer: str, reference: str) -> Answer:
    """The answer in pieces: what it shares with the reference, what it adds, and what it misses.

    Both are stripped, as exact match strips them, and cut at 4,000 characters; a difference beyond that still counts.
    """
    answer, reference = answer.strip(), reference.strip()
    shown, expected = clip(answer, LONGEST), clip(reference, LONGEST)
    pieces = tuple(piece for piece in _pieces(_tokens(shown.text), _tokens(expected.text)) if piece.text)
    return Answer(pieces, answer == reference, shown.hidden)


def _tokens(text: str) -> list[str]:
    return re.findall(r"\w+|\s+|[^\w\s]", text)


def _pieces(answer: list[str], reference: list[str]) -> list[Piece]:
    if answer == reference:
        return [Piece("same", "".join(answer))]
    matcher = difflib.SequenceMatcher(None, reference, answer, autojunk=False)
    if max(len(answer), len(reference)) > MOST_COMPARED or matcher.ratio() < LEAST_ALIKE:
        return [Piece("added", "".join(answer))]
    pieces = []
    for _, low, high, start, end in matcher.get_opcodes():
        same = reference[low:high] == answer[start:end]
        pieces.append(Piece("same" if same else "missing", "".join(reference[low:high])))
        pieces.append(Piece("added", "" if same else "".join(answer[start:end])))
    return pieces


def _part(entry: Any, *keys: str | int) -> Any:
    found = entry
    for key in keys:
        try:
            found = found[key]
        except (KeyError, IndexError, TypeError):
            path = ".".join(map(str, keys))
            raise ResultsError(
                f"a line of records.jsonl has no {path!r} although its case did not fail. "
                "Expected a file of clmeeval-evaluate run: move the folder away and run again."
            ) from None
    return found


def _text(entry: Any, *keys: str | int) -> str:
    return str(_part(entry, *keys))
