"""A table of runs, one row each: what ``load_dataset`` gives for a results dataset."""

import io
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from clmeeval_data.evaluation.report.runs import Measure, Run
from clmeeval_data.evaluation.scoring.metrics import METRICS
from clmeeval_data.evaluation.scoring.summary import DIMENSIONS

if TYPE_CHECKING:
    import pyarrow as pa

PARTS = ("mean", "low", "high", "n")
COLUMNS = {
    "path": "where the run's files are in this dataset",
    "dataset": "name of the data set",
    "split": "its split",
    "model": "name of the edited model",
    "method": "name of the editing method",
    "family": "the method's family, null where the run does not tell",
    "protocol": "`single`: each edit alone; `batch-N`: N edits at once; `sequential-N`: N edits one after another",
    "hash": "of everything that can change a number of the run",
    "signature": "runs of equal signatures may stand in one table",
    "complete": "whether every case is finished",
    "cases_total": "cases that the run has",
    "cases_finished": "those that are finished, failed ones included",
    "cases_failed": "those that failed, which count as 0 in every score",
    "config": "the method's configuration, as JSON",
}
_FLAGS, _COUNTS = {"complete"}, {"cases_total", "cases_finished", "cases_failed"}


def parquet_of(runs: Mapping[str, Run]) -> bytes:
    """The table of runs, by their paths and in the order of these, as a parquet file.

    The same runs give the same bytes for one version of pyarrow.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    measures = measures_of(runs.values())
    rows = [_row(path, run, measures) for path, run in sorted(runs.items())]
    table, file = pa.Table.from_pylist(rows, schema=_schema(measures)), io.BytesIO()
    pq.write_table(table, file, compression="zstd", write_page_index=True, use_content_defined_chunking=True)
    return file.getvalue()


def measures_of(runs: Iterable[Run]) -> list[Measure]:
    """What at least one run has an estimate of: by dimension as the reports order them, costs last, then by metric."""
    found = {measure for run in runs for measure in run.estimates}
    return sorted(found, key=_place)


def protocol_of(identity: Mapping[str, Any]) -> str:
    """How the edits of a run were made: ``single``, ``batch-10``, ``sequential-20``."""
    protocol = identity.get("protocol")
    if not isinstance(protocol, Mapping):
        return "single"
    name, size = str(protocol.get("name", "single")), protocol.get("size")
    return name if size is None else f"{name}-{size}"


def _place(measure: Measure) -> tuple[int, str, int, str]:
    dimension, metric = measure
    rank = DIMENSIONS.index(dimension) if dimension in DIMENSIONS else len(DIMENSIONS) + (dimension == "cost")
    names = list(METRICS)
    return rank, dimension, names.index(metric) if metric in names else len(names), metric


def _column(measure: Measure, part: str) -> str:
    return f"{measure[0]}_{measure[1]}_{part}"


def _schema(measures: Iterable[Measure]) -> "pa.Schema":
    import pyarrow as pa

    about = [
        (name, pa.bool_() if name in _FLAGS else pa.int64() if name in _COUNTS else pa.string()) for name in COLUMNS
    ]
    estimates = [
        (_column(measure, part), pa.int64() if part == "n" else pa.float64()) for measure in measures for part in PARTS
    ]
    return pa.schema([*about, *estimates])


def _row(path: str, run: Run, measures: Iterable[Measure]) -> dict[str, Any]:
    family = run.identity["method"].get("family") or run.environment.get("family")
    about = {
        "path": path,
        "dataset": run.dataset,
        "split": str(run.identity["dataset"].get("split", "")),
        "model": run.model,
        "method": run.method,
        "family": family if isinstance(family, str) else None,
        "protocol": protocol_of(run.identity),
        "hash": run.hash,
        "signature": run.signature,
        "complete": run.complete,
        "cases_total": run.cases.total,
        "cases_finished": run.cases.finished,
        "cases_failed": run.cases.failed,
        "config": json.dumps(run.config, sort_keys=True),
    }
    estimates = {
        _column(measure, part): getattr(run.estimates[measure], part)
        for measure in measures
        if measure in run.estimates
        for part in PARTS
    }
    return {**about, **estimates}
