"""Tables for the terminal, for Markdown and as CSV."""

import csv
import io
import re
from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from clmeeval_data.evaluation.report.runs import Measure
from clmeeval_data.evaluation.report.tables import COLUMNS, LEGEND, Column, Row, Table, further_columns
from clmeeval_data.evaluation.report.untrusted import one_line

WIDE = 110  # characters: from here on a terminal table has room for the intervals
FIXED = ("dataset", "model", "method", "label", "hash", "signature")
COUNTS = ("complete", "total", "finished", "failed", "short_targets")
MISSING = "–"
SHORT = {"effectiveness": "effect.", "right after": "after", "generalisation": "general.", "specificity": "specif."}


def terminal(tables: Sequence[Table], width: int) -> RenderableType:
    """The tables for a terminal of ``width`` characters, each with its signature and notes below.

    Every run takes a few lines, one per metric. Below 110 characters the intervals are left out.
    """
    wide = width >= WIDE
    parts: list[RenderableType] = []
    for table in tables:
        lines = [f"signature {one_line(table.signature)}", *table.notes()]
        parts += [_grid(table, wide), *(Text(line, style="dim") for line in lines), Text()]
    legend = LEGEND.replace("Bold:", "Bold, *:")
    legend += "" if wide else f" Intervals: in a terminal of {WIDE} columns, and in the written files."
    return Group(*parts, Text(legend, style="dim"))


def _grid(table: Table, wide: bool) -> Grid:
    columns = table.columns()
    scores = [column for column in columns if column.dimension not in ("fluency", "cost")]
    others = [column for column in columns if column not in scores]
    dimensions = {column.dimension: column.group for column in scores}
    title = Text(one_line(table.title), style="bold")
    gap = (0, 1) if wide else (0, 0)
    grid = Grid(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=gap)
    grid.add_column("method", overflow="fold")
    grid.add_column("cases", no_wrap=True)
    grid.add_column("metric", style="dim", no_wrap=True)
    for group in dimensions.values():
        grid.add_column(f"{group if wide else SHORT[group]} ↑", justify="right", no_wrap=wide, overflow="fold")
    for column in others:
        heading = column.dimension if column.dimension == "fluency" else column.title
        grid.add_column(f"{heading} {column.arrow}", justify="right", no_wrap=wide, overflow="fold")
    for row in table.rows:
        _add_lines(grid, row, scores, list(dimensions), others, wide)
    return grid


def _add_lines(
    grid: Grid, row: Row, scores: Sequence[Column], dimensions: Sequence[str], others: Sequence[Column], wide: bool
) -> None:
    """The lines of one run: one metric of all dimensions each; what is of no dimension stands on the first."""
    by_measure = {column.measure: column for column in scores}
    titles = {column.measure[1]: column.title for column in scores} or {"": ""}
    names = dict(enumerate((row.run.method, row.detail)))
    status = dict(enumerate(row.status.split(", ")))
    for line, (metric, title) in enumerate(titles.items()):
        cells = [Text(one_line(names.get(line, ""))), Text(status.get(line, "")), Text(title)]
        cells += [_cell(row, by_measure.get((dimension, metric)), wide) for dimension in dimensions]
        cells += [_cell(row, None if line else column, wide) for column in others]
        grid.add_row(*cells, end_section=line == len(titles) - 1)


def _cell(row: Row, column: Column | None, wide: bool) -> Text:
    if column is None:
        return Text()
    estimate = row.estimate(column)
    if estimate is None or estimate.mean is None:
        return Text(MISSING, style="dim")
    best = column.measure in row.best
    cell = Text(f"{'*' if best else ''}{column.text(estimate.mean)}", style="bold green" if best else "")
    bounds = column.bounds(estimate)
    return cell.append(f" {bounds}", style="not bold dim") if wide and bounds else cell


def markdown(tables: Sequence[Table]) -> str:
    """The tables as GitHub-flavoured Markdown, each with its signature and notes below."""
    parts = ["# CLMEEval leaderboard", "", LEGEND, ""]
    for table in tables:
        columns = table.columns()
        header = ["Method", "Cases", *(_heading(column) for column in columns)]
        parts += [f"## {_escaped(table.title)}", "", _line(header)]
        parts.append(_line([":--", ":--", *["--:"] * len(columns)]))
        for row in table.rows:
            parts.append(_line([_escaped(row.label), row.status, *(_markdown_cell(row, column) for column in columns)]))
        parts += ["", f"Signature: `{one_line(table.signature).replace('`', chr(39))}`", ""]
        parts += [line for note in table.notes() for line in (note, "")]
    return "\n".join(parts)


def _heading(column: Column) -> str:
    if column.dimension == "cost":
        return f"{column.title} {column.arrow}"
    return f"{column.group.capitalize()} {column.title} {column.arrow}"


def _markdown_cell(row: Row, column: Column) -> str:
    estimate = row.estimate(column)
    if estimate is None or estimate.mean is None:
        return MISSING
    mean, bounds = column.text(estimate.mean), column.bounds(estimate)
    mean = f"**{mean}**" if column.measure in row.best else mean
    return f"{mean} ({bounds})" if bounds else mean


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", one_line(text))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def csv_text(tables: Sequence[Table]) -> str:
    """One line per run, each estimate in full precision: ``<dimension>.<metric>.mean``, ``.low``, ``.high``, ``.n``."""
    columns = (*COLUMNS, *further_columns())
    measures = [c.measure for c in columns if any(row.estimate(c) for table in tables for row in table.rows)]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    parts = [".".join((*measure, part)) for measure in measures for part in _parts(measure)]
    writer.writerow([*FIXED, *COUNTS, *parts])
    for table in tables:
        for row in table.rows:
            writer.writerow(_csv_row(table, row, measures))
    return file.getvalue()


def _parts(measure: Measure) -> tuple[str, ...]:
    return ("mean", "low", "high", "n") if measure != ("cost", "peak_bytes") else ("max",)


def _csv_row(table: Table, row: Row, measures: Sequence[Measure]) -> list[object]:
    run, cases = row.run, row.run.cases
    names = [one_line(name) for name in (table.dataset, table.model, run.method, row.label)]
    counts = [cases.total, cases.finished, cases.failed, cases.short_targets]
    cells: list[object] = [*names, run.hash, one_line(table.signature), str(run.complete).lower(), *counts]
    for measure in measures:
        estimate = run.estimates.get(measure)
        found = estimate.as_dict() if estimate else {}
        cells += [found.get("mean" if part == "max" else part) for part in _parts(measure)]
    return cells
