"""Why a rephrasing is refused: each check gives its reason, or None."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from rapidfuzz import fuzz

from clmeeval_data import syntax

# What an intent marks as a name or a literal: `x`, 'x', "x", 5.
_MARKED = re.compile(r"`([^`]+)`|(?<!\w)'([^']+)'(?!\w)|(?<!\w)\"([^\"]+)\"(?!\w)|(?<![\w.])(\d+(?:\.\d+)?)(?!\w)")


@dataclass(frozen=True)
class Bounds:
    """How far a rephrasing may and must be from its prompt.

    Args:
        code: Whether prompts are Python code, which has to parse.
        most_similar: The largest allowed similarity of prompt and rephrasing, 0 to 100, by rapidfuzz's plain ratio on
            the folded text; 100 allows all but the same text.
        shortest: The least length of a rephrasing, as a share of its prompt's.
        longest: The largest length of a rephrasing, as a share of its prompt's.
    """

    code: bool
    most_similar: float
    shortest: float
    longest: float


def refusal(prompt: str, rephrased: str, target: str, bounds: Bounds) -> str | None:
    """The first reason why this rephrasing of the prompt can't be used, or None."""
    return next(_refusals(prompt, rephrased, target, bounds), None)


def _refusals(prompt: str, rephrased: str, target: str, bounds: Bounds) -> Iterator[str]:
    one, other = _folded(prompt), _folded(rephrased)
    if not other:
        yield "empty"
    if other == one:
        yield "the same text"
    if _folded(target) in other:
        yield "contains the target"
    if bounds.code and not syntax.parses(rephrased):
        yield "does not parse"
    if not bounds.shortest <= len(other) / max(len(one), 1) <= bounds.longest:
        yield "too short or too long"
    if not bounds.code and not all(word in rephrased for word in _needed(prompt, target)):
        yield "leaves out a name or literal of the answer"
    if fuzz.ratio(one, other) > bounds.most_similar:
        yield "too close"


def _needed(prompt: str, target: str) -> list[str]:
    """The names and literals in the target that nobody knows without the prompt."""
    marked = (next(filter(None, found.groups())) for found in _MARKED.finditer(prompt))
    return [word for word in marked if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", target)]


def _folded(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".?! ")
