"""The command ``clmeeval-evaluate``: run editing methods on a dataset, and list what there is."""

import logging
import os
import warnings
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from clmeeval_data.shell import run_app

app = typer.Typer(
    help="Evaluate model-editing methods on CNLE and CSNE.", no_args_is_help=True, pretty_exceptions_enable=False
)

RUN_HELP = """Edit a model with each method, case by case, and measure what every edit does.

The same command again continues a run that was stopped, and does nothing where it is complete.

Examples:

  clmeeval-evaluate run --model smollm2 --dataset clmeeval/cnle --method grace --limit 12

  clmeeval-evaluate run --model codellama/CodeLlama-7b-hf --dataset clmeeval/csne --method none --method rome
  --device cuda --dtype bfloat16

  clmeeval-evaluate run --model smollm2 --dataset clmeeval/cnle --method rome --set steps=60 --set layer=12
"""


class ProgressBar:
    """The advance of a plan as one bar per run, with the time left."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def begin(self, dataset: str, method: str, cases: int) -> None:
        """A new bar."""
        self._task = self._progress.add_task(f"{dataset} {method}", total=cases)

    def advance(self, cases: int) -> None:
        """Move the bar."""
        if self._task is not None:
            self._progress.advance(self._task, cases)


@app.command(help=RUN_HELP)
def run(
    model: Annotated[str, typer.Option(help="smollm2, a folder written by save_pretrained, or a Hub id.")],
    dataset: Annotated[list[str], typer.Option(help="A folder made by clmeeval-build, or a Hub id. Repeatable.")],
    method: Annotated[list[str], typer.Option(help="A method of 'clmeeval-evaluate list'. Repeatable.")],
    out: Annotated[Path, typer.Option(help="The results folder.")] = Path("results"),
    split: Annotated[str, typer.Option(help="The split to evaluate on.")] = "test",
    limit: Annotated[int | None, typer.Option(help="Evaluate only the first cases of the split.")] = None,
    batch_size: Annotated[int, typer.Option(help="Independent edits computed together. Changes no score.")] = 16,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ..., or auto to spread the model.")] = "cpu",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    seed: Annotated[int, typer.Option(help="Of the sampled texts.")] = 0,
    hparams: Annotated[Path | None, typer.Option(help="TOML file with a [config] table for the one method.")] = None,
    setting: Annotated[list[str] | None, typer.Option("--set", help="name=value, on top. Repeatable.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log what happens.")] = False,
) -> None:
    """Edit a model with each method, case by case, and measure what every edit does."""
    _quiet_libraries(verbose)
    from clmeeval_data.evaluation.cluster import Plan, execute
    from clmeeval_data.evaluation.hparams import parse_override, read_settings

    plan = Plan(
        model=model,
        datasets=tuple(dataset),
        methods=tuple(method),
        out=out,
        split=split,
        limit=limit,
        device=device,
        dtype=dtype,
        batch_size=batch_size,
        seed=seed,
        settings=read_settings(hparams) if hparams else None,
        overrides=tuple(parse_override(text) for text in setting or []),
    )
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        folders = execute(plan, ProgressBar(progress))
    for folder in folders:
        typer.echo(str(folder.path))


@app.command(name="list")
def list_methods() -> None:
    """List the methods, what they do, and the models that settings are shipped for."""
    from clmeeval_data.evaluation.editors import EDITORS
    from clmeeval_data.evaluation.hparams import models_with_settings

    table = Table("method", "what it does", "settings for")
    for name, editor in EDITORS.items():
        table.add_row(name, editor.summary, ", ".join(models_with_settings(name)) or "any model")
    Console().print(table)


def main() -> None:
    """Run the command line."""
    run_app(app)


def _quiet_libraries(verbose: bool) -> None:
    """Our log on stderr; of the libraries only what a user can act on."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch loads: spinning threads starve each other
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    level = logging.DEBUG if verbose else logging.WARNING
    logging.basicConfig(
        level=logging.WARNING, format="%(message)s", handlers=[RichHandler(console=Console(stderr=True))]
    )
    logging.getLogger("clmeeval_data").setLevel(level)
    if not verbose:
        warnings.simplefilter("ignore")
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()


if __name__ == "__main__":
    main()
