"""The command ``clmeeval-build``: build the two datasets, check a built one, and list the sources."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from clmeeval_data.builders.pipeline import BuildReport, Track, build
from clmeeval_data.builders.recipes import Recipe, recipe_named
from clmeeval_data.builders.sources import SOURCES, open_source
from clmeeval_data.errors import ConfigError, DatasetError
from clmeeval_data.shell import run_app

app = typer.Typer(help="Build CNLE and CSNE.", no_args_is_help=True, pretty_exceptions_enable=False)

CNLE_HELP = """Build CNLE: intent -> code.

Examples:

  clmeeval-build cnle

  clmeeval-build cnle --source sample --out clmeeval/cnle --limit 60 --seed 1
"""
CSNE_HELP = """Build CSNE: code -> description.

Examples:

  clmeeval-build csne

  clmeeval-build csne --source stdlib --out clmeeval/csne --limit 200
"""
VALIDATE_HELP = """Check a built dataset and print its problems, one per line, and how many there are.

The exit code is 1 when there are any.

Example:

  clmeeval-build validate clmeeval/cnle
"""

SourceOption = Annotated[str | None, typer.Option(help="One of 'clmeeval-build sources'; by default the recipe's.")]
OutOption = Annotated[Path, typer.Option(help="The dataset's folder; a dataset that is there is replaced.")]
LimitOption = Annotated[int | None, typer.Option(help="How many cases to keep over all splits; by default all.")]
SeedOption = Annotated[int, typer.Option(help="Of the splits, the choice under --limit, and the rewordings.")]
NeighboursOption = Annotated[int | None, typer.Option(help="Locality neighbours per case; by default the recipe's 3.")]


@app.command(help=CNLE_HELP)
def cnle(
    source: SourceOption = None,
    out: OutOption = Path("clmeeval/cnle"),
    limit: LimitOption = None,
    seed: SeedOption = 0,
    neighbours: NeighboursOption = None,
) -> None:
    """Build CNLE: intent -> code."""
    _build(recipe_named("cnle-sample"), source, out, limit, seed, neighbours)


@app.command(help=CSNE_HELP)
def csne(
    source: SourceOption = None,
    out: OutOption = Path("clmeeval/csne"),
    limit: LimitOption = None,
    seed: SeedOption = 0,
    neighbours: NeighboursOption = None,
) -> None:
    """Build CSNE: code -> description."""
    _build(recipe_named("csne-sample"), source, out, limit, seed, neighbours)


@app.command(help=VALIDATE_HELP)
def validate(folder: Annotated[Path, typer.Argument(help="The dataset's folder.", metavar="DIR")]) -> None:
    """Check a built dataset."""
    from clmeeval_data.validate import check_dataset

    if not folder.is_dir():
        raise DatasetError(f"no folder {folder}. Expected a dataset that clmeeval-build wrote; check the path.")
    problems = check_dataset(folder)
    for problem in problems:
        typer.echo(str(problem))
    typer.echo("1 problem" if len(problems) == 1 else f"{len(problems)} problems")
    if problems:
        raise typer.Exit(1)


@app.command()
def sources() -> None:
    """List the sources: for which benchmark, under which licence, and what they are."""
    table = Table("source", "for", "licence", "what it is")
    for name in SOURCES:
        source = SOURCES[name]()
        table.add_row(name, source.benchmark, source.licence, source.summary)
    Console().print(table)


def main() -> None:
    """Run the command line."""
    run_app(app)


def _build(recipe: Recipe, source: str | None, out: Path, limit: int | None, seed: int, count: int | None) -> None:
    if count is not None:
        if count < 1:
            raise ConfigError(f"--neighbours {count} is too small. Expected at least 1, or no --neighbours for 3.")
        recipe = replace(recipe, locality=replace(recipe.locality, count=count))
    opened = open_source(source or recipe.source, recipe.benchmark)
    with _progress() as track:
        report = build(recipe, opened, out, limit, seed, track)
    _print(report)


@contextmanager
def _progress() -> Iterator[Track]:
    """Shows the stages of a build on stderr while a terminal is there to show them."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:

        def track(rows: Iterable[Any], title: str, total: int | None) -> Iterable[Any]:
            return progress.track(rows, total=total, description=title)

        yield track


def _print(report: BuildReport) -> None:
    console = Console(stderr=True)
    table = Table("step", "reason", "rows", title=f"{report.funnel.read} rows read")
    for drop in report.funnel.ordered():
        table.add_row(drop.step, drop.reason, str(drop.count))
    table.add_row("kept", "", str(report.funnel.kept))
    console.print(table)
    for note in report.notes:
        console.print(f"note: {note}")
    counts = ", ".join(f"{split} {count}" for split, count in report.counts.items())
    typer.echo(f"{report.out}: {sum(report.counts.values())} cases ({counts})")


if __name__ == "__main__":
    main()
