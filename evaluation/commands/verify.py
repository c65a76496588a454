"""The command ``clmeeval-evaluate verify``."""

from pathlib import Path
from typing import Annotated

import typer

from clmeeval_data.evaluation.console import progress_bars, quiet_libraries

SHOWN = 5  # differences that are printed

VERIFY_HELP = """Run a sample of a run's cases again, and compare outputs and scores with the stored ones.

Model, dataset, settings and trained file are those that run.json names. Exit code 0: all agree; 1: some do not.

Example:

  clmeeval-evaluate verify results/cnle/smollm2/rome--0123456789 --sample 20
"""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="verify", help=VERIFY_HELP)(verify_run)


def verify_run(
    run: Annotated[Path, typer.Argument(help="The folder of one run, with run.json in it.")],
    sample: Annotated[int, typer.Option(help="How many cases are run again.")] = 20,
    seed: Annotated[int, typer.Option(help="Chooses the cases.")] = 0,
    device: Annotated[str | None, typer.Option(help="Where to compute, if not as the run was.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Where the dataset is now.")] = None,
    revision: Annotated[str | None, typer.Option(help="Of the dataset on the Hub, if not as the run was.")] = None,
    trained: Annotated[Path | None, typer.Option(help="Where the trained file is now.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log what happens.")] = False,
) -> None:
    """Run a sample of a run's cases again."""
    quiet_libraries(verbose)
    from clmeeval_data.evaluation.results import RunFolder
    from clmeeval_data.evaluation.verify import verify

    with progress_bars() as bars:
        found = verify(
            RunFolder(run),
            sample=sample,
            seed=seed,
            device=device,
            dataset=dataset,
            revision=revision,
            trained=trained,
            track=bars.track,
        )
    for one in found.differences[:SHOWN]:
        typer.echo(f"{one.case_id} {one.where}: stored {one.stored!r}, now {one.found!r}")
    if len(found.differences) > SHOWN:
        typer.echo(f"... and {len(found.differences) - SHOWN} further differences")
    typer.echo(f"{found.equal} of {found.cases} cases are equal")
    if found.differences:
        raise typer.Exit(1)
