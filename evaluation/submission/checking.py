"""Runs that someone else made, checked from their files alone."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clmeeval_data.errors import ResultsError
from clmeeval_data.evaluation.results import find_runs
from clmeeval_data.evaluation.scoring.signature import OWN_PACKAGE
from clmeeval_data.evaluation.submission import identity
from clmeeval_data.evaluation.submission.expectation import Expectation
from clmeeval_data.evaluation.submission.findings import Fault, Findings, shown
from clmeeval_data.evaluation.submission.published import PublishedSplit, published_problems
from clmeeval_data.evaluation.submission.records import Records, group_faults, read_records, set_faults
from clmeeval_data.evaluation.submission.shapes import parsed
from clmeeval_data.evaluation.submission.totals import summary_faults
from clmeeval_data.records import SPLITS

LARGEST_JSON = 16_000_000  # bytes of run.json or summary.json
RUN, SUMMARY, RECORDS = "run.json", "summary.json", "records.jsonl"


@dataclass(frozen=True)
class CheckedRun:
    """One run: its folder, how many problems it has, the lines that say them, and the version that made it.

    Of equal problems the first ten have a line each, and the others one together.
    """

    folder: Path
    count: int
    problems: tuple[str, ...]
    version: str = ""


@dataclass
class Checker:
    """Checks runs one after another, so that later ones are compared with earlier ones of the same model.

    Args:
        datasets: Dataset folders or ids on the Hub; without any, texts are only held against the identity's hash.
        revision: Of the datasets on the Hub.
        jobs: Processes for a run's cases; None: as many as it is worth.
    """

    datasets: Sequence[str] = ()
    revision: str | None = None
    jobs: int | None = None
    _splits: dict[str, dict[str, PublishedSplit]] = field(default_factory=dict)
    _unedited: dict[str, dict[str, tuple[bytes, str]]] = field(default_factory=dict)

    def check(self, folder: Path) -> CheckedRun:
        """All that is wrong with one run.

        Raises:
            ResultsError: If a file cannot be read.
            DatasetError: If a dataset cannot be had.
        """
        findings = Findings()
        findings.add("folder", _unsafe(folder))
        described = None if len(findings) else _json_of(folder, RUN, findings)
        if described is None:
            return CheckedRun(folder, len(findings), tuple(findings))
        if faults := identity.form_faults(described):
            findings.add(RUN, faults)
            return CheckedRun(folder, len(findings), tuple(findings))
        findings.add(RUN, identity.content_faults(described, folder.resolve().name))
        self._check_records(folder, described, findings)
        return CheckedRun(
            folder, len(findings), tuple(findings), str(described["environment"]["versions"].get(OWN_PACKAGE, ""))
        )

    def _check_records(self, folder: Path, described: Mapping[str, Any], findings: Findings) -> None:
        found, expected = described["identity"], Expectation.of(described["identity"])
        records = read_records(folder, expected, findings, self.jobs)
        findings.add(RECORDS, set_faults(folder, found["dataset"], records))
        if expected.protocol != "single" and records.sound:
            findings.add(RECORDS, group_faults(records.numbers, expected.size))
        self._compare_with_dataset(found["dataset"], records, findings)
        self._compare_unedited(folder, found, records, findings)
        summary = _json_of(folder, SUMMARY, findings)
        if summary is not None and records.sound:
            findings.add(SUMMARY, summary_faults(summary, described, records.numbers))

    def _compare_with_dataset(self, dataset: Mapping[str, Any], records: Records, findings: Findings) -> None:
        if not self.datasets or dataset["split"] not in SPLITS:
            return
        if dataset["split"] not in self._splits:
            opened = [PublishedSplit.open(location, dataset["split"], self.revision) for location in self.datasets]
            self._splits[dataset["split"]] = dict(opened)
        split = self._splits[dataset["split"]].get(dataset["name"])
        if split is None:
            named = ", ".join(self._splits[dataset["split"]])
            findings.add(RUN, [Fault("no --dataset is the run's", dataset["name"], named)])
        else:
            findings.extend(published_problems(split, dataset, records))

    def _compare_unedited(self, folder: Path, found: Mapping[str, Any], records: Records, findings: Findings) -> None:
        """Two runs of one model at one precision and decoding have the same unedited answers."""
        key = json.dumps([found["dataset"]["name"], found["model"], found["decoding"]], sort_keys=True)
        known = self._unedited.setdefault(key, {})
        for case_id, digest in records.unedited.items():
            other, first = known.setdefault(case_id, (digest, folder.name))
            if other != digest:
                where = f"{records.places[case_id].name} (case {shown(case_id)})"
                fault = Fault("the unedited answers are not those of another run", f"those of {shown(first)}", "others")
                findings.add(where, [fault])


def runs_below(paths: Sequence[Path]) -> Iterator[Path]:
    """The run folders that are meant: each path is one, or has some below.

    Raises:
        ResultsError: If a path is no folder, or holds no run.
    """
    for path in paths:
        if path.is_dir() and any((path / name).exists() for name in (RUN, SUMMARY, RECORDS)):
            yield path
            continue
        below = [run.path for run in find_runs(path)]
        if not below:
            raise ResultsError(f"no run in {path}. Expected run.json, records.jsonl and summary.json, there or below.")
        yield from below


def _unsafe(folder: Path) -> Iterator[Fault]:
    """What nobody would open: links, devices, a description that fills the memory."""
    for path in sorted(folder.iterdir()):
        if not (path.is_file() or path.is_dir()) or (path.is_symlink() and not _is_of_hub_cache(path)):
            yield Fault("something is no plain file", "plain files alone", shown(path.name))
        elif path.suffix == ".json" and path.stat().st_size > LARGEST_JSON:
            found = f"{path.stat().st_size:,} in {shown(path.name)}"
            yield Fault("a file is too large", f"at most {LARGEST_JSON:,} bytes", found)


def _is_of_hub_cache(link: Path) -> bool:
    """Whether a link is how the cache of the Hub keeps a file: from a snapshot of a repository to its blobs."""
    blobs = link.resolve().parent
    return blobs.name == "blobs" and blobs.parent / "snapshots" in link.parent.resolve().parents


def _json_of(folder: Path, name: str, findings: Findings) -> dict[str, Any] | None:
    try:
        found = parsed((folder / name).read_bytes())
    except FileNotFoundError:
        what = "the run is not complete" if name == SUMMARY else "the run is not described"
        found = Fault(what, "the file", "nothing")
    except OSError as error:
        raise ResultsError(f"cannot read {folder / name}: {error.strerror}. Check its permissions.") from error
    if isinstance(found, Fault):
        findings.add(name, [found])
        return None
    return found
