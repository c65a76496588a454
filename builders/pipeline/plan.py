"""All that decides what a build gives: what its work is kept under, and what its manifest says."""

import hashlib
import json
import platform
import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from clmeeval_data import builders, english, llm, paraphrase, records, syntax
from clmeeval_data.builders.chat import Chat
from clmeeval_data.builders.funnel import Funnel
from clmeeval_data.builders.licences import Licences
from clmeeval_data.builders.overrides import named_values
from clmeeval_data.builders.recipes import RECIPES, Recipe
from clmeeval_data.builders.sources import DEFAULT_OPTIONS, Source, SourceOptions
from clmeeval_data.errors import ConfigError

_TOOLS = ("rapidfuzz", "tree-sitter", "tree-sitter-python")
_WHERE_TO_READ = ("cache", "offline")  # options of a source that decide nothing


@dataclass(frozen=True)
class Plan:
    """What is built from what.

    Args:
        recipe: The rules.
        sources: The raw pairs, read in this order: of two duplicates the earlier one stays.
        limit: How many cases to keep over all splits; None keeps all.
        seed: Of the splits, the choice under the limit, and the rewordings.
        licences: Which licences to keep; None keeps all rows.
        shard_size: Rows per shard. It decides how much is done again after an interruption, and not what comes out.
        chat: The language model that the recipe's engine llm and its judge ask.

    Raises:
        ConfigError: If there is no source, or a language model that the recipe has no use for.
    """

    recipe: Recipe
    sources: tuple[Source, ...]
    limit: int | None
    seed: int
    licences: Licences | None
    shard_size: int
    chat: Chat | None = None

    def __post_init__(self) -> None:
        if not self.sources:
            raise ConfigError("no source to build from. Expected at least one --source.")
        if self.chat is not None and self.judging_chat is None and self.rephrasing_chat is None:
            raise ConfigError(
                f"recipe {self.recipe.name!r} asks no language model. Expected the engine llm in it, or a judge: "
                "--set 'engines=[\"llm\", ...]' or --set judge=0.5; or leave out the --llm options."
            )

    @property
    def judging_chat(self) -> Chat | None:
        """The language model, if it judges."""
        return self.chat if self.recipe.judge else None

    @property
    def rephrasing_chat(self) -> Chat | None:
        """The language model, if it rephrases."""
        return self.chat if "llm" in self.recipe.engines else None

    def identity(self) -> dict[str, Any]:
        """What the work of this plan is kept under: if any of it differs, so may the result or its parts."""
        return {
            **self._settings(),
            "shard_size": self.shard_size,
            "code": _digest_of_code(),
            "tools": {**_tools(), "python": platform.python_version()},
        }

    def manifest(self, funnel: Funnel) -> dict[str, Any]:
        """How a dataset was made, as JSON values without times or paths of this machine.

        Args:
            funnel: What became of the rows.
        """
        return {
            **self._settings(),
            "command": self.command(),
            "limits": list(self.recipe.limits),
            "funnel": funnel.as_dict(),
            "tools": _tools(),
        }

    def command(self) -> str:
        """What builds the dataset again, where files of this machine are named as they are called in their folders."""
        shipped = dict(named_values(RECIPES[self.recipe.name]))
        words = ["clmeeval-build", self.recipe.benchmark, "--recipe", self.recipe.name]
        for source in self.sources:
            words += ["--source", source.spec]
        for name, value in named_values(self.recipe):
            words += [] if value == shipped[name] else ["--set", f"{name}={json.dumps(value)}"]
        words += list(dict.fromkeys(word for source in self.sources for word in _words(source.options)))
        words += ["--seed", str(self.seed)]
        words += [] if self.chat is None else self.chat.words
        words += [] if self.licences is None else ["--licences", self.licences.name]
        return shlex.join([*words, *([] if self.limit is None else ["--limit", str(self.limit)])])

    def _settings(self) -> dict[str, Any]:
        return {
            "recipe": self.recipe.as_dict(),
            "sources": self._described_sources,
            "licences": "all" if self.licences is None else self.licences.name,
            "seed": self.seed,
            "limit": self.limit,
            **({} if self.chat is None else {"llm": self.chat.identity}),
        }

    @cached_property
    def _described_sources(self) -> list[dict[str, Any]]:
        return [_describe(source) for source in self.sources]


def _words(options: SourceOptions) -> Iterator[str]:
    """The options by which a source is read, as on a command line; one word each, so that they can be told apart."""
    for name, column in options.columns.items():
        yield f"--column={name}={column}"
    if options.licence is not None:
        yield f"--licence={options.licence}"
    if options.repository_licences is not None:
        yield f"--repository-licences={options.repository_licences.name}"


def _describe(source: Source) -> dict[str, Any]:
    """A source with its files, and the options by which it is read, where they aren't the usual ones."""
    changed = {
        field.name: _plain(value)
        for field in fields(source.options)
        if field.name not in _WHERE_TO_READ
        and (value := getattr(source.options, field.name)) != getattr(DEFAULT_OPTIONS, field.name)
    }
    return {
        "name": source.name,
        "licence": source.licence,
        "summary": source.summary,
        "options": changed,
        "files": [asdict(file) for file in source.files()],
    }


def _plain(value: object) -> object:
    """A value of an option as a JSON value; a file by its name and content."""
    if isinstance(value, Path):
        return {"name": value.name, "sha256": hashlib.sha256(value.read_bytes()).hexdigest()}
    return dict(value) if isinstance(value, dict) else value


def _tools() -> dict[str, str]:
    """The versions of the libraries that decide what is kept and how it is worded."""
    return {name: version(name) for name in _TOOLS}


def _digest_of_code() -> str:
    """The sha256 of the builders and of all that they use, so that no shard of another version is taken over."""
    digest = hashlib.sha256()
    for path in sorted(_code(), key=lambda path: (path.parent.name, path.name, str(path))):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _code() -> Iterator[Path]:
    yield from (Path(str(module.__file__)) for module in (english, records, syntax))
    for package in (builders, llm, paraphrase):
        for path in Path(str(package.__file__)).parent.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path
