"""The command ``clmeeval-build publish``: a built dataset goes to the Hugging Face Hub."""

from pathlib import Path
from typing import Annotated

import typer

PUBLISH_HELP = """Publish a built dataset on the Hugging Face Hub, so that load_dataset("OWNER/NAME") reads it.

The folder is checked first. All files go up in one commit, and then the tag is made: readers see the old release or
the whole new one. The same command again finishes what broke off, and changes nothing where all is published. A tag
that exists is left where it is, if its commit holds this very release. The answers of a model to the cases
(clmeeval-build answers) are published in the same way, as a further configuration. The token is that of
'hf auth login', or HF_TOKEN.

Examples:

  clmeeval-build publish clmeeval/cnle --repo clmeeval/cnle --dry-run

  clmeeval-build publish clmeeval/cnle --repo clmeeval/cnle --tag v1.0.0

  clmeeval-build publish sample/cnle --repo clmeeval/cnle --config sample

  clmeeval-build publish clmeeval/cnle/answers-smollm2 --repo clmeeval/cnle --config answers-smollm2
"""


def add_to(app: typer.Typer) -> None:
    """Give a command line the command ``publish``."""
    app.command("publish", help=PUBLISH_HELP)(_publish)


def _publish(
    folder: Annotated[Path, typer.Argument(help="The dataset's folder.", metavar="DIR")],
    repo: Annotated[str, typer.Option(help="The dataset on the Hub; it is made where it does not exist.")],
    config: Annotated[
        str | None, typer.Option(help="Publish as a further configuration of it, e.g. sample.", metavar="NAME")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make it private where it does not exist.")] = False,
    tag: Annotated[str | None, typer.Option(help="A name for this release, e.g. v1.0.0.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the files, what would change, and the card; change nothing.")
    ] = False,
    endpoint: Annotated[str | None, typer.Option(help="The Hub's address, if another.", metavar="URL")] = None,
) -> None:
    from clmeeval_data.hub import plan_release, publish

    if not dry_run:
        typer.echo(str(publish(folder, repo, config, private, tag, endpoint)))
        return
    plan = plan_release(folder, repo, config, private, tag, endpoint)
    typer.echo("\n".join(plan.lines()))
    typer.echo(f"\n{plan.card}", nl=False)
