"""The summary of a run against the one that its cases give."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from clmeeval_data.errors import ResultsError
from clmeeval_data.evaluation.scoring.signature import signature
from clmeeval_data.evaluation.scoring.summary import summarise
from clmeeval_data.evaluation.submission.findings import Fault, shown
from clmeeval_data.evaluation.submission.scores import TOLERANCE
from clmeeval_data.evaluation.submission.shapes import is_number
from clmeeval_data.records import targets_are_code


def summary_faults(
    summary: Mapping[str, Any], run: Mapping[str, Any], numbers: Sequence[Mapping[str, Any]]
) -> Iterator[Fault]:
    """Where a summary is not what ``scoring.summary`` makes of the cases' stored scores.

    Args:
        summary: The content of summary.json.
        run: The content of run.json.
        numbers: Of every case what a summary takes.
    """
    line = signature(run)
    if summary.get("signature") != line:
        yield Fault("signature is not that of run.json", shown(line), shown(summary.get("signature")))
    if summary.get("hash") != run["hash"]:
        yield Fault("hash is not that of run.json", shown(run["hash"]), shown(summary.get("hash")))
    try:
        dataset = run["identity"]["dataset"]
        made = summarise(numbers, total=dataset["n"], code=targets_are_code(dataset["name"]))
        expected = json.loads(json.dumps(made))
    except (ResultsError, KeyError, TypeError, AttributeError) as error:
        yield Fault("no summary can be made of the cases", "scores and costs in every case", shown(str(error)))
        return
    found = {key: value for key, value in summary.items() if key not in ("signature", "hash")}
    yield from _unlike(found, expected, "summary")


def _unlike(found: Any, expected: Any, path: str) -> Iterator[Fault]:
    if isinstance(expected, Mapping):
        if not isinstance(found, Mapping):
            yield Fault(f"{path} is not what the cases give", "an object", shown(found))
            return
        for key, value in expected.items():
            yield from _unlike(found.get(key), value, f"{path}.{key}")
        for key in found:
            if key not in expected:
                yield Fault(f"{path} has what no case gives", ", ".join(expected), shown(key))
    elif isinstance(expected, list):
        if not isinstance(found, list) or len(found) != len(expected):
            yield Fault(f"{path} is not what the cases give", f"a list of {len(expected)}", shown(found))
            return
        for mine, other in zip(found, expected, strict=True):
            yield from _unlike(mine, other, f"{path}[]")
    elif not _equal(found, expected):
        yield Fault(f"{path} is not what the cases give", shown(expected), shown(found))


def _equal(found: Any, expected: Any) -> bool:
    if is_number(found) and is_number(expected):
        return math.isclose(found, expected, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return type(found) is type(expected) and bool(found == expected)
