"""Hyper-parameters per method and model: one TOML file each, every number with its source.

    hparams/<method>/published.toml   the numbers of the method's paper, and what a search for better ones tries
    hparams/<method>/<model>.toml     numbers that were found for a model, with a line that says how

    # Source: ...
    models = ["CodeLlama-7b-hf"]      last component of the models' names
    depth = 32                        their number of decoder layers
    [config]                          the method's settings
    layer = 21
    [search]                          in published.toml alone; missing or empty: there is nothing to search for
    clamp = [1e-4, 1e-3, 1e-2]        name = values to try, beside the one that is in force
    layer = [0.33, 0.5, 0.66]         relative depth: 0 is the first layer, 1 just after the last
    layers = [[0.0, 0.5], [0.5, 1.0]] relative depths again: from the first of a pair up to before the second

The names under [search] stand in the order in which they are searched: what decides whether the method works at all
first. Layers are moved to the depth of the model at hand; all other values are taken as they are.
"""

import json
import logging
import textwrap
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from clmeeval_data.atomic import written_aside
from clmeeval_data.errors import ConfigError, ResultsError

PUBLISHED = "published"
LINE = 120  # characters of a written file's comments

logger = logging.getLogger(__name__)


class Settings(NamedTuple):
    """Values for a method's configuration, and where they come from."""

    values: dict[str, Any]
    origin: str


def settings_for(method: str, model: str, depth: int) -> Settings:
    """The settings of a method for a model.

    The file that lists the model's name (its last path component, in any case) decides. For a model that no file lists,
    the published settings are taken, with layers moved to the same relative depth; a warning says so.

    Args:
        method: Name of a registered method.
        model: Name of the model.
        depth: Its number of decoder layers.
    """
    folder = resources.files(__name__) / method
    if not folder.is_dir():
        return Settings({}, "none needed")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda file: file.name)
    tables = {file.name.removesuffix(".toml"): tomllib.loads(file.read_text(encoding="utf-8")) for file in files}
    wanted = PurePosixPath(model).name.lower()
    for name, table in tables.items():
        if wanted in (listed.lower() for listed in table["models"]):
            return Settings(dict(table["config"]), name)
    published = tables[PUBLISHED]
    values = _scaled(published["config"], int(published["depth"]), depth)
    logger.warning(
        "no settings of %s for %s: the published ones, scaled to %d layers, are a guess.", method, model, depth
    )
    return Settings(values, f"{PUBLISHED}, scaled to {depth} layers")


def read_settings(path: Path) -> Settings:
    """Settings from a file of the user's own, in the form of the shipped ones.

    Raises:
        ConfigError: If the file is missing, is not TOML, or has no ``[config]`` table.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the settings {path}: {error}. Expected TOML with a [config] table.") from error
    if not isinstance(table.get("config"), dict):
        raise ConfigError(f"{path} has no [config] table. Expected the method's settings under [config].")
    return Settings(dict(table["config"]), str(path))


def search_space(method: str, depth: int) -> dict[str, list[Any]]:
    """The values that a search for settings tries, by setting, in the order in which they are searched.

    Args:
        method: Name of a registered method.
        depth: Decoder layers of the model, to which layers are moved.

    Raises:
        ConfigError: If a layer's place is not a relative depth.
    """
    file = resources.files(__name__) / method / f"{PUBLISHED}.toml"
    if not file.is_file():
        return {}
    space = tomllib.loads(file.read_text(encoding="utf-8")).get("search", {})
    return {name: [_placed(name, value, depth) for value in values] for name, values in space.items()}


def write_settings(
    path: Path,
    model: str,
    depth: int,
    config: Mapping[str, Any],
    head: Sequence[str],
    notes: Mapping[str, str],
) -> None:
    """Write settings of one model in the form of the shipped files, which ``read_settings`` reads.

    Args:
        path: The file.
        model: Name of the model.
        depth: Its number of decoder layers.
        config: The settings; those that are None are left out.
        head: Paragraphs for the top of the file.
        notes: What the comment above a setting says of it.

    Raises:
        ResultsError: If the file cannot be written.
    """
    lines = [line for paragraph in head for line in _comment(paragraph)]
    lines += [f"models = [{_toml(PurePosixPath(model).name)}]", f"depth = {depth}", "", "[config]"]
    for name, value in config.items():
        if value is not None:
            lines += [*_comment(notes.get(name, "")), f"{name} = {_toml(value)}"]
    try:
        with written_aside(path) as aside:
            aside.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise ResultsError(f"cannot write {path}: {error.strerror}. Choose a folder you may write to.") from error


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, LINE, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _toml(value: Any) -> str:
    """A setting in TOML's notation."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _placed(name: str, value: Any, depth: int) -> Any:
    """A value to try as it is for a model of the given depth."""
    if name not in {"layer", "layers"}:
        return value
    places = value if name == "layers" else [value]
    if not all(isinstance(place, int | float) and 0 <= place <= 1 for place in places):
        raise ConfigError(f"{name} = {value!r} under [search] is no relative depth. Expected numbers from 0 to 1.")
    first = min(depth - 1, round(places[0] * depth))
    return first if name == "layer" else list(range(first, max(first + 1, round(places[1] * depth))))


def _scaled(values: Mapping[str, Any], depth: int, to: int) -> dict[str, Any]:
    """Layers at the same relative depth of another model; everything else as it is."""

    def move(layer: int) -> int:
        return min(to - 1, round(layer * to / depth))

    moved = dict(values)
    if "layer" in moved:
        moved["layer"] = move(moved["layer"])
    if "layers" in moved:
        moved["layers"] = sorted({move(layer) for layer in moved["layers"]})
    return moved
