"""``clmeeval-leaderboard``: result folders in; a table, Markdown, CSV and a page out. Loads no torch."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from clmeeval_data.evaluation.publishing import command as publishing
from clmeeval_data.evaluation.publishing.site import write_leaderboard
from clmeeval_data.evaluation.report import command as tabulating
from clmeeval_data.evaluation.report.text import terminal
from clmeeval_data.evaluation.submission import command as checking
from clmeeval_data.shell import run_app

HELP = """Rank editing methods: a table here; index.html, leaderboard.md and leaderboard.csv in --out.

Without a command this is 'rank'; a folder that is named like a command is given as ./NAME. Results on the Hub are given
as OWNER/NAME of their dataset.

Examples:

  clmeeval-leaderboard results/

  clmeeval-leaderboard results/ /elsewhere/results --out site/

  clmeeval-leaderboard clmeeval/results

  clmeeval-leaderboard publish results/ --repo clmeeval/results --space clmeeval/leaderboard

  clmeeval-leaderboard check results/ --dataset clmeeval/cnle

  clmeeval-leaderboard table results/ --format latex --preset paper
"""
DEFAULT = "rank"
FILE_WIDTH = 140  # characters: of the table where it goes to a file or a pipe

__all__ = ["app", "main", "write_leaderboard"]


class RanksByDefault(TyperGroup):
    """A command line whose arguments are those of ``rank`` where they do not begin with a command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default command in front where no command is named."""
        if not args or not (args[0] in self.commands or args[0] in ctx.help_option_names):
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=RanksByDefault, help=HELP, add_completion=False, pretty_exceptions_enable=False)


@app.command(DEFAULT, help="Print the ranking and write its files; what happens without a command.")
def leaderboard(
    results: Annotated[
        list[str], typer.Argument(help="Folders that clmeeval-evaluate run wrote into, or OWNER/NAME on the Hub.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the page and its data.")] = Path("leaderboard"),
) -> None:
    """Print the ranking and write its files."""
    from rich.console import Console

    from clmeeval_data.evaluation.publishing.publish import located

    tables = write_leaderboard(located(results), out)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else FILE_WIDTH)
    console.print(terminal(tables, console.width))
    console.print(str(out / "index.html"), soft_wrap=True, markup=False)


for command in (publishing, checking, tabulating):
    command.add_to(app)


def main() -> None:
    """The console script."""
    run_app(app)


if __name__ == "__main__":
    main()
