"""One way to aggregate a run's cases, used by the runner for complete runs and by the report for incomplete ones."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from clmeeval_data.errors import ResultsError
from clmeeval_data.evaluation.scoring.metrics import METRICS, short_target
from clmeeval_data.evaluation.scoring.paired import difference_interval
from clmeeval_data.evaluation.scoring.significance import Estimate, interval

DIMENSIONS = ("effectiveness", "generalisation", "specificity", "fluency")
EFFECTIVENESS = DIMENSIONS[0]
CHECKED = DIMENSIONS[:3]  # at a checkpoint
EXACT_MATCH_ALL = "exact_match_all"

Entry = Mapping[str, Any]
Scores = Mapping[str, Any]


def summarise(entries: Iterable[Entry], total: int, *, code: bool = False) -> dict[str, Any]:
    """The cases, scores and cost of a run, from its journal's entries, in any order.

    ``code``: whether targets are code, whose metrics a run without one scored case has too.

    ``cases``: how many the run has (``total``), how many are ``finished`` (failed ones included), how many of these
    ``failed``, and how many ``short_targets`` have BLEU 0 by definition. ``scores``: per dimension and metric a mean
    with its 95 % interval over the finished cases, a failed case counting as 0. ``cost``: seconds per edit over the
    cases that did not fail, and the largest peak in bytes, None where none was measured.

    Of sequences, whose scores are those at the end: ``right_after``, effectiveness right after each edit;
    ``forgetting``, that minus the effectiveness at the end, case by case; ``checkpoints``, after so many ``edits`` of a
    sequence the scores of all cases edited by then. A failed case counts as 0 in each of them.

    Raises:
        ResultsError: If an entry has no scores although it did not fail, or a number is not finite.
    """
    ordered = sorted(entries, key=lambda entry: str(entry["id"]))
    failed = [entry for entry in ordered if entry.get("error") is not None]
    scored = [entry for entry in ordered if entry.get("error") is None]
    targets = [entry["case"]["target"] for entry in ordered if "case" in entry]
    seconds = [_number(_at(entry, "cost", "edit_seconds"), entry) for entry in scored]
    peaks = [entry["cost"].get("peak_bytes") for entry in scored]
    sequential = any("checkpoints" in entry for entry in ordered)
    return {
        "cases": {
            "total": total,
            "finished": len(ordered),
            "failed": len(failed),
            "short_targets": sum(map(short_target, targets)),
        },
        "scores": {dimension: _dimension(dimension, scored, len(failed), code) for dimension in DIMENSIONS},
        "cost": {
            "edit_seconds": interval(seconds, in_unit=False).as_dict(),
            "peak_bytes": max((peak for peak in peaks if peak is not None), default=None),
        },
        **(_sequences(ordered, code) if sequential else {}),
    }


def _dimension(dimension: str, scored: Sequence[Entry], failed: int, code: bool) -> dict[str, Any]:
    """Every metric of one dimension. A case without it (no neighbours, say) is left out of its mean."""
    found = [(entry, _at(entry, "scores", dimension)) for entry in scored if dimension in _at(entry, "scores")]
    return _means(found, failed, [] if scored else _expected(dimension, code))


def _means(
    found: Sequence[tuple[Entry, Scores]],
    failed: int,
    expected: Sequence[str] = (),
    estimate: Callable[[Sequence[float], bool], Estimate] = interval,
) -> dict[str, Any]:
    """The mean of every metric that one of the cases has, or else of the expected ones, with its interval."""
    names = list(dict.fromkeys(name for _, scores in found for name in scores)) or list(expected)
    return {
        name: estimate(
            [_number(scores[name], entry) for entry, scores in found if name in scores] + [0.0] * failed,
            name not in METRICS or METRICS[name].high is not None,
        ).as_dict()
        for name in names
    }


def _sequences(ordered: Sequence[Entry], code: bool) -> dict[str, Any]:
    """What a sequence has beside the scores at its end."""
    scored = [entry for entry in ordered if entry.get("error") is None]
    failed = len(ordered) - len(scored)
    right = [(entry, _at(entry, "right_after", "scores", EFFECTIVENESS)) for entry in scored]
    lost = [(entry, _difference(scores, _at(entry, "scores", EFFECTIVENESS))) for entry, scores in right]
    expected = _expected(EFFECTIVENESS, code)
    counts = sorted({_at(point, "edits") for entry in ordered for point in _at(entry, "checkpoints")})
    return {
        "right_after": {EFFECTIVENESS: _means(right, failed, expected)},
        "forgetting": {EFFECTIVENESS: _means(lost, failed, expected, difference_interval)},
        "checkpoints": [{"edits": count, "scores": _checkpoint(ordered, count, code)} for count in counts],
    }


def _checkpoint(ordered: Sequence[Entry], count: int, code: bool) -> dict[str, Any]:
    """The means at one checkpoint over the cases that have met it."""
    met = [(entry, point["scores"]) for entry in ordered for point in entry["checkpoints"] if point["edits"] == count]
    failed = sum(entry.get("error") is not None for entry, _ in met)
    return {
        dimension: _means(
            [(entry, scores[dimension]) for entry, scores in met if dimension in scores],
            failed,
            _expected(dimension, code),
        )
        for dimension in CHECKED
    }


def _difference(first: Scores, second: Scores) -> dict[str, float]:
    return {name: score - second[name] for name, score in first.items() if name in second}


def _expected(dimension: str, code: bool) -> list[str]:
    """The metrics that a dimension has: what a run without one scored case scores 0 in.

    Neighbours' answers are compared as text, also where they are code.
    """
    if dimension == "fluency":
        scopes = {"fluency"}
    else:
        scopes = {"text", "code"} if code and dimension != "specificity" else {"text"}
    names = [metric.name for metric in METRICS.values() if metric.scope in scopes]
    return [*names, EXACT_MATCH_ALL] if dimension == "specificity" else names


def _at(entry: Entry, *keys: str) -> Any:
    """The value below nested keys of an entry."""
    found: Any = entry
    for key in keys:
        try:
            found = found[key]
        except (KeyError, TypeError):
            raise ResultsError(
                f"case {entry.get('id')!r} has no {'.'.join(keys)} although it did not fail. "
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
