"""Why a wording is not given: it is too close to its text, or the rules have broken something."""

import re
from collections.abc import Iterator

from rapidfuzz import fuzz

from clmeeval_data.paraphrase.rules.spans import Masked
from clmeeval_data.paraphrase.rules.verbs import Verbs

CLOSEST = 95.0  # similarity of the folded texts, 0 to 100, by rapidfuzz's plain ratio
SHORTEST, LONGEST = 0.5, 2.0  # length of a wording as a share of its text's
_ARTICLES = frozenset({"a", "an", "the"})
_BROKEN = (
    re.compile(r"\b(\w+) \1\b", re.IGNORECASE),
    re.compile(r"\b(?:an?|the) (?:an?|the|this|that|these|those|all|each|every|my)\b", re.IGNORECASE),
    re.compile(r"\ba (?=[aeio](?!ne\b|nce\b|u[lr]))", re.IGNORECASE),
    re.compile(r"\ban (?=[bcdgjkpqtvwyz])", re.IGNORECASE),
    re.compile(r"\b(?:to|into|of|from|with|by|in|for|the|an?|and|or) ?[?.]$"),
    re.compile(r"\S  +\S"),
    re.compile(r"[?!] ?[?.]|,,|\( | \)"),
)
_ASKED = re.compile(
    r"\b(?:how to|(?:do|can|could|would) i|(?:way|possible|want) to) (?:\w+ly )?([a-z]+)", re.IGNORECASE
)


def fault(text: str, masked: Masked, written: str, verbs: Verbs) -> str | None:
    """The first fault of a masked wording of a masked text, or None.

    Args:
        text: The text before it was masked.
        masked: The text.
        written: The wording, masked.
        verbs: The verbs, to tell "how to sort" from "how to sorts".
    """
    if not masked.is_kept(written):
        return "lost or repeated a span"
    return next(_faults(text, masked.restore(written), verbs), None)


def similarity(text: str, reworded: str) -> float:
    """How close a wording is to its text, 0 to 100, case and punctuation at the end apart."""
    return fuzz.ratio(_folded(text), _folded(reworded))


def _faults(text: str, reworded: str, verbs: Verbs) -> Iterator[str]:
    if _content(text) == _content(reworded):
        yield "says the same words"
    if similarity(text, reworded) > CLOSEST:
        yield "too close"
    if not SHORTEST <= len(_folded(reworded)) / max(len(_folded(text)), 1) <= LONGEST:
        yield "too short or too long"
    for pattern in _BROKEN:
        if len(pattern.findall(reworded)) > len(pattern.findall(text)):
            yield f"broken: {pattern.pattern}"
    if any(_surplus(text, pair) != _surplus(reworded, pair) for pair in ("()", "[]", "{}")):
        yield "lost a bracket"
    for match in _ASKED.finditer(reworded):
        if verbs.base(match[1], "third") and not verbs.base(match[1], "base") and match[0] not in text:
            yield "an inflected verb after how to"


def _surplus(text: str, pair: str) -> int:
    return text.count(pair[0]) - text.count(pair[1])


def _content(text: str) -> list[str]:
    return [word for word in re.findall(r"\w+", text.casefold()) if word not in _ARTICLES]


def _folded(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".?! ")
