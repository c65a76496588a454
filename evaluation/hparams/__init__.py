"""Hyper-parameters per method and model: one TOML file each, every number with its source."""

import logging
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from clmeeval_data.errors import ConfigError

PUBLISHED = "published"

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


def parse_override(text: str) -> tuple[str, Any]:
    """``name=value`` from a command line, the value in TOML's notation or else a plain string.

    Raises:
        ConfigError: If there is no "=".
    """
    name, separator, value = text.partition("=")
    if not separator or not name.strip():
        raise ConfigError(f"{text!r} is not a setting. Expected name=value, e.g. --set steps=40.")
    try:
        return name.strip(), tomllib.loads(f"value = {value}")["value"]
    except ValueError:
        return name.strip(), value.strip()


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


def models_with_settings(method: str) -> list[str]:
    """The models that settings of a method are shipped for."""
    folder = resources.files(__name__) / method
    files = sorted(folder.iterdir(), key=lambda file: file.name) if folder.is_dir() else []
    tables = [tomllib.loads(file.read_text(encoding="utf-8")) for file in files if file.name.endswith(".toml")]
    return [model for table in tables for model in table["models"]]
