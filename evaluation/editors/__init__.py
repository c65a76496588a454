"""Editing methods, one file each, behind one contract. To add one: its file, and one line here."""

from typing import Any

from clmeeval_data.registry import Registry

_HERE = "clmeeval_data.evaluation.editors"

EDITORS: Registry[Any] = Registry(
    "method",
    {
        "none": f"{_HERE}.none:NoEdit",
        "ft": f"{_HERE}.ft:FineTuning",
        "grace": f"{_HERE}.grace:Grace",
        "rome": f"{_HERE}.rome:Rome",
    },
)
"""Name of a method -> its editor class (``contract.Editor``)."""
