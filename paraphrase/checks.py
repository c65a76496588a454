"""Why a rephrasing is refused: each check gives its reason, or None."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rapidfuzz import fuzz

from clmeeval_data import syntax
from clmeeval_data.english import foreign
from clmeeval_data.paraphrase.residue import residue
from clmeeval_data.paraphrase.signatures import signature_difference

# What an intent marks as a name or a literal: `x`, 'x', "x", 5.
_MARKED = re.compile(r"`([^`]+)`|(?<!\w)'([^']+)'(?!\w)|(?<!\w)\"([^\"]+)\"(?!\w)|(?<![\w.])(\d+(?:\.\d+)?)(?!\w)")
_PAIRS = ("()", "[]", "{}", "``", '""')
_UNENDED = re.compile(r"(?:[,;:(\[{]|(?:^|\s)(?:an?|the))\Z", re.I)
_MOST_FOREIGN = 0.1  # how much smaller the share of ASCII among the letters may be than the prompt's


@dataclass(frozen=True)
class Bounds:
    """How far a rephrasing may and must be from its prompt.

    Args:
        code: Whether prompts are Python code, which has to parse.
        most_similar: The largest allowed similarity of prompt and rephrasing, 0 to 100, by rapidfuzz's plain ratio on
            the folded text; 100 allows all but the same text.
        shortest: The least length of a rephrasing, as a share of its prompt's.
        longest: The largest length of a rephrasing, as a share of its prompt's.
        runs: On how many generated inputs a function has to give the same results where it can be run; for engines
            whose rewriting is not proven (llm), which takes a moment for each. 0: it is not run.
    """

    code: bool
    most_similar: float
    shortest: float
    longest: float
    runs: int = 0


def refusal(prompt: str, rephrased: str, target: str, bounds: Bounds) -> str | None:
    """The first reason why this rephrasing of the prompt can't be used, or None."""
    return next(_refusals(prompt, rephrased, target, bounds), None)


def other_results(prompt: str, rephrased: str, compare: Callable[[str, str], str]) -> str | None:
    """Two functions give the same results on the inputs on which they were run.

    Args:
        prompt: A function.
        rephrased: The function that should do the same.
        compare: The first difference between the results of two functions, "" where there is none or they can't be run.
    """
    return "gives other results" if compare(prompt, rephrased) else None


def _refusals(prompt: str, rephrased: str, target: str, bounds: Bounds) -> Iterator[str]:
    one, other = _folded(prompt), _folded(rephrased)
    if not other:
        yield "empty"
    if "\0" in rephrased and "\0" not in prompt:
        yield "holds a null byte"
    if other == one:
        yield "the same text"
    yield from filter(None, [residue(prompt, rephrased)])
    if _folded(target) in other:
        yield "contains the target"
    if bounds.code and not syntax.parses(rephrased):
        yield "does not parse"
    if not bounds.shortest <= len(other) / max(len(one), 1) <= bounds.longest:
        yield "too short or too long"
    own = _code_refusals(prompt, rephrased) if bounds.code else _text_refusals(prompt, rephrased, target)
    yield from filter(None, own)
    if fuzz.ratio(one, other) > bounds.most_similar:
        yield "too close"


def _code_refusals(prompt: str, rephrased: str) -> Iterator[str | None]:
    yield signature_difference(prompt, rephrased)
    yield another_language(prompt, rephrased)


def _text_refusals(prompt: str, rephrased: str, target: str) -> Iterator[str | None]:
    if not all(_has(rephrased, word) for word in _needed(prompt, target)):
        yield "leaves out a name or literal of the answer"
    yield truncated(prompt, rephrased)
    yield another_language(prompt, rephrased)
    yield None if foreign(prompt, 0.0) else foreign(rephrased, 0.0)


def truncated(prompt: str, rephrased: str) -> str | None:
    """A text has an end: brackets, backticks and quotes are closed, and no comma or article is last.

    What the prompt leaves open the rephrasing may leave open, too.
    """
    for pair in _PAIRS:
        if not _is_open(prompt, pair) and _is_open(rephrased, pair):
            return "breaks off in a bracket or quote"
    end, own_end = (_UNENDED.search(text.rstrip(" \n.?!")) for text in (rephrased, prompt))
    return "breaks off" if end is not None and own_end is None else None


def another_language(prompt: str, rephrased: str) -> str | None:
    """The letters are those of the prompt: hardly fewer of them are ASCII."""
    lost = _ascii_share(prompt) - _ascii_share(rephrased)
    return "another language: its letters" if lost > _MOST_FOREIGN else None


def _is_open(text: str, pair: str) -> bool:
    opening, closing = pair[0], pair[1]
    if opening == closing:
        return text.count(opening) % 2 == 1
    return text.count(opening) != text.count(closing)


def _ascii_share(text: str) -> float:
    letters = [character for character in text if character.isalpha()]
    return sum(map(str.isascii, letters)) / len(letters) if letters else 1.0


def _needed(prompt: str, target: str) -> list[str]:
    """The names and literals in the target that nobody knows without the prompt."""
    marked = (next(filter(None, found.groups())) for found in _MARKED.finditer(prompt))
    return [word for word in marked if _has(target, word)]


def _has(text: str, word: str) -> bool:
    """Whether a text has that name or literal, and not as a part of a longer one."""
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) is not None


def _folded(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".?! ")
