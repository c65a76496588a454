"""A recipe with some of its values replaced, and its values as a command line names them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter, ValidationError

from clmeeval_data.builders.recipes import Recipe
from clmeeval_data.errors import ConfigError

_FIXED = ("name", "benchmark")


def changed(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with other values, by their names in it: ``{"dedup.near_text": 85, "splits.test": 0.5}``.

    Raises:
        ConfigError: If a name is none of the recipe's, or a value doesn't fit.
    """
    table = asdict(recipe)
    known = dict(named_values(recipe))
    for name, value in values.items():
        if name not in known:
            close = [other for other in known if other.rpartition(".")[2] == name.rpartition(".")[2]]
            hint = f" Did you mean {close[0]}?" if close else ""
            raise ConfigError(f"recipe {recipe.name!r} has no value {name!r}.{hint} Known: {', '.join(known)}.")
        *path, last = name.split(".")
        inner = table
        for part in path:
            inner = inner[part]
        inner[last] = value
    try:
        return TypeAdapter(Recipe).validate_python(table)
    except ValidationError as error:
        flaw = error.errors()[0]
        place = ".".join(map(str, flaw["loc"]))
        raise ConfigError(f"{place}={flaw['input']!r} doesn't fit recipe {recipe.name!r}: {flaw['msg']}.") from error


def named_values(recipe: Recipe) -> Iterator[tuple[str, Any]]:
    """All values that may be changed, by their names in the recipe."""
    yield from _flat({name: value for name, value in recipe.as_dict().items() if name not in _FIXED}, ())


def _flat(table: Mapping[str, Any], path: Sequence[str]) -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, (*path, name))
        else:
            yield ".".join((*path, name)), value
