"""Runs as the report sees them, read from their folders and checked."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clmeeval_data.errors import ResultsError
from clmeeval_data.evaluation.report.families import family
from clmeeval_data.evaluation.report.journals import stream
from clmeeval_data.evaluation.results import RunFolder, find_runs
from clmeeval_data.evaluation.scoring.signature import signature
from clmeeval_data.evaluation.scoring.significance import Estimate
from clmeeval_data.evaluation.scoring.summary import summarise
from clmeeval_data.records import targets_are_code

Measure = tuple[str, str]  # dimension and metric, or "cost" and what it counts
PEAK: Measure = ("cost", "peak_bytes")
RIGHT_AFTER: Measure = ("right_after", "exact_match")  # of a sequential run: effectiveness when an edit was the last,
FORGETTING: Measure = ("forgetting", "exact_match")  # and what of it is lost when all are in force


@dataclass(frozen=True)
class Cases:
    """How many cases a run has, how many are finished (failed ones included), failed, and too short for BLEU-4."""

    total: int
    finished: int
    failed: int
    short_targets: int


@dataclass(frozen=True)
class Checkpoint:
    """The estimates of a sequential run when so many ``edits`` were in force, over the cases edited by then."""

    edits: int
    estimates: Mapping[Measure, Estimate]


@dataclass(frozen=True)
class Run:
    """One run: what it is (``identity``), where it ran (``environment``), and its estimates by dimension and metric.

    ``checkpoints``: of a sequential run those of its protocol and the end of its longest sequence, by their number of
    edits; else empty. The count at which only a shorter last sequence ends is none of them: it tells of other cases.
    """

    folder: RunFolder
    identity: Mapping[str, Any]
    environment: Mapping[str, Any]
    hash: str
    signature: str
    complete: bool
    cases: Cases
    estimates: Mapping[Measure, Estimate]
    checkpoints: Sequence[Checkpoint] = ()

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return str(self.identity["dataset"]["name"])

    @property
    def model(self) -> str:
        """Name of the model."""
        return str(self.identity["model"]["name"])

    @property
    def method(self) -> str:
        """Name of the editing method."""
        return str(self.identity["method"]["name"])

    @property
    def config(self) -> Mapping[str, Any]:
        """Configuration of the editing method."""
        config = self.identity["method"].get("config")
        return config if isinstance(config, Mapping) else {}

    @property
    def family(self) -> str:
        """Family of the editing method."""
        return family(self.method)

    @property
    def protocol(self) -> str:
        """How many edits were in force together: ``single``, ``batch-10``, ``sequential-20``."""
        protocol = self.identity.get("protocol") or {"name": "single"}
        return "-".join(str(protocol[key]) for key in ("name", "size") if key in protocol)

    def entries(self) -> dict[str, dict[str, Any]]:
        """The finished cases by id, all at once.

        Raises:
            ResultsError: If a journal is damaged or cannot be read.
        """
        return {entry["id"]: entry for entry in stream(self.folder)}


def load_runs(results: Iterable[Path]) -> list[Run]:
    """Every run below the given folders, each once.

    Raises:
        ResultsError: If a folder does not exist or a run in it is damaged, or if there is no run at all.
    """
    searched = list(results)
    folders = {run.path.resolve(): run for root in searched for run in find_runs(root)}
    if not folders:
        named = ", ".join(map(str, searched)) or "the given folders"
        raise ResultsError(
            f"no runs in {named}. Expected <dataset>/<model>/<method>--<hash>/run.json below; "
            "make some with clmeeval-evaluate run --out FOLDER."
        )
    return [read_run(folder) for folder in folders.values()]


def read_run(folder: RunFolder) -> Run:
    """One run: from its summary where it is complete, else from its journal by the same aggregation.

    Raises:
        ResultsError: If run.json, summary.json or records.jsonl is damaged.
    """
    described = folder.run()
    try:
        identity, environment = described["identity"], described["environment"]
        line, names = signature(described), [identity[part]["name"] for part in ("dataset", "model", "method")]
        total = int(identity["dataset"]["n"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(folder.path / "run.json", error) from None
    if not all(isinstance(name, str) and name for name in names):
        raise _damaged(folder.path / "run.json", ValueError("a name is not a text"))
    summary = folder.summary()
    complete = summary is not None
    if summary is None:
        summary = _summarised(folder, total, targets_are_code(names[0]))
    try:
        return Run(
            folder=folder,
            identity=identity,
            environment=environment,
            hash=str(described["hash"]),
            signature=line,
            complete=complete,
            cases=_cases(summary["cases"]),
            estimates=_estimates(summary),
            checkpoints=_checkpoints(summary, identity.get("protocol") or {}),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(folder.path / "summary.json", error) from None


def _summarised(folder: RunFolder, total: int, code: bool) -> dict[str, Any]:
    """The summary so far; of each case only what it takes is held."""
    needed = ("id", "error", "scores", "cost", "checkpoints", "right_after", "group")
    try:
        slim = (
            {**{key: entry[key] for key in needed if key in entry}, "case": {"target": entry["case"]["target"]}}
            for entry in stream(folder)
        )
        return summarise(slim, total, code=code)
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder.path / "records.jsonl", error) from None


def _damaged(path: Path, error: Exception) -> ResultsError:
    what = f"lacks {error}" if isinstance(error, KeyError) else f"is not of the expected form ({error})"
    return ResultsError(f"{path} {what}. Expected a file of clmeeval-evaluate run: move the folder away and run again.")


def _cases(raw: Mapping[str, Any]) -> Cases:
    return Cases(int(raw["total"]), int(raw["finished"]), int(raw["failed"]), int(raw.get("short_targets", 0)))


def _estimates(summary: Mapping[str, Any]) -> dict[Measure, Estimate]:
    found = _scores(summary["scores"])
    for measure in (RIGHT_AFTER, FORGETTING):
        if summary.get(measure[0]) is not None:
            found[measure] = _estimate(summary[measure[0]]["effectiveness"][measure[1]])
    found["cost", "edit_seconds"] = _estimate(summary["cost"]["edit_seconds"])
    peak = summary["cost"]["peak_bytes"]
    if peak is not None:
        found[PEAK] = _estimate({"mean": peak, "low": None, "high": None, "n": 1})
    return {measure: estimate for measure, estimate in found.items() if estimate.mean is not None}


def _checkpoints(summary: Mapping[str, Any], protocol: Mapping[str, Any]) -> tuple[Checkpoint, ...]:
    found = [Checkpoint(int(raw["edits"]), _scores(raw["scores"])) for raw in summary.get("checkpoints") or ()]
    longest = max((point.edits for point in found), default=0)
    planned = {*protocol.get("checkpoints", ()), longest}
    return tuple(sorted((point for point in found if point.edits in planned), key=lambda point: point.edits))


def _scores(scores: Mapping[str, Any]) -> dict[Measure, Estimate]:
    return {
        (dimension, metric): _estimate(raw) for dimension, metrics in scores.items() for metric, raw in metrics.items()
    }


def _estimate(raw: Mapping[str, Any]) -> Estimate:
    numbers = [None if raw[key] is None else float(raw[key]) for key in ("mean", "low", "high")]
    if not all(number is None or math.isfinite(number) for number in numbers):
        raise ValueError(f"{dict(raw)} has a number that is not finite")
    return Estimate(numbers[0], numbers[1], numbers[2], int(raw["n"]))
