"""The options of a build on the command line, and what they make of a recipe and its sources."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from clmeeval_data.builders.overrides import changed
from clmeeval_data.builders.recipes import RECIPES, Recipe, recipe_named
from clmeeval_data.builders.sources import SourceOptions, SourceSpec
from clmeeval_data.errors import ConfigError
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


def _column(text: str) -> tuple[str, str]:
    field, _, column = text.partition("=")
    if not field or not column:
        raise ConfigError(f"--column {text!r} is not of the form FIELD=COLUMN, e.g. --column prompt=question.")
    return field, column
