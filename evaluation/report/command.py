"""``clmeeval-leaderboard table``: results as a table for a paper. Loads no torch."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from clmeeval_data.atomic import written_aside
from clmeeval_data.errors import ResultsError

HELP = """Write results as tables for a paper, each with its signature below: LaTeX (booktabs), Markdown or CSV.

--preset paper has the layout of the benchmark's paper: methods by family, the unedited model on top in italics, exact
match, BLEU and ROUGE-L in percent. Bold is only what the leaderboard marks. CSV has all columns in full precision.

Examples:

  clmeeval-leaderboard table results/ --format latex --preset paper --out table.tex

  clmeeval-leaderboard table results/ --format markdown
"""
Format = Literal["latex", "markdown", "csv"]
Preset = Literal["paper"]


def add_to(app: typer.Typer) -> None:
    """Add the command ``table`` to an app."""
    app.command("table", help=HELP)(table)


def table_text(results: list[Path], form: Format, preset: Preset | None = None, intervals: bool = False) -> str:
    """The runs below result folders as tables.

    Args:
        results: The folders.
        form: The format.
        preset: "paper" for the layout of the paper's tables (CSV has its order of rows, and all columns); None for all
            columns of the leaderboard.
        intervals: Whether with 95 % intervals. CSV, and Markdown without a preset, always have them.

    Raises:
        ResultsError: If there are no runs, or one is damaged.
    """
    from clmeeval_data.evaluation.report.latex import latex
    from clmeeval_data.evaluation.report.paper import paper_tables
    from clmeeval_data.evaluation.report.runs import load_runs
    from clmeeval_data.evaluation.report.tables import build_tables
    from clmeeval_data.evaluation.report.text import csv_text, markdown

    tables = build_tables(load_runs(results))
    if preset == "paper":
        tables = paper_tables(tables, intervals)
    if form == "latex":
        return latex(tables, intervals)
    return markdown(tables) if form == "markdown" else csv_text(tables)


def table(
    results: Annotated[list[Path], typer.Argument(help="Folders that clmeeval-evaluate run wrote into.")],
    form: Annotated[Format, typer.Option("--format", help="Of the tables.")] = "latex",
    preset: Annotated[Preset | None, typer.Option(help="A layout; default: all columns of the leaderboard.")] = None,
    intervals: Annotated[bool, typer.Option("--intervals", help="With 95 % intervals below the means.")] = False,
    out: Annotated[Path | None, typer.Option(help="File to write; default: print.")] = None,
) -> None:
    """Print or write the tables."""
    text = table_text(results, form, preset, intervals).rstrip("\n") + "\n"
    if out is None:
        typer.echo(text.encode("utf-8", "backslashreplace"), nl=False)
        return
    try:
        with written_aside(out) as aside:
            aside.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
    except OSError as error:
        raise ResultsError(f"cannot write {out}: {error.strerror}. Choose an --out that you may write to.") from error
    typer.echo(str(out))
