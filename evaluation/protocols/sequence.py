"""Edits one after another: each is computed on the model as the earlier ones left it, and asked after at once.

What an entry says of the end of its sequence is asked when all edits are in force; at checkpoints (after 1, 10, 100,
... requests and at the end) all cases edited so far are asked. "Before" is always the model without any edit.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from clmeeval_data.evaluation.editors.contract import Case
from clmeeval_data.evaluation.measurement import (
    ALL,
    PROMPT,
    PROMPTS,
    Measurement,
    entry_head,
    free_memory,
    problem_of,
    unedited,
)
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.model.lm import LanguageModel
from clmeeval_data.evaluation.model.updates import Dense, LowRank, combined
from clmeeval_data.evaluation.protocols import EvaluationProtocol
from clmeeval_data.evaluation.protocols.group import Asked, asked_under
from clmeeval_data.evaluation.protocols.state import SequenceState
from clmeeval_data.evaluation.protocols.units import Piece, Unit
from clmeeval_data.evaluation.scoring.cost import measured

SAVED_EVERY = 25  # requests; a sequence that is interrupted loses no more, and none since its last checkpoint
CHECKED = ("effectiveness", "generalisation", "specificity")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EditSequence:
    """One group under one method. ``batch_size``: cases that are asked together. ``method``: its index."""

    work: Measurement
    unit: Unit
    protocol: EvaluationProtocol
    batch_size: int
    method: int

    def pieces(self, state: SequenceState | None = None) -> Iterator[Piece]:
        """States on the way, and in the end all entries.

        Args:
            state: Where to go on from; None begins anew.
        """
        size = len(self.unit.cases)
        checkpoints = self.protocol.checkpoints(size)
        state = state or SequenceState(0, unedited(self.work.lm))
        while state.done < size:
            state = self._extended(state, self.unit.cases[state.done])
            if state.done in checkpoints:
                state = self._checked(state)
            if state.done in checkpoints or state.done % SAVED_EVERY == 0:
                yield Piece(self.method, answers=self.work.answers.taken(), state=state)
        yield Piece(self.method, self._entries(state), self.work.answers.taken())

    def _extended(self, state: SequenceState, case: Case) -> SequenceState:
        """The sequence with one more request; one that cannot be edited or asked is left out of the edit."""
        work = self.work
        try:
            work.answers.of([case])
            with in_force(work.lm, state.edit), measured(work.lm.device) as editing:
                own = work.editor.edit(work.lm, [case.request])
            edit = after(state.edit, own)
            asked = asked_under(work, edit, [case], 1, PROMPT)
        except Exception as error:  # the case has failed, the sequence goes on without it
            asked, edit, own = Asked({}, {case.case_id: problem_of(error)}), state.edit, None
            logger.debug("where it failed", exc_info=error)
            free_memory()
        if own is None or case.case_id in asked.failed:
            problem = asked.failed[case.case_id]
            logger.warning("case %s is left out of its sequence: %s", case.case_id, problem["message"])
            return replace(state, done=state.done + 1, failed={**state.failed, case.case_id: problem})
        part = {
            "cost": {"edit_seconds": editing.seconds, "peak_bytes": editing.peak_bytes, "batch_size": 1},
            "details": dict(own.details),
            "right_after": dict(asked.found[case.case_id]),
            "checkpoints": [],
        }
        return replace(state, done=state.done + 1, edit=edit, parts={**state.parts, case.case_id: part})

    def _checked(self, state: SequenceState) -> SequenceState:
        """The state with a checkpoint's scores of all cases that are in the edit; at the end all that is asked."""
        last = state.done == len(self.unit.cases)
        cases = [case for case in self.unit.cases[: state.done] if case.case_id in state.parts]
        asked = asked_under(self.work, state.edit, cases, self.batch_size, ALL if last else PROMPTS)
        parts = {}
        for key, part in state.parts.items():
            found = asked.found.get(key)
            if found is None:
                continue
            scores = {dimension: found["scores"][dimension] for dimension in CHECKED}
            checkpoints = [*part["checkpoints"], {"edits": state.done, "scores": scores}]
            parts[key] = {**part, "checkpoints": checkpoints, **(found if last else {})}
        return replace(state, parts=parts, failed={**state.failed, **asked.failed})

    def _entries(self, state: SequenceState) -> list[Mapping[str, Any]]:
        """All entries, in the order of the sequence."""
        checkpoints = self.protocol.checkpoints(len(self.unit.cases))
        entries: list[Mapping[str, Any]] = []
        for position, case in enumerate(self.unit.cases):
            group = self.unit.group(position)
            if case.case_id in state.parts:
                entries.append({**entry_head(case), **state.parts[case.case_id], "group": group})
                continue
            missed = [{"edits": count, "scores": {}} for count in checkpoints if count > position]
            problem = dict(state.failed[case.case_id])
            entries.append({**entry_head(case), "error": problem, "group": group, "checkpoints": missed})
        return entries


def in_force(lm: LanguageModel, edit: Edit) -> ExitStack:
    """A block in which the model runs under an edit; under none at all it is left alone."""
    stack = ExitStack()
    if edit.updates:
        stack.enter_context(edit.applied(lm))
    return stack


def after(earlier: Edit, later: Edit) -> Edit:
    """Both edits as one, of low rank only while that is smaller than the change itself."""
    total = earlier + later if earlier.updates else later
    wide = [update for update in total.updates if isinstance(update, LowRank) and _is_wide(update)]
    if not wide:
        return total
    others = [update for update in total.updates if update not in wide]
    dense = [Dense(update.module, update.delta()) for update in wide]
    return replace(total, updates=combined(others, dense))


def _is_wide(update: LowRank) -> bool:
    (d, rank), f = update.left.shape, update.right.shape[1]
    return rank * (d + f) > d * f
