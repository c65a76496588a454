"""What the outputs of a run do: each is run, in a process with limits, with a test of its case.

For cases that carry a test the outputs to the prompt (effectiveness) and to the rephrased prompt (generalisation) are
run, of the model before and after the edit: setup, output, test. What comes of it stands in ``executed.json`` in the
run's folder. What a process may not do, and what it still may, is said in ``clmeeval_data.sandbox.trial``.

An output has as many tokens as its case's target, so an answer that is longer is cut, and may fail for that alone.
"""

import hashlib
import json
import math
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from clmeeval_data.errors import ConfigError, ResultsError
from clmeeval_data.evaluation.results import RunFolder, write_json
from clmeeval_data.evaluation.scoring.significance import interval
from clmeeval_data.sandbox.limits import Limits
from clmeeval_data.sandbox.trial import Outcome, Trial, Verdict, run_trial

FILE = "executed.json"
PACKAGED = "the tests of the packaged sample"
DIMENSIONS = ("effectiveness", "generalisation")
SIDES = ("before", "after")  # the edit
OUTCOMES: tuple[Outcome, ...] = ("passed", "failed", "error", "timeout")
MEMORY = 1 << 30  # bytes of address space

Track = Callable[[Iterable[Verdict], int], Iterable[Verdict]]


@dataclass(frozen=True)
class CaseTests:
    """Tests by case id: (setup, test). ``origin``: where they come from; ``digest``: SHA-256 of the file."""

    origin: str
    digest: str
    tests: Mapping[str, tuple[str, str]]


class _Place(NamedTuple):
    case_id: str
    dimension: str
    side: str


def read_tests(path: Path | None = None) -> CaseTests:
    """Tests from a JSON-lines file of {"case_id", "setup", "test"}; those of the packaged sample if there is no path.

    Raises:
        ConfigError: If the file cannot be read, or a line of it is not of that form.
    """
    if path is None:
        content = resources.files("clmeeval_data").joinpath("samples/tests.jsonl").read_bytes()
        return CaseTests(PACKAGED, hashlib.sha256(content).hexdigest(), _parsed(content, PACKAGED))
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f'cannot read the tests {path}: {error.strerror}. Expected lines of {{"case_id", "setup", "test"}}.'
        ) from error
    return CaseTests(path.name, hashlib.sha256(content).hexdigest(), _parsed(content, str(path)))


def _parsed(content: bytes, where: str) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            entry = json.loads(line)
            case_id, setup, test = (entry[name] for name in ("case_id", "setup", "test"))
        except (ValueError, KeyError, TypeError):
            case_id = setup = test = None
        if not all(isinstance(value, str) for value in (case_id, setup, test)) or not test.strip():
            raise ConfigError(f'{where}:{number}: expected a JSON object {{"case_id", "setup", "test"}} of texts.')
        if case_id in found:
            raise ConfigError(f"{where}:{number}: case {case_id!r} has two tests. Join them into one.")
        found[case_id] = (setup, test)
    return found


def execute_run(
    folder: RunFolder,
    tests: CaseTests,
    *,
    timeout: float = 5.0,
    jobs: int = 2,
    track: Track = lambda verdicts, total: verdicts,
) -> dict[str, Any]:
    """Run the outputs of a run's finished cases that have a test, and write ``executed.json`` into its folder.

    A case that failed has no outputs: it counts as not passed after the edit, and is left out before it.

    Args:
        folder: The run, complete or not.
        tests: By case.
        timeout: Seconds on the clock for one output.
        jobs: Processes at a time.
        track: Shows the advance, given the number of outputs that are run.

    Returns:
        What was written.

    Raises:
        ConfigError: If an option cannot be used, or the system cannot run processes with limits.
        ResultsError: If the run is damaged, has no finished case with a test, or cannot be written to.
    """
    if not (timeout > 0 and math.isfinite(timeout)) or jobs < 1:
        raise ConfigError(f"--timeout is {timeout}, --jobs {jobs}; expected numbers above 0.")
    described = folder.run()
    entries = {key: entry for key, entry in sorted(folder.entries().items()) if key in tests.tests}
    if not entries:
        raise ResultsError(
            f"no finished case of {folder.path} has a test in {tests.origin}. "
            "Give the tests of its dataset with --tests."
        )
    outputs = _outputs(entries, folder.path)
    limits = Limits(seconds=math.ceil(timeout) + 1, wait=timeout, memory=MEMORY)
    verdicts = _verdicts(
        {place: Trial(*_around(tests, place, text)) for place, text in outputs.items()}, limits, jobs, track
    )
    failed = [key for key, entry in entries.items() if entry.get("error") is not None]
    content = {
        "run": described.get("hash"),
        "tests": {"from": tests.origin, "sha256": tests.digest, "cases": len(entries)},
        "limits": {"timeout": timeout, "memory": limits.memory, "file_size": limits.file_size},
        "python": platform.python_version(),
        **_summary(verdicts, failed),
        "cases": _by_case(verdicts),
    }
    write_json(folder.path / FILE, content)
    return content


def _around(tests: CaseTests, place: _Place, output: str) -> tuple[str, str, str]:
    setup, test = tests.tests[place.case_id]
    return setup, output, test


def _outputs(entries: Mapping[str, Mapping[str, Any]], path: Path) -> dict[_Place, str]:
    found: dict[_Place, str] = {}
    for key, entry in entries.items():
        if entry.get("error") is not None:
            continue
        for dimension in DIMENSIONS:
            for side in SIDES:
                try:
                    text = entry["outputs"][dimension][side]
                except (KeyError, TypeError):
                    raise ResultsError(
                        f"case {key!r} of {path} has no output {dimension}/{side}. Move the folder away and run again."
                    ) from None
                found[_Place(key, dimension, side)] = str(text)
    return found


def _verdicts(trials: Mapping[_Place, Trial], limits: Limits, jobs: int, track: Track) -> dict[_Place, Verdict]:
    """Verdicts by place; equal trials run once."""
    different = list(dict.fromkeys(trials.values()))
    with ThreadPoolExecutor(jobs) as pool:
        found = list(track(pool.map(lambda trial: run_trial(trial, limits), different), len(different)))
    verdicts = dict(zip(different, found, strict=True))
    return {place: verdicts[trial] for place, trial in trials.items()}


def _summary(verdicts: Mapping[_Place, Verdict], failed: Sequence[str]) -> dict[str, Any]:
    """Pass rates with their intervals, and how many outputs ended how, by dimension and side."""
    rates: dict[str, Any] = {}
    counts: dict[str, Any] = {}
    for dimension in DIMENSIONS:
        for side in SIDES:
            ended = [v.outcome for place, v in verdicts.items() if place[1:] == (dimension, side)]
            passed = [float(outcome == "passed") for outcome in ended] + [0.0] * (len(failed) * (side == "after"))
            rates.setdefault(dimension, {})[side] = interval(passed).as_dict()
            number = Counter(ended)
            ends: dict[str, int] = {outcome: number[outcome] for outcome in OUTCOMES}
            counts.setdefault(dimension, {})[side] = {**ends, "failed_cases": len(failed) if side == "after" else 0}
    return {"pass_rates": rates, "counts": counts}


def _by_case(verdicts: Mapping[_Place, Verdict]) -> dict[str, Any]:
    cases: dict[str, Any] = {}
    for place, verdict in verdicts.items():
        cases.setdefault(place.case_id, {}).setdefault(place.dimension, {})[place.side] = asdict(verdict)
    return cases
