"""Locality neighbours: for each case the k hardest, close in wording and different in meaning.

Exact: every prompt is scored against every prompt of the pool, and the best k that are allowed are taken.
"""

import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from rapidfuzz import fuzz, process

from clmeeval_data import syntax
from clmeeval_data.builders.english import content_words
from clmeeval_data.builders.recipes import Locality
from clmeeval_data.builders.sources import Pair

_QUERIES_AT_ONCE = 256


class Neighbour(NamedTuple):
    """A pair of the pool, by its place there, with its similarity to the query: 0 to 100, higher is closer."""

    place: int
    similarity: float


@dataclass(frozen=True)
class _Meaning:
    """What two pairs must differ in to be neighbours, computed once per pair."""

    prompt: Hashable
    answer: Hashable
    answer_text: str
    function: str


def neighbours(pool: Sequence[Pair], queries: Sequence[int], rule: Locality) -> Iterator[list[Neighbour]]:
    """The ``rule.count`` closest allowed neighbours of each query, closest first; fewer where the pool has no more.

    Two pairs differ in meaning when neither their prompts nor their answers are the same, and they aren't functions of
    one name, which tend to do the same thing for different types. Texts are the same when they have the same content
    words, codes when they are equal up to layout and names of variables; answers also when they are more similar than
    ``rule.closest_answer``. A neighbour differs so from its case and from the neighbours before it.

    Args:
        pool: All candidates. Ties go to the one that comes first, so its order is part of the result.
        queries: Indices into the pool.
        rule: The scorer, the count and the margins.
    """
    scorer = SCORERS[rule.scorer]
    texts = scorer.prepare([pair.prompt for pair in pool])

    @cache
    def meaning(place: int) -> _Meaning:
        return _meaning(pool[place])

    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        chunk = queries[start : start + _QUERIES_AT_ONCE]
        wanted = [texts[query] for query in chunk]
        scores = process.cdist(wanted, texts, scorer=scorer.score, dtype="float64", workers=1)
        order = (-scores).argsort(axis=1, kind="stable")
        for row, query in enumerate(chunk):
            ranked = (Neighbour(place, float(scores[row, place])) for place in order[row].tolist())
            yield _closest(query, ranked, meaning, rule)


def _closest(
    query: int, ranked: Iterator[Neighbour], meaning: Callable[[int], _Meaning], rule: Locality
) -> list[Neighbour]:
    found: list[Neighbour] = []
    for place, score in ranked:
        if len(found) == rule.count:
            break
        if place == query:
            continue
        others = (query, *(other.place for other in found))
        if all(_differ(meaning(other), meaning(place), rule.closest_answer) for other in others):
            found.append(Neighbour(place, round(score, 4)))
    return found


def _differ(one: _Meaning, other: _Meaning, closest_answer: float) -> bool:
    if one.prompt == other.prompt or one.answer == other.answer or (one.function and one.function == other.function):
        return False
    return fuzz.ratio(one.answer_text, other.answer_text) <= closest_answer


def _meaning(pair: Pair) -> _Meaning:
    text = " ".join(pair.target.casefold().split())
    if pair.func_name:
        name = pair.func_name.rpartition(".")[2]
        return _Meaning(syntax.normalised(pair.prompt), content_words(pair.target), text, name)
    return _Meaning(content_words(pair.prompt), syntax.normalised(pair.target, free_names=True), text, "")


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _as_words(texts: Sequence[str]) -> list[str]:
    return [" ".join(_words(text)) for text in texts]


def _as_tokens(codes: Sequence[str]) -> list[str]:
    """Each code as a string with one character per token, so that a string scorer compares tokens."""
    alphabet: dict[str, str] = {}
    return [
        "".join(alphabet.setdefault(token, _character(len(alphabet))) for token in syntax.tokens(code))
        for code in codes
    ]


def _character(number: int) -> str:
    return chr(number if number < 0xD800 else number + 0x800)  # leave out the surrogates, which stand for no character


@dataclass(frozen=True)
class Scorer:
    """How close two prompts are: what they become first, and a symmetric rapidfuzz scorer of the results."""

    prepare: Callable[[Sequence[str]], list[str]]
    score: Callable[..., float]


SCORERS: Mapping[str, Scorer] = {
    "words": Scorer(_as_words, fuzz.token_set_ratio),
    "tokens": Scorer(_as_tokens, fuzz.ratio),
}
