"""An answer in pieces: what it shares with its reference, what it adds, and what it misses."""

import difflib
import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

from clmeeval_data.evaluation.report.untrusted import clip

LONGEST = 4000  # characters of a text that are shown
MOST_COMPARED = 400  # tokens: beyond, what differs is marked as one piece (the comparison takes quadratic time)
LEAST_ALIKE = 0.3  # below this share of common tokens, an interleaved comparison is unreadable


class Piece(NamedTuple):
    """A part of an answer: as in the reference, added to it, or missing from the answer."""

    kind: Literal["same", "added", "missing"]
    text: str


@dataclass(frozen=True)
class Answer:
    """An answer compared with its reference; ``hidden`` characters of it are not shown."""

    pieces: tuple[Piece, ...]
    equal: bool
    hidden: int


def compare(answer: str, reference: str) -> Answer:
    """The answer in pieces: what it shares with the reference, what it adds, and what it misses.

    Both are stripped, as exact match strips them, and cut at 4,000 characters; a difference beyond that still counts.
    """
    answer, reference = answer.strip(), reference.strip()
    shown, expected = clip(answer, LONGEST), clip(reference, LONGEST)
    pieces = tuple(piece for piece in _pieces(_tokens(shown.text), _tokens(expected.text)) if piece.text)
    return Answer(pieces, answer == reference, shown.hidden)


def _tokens(text: str) -> list[str]:
    return re.findall(r"\w+|\s+|[^\w\s]", text)


def _pieces(answer: list[str], reference: list[str]) -> list[Piece]:
    if answer == reference:
        return [Piece("same", "".join(answer))]
    matcher = difflib.SequenceMatcher(None, reference, answer, autojunk=False)
    if max(len(answer), len(reference)) > MOST_COMPARED or matcher.ratio() < LEAST_ALIKE:
        return [Piece("added", "".join(answer))]
    pieces = []
    for _, low, high, start, end in matcher.get_opcodes():
        same = reference[low:high] == answer[start:end]
        pieces.append(Piece("same" if same else "missing", "".join(reference[low:high])))
        pieces.append(Piece("added", "" if same else "".join(answer[start:end])))
    return pieces
