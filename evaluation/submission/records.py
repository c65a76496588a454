"""All finished cases of a run: each by itself, on all cores where they are many, and then together."""

import hashlib
import json
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from clmeeval_data.evaluation.submission.case_check import CheckedCase, Text, check_lines
from clmeeval_data.evaluation.submission.expectation import Expectation
from clmeeval_data.evaluation.submission.findings import Fault, Findings, shown
from clmeeval_data.evaluation.submission.lines import Line, chunks_of, journals_of, line_at

WORTH_PROCESSES = 4_000_000  # bytes of journals: below, starting processes takes longer than it saves
WAITING = 3  # chunks per process


class Place(NamedTuple):
    """Where a case stands."""

    file: str
    offset: int
    name: str


@dataclass
class Records:
    """What is kept of all cases. ``numbers``: what a summary takes, of the cases that have the right form.

    ``sound``: whether every line has the right form. ``texts`` and ``unedited``: digests by case id.
    """

    places: dict[str, Place] = field(default_factory=dict)
    numbers: list[Mapping[str, Any]] = field(default_factory=list)
    texts: dict[str, Mapping[str, Text]] = field(default_factory=dict)
    unedited: dict[str, bytes] = field(default_factory=dict)
    sound: bool = True
    _results: dict[str, bytes] = field(default_factory=dict)

    def add(self, found: CheckedCase) -> Iterator[Fault]:
        """Take a case in; a second line of a case is a fault, unless another shard computed the very same."""
        self.sound = self.sound and found.numbers is not None
        if found.case_id is None:
            return
        earlier = self.places.get(found.case_id)
        if earlier is not None:
            same = earlier.file != found.line.file and found.result == self._results[found.case_id]
            if not same:
                yield Fault("a case occurs twice", f"one line, which is {earlier.name}", "another")
            return
        self.places[found.case_id] = Place(found.line.file, found.line.offset, found.line.place)
        self._results[found.case_id] = found.result
        self.texts[found.case_id] = found.texts
        if found.numbers is not None:
            self.numbers.append(found.numbers)
        if found.unedited is not None:
            self.unedited[found.case_id] = found.unedited


def read_records(folder: Path, expected: Expectation, findings: Findings, jobs: int | None = None) -> Records:
    """Check every line of a run's journals.

    What is held at a time is a few lines, and of each case its numbers and digests.

    Args:
        folder: The run.
        expected: What its cases must look like.
        findings: Where problems are noted.
        jobs: Processes; None: one per core where the run is large, else one.

    Raises:
        ResultsError: If a journal cannot be read.
    """
    records = Records()
    journals = journals_of(folder)
    if not journals:
        findings.add("records.jsonl", [Fault("there is no journal", "records.jsonl", "nothing")])
    if jobs is None:
        large = sum(path.stat().st_size for path in journals) > WORTH_PROCESSES
        jobs = (os.cpu_count() or 1) if large else 1
    chunks = (chunk for path in journals for chunk in chunks_of(path))
    for found in _checked(chunks, expected, jobs):
        findings.extend(found.problems)
        findings.add(found.line.place, records.add(found))
    return records


def _checked(chunks: Iterator[list[Line]], expected: Expectation, jobs: int) -> Iterator[CheckedCase]:
    if jobs == 1:
        for chunk in chunks:
            yield from check_lines(chunk, expected)
        return
    from concurrent.futures import Future, ProcessPoolExecutor
    from multiprocessing import get_context

    waiting: deque[Future[list[CheckedCase]]] = deque()
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for chunk in chunks:
            waiting.append(pool.submit(check_lines, chunk, expected))
            if len(waiting) > WAITING * jobs:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def set_faults(folder: Path, dataset: Mapping[str, Any], records: Records) -> Iterator[Fault]:
    """Whether the cases are as many as the identity says, and the ones that its hash names."""
    if len(records.places) != dataset["n"]:
        yield Fault("the run is not complete", f"{dataset['n']} cases", f"{len(records.places)}")
    elif records.sound:
        digest = _hash_of(folder, records.places)
        if digest != dataset["cases"]:
            yield Fault("the cases are not those of the identity's hash", shown(dataset["cases"]), shown(digest))


def group_faults(numbers: Sequence[Mapping[str, Any]], size: int) -> Iterator[Fault]:
    """Whether the groups of a batch or sequential run are whole: all of the protocol's size but the last."""
    groups: dict[int, list[tuple[int, int]]] = {}
    for entry in numbers:
        group = entry["group"]
        groups.setdefault(group["index"], []).append((group["position"], group["size"]))
    if sorted(groups) != list(range(len(groups))):
        yield Fault("groups are not numbered from 0", f"0 to {len(groups) - 1}", shown(str(sorted(groups)[:10])))
    for index, members in sorted(groups.items()):
        positions, sizes = sorted(position for position, _ in members), {found for _, found in members}
        if len(sizes) != 1 or (sizes != {size} and index != max(groups)):
            found = f"{shown(str(sorted(sizes)))} in group {index}"
            yield Fault("a group has not the protocol's size", f"{size}", found)
        elif positions != list(range(min(sizes))):
            found = f"{shown(str(positions))} in group {index}"
            yield Fault("a group is not whole", "each of its positions once", found)


def _hash_of(folder: Path, places: Mapping[str, Place]) -> str:
    """``scoring.dimensions.cases_hash`` of the cases, of which one is held at a time."""
    found = hashlib.sha256()
    ordered = sorted(places, key=json.dumps)  # cases_hash sorts its lines, which begin with the id
    for number, case_id in enumerate(ordered):
        place = places[case_id]
        case = json.loads(line_at(folder / place.file, place.offset))["case"]
        texts = {name: case[name] for name in ("prompt", "rephrased_prompt", "target", "neighbour_prompts")}
        line = json.dumps({"case_id": case_id, **texts}, sort_keys=True)
        found.update(f"{chr(10) if number else ''}{line}".encode())
    return found.hexdigest()[:12]
