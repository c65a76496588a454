"""The leaderboard as a page with its files beside it: it works from disk, and asks no other place for anything.

Its tables are there without script; scripts of ours sort and filter them and show the cases.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clmeeval_data.evaluation.report.curves import distances, sequential, slices
from clmeeval_data.evaluation.report.drawing import Picture, colours
from clmeeval_data.evaluation.report.explorer import write_explorer
from clmeeval_data.evaluation.report.plots import cost_quality, trade_off
from clmeeval_data.evaluation.report.tables import LEGEND, Column, Row, Table, further_columns
from clmeeval_data.evaluation.report.untrusted import clip

if TYPE_CHECKING:
    from jinja2 import Environment

FILES = "leaderboard_files"  # the folder beside the page
TEMPLATE = Path(__file__).with_name("page.html.jinja")
ASSETS = Path(__file__).with_name("assets")
SCRIPTS = ("state.js", "texts.js", "data.js", "tables.js", "case.js", "explorer.js")  # in the order of their needs
LONGEST = 4000  # characters of a name or a setting
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
    """One table of the page with its pictures."""

    table: Table
    task: str
    groups: tuple[Group, ...]
    further: tuple[Group, ...]
    pictures: tuple[Picture, ...]


def write_page(tables: Sequence[Table], folder: Path) -> str:
    """Write what the page needs into ``folder``, which is to stand beside it as ``leaderboard_files``; return the page.

    Everything that a result file holds is escaped; control characters show as code points.

    Raises:
        OSError: If a file cannot be written.
    """
    chosen = colours(tables)
    sections = [_section(table, chosen) for table in tables]
    write_explorer(tables, chosen, folder)
    (folder / "assets").mkdir()
    for name in ("page.css", *SCRIPTS):
        shutil.copyfile(ASSETS / name, folder / "assets" / name)
    (folder / "pictures").mkdir()
    for picture in (picture for section in sections for picture in section.pictures):
        (folder / "pictures" / f"{picture.name}.svg").write_text(picture.svg, encoding="utf-8", newline="")
    template = _environment().get_template(TEMPLATE.name)
    return template.render(
        sections=sections, colours=chosen, legend=LEGEND, settings=settings, files=FILES, scripts=SCRIPTS
    )


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


def _section(table: Table, chosen: Mapping[str, str]) -> Section:
    found = (
        trade_off(table, "effectiveness", chosen),
        trade_off(table, "generalisation", chosen),
        cost_quality(table, chosen),
        distances(table),
        sequential(table, chosen),
        slices(table, chosen),
    )
    return Section(
        table=table,
        task=TASKS.get(table.dataset.partition("-")[0], ""),
        groups=_groups(table.columns()),
        further=_groups(table.columns(further_columns())),
        pictures=tuple(picture for picture in found if picture is not None),
    )


def _groups(columns: Sequence[Column]) -> tuple[Group, ...]:
    groups = dict.fromkeys(column.group for column in columns)
    return tuple(
        Group(group.capitalize(), tuple(column for column in columns if column.group == group)) for group in groups
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
    """Every text that the template prints, made visible and clipped; markup of our own stays as it is."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    clipped = clip(value, LONGEST)
    return f"{clipped.text}… {clipped.hidden:,} more characters are not shown" if clipped.hidden else clipped.text
