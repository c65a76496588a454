"""The leaderboard as one HTML page that needs nothing else: no network, no script, light and dark, wide and narrow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clmeeval_data.evaluation.report.cases import Case, choose_cases, failures
from clmeeval_data.evaluation.report.plots import colours, trade_off
from clmeeval_data.evaluation.report.tables import LEGEND, Column, Row, Table, further_columns
from clmeeval_data.evaluation.report.untrusted import visible

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

TEMPLATE = Path(__file__).with_name("page.html.jinja")
TASKS = {
    "cnle": "an intent in words → the code for it",
    "csne": "a function → one sentence that describes it",
}


@dataclass(frozen=True)
class Group:
    """Neighbouring columns under one heading."""

    title: str
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Section:
    """One table of the page with its pictures and cases. ``anchor`` is its place in the page."""

    anchor: str
    table: Table
    task: str
    groups: tuple[Group, ...]
    further: tuple[Group, ...]
    plots: tuple["Markup", ...]
    cases: tuple[Case, ...]


def page(tables: Sequence[Table]) -> str:
    """The whole page. Everything that a result file holds is escaped; control characters show as code points.

    Raises:
        ResultsError: If a journal is damaged.
    """
    chosen = colours(tables)
    sections = [_section(table, f"table-{number}", chosen) for number, table in enumerate(tables, start=1)]
    template = _environment().get_template(TEMPLATE.name)
    return template.render(sections=sections, colours=chosen, legend=LEGEND, settings=settings, failures=failures)


def settings(row: Row) -> list[tuple[str, str]]:
    """Identity and environment of a run as flat pairs: ``("method.config.layer", "12")``."""
    return [
        ("folder", _folder(row)),
        ("hash", row.run.hash),
        *_flat("", row.run.identity),
        *_flat("", row.run.environment),
    ]


def _folder(row: Row) -> str:
    return "/".join(row.run.folder.path.parts[-3:])


def _flat(prefix: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        return [
            pair for key, inner in value.items() for pair in _flat(f"{prefix}.{key}" if prefix else str(key), inner)
        ]
    return [(prefix, "–" if value is None else str(value))]


def _section(table: Table, anchor: str, chosen: Mapping[str, str]) -> Section:
    from markupsafe import Markup

    figures = (trade_off(table, across, chosen, f"{anchor}-{across}") for across in ("effectiveness", "generalisation"))
    return Section(
        anchor=anchor,
        table=table,
        task=TASKS.get(table.dataset.partition("-")[0], ""),
        groups=_groups(table.columns()),
        further=_groups(table.columns(further_columns())),
        plots=tuple(Markup(figure) for figure in figures),  # drawn here; the only text in it is escaped there
        cases=tuple(choose_cases(table)),
    )


def _groups(columns: Sequence[Column]) -> tuple[Group, ...]:
    dimensions = dict.fromkeys(column.dimension for column in columns)
    return tuple(
        Group(dimension.capitalize(), tuple(column for column in columns if column.dimension == dimension))
        for dimension in dimensions
    )


def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_shown,
    )


def _shown(value: object) -> object:
    """Every text that the template prints, made visible; markup of our own stays as it is."""
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
