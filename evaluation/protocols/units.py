"""Units of work: what is computed in one go, and may be computed anywhere.

Which cases a unit has depends on all the run's cases, the protocol and the batch size, and on nothing else: not on what
is finished already, nor on where units are computed. So every way of running gives the same numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clmeeval_data.evaluation.editors.contract import Case
from clmeeval_data.evaluation.protocols import EvaluationProtocol
from clmeeval_data.evaluation.protocols.state import SequenceState
from clmeeval_data.evaluation.scoring.dimensions import Answers


@dataclass(frozen=True)
class Unit:
    """Cases that are computed together: a batch of independent edits, or one group. ``index``: its place, from 0."""

    index: int
    cases: tuple[Case, ...]

    def group(self, position: int) -> dict[str, int]:
        """What an entry says of its group, for the case at a position."""
        return {"index": self.index, "position": position, "size": len(self.cases)}


@dataclass(frozen=True)
class Task:
    """A unit to compute.

    ``wanted``: by index of the method, the ids of the cases that it lacks; one method where a unit is a group.
    ``known``: the unedited model's answers, as far as they are known, by ``answers.answer_key``. ``state``: where a
    sequence was interrupted.
    """

    unit: Unit
    wanted: Mapping[int, frozenset[str]]
    known: Mapping[str, Answers] = field(default_factory=dict)
    state: SequenceState | None = None


@dataclass(frozen=True)
class Piece:
    """A part of a task's result.

    ``method``: its index. ``entries``: finished cases. ``answers``: of the unedited model, newly found. ``state``:
    where a sequence is now; what comes after it can be computed from it anew.
    """

    method: int
    entries: Sequence[Mapping[str, Any]] = ()
    answers: Mapping[str, Answers] = field(default_factory=dict)
    state: SequenceState | None = None


def units_of(cases: Sequence[Case], protocol: EvaluationProtocol, batch_size: int) -> list[Unit]:
    """The units of a run: batches of cases of similar length, or groups of consecutive cases."""
    if protocol.name == "single":
        groups = by_length(cases, batch_size)
    else:
        groups = [list(cases[start : start + protocol.size]) for start in range(0, len(cases), protocol.size)]
    return [Unit(index, tuple(group)) for index, group in enumerate(groups)]


def by_length(cases: Sequence[Case], size: int) -> list[list[Case]]:
    """Cases in batches of similar length."""
    ordered = sorted(cases, key=_length)
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def _length(case: Case) -> tuple[int, str]:
    return max(len(prompt) for prompt in case.prompts) + len(case.target), case.case_id
