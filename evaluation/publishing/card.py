"""The card of a results dataset: README.md with the metadata that ``load_dataset`` reads, filled from its runs."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clmeeval_data.evaluation.publishing.table import COLUMNS, measures_of, protocol_of
from clmeeval_data.evaluation.report.runs import Measure, Run
from clmeeval_data.evaluation.scoring.metrics import METRICS

MARK = "clmeeval-results"
TEMPLATE = Path(__file__).with_name("card.md.jinja")
_MEANINGS = {
    ("cost", "edit_seconds"): "seconds per edit",
    ("cost", "peak_bytes"): "largest peak of memory in bytes, above what the model itself takes",
    ("specificity", "exact_match_all"): "share of cases all of whose neighbours kept their answers",
}


@dataclass(frozen=True)
class Group:
    """The runs of one data set, model and protocol, counted."""

    dataset: str
    model: str
    protocol: str
    runs: int
    complete: int
    methods: Sequence[str]
    finished: int


@dataclass(frozen=True)
class Sizes:
    """How many files the runs have, and their bytes."""

    files: int
    bytes: int


def card(repo: str, url: str, runs: Mapping[str, Run], sizes: Sizes) -> str:
    """README.md of a results dataset.

    Args:
        repo: ``owner/name``.
        url: The address of its page.
        runs: All its runs, by their paths in it.
        sizes: Of their files.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False
    )
    environment.filters["cell"] = _cell
    counts = Counter[str]()
    for run in runs.values():
        counts.update(complete=run.complete, finished=run.cases.finished, failed=run.cases.failed)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        mark=MARK,
        repo=repo,
        url=url,
        runs=runs,
        sizes=sizes,
        groups=_groups(runs),
        columns=COLUMNS,
        measures=measures_of(runs.values()),
        meaning=_meaning,
        complete=counts["complete"],
        finished=counts["finished"],
        failed=counts["failed"],
    )


def _groups(runs: Mapping[str, Run]) -> list[Group]:
    found: dict[tuple[str, str, str], list[Run]] = defaultdict(list)
    for run in runs.values():
        found[run.dataset, run.model, protocol_of(run.identity)].append(run)
    return [
        Group(
            *key,
            runs=len(group),
            complete=sum(run.complete for run in group),
            methods=sorted({run.method for run in group}),
            finished=sum(run.cases.finished for run in group),
        )
        for key, group in sorted(found.items())
    ]


def _meaning(measure: Measure) -> str:
    dimension, metric = measure
    named = METRICS[metric].title if metric in METRICS else metric.replace("_", " ")
    return _MEANINGS.get(measure, f"{named} of {dimension.replace('_', ' ')}")


def _cell(value: object) -> str:
    """A value in a cell of a Markdown table."""
    return " ".join(str(value).split()).replace("<", "&lt;").replace("|", "\\|") or "-"
