"""What is kept of a case once it was looked at, small enough to be held for all cases of a run."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from clmeeval_data.evaluation.submission.entry import content_faults, form_faults
from clmeeval_data.evaluation.submission.expectation import Expectation
from clmeeval_data.evaluation.submission.findings import Fault, Problem, shown
from clmeeval_data.evaluation.submission.lines import Line
from clmeeval_data.evaluation.submission.shapes import parsed

SUMMARISED = ("id", "error", "scores", "cost", "right_after", "checkpoints", "group")
MEASURED = frozenset({"cost", "details"})  # what may differ where two shards computed the same case
FIELDS = ("prompt", "rephrased_prompt", "target", "neighbour_prompts")


class Text(NamedTuple):
    """A text of a case, or a list of texts: its digest, and its beginning as it may be printed."""

    digest: bytes
    start: str

    @classmethod
    def of(cls, value: str | Sequence[str]) -> "Text":
        """What is kept of a field of a case."""
        return cls(digest(value), shown(value if isinstance(value, str) else " / ".join(value)))


class CheckedCase(NamedTuple):
    """One line after its check.

    ``case_id``: None where there is none. ``numbers``: what a summary takes of the entry; None where it has not the
    form of the format. ``result``: digest of all but the cost. ``texts``: by field of the case. ``unedited``: digest
    of the unedited model's answers, None for a failed case.
    """

    line: Line
    case_id: str | None
    problems: tuple[Problem, ...]
    numbers: Mapping[str, Any] | None = None
    result: bytes = b""
    texts: Mapping[str, Text] = {}
    unedited: bytes | None = None


def check_lines(lines: Sequence[Line], expected: Expectation) -> list[CheckedCase]:
    """Check each line by itself; the lines' bytes are not part of the answer."""
    return [_checked(line, expected) for line in lines]


def _checked(line: Line, expected: Expectation) -> CheckedCase:
    place = line._replace(content=b"")
    if not line.whole:
        fault = Fault("a line is cut off or too long", "a whole line of at most 64 MB", "another")
        return CheckedCase(place, None, (Problem(line.place, fault),))
    entry = parsed(line.content)
    if isinstance(entry, Fault):
        return CheckedCase(place, None, (Problem(line.place, entry),))
    case_id = entry.get("id") if isinstance(entry.get("id"), str) else None
    where = line.place if case_id is None else f"{line.place} (case {shown(case_id)})"
    if faults := form_faults(entry, expected):
        return CheckedCase(place, case_id, tuple(Problem(where, fault) for fault in faults))
    return CheckedCase(
        line=place,
        case_id=case_id,
        problems=tuple(Problem(where, fault) for fault in content_faults(entry, expected)),
        numbers=_numbers(entry),
        result=digest({key: value for key, value in entry.items() if key not in MEASURED}),
        texts={field: Text.of(entry["case"][field]) for field in FIELDS},
        unedited=None if entry["error"] is not None else digest(_unedited(entry["outputs"])),
    )


def digest(value: Any) -> bytes:
    """Sixteen bytes that name a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()[:16]


def _numbers(entry: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: entry[key] for key in SUMMARISED if key in entry}
    if "right_after" in found:
        found["right_after"] = {"scores": found["right_after"].get("scores", {})}
    return {**found, "case": {"target": entry["case"]["target"]}}


def _unedited(outputs: Mapping[str, Any]) -> list[str]:
    near = [item["before"] for item in outputs["specificity"]]
    return [outputs["effectiveness"]["before"], outputs["generalisation"]["before"], *near]
