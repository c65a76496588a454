"""The command ``clmeeval-build``: build the two datasets, check a built one, and show what it was made from."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table

from clmeeval_data.builders import export_command, options, publish_command
from clmeeval_data.builders.execution import open_executor
from clmeeval_data.builders.licences import licences_named
from clmeeval_data.builders.overrides import named_values
from clmeeval_data.builders.pipeline import BuildReport, Track, build, check_out
from clmeeval_data.builders.pipeline.damage import Tolerance
from clmeeval_data.builders.recipes import RECIPES, recipe_named
from clmeeval_data.builders.sources import SOURCES, open_source
from clmeeval_data.errors import DatasetError
from clmeeval_data.shell import run_app

app = typer.Typer(help="Build CNLE and CSNE.", no_args_is_help=True, pretty_exceptions_enable=False)

CNLE_HELP = """Build CNLE: intent -> code.

Examples:

  clmeeval-build cnle

  clmeeval-build cnle --source sample --out clmeeval/cnle --limit 60 --seed 1

  clmeeval-build cnle --source conala-curated --source stackoverflow=pairs.jsonl.gz --jobs 8

  clmeeval-build cnle --set 'engines=["human", "llm", "rules"]' --llm-base-url http://localhost:8000/v1
  --llm-model qwen3-coder --max-requests 50000

  clmeeval-build cnle --source jsonl=mine.jsonl --column prompt=question --column target=code --licence MIT
"""
CSNE_HELP = """Build CSNE: code -> description.

Examples:

  clmeeval-build csne

  clmeeval-build csne --source stdlib --out clmeeval/csne --limit 200

  clmeeval-build csne --source codesearchnet=code-search-net/code_search_net --licences permissive --jobs 8

  clmeeval-build csne --source codesearchnet=folder --executor ray --address auto
"""
VALIDATE_HELP = """Check a built dataset and print its problems, one per line, and how many there are.

The exit code is 1 when there are any.

Example:

  clmeeval-build validate clmeeval/cnle
"""
REPORT_HELP = """Show what became of the rows from which a dataset was built, as a table and as a picture.

The rows that were left out are in DIR/dropped.jsonl.gz, each with its reason.

Examples:

  clmeeval-build report clmeeval/cnle

  clmeeval-build report clmeeval/cnle --picture funnel.png
"""
PARAPHRASE_HELP = """Make the rephrasings of a built dataset anew; all else in it stays.

A case that no engine can reword keeps the rephrasing that it had. The dataset is written once all is done. Replies of
a language model are kept on disk: the same command again asks for none of them twice.

Examples:

  clmeeval-build paraphrase clmeeval/csne --engine syntax --engine rename --seed 1

  clmeeval-build paraphrase clmeeval/cnle --engine llm --engine rules --out clmeeval/cnle-llm
  --llm-base-url http://localhost:8000/v1 --llm-model qwen3-coder --max-requests 50000
"""
QUALITY_HELP = """Show how the rephrasings of a dataset differ from their prompts: by engine, with 20 samples.

Example:

  clmeeval-build quality clmeeval/cnle
"""
RECIPES_HELP = """List the recipes, or the values of one, as --set takes them.

Examples:

  clmeeval-build recipes

  clmeeval-build recipes cnle
"""

FolderArgument = Annotated[Path, typer.Argument(help="The dataset's folder.", metavar="DIR")]


def _builder(benchmark: str) -> Callable[..., None]:
    """The command that builds one benchmark."""

    def command(
        source: options.Source = None,
        recipe: options.RecipeName = None,
        setting: options.Setting = None,
        out: options.Out = Path("clmeeval") / benchmark,
        limit: options.Limit = None,
        seed: options.Seed = 0,
        neighbours: options.Neighbours = None,
        licences: options.LicenceSet = "all",
        licence: options.Licence = None,
        column: options.Column = None,
        repository_licences: options.RepositoryLicences = None,
        max_unreadable: options.MaxUnreadable = 0.01,
        cache: options.Cache = None,
        offline: options.Offline = False,
        jobs: options.Jobs = 1,
        executor: options.ExecutorName = None,
        address: options.Address = None,
        work: options.Work = None,
        keep_work: options.KeepWork = False,
        llm_base_url: options.LlmBaseUrl = None,
        llm_model: options.LlmModel = None,
        llm_concurrency: options.LlmConcurrency = None,
        llm_timeout: options.LlmTimeout = None,
        llm_cache: options.LlmCache = None,
        llm_batch: options.LlmBatch = False,
        max_requests: options.MaxRequests = None,
        max_cost: options.MaxCost = None,
        price_in: options.PriceIn = None,
        price_out: options.PriceOut = None,
    ) -> None:
        check_out(out)
        chat = options.chat(
            *(llm_base_url, llm_model, llm_concurrency, llm_timeout, llm_cache, llm_batch),
            *(max_requests, max_cost, price_in, price_out),
        )
        rules = options.recipe(benchmark, recipe, source, setting, neighbours)
        how = options.source_options(rules, column, licence, repository_licences, cache, offline)
        opened = [open_source(spec, benchmark, how) for spec in source or rules.sources]
        with _progress() as track:
            report = build(
                rules,
                opened,
                out,
                limit,
                seed,
                track,
                licences=licences_named(licences),
                executor=open_executor(executor, jobs, address),
                work=work,
                keep_work=keep_work,
                tolerance=Tolerance(max_unreadable),
                chat=chat,
            )
        _print(report)

    return command


export_command.add_to(app)
publish_command.add_to(app)
app.command("cnle", help=CNLE_HELP)(_builder("cnle"))
app.command("csne", help=CSNE_HELP)(_builder("csne"))


@app.command(help=VALIDATE_HELP)
def validate(folder: FolderArgument) -> None:
    """Check a built dataset, or a folder of answers to one."""
    if not folder.is_dir():
        raise DatasetError(f"no folder {folder}. Expected a dataset that clmeeval-build wrote; check the path.")
    problems = _problems(folder)
    for problem in problems:
        typer.echo(problem)
    typer.echo("1 problem" if len(problems) == 1 else f"{len(problems)} problems")
    if problems:
        raise typer.Exit(1)


@app.command(help=REPORT_HELP)
def report(
    folder: FolderArgument,
    picture: Annotated[
        Path | None, typer.Option(help="Where to draw it: .svg, .png or .pdf; by default DIR/funnel.svg.")
    ] = None,
) -> None:
    """Show what became of the rows."""
    from clmeeval_data.builders import report as funnel

    found = funnel.report(folder)
    path = picture or folder / "funnel.svg"
    funnel.draw(found, path)
    Console().print(found.table())
    typer.echo(f"picture: {path}")


@app.command(help=PARAPHRASE_HELP)
def paraphrase(
    folder: FolderArgument,
    engine: options.Engines = None,
    out: Annotated[Path | None, typer.Option(help="Where to write the result; by default DIR is replaced.")] = None,
    seed: Annotated[int, typer.Option(help="Of the wordings.")] = 0,
    strength: Annotated[int, typer.Option(help="Kinds of rewriting that a function gets at most (syntax).")] = 3,
    runs: options.Runs = None,
    llm_base_url: options.LlmBaseUrl = None,
    llm_model: options.LlmModel = None,
    llm_concurrency: options.LlmConcurrency = None,
    llm_timeout: options.LlmTimeout = None,
    llm_cache: options.LlmCache = None,
    llm_batch: options.LlmBatch = False,
    max_requests: options.MaxRequests = None,
    max_cost: options.MaxCost = None,
    price_in: options.PriceIn = None,
    price_out: options.PriceOut = None,
) -> None:
    """Make the rephrasings of a built dataset anew."""
    from clmeeval_data.builders import rephrased

    chat = options.chat(
        *(llm_base_url, llm_model, llm_concurrency, llm_timeout, llm_cache, llm_batch),
        *(max_requests, max_cost, price_in, price_out),
    )
    task = rephrased.Task(tuple(engine or ()), seed, chat, runs, strength)
    with _progress() as track:
        outcome = rephrased.rephrase_dataset(folder, task, out, track)
    console = Console(stderr=True)
    console.print(outcome.table())
    if chat is not None:
        console.print(f"{chat.options.model}: {chat.spent}")
    typer.echo(f"{outcome.out}: {sum(outcome.made.values())} cases reworded, {outcome.kept} as they were")


@app.command(help=QUALITY_HELP)
def quality(folder: FolderArgument) -> None:
    """Show how the rephrasings of a dataset differ from their prompts."""
    from clmeeval_data.builders import quality as figures

    Console().print(figures.quality(folder).shown())


@app.command()
def sources() -> None:
    """List the sources: for which benchmark, under which licence, where they are read from, and what they are."""
    table = Table("source", "for", "licence", Column("from", overflow="fold"), "what it is")
    for name in SOURCES:
        source = SOURCES[name]
        place = {"": "this machine", None: "you say where"}.get(source.default, source.default)
        table.add_row(name, ", ".join(source.benchmarks), source.licence, place, source.summary)
    Console().print(table)


@app.command(help=RECIPES_HELP)
def recipes(name: Annotated[str | None, typer.Argument(help="One of them.", metavar="[NAME]")] = None) -> None:
    """List the recipes, or the values of one."""
    if name is None:
        for known in RECIPES.values():
            typer.echo(f"{known.name}: {known.benchmark} from {', '.join(known.sources)}")
        return
    for setting, value in named_values(recipe_named(name)):
        typer.echo(f"{setting}={json.dumps(value)}")


def main() -> None:
    """Run the command line."""
    run_app(app)


def _problems(folder: Path) -> list[str]:
    from clmeeval_data import storage
    from clmeeval_data.answers import check_answers, is_answers
    from clmeeval_data.validate import check_dataset

    try:
        of_answers = is_answers(storage.read_manifest(folder))
    except DatasetError:  # which is one of the problems of a dataset
        of_answers = False
    return check_answers(folder) if of_answers else [str(problem) for problem in check_dataset(folder)]


@contextmanager
def _progress() -> Iterator[Track]:
    """Shows the stages of a build on stderr while a terminal is there to show them."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:

        def track(rows: Iterable[Any], title: str, total: int | None) -> Iterable[Any]:
            return progress.track(rows, total=total, description=title)

        yield track


def _print(built: BuildReport) -> None:
    console = Console(stderr=True)
    table = Table("step", "reason", "rows", title=f"{built.funnel.read} rows read")
    for drop in built.funnel.ordered():
        table.add_row(drop.step, drop.reason, str(drop.count))
    table.add_row("kept", "", str(built.funnel.kept))
    console.print(table)
    for note in built.notes:
        console.print(f"note: {note}")
    counts = ", ".join(f"{split} {count}" for split, count in built.counts.items())
    typer.echo(f"{built.out}: {sum(built.counts.values())} cases ({counts})")


if __name__ == "__main__":
    main()
