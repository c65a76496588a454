"""The command ``clmeeval-evaluate merge``."""

from pathlib import Path
from typing import Annotated

import typer

MERGE_HELP = """Bring together runs that were computed in parts, and write their summaries.

Runs of one identity become one; cases that several folders have must agree. It prints how much of each run is there,
and ends with exit code 1 where a run lacks cases.

Examples:

  clmeeval-evaluate merge results-a results-b --out results

  clmeeval-evaluate merge results --out results
"""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="merge", help=MERGE_HELP)(merge_runs)


def merge_runs(
    results: Annotated[list[Path], typer.Argument(help="Results folders, each with runs or parts of them.")],
    out: Annotated[Path, typer.Option(help="Where the runs come together; it may be one of the folders.")],
) -> None:
    """Bring together runs that were computed in parts."""
    from clmeeval_data.evaluation.merge import merge

    merged = merge(results, out)
    for one in merged:
        state = "complete" if one.finished >= one.total else "lacks cases"
        typer.echo(f"{one.folder.path}: {one.finished} of {one.total} cases, {state}")
    if any(one.finished < one.total for one in merged):
        raise typer.Exit(1)
