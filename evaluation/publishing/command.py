"""The command ``clmeeval-leaderboard publish``: results go to the Hugging Face Hub."""

from pathlib import Path
from typing import Annotated

import typer

PUBLISH_HELP = """Publish results on the Hugging Face Hub: runs in a dataset, the leaderboard of all of them in a Space.

Runs that are there already stay, and the table of runs has all of them: load_dataset("OWNER/NAME") gives it. Each
repository changes in one commit, or not at all. The same command again finishes what broke off, and changes nothing
where all is published. The token is that of 'hf auth login', or HF_TOKEN.

Examples:

  clmeeval-leaderboard publish results/ --repo clmeeval/results --space clmeeval/leaderboard --dry-run

  clmeeval-leaderboard publish results/ --repo clmeeval/results --tag v1.0.0
"""


def add_to(app: typer.Typer) -> None:
    """Give a command line the command ``publish``."""
    app.command("publish", help=PUBLISH_HELP)(_publish)


def _publish(
    results: Annotated[list[Path], typer.Argument(help="Folders that clmeeval-evaluate run wrote into.")],
    repo: Annotated[
        str | None,
        typer.Option(help="The dataset on the Hub; it is made where it does not exist.", metavar="OWNER/NAME"),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(help="The Space of the page; it is made where it does not exist.", metavar="OWNER/NAME"),
    ] = None,
    incomplete: Annotated[bool, typer.Option("--incomplete", help="Publish incomplete runs too.")] = False,
    private: Annotated[bool, typer.Option("--private", help="Make them private where they do not exist.")] = False,
    tag: Annotated[str | None, typer.Option(help="A name for this release, e.g. v1.0.0.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the files, what would change, and the cards; change nothing.")
    ] = False,
    endpoint: Annotated[str | None, typer.Option(help="The Hub's address, if another.", metavar="URL")] = None,
) -> None:
    from clmeeval_data.evaluation.publishing.publish import Destination, plan_results, publish_results

    to = Destination(repo, space, private, tag, endpoint)
    if not dry_run:
        for outcome in publish_results(results, to, incomplete):
            typer.echo(str(outcome))
        return
    for plan in plan_results(results, to, incomplete):
        typer.echo("\n".join(plan.lines()))
        typer.echo(f"\n{plan.card}")
