"""Complete runs: the summary of all journals of a run, and runs that were computed in several results folders."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from clmeeval_data.errors import ResultsError
from clmeeval_data.evaluation.results import RunFolder, find_runs, same_result, write_json
from clmeeval_data.evaluation.scoring.signature import signature
from clmeeval_data.evaluation.scoring.summary import summarise
from clmeeval_data.records import targets_are_code


class Merged(NamedTuple):
    """A run that was put together: how many of its cases are there, and how many it has."""

    folder: RunFolder
    finished: int
    total: int


def complete(folder: RunFolder, total: int) -> bool:
    """Write the summary of a run whose cases are all finished; whether they are.

    Args:
        folder: The run.
        total: How many cases it has.

    Raises:
        ResultsError: If a journal is damaged, or the summary cannot be written.
    """
    entries, described = folder.entries(), folder.run()
    if len(entries) < total:
        return False
    code = targets_are_code(described["identity"]["dataset"]["name"])
    summary = summarise(entries.values(), total=total, code=code)
    folder.finish({"hash": described["hash"], **summary, "signature": signature(described)})
    return True


def merge(results: Iterable[Path], out: Path) -> list[Merged]:
    """Bring together the runs of several results folders, those of one identity as one, and complete what is whole.

    A results folder may be ``out`` itself. What is in the others is added there, to the journal of the whole run; they
    stay as they are.

    Args:
        results: Results folders, of shards say.
        out: Where the runs come together.

    Raises:
        ResultsError: If a folder is missing or damaged, or if two results of one case differ.
    """
    merged: dict[Path, Merged] = {}
    for source in (run for root in results for run in find_runs(root)):
        described = source.run()
        try:
            place = Path(*source.path.parts[-3:])
            total = int(described["identity"]["dataset"]["n"])
        except (KeyError, TypeError, ValueError) as error:
            raise ResultsError(f"{source.path / 'run.json'} lacks {error}: it is not a run. Move it away.") from None
        target = RunFolder(out / place)
        merged[place] = Merged(target, _added(source, target), total)
    if not merged:
        raise ResultsError("no runs in the given folders. Expected the --out of clmeeval-evaluate run --shards.")
    for one in merged.values():
        if one.folder.summary() is None:
            complete(one.folder, one.total)
    return list(merged.values())


def _added(source: RunFolder, target: RunFolder) -> int:
    """Add what a run has to another of the same identity; how many cases this one has now."""
    described, place = source.run(), target.path / "run.json"
    if not place.exists():
        write_json(place, described)
    if target.run().get("identity") != described.get("identity"):
        raise ResultsError(
            f"{source.path} and {target.path} have one name and different identities: see their run.json. "
            "Merge into an empty folder, and only runs of one kind."
        )
    if source.path.resolve() == target.path.resolve():
        return len(source.entries())
    with target.held(target.journal):
        there, missing = target.entries(), []
        for key, entry in source.entries().items():
            if key not in there:
                missing.append(entry)
            elif not same_result(there[key], entry):
                raise ResultsError(
                    f"{source.path} has another result for case {key!r} than {target.path}. "
                    "Move one of them away: they do not come from the same computation."
                )
        if missing:
            target.journal.append(missing)
    return len(there) + len(missing)
