"""Runs side by side: one table per data set, model and signature.

So numbers that differ in more than the method never share a table.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clmeeval_data.evaluation.report.best import FEWEST_CASES, best_runs
from clmeeval_data.evaluation.report.gathered import Gatherer, RunCases, TableCases
from clmeeval_data.evaluation.report.runs import FORGETTING, PEAK, RIGHT_AFTER, Measure, Run
from clmeeval_data.evaluation.scoring.metrics import METRICS
from clmeeval_data.evaluation.scoring.significance import Estimate
from clmeeval_data.evaluation.scoring.summary import DIMENSIONS, EXACT_MATCH_ALL

FLOOR = "none"  # the method that edits nothing
ARROWS = {"higher": "↑", "lower": "↓"}
Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Column:
    """One measure of a table: its title, its direction, and in which form its numbers are written.

    ``marked``: whether the best rows are.
    """

    measure: Measure
    title: str
    better: Better
    form: Literal["score", "bits", "seconds", "megabytes"] = "score"
    marked: bool = True

    @property
    def dimension(self) -> str:
        """The dimension, or "cost", "right_after" or "forgetting"."""
        return self.measure[0]

    @property
    def group(self) -> str:
        """The dimension as headings have it."""
        return self.dimension.replace("_", " ")

    @property
    def sign(self) -> int:
        """1 where higher is better, -1 where lower is."""
        return 1 if self.better == "higher" else -1

    @property
    def arrow(self) -> str:
        """↑ where higher is better, ↓ where lower is."""
        return ARROWS[self.better]

    def text(self, value: float) -> str:
        """A number of this column as tables show it."""
        if self.form == "megabytes":
            return f"{value / 1e6:,.0f}"
        if self.form == "seconds":
            digits = 1 if value >= 100 else 2 if value >= 0.1 else 3
            return f"{value:.{digits}f}"
        return f"{value:.2f}" if self.form == "bits" else f"{value:.3f}"

    def bounds(self, estimate: Estimate) -> str:
        """The interval of an estimate as tables show it, "" where there is none.

        Costs have none: the edits of a batch share one measured time, so their spread says nothing.
        """
        if estimate.low is None or estimate.high is None or self.dimension == "cost":
            return ""
        if self.form == "score":
            return f"{estimate.low:.2f}–{estimate.high:.2f}"
        return f"{self.text(estimate.low)}–{self.text(estimate.high)}"


def _scores(dimension: str, names: Iterable[str]) -> list[Column]:
    return [Column((dimension, name), METRICS[name].title, METRICS[name].better) for name in names]


PAPER_METRICS = ("exact_match", "bleu", "rouge_l")
COLUMNS: tuple[Column, ...] = (
    *_scores("effectiveness", PAPER_METRICS),
    Column(RIGHT_AFTER, METRICS[RIGHT_AFTER[1]].title, "higher"),
    *_scores("generalisation", PAPER_METRICS),
    *_scores("specificity", PAPER_METRICS),
    Column(("specificity", EXACT_MATCH_ALL), "EM, all", "higher"),
    Column(("fluency", "ngram_entropy"), "bits", METRICS["ngram_entropy"].better, "bits"),
    Column(("cost", "edit_seconds"), "s/edit", "lower", "seconds", marked=False),
    Column(PEAK, "peak MB", "lower", "megabytes", marked=False),
)


def further_columns() -> tuple[Column, ...]:
    """Columns of the metrics beside the paper's, for the three dimensions that have them, and of forgetting."""
    names = [
        metric.name for metric in METRICS.values() if metric.scope != "fluency" and metric.name not in PAPER_METRICS
    ]
    columns = [column for dimension in DIMENSIONS[:3] for column in _scores(dimension, names)]
    return (*columns, Column(FORGETTING, METRICS[FORGETTING[1]].title, "lower", marked=False))


@dataclass(frozen=True)
class Row:
    """One run in a table.

    ``detail`` tells it from others of its method, ``best`` are the measures it is marked in, ``cases`` its cases.
    """

    run: Run
    detail: str
    best: frozenset[Measure]
    cases: RunCases

    @property
    def label(self) -> str:
        """The method's name, with the detail where there is one."""
        return f"{self.run.method} ({self.detail})" if self.detail else self.run.method

    def estimate(self, column: Column) -> Estimate | None:
        """The row's estimate in a column, None where it was not measured."""
        return self.run.estimates.get(column.measure)

    @property
    def is_floor(self) -> bool:
        """Whether this is the method that edits nothing."""
        return self.run.method == FLOOR

    @property
    def status(self) -> str:
        """How many cases are finished and have failed: ``12/12``, ``7/12, 1 failed, incomplete``."""
        cases = self.run.cases
        parts = [f"{cases.finished}/{cases.total}"]
        parts += [f"{cases.failed} failed"] if cases.failed else []
        parts += [] if self.run.complete else ["incomplete"]
        return ", ".join(parts)


@dataclass(frozen=True)
class Table:
    """Runs that are comparable.

    ``differs``: the parts of the signature that other tables of the same data set and model do not share.
    """

    dataset: str
    model: str
    signature: str
    differs: tuple[str, ...]
    rows: tuple[Row, ...]
    cases: TableCases

    @property
    def key(self) -> str:
        """A short name for files and links, the same whenever the signature is."""
        return "t" + hashlib.sha256(self.signature.encode("utf-8", "backslashreplace")).hexdigest()[:8]

    @property
    def protocol(self) -> str:
        """How many edits were in force together."""
        return self.rows[0].run.protocol

    @property
    def title(self) -> str:
        """Data set and model, and where there are several such tables what tells this one apart."""
        apart = f" ({', '.join(self.differs)})" if self.differs else ""
        return f"{self.dataset.upper()} · {self.model}{apart}"

    def columns(self, candidates: Iterable[Column] = COLUMNS) -> list[Column]:
        """Those columns in which at least one row has a number."""
        return [column for column in candidates if any(row.estimate(column) for row in self.rows)]

    def notes(self) -> list[str]:
        """What a reader must know of this very table, one sentence each."""
        most = max((row.run.cases for row in self.rows), key=lambda cases: cases.finished)
        notes = []
        if most.short_targets:
            notes.append(
                f"{most.short_targets} of {most.finished} targets have fewer than four tokens: "
                "their BLEU is 0 by definition, even for an equal answer."
            )
        if self.protocol != "single":
            notes.append(
                "The cases of a group are asked under the same edits. Intervals and tests take them as independent, "
                "and so are too sure."
            )
        if any(row.run.cases.failed for row in self.rows):
            notes.append("A failed case counts as 0 in every score, and not at all in the cost.")
        if not all(row.run.complete for row in self.rows):
            notes.append("Incomplete: means over the cases finished so far, never marked as best.")
        if most.finished < FEWEST_CASES:
            notes.append(f"Nothing is marked as best with fewer than {FEWEST_CASES} cases.")
        return notes


LEGEND = (
    "Means with their 95 % intervals over cases. ↑ higher is better, ↓ lower is better. "
    "Bold: the best, or those that cannot be told apart from it, if each of them beats every other complete run on the "
    "same cases (paired tests, p < 0.05 after Holm's correction); where nothing is marked no method is clearly best. "
    "Seconds are the time of a batch of edits, shared by them; memory is the batch's peak above what the model itself "
    "takes; neither is marked. Of a sequence, right after is effectiveness when an edit was the last one; the rest is "
    "asked when all edits of the sequence are in force; forgetting, what is lost in between, is not marked. "
    f"{FLOOR!r} is the unedited model: the floor, which is never marked."
)


def build_tables(runs: Iterable[Run], folder: Path | None = None) -> list[Table]:
    """One table per data set, model and signature; of those of one model the one with most runs stands first.

    In a table the most effective run stands first and the floor last. Every journal is read once; what the case
    explorer shows goes into spools in ``folder``, if there is one.

    Raises:
        ResultsError: If a journal is damaged.
    """
    groups: dict[tuple[str, str, str], list[Run]] = defaultdict(list)
    for run in runs:
        groups[run.dataset, run.model, run.signature].append(run)
    tables: list[Table] = []
    for dataset, model, line in sorted(groups, key=lambda key: (*key[:2], -len(groups[key]), key[2])):
        siblings = [other for name, lm, other in groups if (name, lm) == (dataset, model)]
        own = None if folder is None else folder / str(len(tables))
        gathered = Gatherer(groups[dataset, model, line], own)
        rows = _rows(groups[dataset, model, line], gathered.runs)
        tables.append(Table(dataset, model, line, _differences(line, siblings), rows, gathered.cases))
    return tables


def _differences(line: str, siblings: Sequence[str]) -> tuple[str, ...]:
    """The parts of a signature that its siblings do not all share."""
    shared = set.intersection(*(set(other.split("|")) for other in siblings))
    return tuple(part for part in line.split("|") if part not in shared)


def _rows(runs: Sequence[Run], cases: Sequence[RunCases]) -> tuple[Row, ...]:
    details = _details(runs)
    fair = [place for place, run in enumerate(runs) if run.complete and run.method != FLOOR]
    marked = {
        column.measure: {
            fair[place] for place in best_runs([cases[place] for place in fair], column.measure, column.sign)
        }
        for column in (*COLUMNS, *further_columns())
        if column.marked
    }
    rows = [
        Row(run, details[place], frozenset(measure for measure, best in marked.items() if place in best), cases[place])
        for place, run in enumerate(runs)
    ]
    return tuple(sorted(rows, key=_rank))


def _rank(row: Row) -> tuple[bool, list[float], str]:
    means = [row.run.estimates.get((dimension, "exact_match")) for dimension in DIMENSIONS[:3]]
    return row.is_floor, [-(estimate.mean or 0.0) if estimate else 0.0 for estimate in means], row.label


def _details(runs: Sequence[Run]) -> list[str]:
    """What tells runs of one method apart: the settings in which they differ; where there are none, hash and folder."""
    details = [_apart(run, [other for other in runs if other.method == run.method]) for run in runs]
    repeated = Counter((run.method, detail) for run, detail in zip(runs, details, strict=True))
    return [
        detail if repeated[run.method, detail] == 1 else f"{run.hash[:6]} in {run.folder.path.parents[2]}"
        for run, detail in zip(runs, details, strict=True)
    ]


def _apart(run: Run, alike: Sequence[Run]) -> str:
    keys = [key for key in run.config if any(other.config.get(key) != run.config[key] for other in alike)]
    return ", ".join(f"{key} {run.config[key]}" for key in keys[:3])
