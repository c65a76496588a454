"""The options of a build on the command line, and what they make of a recipe and its sources."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from clmeeval_data.builders.chat import Chat
from clmeeval_data.builders.overrides import changed
from clmeeval_data.builders.recipes import RECIPES, Recipe, recipe_named
from clmeeval_data.builders.sources import SourceOptions, SourceSpec
from clmeeval_data.errors import ConfigError
from clmeeval_data.llm import LlmOptions
from clmeeval_data.settings import parse_setting

Source = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME[=LOCATION]",
        help="One of 'clmeeval-build sources', with a Hub id, URL, file or folder to read it from. Repeatable, best "
        "first: of two duplicates the earlier one stays. By default the recipe's.",
    ),
]
RecipeName = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        help="One of 'clmeeval-build recipes'. By default the sample recipe where nothing but its own source is read, "
        "and that of the published benchmark otherwise.",
    ),
]
Setting = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A value of the recipe, e.g. dedup.near_text=85. Repeatable."),
]
Out = Annotated[Path, typer.Option(help="The dataset's folder; a dataset that is there is replaced.")]
Limit = Annotated[int | None, typer.Option(help="How many cases to keep over all splits; by default all.")]
Seed = Annotated[int, typer.Option(help="Of the splits, the choice under --limit, and the rewordings.")]
Neighbours = Annotated[int | None, typer.Option(help="Locality neighbours per case; by default the recipe's 3.")]
LicenceSet = Annotated[str, typer.Option(help="Which rows to keep by their licence: all or permissive.")]
Licence = Annotated[str | None, typer.Option(help="SPDX id of rows that state none (sources jsonl and clmeeval-json).")]
Column = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FIELD=COLUMN",
        help="Which column of your file (source jsonl) holds prompt, target, func_name, rephrasing, group, licence or "
        "origin. Repeatable.",
    ),
]
RepositoryLicences = Annotated[
    Path | None, typer.Option(help="A JSON file that says which repository has which licence (source codesearchnet).")
]
MaxUnreadable = Annotated[
    float, typer.Option(help="The share of a source's rows that may be damaged, from 0 to 1, before the build stops.")
]
Cache = Annotated[Path | None, typer.Option(help="Where downloads are kept; by default the user's cache folder.")]
Offline = Annotated[bool, typer.Option("--offline", help="Download nothing; read what is on this machine.")]
Jobs = Annotated[int, typer.Option(help="How many processes work at a time. The dataset is the same for any number.")]
ExecutorName = Annotated[
    str | None, typer.Option("--executor", help="serial, processes or ray; by default as --jobs asks.")
]
Address = Annotated[
    str | None, typer.Option(help="Of a running Ray cluster; by default one is started on this machine.")
]
Work = Annotated[
    Path | None, typer.Option(help="The folder for unfinished work; by default a hidden one beside --out.")
]
KeepWork = Annotated[bool, typer.Option("--keep-work", help="Keep that folder once the dataset is complete.")]

Engines = Annotated[
    list[str] | None,
    typer.Option(
        "--engine",
        metavar="NAME",
        help="human, rules or llm for intents; syntax, rename or llm for functions. Repeatable, best first: a later "
        "one words what the earlier ones can't.",
    ),
]
Runs = Annotated[
    int | None,
    typer.Option(
        help="Run each function that a model has written on so many generated inputs, in a sandbox, and refuse it if "
        "the results differ; 0 runs nothing. By default as the dataset's recipe says."
    ),
]
LlmBaseUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Of an OpenAI-compatible server, e.g. http://localhost:8000/v1. Its key is read from the environment "
        "variable CLMEEVAL_LLM_API_KEY.",
    ),
]
LlmModel = Annotated[str | None, typer.Option(metavar="NAME", help="The model, as the server names it.")]
LlmConcurrency = Annotated[int | None, typer.Option(help="How many requests may be under way at once; by default 8.")]
LlmTimeout = Annotated[float | None, typer.Option(help="Seconds that one reply may take; by default 60.")]
LlmCache = Annotated[
    Path | None, typer.Option(help="The folder in which replies are kept; by default the user's cache folder.")
]
LlmBatch = Annotated[
    bool, typer.Option("--llm-batch", help="Use the server's Batch API: half the price at OpenAI, within a day.")
]
MaxRequests = Annotated[int | None, typer.Option(help="Stop before more requests than these are sent to the model.")]
MaxCost = Annotated[float | None, typer.Option(help="Stop before more USD than these are spent; needs the prices.")]
PriceIn = Annotated[float | None, typer.Option(help="USD per million tokens of prompts.")]
PriceOut = Annotated[float | None, typer.Option(help="USD per million tokens of replies.")]


def recipe(
    benchmark: str, name: str | None, specs: Sequence[str] | None, settings: Sequence[str] | None, count: int | None
) -> Recipe:
    """The recipe of a command, with the values that its options change.

    Raises:
        UnknownNameError: If there is no such recipe.
        ConfigError: If it makes another benchmark, or a value is none of its, or doesn't fit.
    """
    if name is None:
        sample = RECIPES[f"{benchmark}-sample"]
        read = {SourceSpec.parse(spec).name for spec in specs or sample.sources}
        found = sample if read <= set(sample.sources) else RECIPES[benchmark]
    else:
        found = recipe_named(name)
    if found.benchmark != benchmark:
        fitting = ", ".join(known.name for known in RECIPES.values() if known.benchmark == benchmark)
        raise ConfigError(
            f"recipe {found.name!r} makes {found.benchmark}, not {benchmark}. Expected one of: {fitting}."
        )
    if count is not None and count < 1:
        raise ConfigError(f"--neighbours {count} is too small. Expected at least 1, or no --neighbours for 3.")
    neighbours = {} if count is None else {"locality.count": count}
    return changed(found, {**neighbours, **dict(map(parse_setting, settings or []))})


def source_options(
    rules: Recipe,
    columns: Sequence[str] | None,
    licence: str | None,
    repository_licences: Path | None,
    cache: Path | None,
    offline: bool,
) -> SourceOptions:
    """How the sources of a command are read.

    Raises:
        ConfigError: If a column is not of the form FIELD=COLUMN.
    """
    named = dict(map(_column, columns or []))
    return SourceOptions(cache, rules.prob, named, licence, repository_licences, offline)


def chat(
    base_url: str | None,
    model: str | None,
    concurrency: int | None,
    timeout: float | None,
    cache: Path | None,
    batch: bool,
    max_requests: int | None,
    max_cost: float | None,
    price_in: float | None,
    price_out: float | None,
) -> Chat | None:
    """The chat model of a command; None where no option speaks of one.

    Raises:
        ConfigError: If the address or the model is missing, or a value can't be used.
    """
    given: dict[str, Any] = {
        "concurrency": concurrency,
        "timeout": timeout,
        "cache": cache,
        "batch": batch or None,
        "max_requests": max_requests,
        "max_cost": max_cost,
        "price_in": price_in,
        "price_out": price_out,
    }
    stated = {name: value for name, value in given.items() if value is not None}
    if base_url is None and model is None and not stated:
        return None
    if base_url is None or model is None:
        missing = " and ".join(
            name for name, value in (("--llm-base-url", base_url), ("--llm-model", model)) if value is None
        )
        raise ConfigError(
            f"a chat model needs {missing} as well, e.g. "
            "--llm-base-url http://localhost:8000/v1 --llm-model qwen3-coder."
        )
    return Chat(LlmOptions(base_url, model, **stated))


def _column(text: str) -> tuple[str, str]:
    field, _, column = text.partition("=")
    if not field or not column:
        raise ConfigError(f"--column {text!r} is not of the form FIELD=COLUMN, e.g. --column prompt=question.")
    return field, column
