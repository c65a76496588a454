"""Two runs case by case: by how much their means differ and how sure that is, overall and in slices, and where.

Only the method may differ between the two; loads no torch.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, NamedTuple

from clmeeval_data.errors import ResultsError
from clmeeval_data.evaluation.results import RunFolder, find_runs
from clmeeval_data.evaluation.scoring.metrics import METRICS
from clmeeval_data.evaluation.scoring.paired import Comparison, benjamini_hochberg, compare_paired, holm
from clmeeval_data.evaluation.scoring.signature import signature
from clmeeval_data.evaluation.scoring.slices import Slicing, slice_by
from clmeeval_data.evaluation.scoring.summary import DIMENSIONS, EXACT_MATCH_ALL
from clmeeval_data.records import Record

Correction = Literal["holm", "benjamini-hochberg", "none"]
CORRECTIONS: Mapping[Correction, Callable[[Sequence[float]], list[float]]] = {
    "holm": holm,
    "benjamini-hochberg": benjamini_hochberg,
    "none": list,
}
RIGHT_AFTER = "right_after"  # effectiveness right after each edit of a sequence
SHOWN = (*DIMENSIONS, RIGHT_AFTER)

Entry = Mapping[str, Any]
Measure = tuple[str, str]  # dimension and metric
Scores = Mapping[Measure, float]


@dataclass(frozen=True)
class Side:
    """One of the two runs: its folder, method, hash, and the line of what must not differ."""

    folder: Path
    method: str
    hash: str
    signature: str
    entries: Mapping[str, Entry] = field(repr=False)

    @property
    def failed(self) -> int:
        """How many of its finished cases failed."""
        return sum(entry.get("error") is not None for entry in self.entries.values())

    def as_dict(self) -> dict[str, Any]:
        """The run as JSON values, without its entries."""
        named = {"folder": str(self.folder), "method": self.method, "hash": self.hash, "signature": self.signature}
        return {**named, "finished": len(self.entries), "failed": self.failed}


@dataclass(frozen=True)
class Measured:
    """One metric of one dimension: both means over the common cases, and how they compare.

    ``corrected`` is p corrected for all that is compared beside it; ``higher`` and ``lower`` count the cases in which
    the first run scores so.
    """

    dimension: str
    metric: str
    first: float
    second: float
    comparison: Comparison
    corrected: float
    higher: int
    lower: int

    def as_dict(self) -> dict[str, Any]:
        """One flat JSON object."""
        values = asdict(self)
        return {**values.pop("comparison"), **values}


@dataclass(frozen=True)
class Slice:
    """The cases of one slice, and how the runs compare in them."""

    by: str
    label: str
    measured: tuple[Measured, ...]


class CaseDifference(NamedTuple):
    """One case in which the runs score differently, and the dimension in which they do most."""

    case_id: str
    dimension: str
    difference: float
    first: Entry
    second: Entry


@dataclass(frozen=True)
class RunComparison:
    """Everything that was compared. ``differs``: parts of the signatures that are not the same, "key: A / B"."""

    first: Side
    second: Side
    differs: tuple[str, ...]
    common: tuple[str, ...]
    measured: tuple[Measured, ...]
    slices: tuple[Slice, ...]
    metric: str
    correction: Correction
    differing: tuple[CaseDifference, ...]

    def as_dict(self) -> dict[str, Any]:
        """The comparison as one JSON object; of the cases, the ids, the differences and the entries of both runs."""
        return {
            "first": self.first.as_dict(),
            "second": self.second.as_dict(),
            "differs": list(self.differs),
            "common_cases": len(self.common),
            "correction": self.correction,
            "measures": [row.as_dict() for row in self.measured],
            "metric": self.metric,
            "slices": [
                {"by": part.by, "label": part.label, "measures": [row.as_dict() for row in part.measured]}
                for part in self.slices
            ],
            "cases": [
                {**case._asdict(), "first": dict(case.first), "second": dict(case.second)} for case in self.differing
            ],
        }


def find_run(name: str, results: Path) -> RunFolder:
    """The run that a path names, or else the one below ``results`` whose hash begins so.

    Raises:
        ResultsError: If there is none, or several.
    """
    if (Path(name) / "run.json").exists():
        return RunFolder(Path(name))
    if not name or not results.is_dir():
        raise ResultsError(f"{name!r} is no run folder, and {results} no results folder to look for a hash in.")
    found = [folder for folder in find_runs(results) if str(folder.run().get("hash", "")).startswith(name)]
    if len(found) == 1:
        return found[0]
    known = ", ".join(str(folder.path) for folder in found)
    what = f"the hashes of {len(found)} runs begin with {name!r} ({known})" if found else f"no run {name!r}"
    raise ResultsError(f"{what}. Expected a run folder, or the first digits of one hash below {results}.")


def read_side(folder: RunFolder) -> Side:
    """A run with its finished cases.

    Raises:
        ResultsError: If run.json or a journal is damaged.
    """
    described = folder.run()
    try:
        method = str(described["identity"]["method"]["name"])
        return Side(folder.path, method, str(described["hash"]), signature(described), folder.entries())
    except (KeyError, TypeError) as error:
        raise ResultsError(
            f"{folder.path / 'run.json'} lacks {error}. Expected a file of clmeeval-evaluate run."
        ) from None


def compare_runs(
    first: Side,
    second: Side,
    *,
    metrics: Sequence[str] = (),
    by: Sequence[Slicing] = (),
    records: Mapping[str, Record] | None = None,
    cases: int = 0,
    correction: Correction = "holm",
    anyway: bool = False,
    seed: int = 0,
) -> RunComparison:
    """Compare two runs on the cases that both have finished; a failed case counts as 0 in every score.

    p values are corrected over all dimensions and metrics of the table, and once more over all slices of all kinds.

    Args:
        first: One run; differences are this one's score minus the other's.
        second: The other.
        metrics: The metrics to compare, all where none is named. The first of them, or exact match, is the one that
            slices and cases are about.
        by: The kinds of slices.
        records: The dataset's records by case id, for slices by source and by similarity.
        cases: How many differing cases to return.
        correction: Of the p values for their number.
        anyway: Compare runs that differ in more than the method.
        seed: Of the permutation tests.

    Raises:
        ResultsError: If the two are one run, differ in more than the method, or have no case in common.
        UnknownNameError: If a metric is unknown.
        ConfigError: If slices need records.
    """
    for name in metrics:
        if name != EXACT_MATCH_ALL:
            METRICS[name]  # refuses an unknown name
    differs = _differences(first, second, anyway)
    common = tuple(sorted(first.entries.keys() & second.entries.keys()))
    if not common:
        raise ResultsError(f"{first.folder} and {second.folder} have no finished case in common. Compare others.")
    pairs = {case_id: _Pair(_scores(first.entries[case_id]), _scores(second.entries[case_id])) for case_id in common}
    measured = _compare(pairs, metrics, seed)
    if not measured:
        raise ResultsError(f"the runs have no score of {', '.join(metrics) or 'any metric'} in common. Choose another.")
    metric = metrics[0] if metrics else "exact_match"
    slices = [
        Slice(kind, label, tuple(_compare({case_id: pairs[case_id] for case_id in ids}, [metric], seed)))
        for kind in by
        for label, ids in slice_by([first.entries[case_id] for case_id in common], kind, records).items()
    ]
    differing = _differing(pairs, metric)[:cases]
    return RunComparison(
        first=first,
        second=second,
        differs=differs,
        common=common,
        measured=tuple(_corrected(measured, correction)),
        slices=_corrected_slices(slices, correction),
        metric=metric,
        correction=correction,
        differing=tuple(
            CaseDifference(case_id, dimension, difference, first.entries[case_id], second.entries[case_id])
            for case_id, dimension, difference in differing
        ),
    )


class _Pair(NamedTuple):
    """The scores of both runs in one case; None where a run failed in it."""

    first: Scores | None
    second: Scores | None

    def of(self, measure: Measure) -> tuple[float, float] | None:
        """Both scores; None where a run that did not fail lacks one."""
        found = tuple(0.0 if scores is None else scores.get(measure) for scores in self)
        return None if None in found else (found[0] or 0.0, found[1] or 0.0)


def _differences(first: Side, second: Side, anyway: bool) -> tuple[str, ...]:
    """The parts of the signatures that are not the same."""
    if first.folder.resolve() == second.folder.resolve():
        raise ResultsError(f"{first.folder} is one and the same run. Name two.")
    mine, theirs = (dict(part.partition(":")[::2] for part in side.signature.split("|")) for side in (first, second))
    keys = dict.fromkeys([*mine, *theirs])
    found = tuple(f"{key}: {mine.get(key)} / {theirs.get(key)}" for key in keys if mine.get(key) != theirs.get(key))
    if found and not anyway:
        raise ResultsError(
            f"the runs differ in more than the method ({'; '.join(found)}), so their scores are not comparable. "
            "Run both under the same conditions, or compare the cases that they share with --anyway."
        )
    return found


def _scores(entry: Entry) -> Scores | None:
    """All scores of a case; None where it failed."""
    if entry.get("error") is not None:
        return None
    try:
        groups = dict(entry["scores"])
        if RIGHT_AFTER in entry:
            groups[RIGHT_AFTER] = entry[RIGHT_AFTER]["scores"]["effectiveness"]
        return {(group, name): float(score) for group, scores in groups.items() for name, score in scores.items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ResultsError(
            f"case {entry['id']!r} has no readable scores although it did not fail. "
            "Remove its line from records.jsonl to have it computed again."
        ) from None


def _compare(pairs: Mapping[str, _Pair], metrics: Sequence[str], seed: int) -> list[Measured]:
    """Every measure that some case has, in the order of dimensions and metrics, not corrected yet."""
    known = {measure for pair in pairs.values() for scores in pair if scores for measure in scores}
    names = [*METRICS, EXACT_MATCH_ALL]
    measures = [(group, name) for group in SHOWN for name in names if not metrics or name in metrics]
    rows = []
    for measure in (measure for measure in measures if measure in known):
        found = [both for pair in pairs.values() if (both := pair.of(measure)) is not None]
        if not any(scores and measure in scores for pair in pairs.values() if pair.of(measure) for scores in pair):
            continue
        first, second = ([both[side] for both in found] for side in (0, 1))
        compared = compare_paired(first, second, seed=seed)
        rows.append(
            Measured(
                dimension=measure[0],
                metric=measure[1],
                first=fmean(first),
                second=fmean(second),
                comparison=compared,
                corrected=compared.p,
                higher=sum(one > other for one, other in found),
                lower=sum(one < other for one, other in found),
            )
        )
    return rows


def _corrected(rows: Sequence[Measured], correction: Correction) -> list[Measured]:
    p_values = CORRECTIONS[correction]([row.comparison.p for row in rows])
    return [replace(row, corrected=p) for row, p in zip(rows, p_values, strict=True)]


def _corrected_slices(slices: Sequence[Slice], correction: Correction) -> tuple[Slice, ...]:
    """The slices with their p values corrected for the number of all of them."""
    rows = iter(_corrected([row for part in slices for row in part.measured], correction))
    return tuple(replace(part, measured=tuple(next(rows) for _ in part.measured)) for part in slices)


def _differing(pairs: Mapping[str, _Pair], metric: str) -> list[tuple[str, str, float]]:
    """The cases on which the runs differ, most first, with the dimension; among equals both directions take turns."""
    found = []
    for case_id, pair in pairs.items():
        sizes = {group: both[0] - both[1] for group in SHOWN if (both := pair.of((group, metric))) is not None}
        dimension = max(sizes, key=lambda group: abs(sizes[group]), default="")
        if dimension and sizes[dimension]:
            found.append((case_id, dimension, sizes[dimension], sum(map(abs, sizes.values()))))
    found.sort(key=lambda case: (-abs(case[2]), -case[3], case[0]))
    seen: Counter[float] = Counter()
    turns = {}
    for case_id, _, difference, _ in found:
        turns[case_id] = seen[difference]
        seen[difference] += 1
    found.sort(key=lambda case: (-abs(case[2]), turns[case[0]], case[2] < 0))
    return [(case_id, dimension, difference) for case_id, dimension, difference, _ in found]
