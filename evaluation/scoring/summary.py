"""One way to aggregate a run's cases, used by the runner for complete runs and by the report for incomplete ones."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from clmeeval_data.errors import ResultsError
from clmeeval_data.evaluation.scoring.metrics import METRICS, short_target
from clmeeval_data.evaluation.scoring.significance import interval

DIMENSIONS = ("effectiveness", "generalisation", "specificity", "fluency")
EXACT_MATCH_ALL = "exact_match_all"

Entry = Mapping[str, Any]


def summarise(entries: Iterable[Entry], total: int) -> dict[str, Any]:
    """The cases, scores and cost of a run, from its journal's entries, in any order.

    ``cases``: how many the run has (``total``), how many are ``finished`` (failed ones included), how many of these
    ``failed``, and how many ``short_targets`` have BLEU 0 by definition. ``scores``: per dimension and metric a mean
    with its 95 % interval over the finished cases, a failed case counting as 0. ``cost``: seconds per edit over the
    cases that did not fail, and the largest peak in bytes, None where none was measured.

    Raises:
        ResultsError: If an entry has no scores although it did not fail, or a number is not finite.
    """
    ordered = sorted(entries, key=lambda entry: str(entry["id"]))  # the interval's resamples depend on the order
    failed = [entry for entry in ordered if entry.get("error") is not None]
    scored = [entry for entry in ordered if entry.get("error") is None]
    targets = [entry["case"]["target"] for entry in ordered if "case" in entry]
    seconds = [_number(_at(entry, "cost", "edit_seconds"), entry) for entry in scored]
    peaks = [entry["cost"].get("peak_bytes") for entry in scored]
    return {
        "cases": {
            "total": total,
            "finished": len(ordered),
            "failed": len(failed),
            "short_targets": sum(map(short_target, targets)),
        },
        "scores": {dimension: _dimension(dimension, scored, len(failed)) for dimension in DIMENSIONS},
        "cost": {
            "edit_seconds": interval(seconds).as_dict(),
            "peak_bytes": max((peak for peak in peaks if peak is not None), default=None),
        },
    }


def _dimension(dimension: str, scored: Sequence[Entry], failed: int) -> dict[str, Any]:
    """Every metric of one dimension. A case without it (no neighbours, say) is left out of its mean."""
    found = [(entry, _at(entry, "scores", dimension)) for entry in scored if dimension in _at(entry, "scores")]
    names = list(dict.fromkeys(name for _, scores in found for name in scores))
    if not scored:
        names = _expected(dimension)
    return {
        name: interval(
            [_number(scores[name], entry) for entry, scores in found if name in scores] + [0.0] * failed
        ).as_dict()
        for name in names
    }


def _expected(dimension: str) -> list[str]:
    """The metrics that a dimension has on any benchmark: what a run without one scored case scores 0 in."""
    scope = "fluency" if dimension == "fluency" else "text"
    names = [metric.name for metric in METRICS.values() if metric.scope == scope]
    return [*names, EXACT_MATCH_ALL] if dimension == "specificity" else names


def _at(entry: Entry, *keys: str) -> Any:
    """The value below nested keys of an entry."""
    found: Any = entry
    for key in keys:
        try:
            found = found[key]
        except (KeyError, TypeError):
            raise ResultsError(
                f"case {entry['id']!r} has no {'.'.join(keys)} although it did not fail. "
                "Remove its line from records.jsonl to have it computed again."
            ) from None
    return found


def _number(value: Any, entry: Entry) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ResultsError(
            f"case {entry['id']!r} holds {value!r}; expected a finite number. "
            "Remove its line from records.jsonl to have it computed again."
        )
    return float(value)
