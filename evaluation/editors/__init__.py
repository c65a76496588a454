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
        "agrace": f"{_HERE}.agrace:AGrace",
        "rome": f"{_HERE}.rome:Rome",
        "memit": f"{_HERE}.memit:Memit",
        "pmet": f"{_HERE}.pmet:Pmet",
        "malmen": f"{_HERE}.malmen:Malmen",
        "alphaedit": f"{_HERE}.alphaedit:AlphaEdit",
        "ultraedit": f"{_HERE}.ultraedit:UltraEdit",
        "lora": f"{_HERE}.lora:Lora",
        "incontext": f"{_HERE}.incontext:InContext",
    },
)
"""Name of a method -> its editor class (``contract.Editor``)."""
