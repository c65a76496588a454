"""``clmeeval-leaderboard check``: whether runs that others made are what they say. Loads no torch."""

from pathlib import Path
from typing import Annotated

import typer

HELP = """Check runs that others made, before they are shown: form, identity, completeness, and every number.

All scores are computed again from the stored answers, and the summary from the scores. One line per problem; exit
code 1 if there are any. It cannot tell whether the answers came from the model: see docs/submitting.md.

Examples:

  clmeeval-leaderboard check results/

  clmeeval-leaderboard check results/cnle/model/grace--0123456789 --dataset clmeeval/cnle
"""
PROBLEMS_EXIT = 1


def add_to(app: typer.Typer) -> None:
    """Add the command ``check`` to an app."""
    app.command("check", help=HELP)(check)


def check(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, or folders with runs below.")],
    dataset: Annotated[
        list[str] | None, typer.Option(help="Folder or Hub id of a dataset whose cases the runs must have; repeatable.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Of the datasets on the Hub.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; default: one per core for large runs.")] = None,
) -> None:
    """Print what is wrong with the runs."""
    from clmeeval_data import __version__
    from clmeeval_data.evaluation.report.untrusted import one_line
    from clmeeval_data.evaluation.submission.checking import Checker, runs_below

    checker, count, found = Checker(dataset or (), revision, jobs), 0, 0
    for folder in runs_below(runs):
        checked = checker.check(folder)
        count, found = count + 1, found + checked.count
        for problem in checked.problems:
            typer.echo(f"{one_line(str(folder))}/{problem}")
        if checked.problems and checked.version not in ("", __version__):
            typer.echo(
                f"{one_line(str(folder))} was made with clmeeval-data {one_line(checked.version)[:40]}, this is "
                f"{__version__}, which may give other numbers: check it with that version."
            )
    typer.echo(f"{_counted(count, 'run')}, {_counted(found, 'problem') if found else 'no problems'}")
    if found:
        raise typer.Exit(PROBLEMS_EXIT)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
