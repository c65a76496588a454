"""The command ``clmeeval-build export``: a dataset as the files that other tools read."""

from pathlib import Path
from typing import Annotated

import typer

from clmeeval_data.export import FORMATS, export_dataset
from clmeeval_data.records import SPLITS

EXPORT_HELP = """Write a dataset as the files that other tools read.

code-llmedit is the form of the paper's data, for its code. That code compares with the answers of the unedited model,
which --answers puts in: a folder that 'clmeeval-build answers' wrote. Without it they are left empty, to be put into
neighborhoods.answers before the code runs. 'clmeeval-build cnle --source clmeeval-json=FILE' reads the form.

easyedit is a list of EasyEdit's requests: BaseEditor.edit_requests(json.load(file)).

jsonl is one record a line, in our own schema.

Examples:

  clmeeval-build export clmeeval/cnle --format easyedit

  clmeeval-build export clmeeval/csne --format code-llmedit --split train --split test --out data

  clmeeval-build export clmeeval/cnle --format code-llmedit --split test --answers clmeeval/cnle/answers-smollm2
"""


def add_to(app: typer.Typer) -> None:
    """Add the command to a command line."""
    app.command("export", help=EXPORT_HELP)(export)


def export(
    folder: Annotated[Path, typer.Argument(help="The dataset's folder.", metavar="DIR")],
    form: Annotated[str, typer.Option("--format", help=f"One of {', '.join(FORMATS)}.")],
    split: Annotated[list[str] | None, typer.Option(help="Which split; repeatable; by default all.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the files go; by default beside DIR, in DIR-FORMAT.", metavar="FOLDER")
    ] = None,
    answers: Annotated[
        Path | None, typer.Option(help="Answers of a model to this dataset, for code-llmedit.", metavar="FOLDER")
    ] = None,
) -> None:
    """Write a dataset as the files that other tools read."""
    for path in export_dataset(folder, form, split or SPLITS, out, answers):
        typer.echo(str(path))
