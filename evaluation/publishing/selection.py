"""Which runs are published: those at hand and those that are on the Hub already, each identity once."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clmeeval_data.errors import ResultsError
from clmeeval_data.evaluation.report.runs import Run, load_runs, read_run
from clmeeval_data.evaluation.results import RunFolder, slug
from clmeeval_data.hub.remote import Remote, State

RESULTS = "results"
RUN, SUMMARY, JOURNALS = "run.json", "summary.json", "records*.jsonl"


@dataclass(frozen=True)
class AtHand:
    """The runs on this machine that may be published, by their paths, and how many incomplete ones were left out."""

    runs: Mapping[str, Run]
    left_out: int


@dataclass(frozen=True)
class Selection:
    """Runs by their paths in a results dataset.

    ``taken``: those at hand that are published. ``kept``: those that stay on the Hub as they are. ``passed_over``:
    the paths of runs at hand that are not published, as what is on the Hub is at least as good.
    """

    taken: Mapping[str, Run]
    kept: Mapping[str, Run]
    passed_over: Sequence[str]

    @property
    def all(self) -> dict[str, Run]:
        """What there is after publishing, in the order of the paths."""
        return dict(sorted({**self.kept, **self.taken}.items()))


def runs_at_hand(results: Sequence[Path], incomplete: bool = False) -> AtHand:
    """The runs below result folders that may be published, by their paths in a results dataset.

    Of several runs of one identity it is a complete one, and of these the first.

    Args:
        results: Folders that ``clmeeval-evaluate run`` wrote into.
        incomplete: Take incomplete runs too.

    Raises:
        ResultsError: If there is none, or one is damaged, was changed by hand, or lacks some of its cases.
    """
    found: dict[str, Run] = {}
    loaded = load_runs(results)
    for run in loaded:
        path = path_of(run)
        if (run.complete or incomplete) and (path not in found or _is_better(run, found[path])):
            found[path] = run
    if not found:
        raise ResultsError(
            f"none of the {len(loaded)} runs is complete. Finish them with clmeeval-evaluate run, which continues "
            "where it stopped, or publish them as they are with --incomplete."
        )
    for run in found.values():
        _check(run)
    left_out = {path_of(run) for run in loaded} - set(found)
    return AtHand(dict(sorted(found.items())), len(left_out))


def path_of(run: Run) -> str:
    """Where a run is kept in a results dataset, made of its identity."""
    return "/".join((RESULTS, slug(run.dataset), slug(run.model), f"{slug(run.method)}--{run.hash}"))


def files_of(run: Run) -> list[Path]:
    """The files of a run that are published: what it is, its cases, and its summary where it is complete."""
    folder = run.folder.path
    named = [path for path in (folder / RUN, folder / SUMMARY) if path.is_file()]
    return sorted([*named, *folder.glob(JOURNALS)])


def select(at_hand: Mapping[str, Run], published: Mapping[str, Run]) -> Selection:
    """The runs after publishing: a run on the Hub gives way only to a complete one with at least as many cases."""
    taken = {path: run for path, run in at_hand.items() if path not in published or _replaces(run, published[path])}
    kept = {path: run for path, run in published.items() if path not in taken}
    return Selection(taken, kept, [path for path in at_hand if path not in taken])


def published_runs(remote: Remote, held: State) -> dict[str, Run]:
    """The runs that a results dataset holds, by their paths, without the cases of complete ones.

    Raises:
        PublishError: If they cannot be had.
        ResultsError: If one is damaged.
    """
    paths = [path.removesuffix(f"/{RUN}") for path in held.files if _is_run(path)]
    if not paths:
        return {}
    unfinished = [path for path in paths if f"{path}/{SUMMARY}" not in held.files]
    patterns = [f"{RESULTS}/*/{RUN}", f"{RESULTS}/*/{SUMMARY}", *(f"{path}/{JOURNALS}" for path in unfinished)]
    root = remote.snapshot(patterns, held.commit)
    return {path: read_run(RunFolder(root / path)) for path in sorted(paths)}


def fetch_cases(remote: Remote, held: State, paths: Iterable[str]) -> None:
    """Have the cases of published runs beside what ``published_runs`` gave."""
    patterns = [f"{path}/{JOURNALS}" for path in paths]
    if patterns:
        remote.snapshot(patterns, held.commit)


def _is_run(path: str) -> bool:
    parts = path.split("/")
    return len(parts) == 5 and parts[0] == RESULTS and parts[-1] == RUN


def _is_better(run: Run, other: Run) -> bool:
    return (run.complete, run.cases.finished) > (other.complete, other.cases.finished)


def _replaces(run: Run, published: Run) -> bool:
    return run.complete and run.cases.finished >= published.cases.finished


def _check(run: Run) -> None:
    identity = json.dumps(run.identity, sort_keys=True, ensure_ascii=True)
    if run.hash != hashlib.sha256(identity.encode()).hexdigest()[:10]:
        raise ResultsError(
            f"{run.folder.path / RUN} was changed after the run: its hash is not that of its identity. Run again."
        )
    there = len(run.entries())
    if there != run.cases.finished:
        raise ResultsError(
            f"{run.folder.path} has {there} cases, its summary says {run.cases.finished}. "
            f"Remove {SUMMARY} and run again, which computes the missing ones."
        )
