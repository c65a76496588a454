"""What a row must hold before a pair can be made of it."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from clmeeval_data.builders.sources import Skipped, Unreadable
from clmeeval_data.builders.sources.formats import DAMAGE, excerpt


def unusable(row: Mapping[str, Any], texts: Sequence[str], optional: Sequence[str] = ()) -> Unreadable | Skipped | None:
    """Why no pair can be made of a row; None where one can: it is no damaged line, and its fields hold sound text.

    A field that should hold text and is empty is no damage: the row is skipped.

    Args:
        row: The row.
        texts: The fields that must hold text other than blanks.
        optional: The fields that hold text if they hold anything; blanks are nothing.
    """
    if DAMAGE in row:
        return Unreadable(str(row[DAMAGE]), str(row.get("text", "")))
    asked = [*texts, *(name for name in optional if not _is_blank(row.get(name)))]
    damage = next((f"field {name!r} {flaw}" for name in asked if (flaw := _flaw(row, name))), None)
    if damage is not None:
        return Unreadable(damage, excerpt(row))
    empty = next((name for name in texts if _is_blank(row[name])), None)
    return None if empty is None else Skipped(f"field {empty!r} is empty", excerpt(row))


def text_or_none(row: Mapping[str, Any], name: str) -> str | None:
    """An optional field of a sound row without the blanks around it; None where there is nothing in it."""
    value = row.get(name)
    return None if _is_blank(value) else str(value).strip()


def is_number(value: object) -> bool:
    """Whether a value is a finite number."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole or (isinstance(value, float) and math.isfinite(value))


def content_key(text: str) -> str:
    """The same for texts that differ in case and blanks alone."""
    return hashlib.sha256(" ".join(text.casefold().split()).encode("utf-8", "replace")).hexdigest()[:16]


def _flaw(row: Mapping[str, Any], name: str) -> str | None:
    value = row.get(name)
    if value is None:
        return "is null" if name in row else "is missing"
    if not isinstance(value, str):
        return f"is a {type(value).__name__}, expected text"
    if "\0" in value:
        return "holds a null byte"
    return None if value.isascii() or not _has_lone_surrogate(value) else "holds a lone surrogate"


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _has_lone_surrogate(text: str) -> bool:
    return any("\ud800" <= sign <= "\udfff" for sign in text)
