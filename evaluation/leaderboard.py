"""``clmeeval-leaderboard``: result folders in; a table, Markdown, CSV and one HTML page out. Loads no torch."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from clmeeval_data.atomic import written_aside
from clmeeval_data.errors import ResultsError
from clmeeval_data.evaluation.report.runs import load_runs
from clmeeval_data.evaluation.report.tables import Table, build_tables
from clmeeval_data.evaluation.report.text import csv_text, markdown, terminal
from clmeeval_data.shell import run_app

HELP = """Rank editing methods: a table here; index.html, leaderboard.md and leaderboard.csv in --out.

Examples:

  clmeeval-leaderboard results/

  clmeeval-leaderboard results/ /elsewhere/results --out site/
"""
FILE_WIDTH = 140  # characters: of the table where it goes to a file or a pipe

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def write_leaderboard(results: Sequence[Path], out: Path) -> list[Table]:
    """Read the runs below the result folders and write index.html, leaderboard.md and leaderboard.csv into ``out``.

    Each file is replaced as a whole. Returns the tables that were written.

    Raises:
        ResultsError: If there are no runs, one is damaged, or ``out`` cannot be written.
    """
    from clmeeval_data.evaluation.report.page import page

    tables = build_tables(load_runs(results))
    contents = {"leaderboard.md": markdown(tables), "leaderboard.csv": csv_text(tables), "index.html": page(tables)}
    for name, content in contents.items():
        _replace(out / name, content)
    return tables


def _replace(path: Path, content: str) -> None:
    """Write a text file, complete or not at all."""
    try:
        with written_aside(path) as aside:
            aside.write_text(content, encoding="utf-8", errors="backslashreplace", newline="")
    except OSError as error:
        raise ResultsError(f"cannot write {path}: {error.strerror}. Choose an --out that you may write to.") from error


@app.command(help=HELP)
def leaderboard(
    results: Annotated[list[Path], typer.Argument(help="Folders that clmeeval-evaluate run wrote into.")],
    out: Annotated[Path, typer.Option(help="Folder for the page and its data.")] = Path("leaderboard"),
) -> None:
    """Print the ranking and write its files."""
    from rich.console import Console

    tables = write_leaderboard(results, out)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else FILE_WIDTH)
    console.print(terminal(tables, console.width))
    console.print(str(out / "index.html"), soft_wrap=True, markup=False)


def main() -> None:
    """The console script."""
    run_app(app)


if __name__ == "__main__":
    main()
