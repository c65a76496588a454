"""Settings as they come back from a TOML file."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clmeeval_data.evaluation.hparams import read_settings, write_settings


def through_toml(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that were written in the form of the shipped files and read again; those that are None are left out."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "settings.toml"
        write_settings(path, "a model", 1, values, [], {})
        return read_settings(path).values
