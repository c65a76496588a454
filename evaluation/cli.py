"""The command ``clmeeval-evaluate``: run editing methods on a dataset, and list what there is."""

import sys
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from clmeeval_data.evaluation.commands import compare as compare_command
from clmeeval_data.evaluation.commands import execute as execute_command
from clmeeval_data.evaluation.commands import merge as merge_command
from clmeeval_data.evaluation.commands import verify as verify_command
from clmeeval_data.evaluation.console import progress_bars, quiet_libraries, set_environment
from clmeeval_data.settings import parse_setting
from clmeeval_data.shell import run_app

if TYPE_CHECKING:
    from clmeeval_data.evaluation.plan import Compat, Executor

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

  clmeeval-evaluate run --model smollm2 --dataset clmeeval/cnle --method grace --protocol sequential:20

  clmeeval-evaluate run --model smollm2 --dataset clmeeval/cnle --method grace --shards 0/2

  clmeeval-evaluate run --model smollm2 --dataset clmeeval/cnle --revision v1.0.0 --method grace
"""


TRAIN_HELP = """Train a method that has to be trained: on the train split, selected on the validation split.

The same command again continues a training that was stopped, and does nothing where it is complete. It prints the path
of the trained file, which 'run --trained' takes, and which belongs to this model alone.

Examples:

  clmeeval-evaluate train --model smollm2 --dataset clmeeval/cnle --method agrace

  clmeeval-evaluate run --model smollm2 --dataset clmeeval/cnle --method agrace --trained FILE
"""

TUNE_HELP = """Search a method's settings for a model, on training cases alone.

One setting is searched after another: all its candidates meet a few cases, the better half meets more. The same command
again continues a search that was stopped. It prints the path of a file with the settings, for 'run --hparams'.

Example:

  clmeeval-evaluate tune --model smollm2 --dataset clmeeval/cnle --method rome --cases 12 --budget 200
"""

MODEL = typer.Option(help="smollm2, a folder written by save_pretrained, or a Hub id.")
REVISION = typer.Option(help="A tag, branch or commit of the dataset on the Hub. Without it: the newest.")
DEVICE = typer.Option(help="cpu, cuda, cuda:1, ..., or auto to spread the model.")
DTYPE = typer.Option(help="float32, bfloat16 or float16.")
HPARAMS = typer.Option(help="TOML file with a [config] table for the one method.")
SETTING = typer.Option("--set", help="name=value, on top. Repeatable.")
BATCH_SIZE = typer.Option(help="Independent edits computed together. Changes no score.")
VERBOSE = typer.Option("--verbose", help="Log what happens.")


@app.command(help=RUN_HELP)
def run(
    model: Annotated[str, MODEL],
    dataset: Annotated[list[str], typer.Option(help="A folder made by clmeeval-build, or a Hub id. Repeatable.")],
    method: Annotated[list[str], typer.Option(help="A method of 'clmeeval-evaluate list'. Repeatable.")],
    out: Annotated[Path, typer.Option(help="The results folder.")] = Path("results"),
    revision: Annotated[str | None, REVISION] = None,
    split: Annotated[str, typer.Option(help="The split to evaluate on.")] = "test",
    limit: Annotated[int | None, typer.Option(help="Evaluate only the first cases of the split.")] = None,
    batch_size: Annotated[str, typer.Option(help="Cases computed together, or auto. Changes no score.")] = "16",
    device: Annotated[str, DEVICE] = "cpu",
    dtype: Annotated[str, DTYPE] = "float32",
    seed: Annotated[int, typer.Option(help="Of the sampled texts.")] = 0,
    hparams: Annotated[Path | None, HPARAMS] = None,
    setting: Annotated[list[str] | None, SETTING] = None,
    trained: Annotated[list[Path] | None, typer.Option(help="File made by 'train'. Repeatable.")] = None,
    compat: Annotated[str, typer.Option(help="right, or reference: with the released code's defects.")] = "right",
    protocol: Annotated[str, typer.Option(help="single, batch:N or sequential:N.")] = "single",
    shards: Annotated[str | None, typer.Option(help="i/n: compute only part i of n, counted from 0.")] = None,
    executor: Annotated[str, typer.Option(help="here, or ray: on a Ray cluster.")] = "here",
    address: Annotated[str | None, typer.Option(help="Of a running Ray cluster; without it one starts here.")] = None,
    workers: Annotated[int | None, typer.Option(help="With ray: processes that load the model. One per GPU.")] = None,
    verbose: Annotated[bool, VERBOSE] = False,
) -> None:
    """Edit a model with each method, case by case, and measure what every edit does."""
    quiet_libraries(verbose)
    from clmeeval_data.evaluation.batch_size import parse_batch_size
    from clmeeval_data.evaluation.cluster import Plan, execute
    from clmeeval_data.evaluation.hparams import read_settings
    from clmeeval_data.evaluation.protocols import EvaluationProtocol
    from clmeeval_data.evaluation.recorder import Shard

    plan = Plan(
        model=model,
        datasets=tuple(dataset),
        methods=tuple(method),
        out=out,
        split=split,
        limit=limit,
        device=device,
        dtype=dtype,
        batch_size=parse_batch_size(batch_size),
        seed=seed,
        settings=read_settings(hparams) if hparams else None,
        overrides=tuple(parse_setting(text) for text in setting or []),
        trained=tuple(trained or []),
        compat=typing.cast("Compat", compat),
        protocol=EvaluationProtocol.parse(protocol),
        shard=Shard.parse(shards) if shards else None,
        command=tuple(sys.argv),
        executor=typing.cast("Executor", executor),
        address=address,
        workers=workers,
        revision=revision,
    )
    with progress_bars() as bars:
        folders = execute(plan, bars)
    for folder in folders:
        typer.echo(str(folder.path))


@app.command(help=TRAIN_HELP)
def train(
    model: Annotated[str, MODEL],
    dataset: Annotated[str, typer.Option(help="A folder made by clmeeval-build, or a Hub id.")],
    method: Annotated[str, typer.Option(help="A method that has to be trained: agrace or malmen.")],
    out: Annotated[Path, typer.Option(help="The folder for trained files.")] = Path("trained"),
    revision: Annotated[str | None, REVISION] = None,
    limit: Annotated[int | None, typer.Option(help="Train only on the first cases of the train split.")] = None,
    validation_limit: Annotated[int | None, typer.Option(help="The same of the validation split.")] = None,
    device: Annotated[str, DEVICE] = "cpu",
    dtype: Annotated[str, DTYPE] = "float32",
    seed: Annotated[int, typer.Option(help="Of the order of the cases and of dropout.")] = 0,
    hparams: Annotated[Path | None, HPARAMS] = None,
    setting: Annotated[list[str] | None, SETTING] = None,
    verbose: Annotated[bool, VERBOSE] = False,
) -> None:
    """Train a method on a dataset's train split."""
    quiet_libraries(verbose)
    from clmeeval_data.evaluation import training
    from clmeeval_data.evaluation.hparams import read_settings

    with progress_bars() as bars:
        result = training.train(
            model=model,
            dataset=dataset,
            method=method,
            out=out,
            revision=revision,
            limit=limit,
            validation_limit=validation_limit,
            device=device,
            dtype=dtype,
            seed=seed,
            settings=read_settings(hparams) if hparams else None,
            overrides=[parse_setting(text) for text in setting or []],
            track=bars.track,
        )
    typer.echo(str(result.path))


@app.command(help=TUNE_HELP)
def tune(
    model: Annotated[str, MODEL],
    dataset: Annotated[list[str], typer.Option(help="A folder made by clmeeval-build, or a Hub id. Repeatable.")],
    method: Annotated[str, typer.Option(help="A method of 'clmeeval-evaluate list'.")],
    out: Annotated[Path, typer.Option(help="The folder for what is found.")] = Path("tuned"),
    revision: Annotated[str | None, REVISION] = None,
    cases: Annotated[int, typer.Option(help="Training cases that the best candidates meet, of each dataset.")] = 16,
    budget: Annotated[int, typer.Option(help="At most this many evaluations of a candidate on a case.")] = 400,
    seed: Annotated[int, typer.Option(help="Chooses the cases.")] = 0,
    batch_size: Annotated[int, BATCH_SIZE] = 16,
    device: Annotated[str, DEVICE] = "cpu",
    dtype: Annotated[str, DTYPE] = "float32",
    setting: Annotated[list[str] | None, typer.Option("--set", help="name=value that stays. Repeatable.")] = None,
    verbose: Annotated[bool, VERBOSE] = False,
) -> None:
    """Search a method's settings for a model."""
    quiet_libraries(verbose)
    from clmeeval_data.evaluation.tune import TunePlan
    from clmeeval_data.evaluation.tune import tune as search

    plan = TunePlan(
        model=model,
        datasets=tuple(dataset),
        method=method,
        out=out,
        cases=cases,
        budget=budget,
        seed=seed,
        device=device,
        dtype=dtype,
        batch_size=batch_size,
        overrides=tuple(parse_setting(text) for text in setting or []),
        revision=revision,
    )
    with progress_bars() as bars:
        tuned = search(plan, bars)
    typer.echo(str(tuned.path))


@app.command(name="list")
def list_methods() -> None:
    """List the methods: what they do, what they change, and what they need first."""
    from clmeeval_data.evaluation.editors import described_methods

    methods = described_methods()
    foreign = any(method.package for method in methods)
    table = Table("method", "family", "what it does", "changes", "needs first", *(["package"] if foreign else []))
    for found in methods:
        cells = [found.name, found.family, found.problem or found.summary, found.changes, found.needs]
        table.add_row(*map(escape, cells), *([escape(found.package)] if foreign else []))
    Console().print(table)


for command in (merge_command, verify_command, compare_command, execute_command):
    command.add_to(app)


def main() -> None:
    """Run the command line."""
    set_environment()
    run_app(app)


if __name__ == "__main__":
    main()
