"""Settings on a command line: ``name=value``."""

import tomllib
from typing import Any

from clmeeval_data.errors import ConfigError


def parse_setting(text: str) -> tuple[str, Any]:
    """``name=value``, the value in TOML's notation or else a plain string.

    Raises:
        ConfigError: If there is no "=" or no name.
    """
    name, separator, value = text.partition("=")
    if not separator or not name.strip():
        raise ConfigError(f"{text!r} is not a setting. Expected name=value, e.g. --set steps=40.")
    try:
        return name.strip(), tomllib.loads(f"value = {value}")["value"]
    except ValueError:
        return name.strip(), value.strip()
