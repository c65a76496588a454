"""The layout of the paper's tables: three metrics of three dimensions in percent and fluency, methods by family.

Source: the tables of Li et al., ICSE 2025 (arXiv 2411.06638), section V.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from clmeeval_data.evaluation.report.tables import COLUMNS, PAPER_METRICS, Column, Row, Table
from clmeeval_data.evaluation.scoring.significance import Estimate
from clmeeval_data.evaluation.scoring.summary import DIMENSIONS

FAMILY_TITLES = {
    "floor": "",
    "global optimisation": "Global optimisation",
    "locate-then-edit": "Locate-then-edit",
    "memory": "External memory",
    "other": "Other",
}
"""The families in the order of the paper's tables, with their headings; the floor stands on top, without one."""


@dataclass(frozen=True)
class PaperColumn(Column):
    """A column whose scores are written in percent; ``intervals``: whether with theirs."""

    intervals: bool = False

    def text(self, value: float) -> str:
        """A number of this column as tables show it."""
        return f"{100 * value:.2f}" if self.form == "score" else super().text(value)

    def bounds(self, estimate: Estimate) -> str:
        """The interval of an estimate as tables show it, "" where there is none or none is wanted."""
        if not self.intervals or estimate.low is None or estimate.high is None:
            return ""
        if self.form == "score":
            return f"{100 * estimate.low:.1f}–{100 * estimate.high:.1f}"
        return f"{self.text(estimate.low)}–{self.text(estimate.high)}"


@dataclass(frozen=True)
class PaperTable(Table):
    """A table in the layout of the paper."""

    intervals: bool = False

    def columns(self, candidates: Iterable[Column] = COLUMNS) -> list[Column]:
        """The paper's columns, whether or not a row has numbers in them."""
        return [
            PaperColumn(column.measure, column.title, column.better, column.form, intervals=self.intervals)
            for column in COLUMNS
            if column.dimension in DIMENSIONS and column.measure[1] in (*PAPER_METRICS, "ngram_entropy")
        ]


def paper_tables(tables: Iterable[Table], intervals: bool = False) -> list[Table]:
    """The tables in the paper's layout: rows by family, then by name, the floor on top."""
    found: list[Table] = []
    for table in tables:
        values = {field.name: getattr(table, field.name) for field in fields(Table)}
        values["rows"] = tuple(sorted(table.rows, key=_order))
        found.append(PaperTable(**values, intervals=intervals))
    return found


def families_of(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """The rows by the heading of their family, in the paper's order."""
    ordered = sorted(rows, key=_order)
    titles = dict.fromkeys(_title(row) for row in ordered)
    return [(title, [row for row in ordered if _title(row) == title]) for title in titles]


def _title(row: Row) -> str:
    return FAMILY_TITLES.get(row.run.family, FAMILY_TITLES["other"])


def _order(row: Row) -> tuple[int, str]:
    return list(FAMILY_TITLES.values()).index(_title(row)), row.label
