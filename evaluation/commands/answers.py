"""The command ``clmeeval-build answers``: what an unedited model answers to the cases of a dataset."""

from pathlib import Path
from typing import Annotated

import typer

from clmeeval_data.evaluation.console import progress_bars, quiet_libraries
from clmeeval_data.records import SPLITS

ANSWERS_HELP = """Ask an unedited model all prompts of a dataset, and keep its answers beside it.

They are written into DIR/answers-MODEL, a configuration of the dataset. 'clmeeval-evaluate run' takes them instead of
asking the model again, where its weights, their precision and the decoding are the same. The same command again goes on
where it was stopped, and does nothing where all is there.

Examples:

  clmeeval-build answers clmeeval/cnle --model smollm2 --split test

  clmeeval-build answers clmeeval/cnle --model codellama/CodeLlama-7b-hf --device cuda --dtype float16

  clmeeval-build publish clmeeval/cnle/answers-smollm2 --repo clmeeval/cnle --config answers-smollm2

  clmeeval-build export clmeeval/cnle --format code-llmedit --split test --answers clmeeval/cnle/answers-smollm2
"""


def add_to(app: typer.Typer) -> None:
    """Give a command line the command ``answers``."""
    app.command("answers", help=ANSWERS_HELP)(_answers)


def _answers(
    folder: Annotated[Path, typer.Argument(help="The dataset's folder.", metavar="DIR")],
    model: Annotated[str, typer.Option(help="smollm2, a folder written by save_pretrained, or a Hub id.")],
    split: Annotated[list[str] | None, typer.Option(help="Which split; repeatable; by default all.")] = None,
    limit: Annotated[int | None, typer.Option(help="Ask only the first cases of each split.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the answers go; by default DIR/answers-MODEL.", metavar="FOLDER")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ..., or auto to spread the model.")] = "cpu",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    batch_size: Annotated[int, typer.Option(help="Cases asked together. Changes no answer.")] = 16,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log what happens.")] = False,
) -> None:
    quiet_libraries(verbose)
    from clmeeval_data.evaluation.answers_dataset import AnswersPlan, make_answers

    plan = AnswersPlan(folder, model, tuple(split or SPLITS), limit, device, dtype, batch_size, out)
    with progress_bars() as bars:
        made = make_answers(plan, bars.track)
    typer.echo(str(made))
