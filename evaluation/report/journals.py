"""The finished cases of a run one by one, so that a report of many runs never holds all their texts at once."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clmeeval_data.errors import ResultsError
from clmeeval_data.evaluation.results import RunFolder

MEASURED = ("cost", "details")  # what may differ between two computations of a case


def stream(folder: RunFolder) -> Iterator[dict[str, Any]]:
    """The finished cases of a run, of all its journals; what two of them have comes once. A torn last line is left out.

    Raises:
        ResultsError: If a line is damaged, an id occurs twice in a journal, two journals differ in a case beyond what
            was measured, or a journal cannot be read.
    """
    paths = [folder.path / "records.jsonl", *sorted(folder.path.glob("records-*-of-*.jsonl"))]
    paths = [path for path in paths if path.exists()]
    digests: dict[str, int] = {}
    for path in paths:
        for entry in _entries(path):
            if len(paths) == 1:
                yield entry
                continue
            digest = _digest(entry)
            if entry["id"] not in digests:
                digests[entry["id"]] = digest
                yield entry
            elif digests[entry["id"]] != digest:
                raise ResultsError(
                    f"{path} has another result for case {entry['id']!r} than an earlier journal of {folder.path}. "
                    "Move one of the two files away."
                )


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.endswith(b"\n"):
                    yield _parsed(line, f"{path}:{number}", seen)
    except OSError as error:
        raise ResultsError(f"cannot read {path}: {error.strerror}. Check its permissions.") from error


def _parsed(line: bytes, place: str, seen: set[str]) -> dict[str, Any]:
    try:
        parsed: dict[str, Any] = json.loads(line)
        parsed["id"] = case_id = str(parsed["id"])
    except (ValueError, KeyError, TypeError):
        raise ResultsError(
            f"{place}: not a JSON object with an 'id'. Remove the line to have it computed again."
        ) from None
    if case_id in seen:
        raise ResultsError(f"{place}: id {case_id!r} occurs twice. Remove one of the lines.")
    seen.add(case_id)
    return parsed


def _digest(entry: dict[str, Any]) -> int:
    return hash(json.dumps({key: value for key, value in entry.items() if key not in MEASURED}, sort_keys=True))
