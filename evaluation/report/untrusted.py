"""Text that others wrote (model outputs, names in result files), made safe to look at. Escaping is the template's."""

import re
from typing import NamedTuple

# Control and invisible characters: they could hide text, reorder it, drive a terminal, or not be written as UTF-8.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


class Clipped(NamedTuple):
    """The start of a text, and how many of its characters are not shown."""

    text: str
    hidden: int


def visible(text: str) -> str:
    """The text with each control or invisible character shown as its code point: ``⟨U+202E⟩``. Newline and tab stay."""
    return _INVISIBLE.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)


def one_line(text: str) -> str:
    """``visible``, with every run of white space as one blank."""
    return visible(" ".join(text.split()))


def clip(text: str, limit: int) -> Clipped:
    """The first ``limit`` characters, made visible."""
    return Clipped(visible(text[:limit]), max(0, len(text) - limit))
