"""Stored scores against the ones that their own outputs give."""

from collections.abc import Iterator, Mapping
from typing import Any

from clmeeval_data.evaluation.scoring.metrics import METRICS
from clmeeval_data.evaluation.scoring.summary import EXACT_MATCH_ALL
from clmeeval_data.evaluation.submission.findings import Fault, shown
from clmeeval_data.evaluation.submission.shapes import is_number

TOLERANCE = 1e-9

Scores = Mapping[str, Mapping[str, float]]


def unlike(found: Any, expected: Scores, path: str = "scores") -> Iterator[Fault]:
    """Where scores by dimension and metric are missing, impossible, or not those expected."""
    if not isinstance(found, Mapping):
        yield Fault(f"{path} has another form", "an object", shown(found))
        return
    yield from _foreign(found, expected, path, "dimension")
    for dimension, metrics in expected.items():
        mine = found.get(dimension)
        if not isinstance(mine, Mapping):
            yield Fault(f"{path}.{dimension} is missing", "an object", shown(mine))
            continue
        yield from _foreign(mine, metrics, f"{path}.{dimension}", "metric")
        for name, value in metrics.items():
            if name not in mine:
                yield Fault(f"{path}.{dimension}.{name} is missing", shown(value), "nothing")
            elif impossible := out_of_range(name, mine[name], f"{path}.{dimension}.{name}"):
                yield impossible
            elif abs(mine[name] - value) > TOLERANCE:
                yield _differs(f"{path}.{dimension}.{name}", name, value, mine[name])


def out_of_range(name: str, value: Any, path: str) -> Fault | None:
    """What is wrong with a score of a metric, whatever its outputs are."""
    if not is_number(value):
        return Fault(f"{path} is no number", "a finite number", shown(value))
    low, high = (0.0, 1.0) if name == EXACT_MATCH_ALL else (METRICS[name].low, METRICS[name].high)
    if value < low or (high is not None and value > high):
        bounds = f"{low:g} or more" if high is None else f"{low:g} to {high:g}"
        return Fault(f"{path} is outside the metric's range", bounds, shown(value))
    return None


def _differs(path: str, name: str, expected: float, found: float) -> Fault:
    if name == "exact_match" and expected == 0.0 and found == 1.0:
        return Fault(f"{path} is 1 although the texts differ", "0.0", "1.0")
    return Fault(f"{path} is not what its outputs give", shown(expected), shown(found))


def _foreign(found: Mapping[str, Any], expected: Mapping[str, Any], path: str, kind: str) -> Iterator[Fault]:
    for name in found:
        if name not in expected:
            known = ", ".join(expected) or f"no {kind}"
            yield Fault(f"{path} has a {kind} that nothing gives", known, shown(name))
