"""One edit that holds the requests of a whole group, and what many cases are asked under one edit."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clmeeval_data.evaluation.editors.contract import Case
from clmeeval_data.evaluation.measurement import (
    ALL,
    Asker,
    Extent,
    Measurement,
    entry_head,
    failed_entry,
    free_memory,
    in_parts,
    problem_of,
    prompts_read,
    unedited,
)
from clmeeval_data.evaluation.model.edits import Edit
from clmeeval_data.evaluation.protocols.units import Piece, Unit, by_length
from clmeeval_data.evaluation.scoring.cost import measured

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """What cases answered under one edit, by case id: ``found`` has outputs and scores, ``failed`` problems."""

    found: Mapping[str, Mapping[str, Any]]
    failed: Mapping[str, Mapping[str, str]]


def asked_under(work: Measurement, edit: Edit, cases: Sequence[Case], batch_size: int, extent: Extent = ALL) -> Asked:
    """Ask all cases under one edit, in batches of similar length; the answers do not depend on the batches.

    Args:
        work: The method at work.
        edit: In force for all cases.
        cases: Whose prompts are asked.
        batch_size: Cases that are asked together.
        extent: How much they are asked.
    """
    lm, asker = work.lm, Asker(work.lm, work.answers, work.code, work.seed)

    def computed(part: Sequence[Case]) -> list[tuple[str, dict[str, Any] | None, dict[str, str] | None]]:
        work.answers.of(part)
        with prompts_read(lm, part, work.layers, extent) as reading:
            edits = [edit, unedited(lm)] if edit.first_call_only else [edit]
            after = asker.ask(reading.memory, part, edits, [0] * len(part), extent)
        return [
            (case.case_id, asker.scored(case, answers, extent), None) for case, answers in zip(part, after, strict=True)
        ]

    def failed(case: Case, error: Exception) -> tuple[str, dict[str, Any] | None, dict[str, str] | None]:
        logger.warning("case %s cannot be asked: %s", case.case_id, error)
        logger.debug("where it failed", exc_info=error)
        return case.case_id, None, problem_of(error)

    results = [
        result for part in by_length(cases, batch_size) for result in in_parts(lm, part, computed, failed, "cases")
    ]
    return Asked(
        {key: found for key, found, _ in results if found is not None},
        {key: problem for key, _, problem in results if problem is not None},
    )


def measured_together(work: Measurement, unit: Unit, batch_size: int, method: int) -> Iterator[Piece]:
    """The entries of a group that is edited at once. Where the edit fails, all its cases have failed.

    Args:
        work: The method at work.
        unit: The group.
        batch_size: Cases that are asked together.
        method: Index of the method.
    """
    lm, cases = work.lm, unit.cases
    try:
        with measured(lm.device) as editing:
            edit = work.editor.edit(lm, [case.request for case in cases])
    except Exception as error:  # the group has failed, the others go on
        logger.warning("the edit of group %d (%d cases) failed: %s", unit.index, len(cases), error)
        free_memory()
        entries = [failed_entry(case, error) for case in cases]
    else:
        asked = asked_under(work, edit, cases, batch_size)
        cost = {
            "edit_seconds": editing.seconds / len(cases),
            "peak_bytes": editing.peak_bytes,
            "batch_size": len(cases),
        }
        entries = [
            {**entry_head(case), **asked.found[case.case_id], "cost": cost, "details": dict(edit.details)}
            if case.case_id in asked.found
            else {**entry_head(case), "error": dict(asked.failed[case.case_id])}
            for case in cases
        ]
    grouped = [{**entry, "group": unit.group(position)} for position, entry in enumerate(entries)]
    yield Piece(method, grouped, work.answers.taken())
