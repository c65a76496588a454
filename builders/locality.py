"""Locality neighbours: for each case the k hardest, close in wording and different in meaning.

Exact: they are what the same rule finds in a list of all pairs of the pool, ordered by their score.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from rapidfuzz import fuzz
from rapidfuzz.distance import Indel

from clmeeval_data import syntax
from clmeeval_data.builders.recipes import Locality
from clmeeval_data.builders.sources import Pair
from clmeeval_data.english import FUNCTION_WORDS

_REMEMBERED = 50_000  # pairs whose meaning is kept
# Words of a request that say nothing of what is asked for.
_ASKING = frozenset(
    re.findall(
        r"\w+",
        "am anyone best better but can correct could did do does doing done easily easy efficient efficiently get "
        "getting good have having help how i im issue like made make me most my need needed our problem proper "
        "programmatically properly python pythonic quick quickly should simple some so t their them then there "
        "trouble try trying want wanted was way we what where which while why will wish work would you your",
    )
)
_TELLING = frozenset(["no", "not", "one", "two", "without"])  # function words that change what is asked for
_LEAF = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\w+|[^\w\s]+")
_NO_LEAF = re.compile(r"_\d+|[()\[\]{},.:;]+")  # a variable, or what only holds the others together


class Neighbour(NamedTuple):
    """A pair of the pool, by its place there, with its similarity to the query: 0 to 100, higher is closer."""

    place: int
    similarity: float


@dataclass(frozen=True)
class Meaning:
    """What two pairs must differ in to be neighbours.

    Args:
        group: The question; "" for functions, which may be neighbours within a repository.
        function: The last part of a function's name, "" for intents.
        saying: The content words of the text, intent or description, as numbers.
        answer: The answer, without case and layout.
        tree: The code, normalised.
        leaves: The leaves of the normalised tree in order, as numbers.
    """

    group: str
    function: str
    saying: tuple[int, ...]
    answer: str
    tree: str
    leaves: tuple[int, ...]


class NeighbourSearch:
    """A pool whose pairs can be asked for their neighbours, one by one and in any order.

    The answer for a pair depends on the pool and the rule alone, so that any worker can give it.

    Args:
        pool: All candidates. Of two that are equally close the one that comes first is taken, so its order is part of
            the result.
        rule: The scorer, the count and the margins.

    Raises:
        UnknownNameError: If the rule names no known scorer.
    """

    def __init__(self, pool: Sequence[Pair], rule: Locality) -> None:
        from clmeeval_data.builders.closest import Index

        self._pool = pool
        self._rule = rule
        self._index = Index((pair.prompt for pair in pool), rule.scorer)
        self._numbers: dict[str, int] = {}
        self._meaning = lru_cache(_REMEMBERED)(self._meaning_of)

    def of(self, query: int) -> list[Neighbour]:
        """The ``rule.count`` closest allowed neighbours of the pair at a place, the closest first.

        They are fewer where the pool has no more; a pair that shares nothing in wording is none.

        Raises:
            IndexError: If the pool has no such place.
        """
        found: list[Neighbour] = []
        meanings = [self._meaning(query)]
        ranked = self._index.ranked(query)
        while len(found) < self._rule.count:
            place, score = next(ranked, (query, 0.0))
            if score == 0:
                break
            meaning = self._meaning(place)
            if all(differ(other, meaning, self._rule) for other in meanings):
                found.append(Neighbour(place, round(score, 4)))
                meanings.append(meaning)
        return found

    def _meaning_of(self, place: int) -> Meaning:
        pair = self._pool[place]
        text, code = (pair.target, pair.prompt) if pair.func_name else (pair.prompt, pair.target)
        tree = syntax.normalised(code, free_names=not pair.func_name)
        return Meaning(
            group="" if pair.func_name else pair.provenance.group,
            function=pair.func_name.rpartition(".")[2],
            saying=self._numbered(content_stems(text)),
            answer=" ".join(pair.target.casefold().split()),
            tree=tree,
            leaves=self._numbered([leaf for leaf in _LEAF.findall(tree) if not _NO_LEAF.fullmatch(leaf)]),
        )

    def _numbered(self, words: Sequence[str]) -> tuple[int, ...]:
        return tuple(self._numbers.setdefault(word, len(self._numbers)) for word in words)


def neighbours(pool: Sequence[Pair], queries: Sequence[int], rule: Locality) -> Iterator[list[Neighbour]]:
    """The neighbours of each query, as ``NeighbourSearch`` finds them.

    Args:
        pool: All candidates.
        queries: Places in the pool.
        rule: The scorer, the count and the margins.
    """
    search = NeighbourSearch(pool, rule)
    yield from map(search.of, queries)


def differ(one: Meaning, other: Meaning, rule: Locality) -> bool:
    """Whether two pairs ask for different things.

    They do unless they belong to one question, or are functions of one name, which tend to do the same for different
    types; or their texts (intents, or descriptions), their answers or their codes are the same by the margins of the
    rule.
    """
    if (one.group and one.group == other.group) or (one.function and one.function == other.function):
        return False
    if one.answer == other.answer or one.tree == other.tree:
        return False
    return (
        not _reword(one.saying, other.saying, rule.closest_wording)
        and fuzz.ratio(one.leaves, other.leaves) <= 100 - rule.tree_margin
        and fuzz.ratio(one.answer, other.answer) <= rule.closest_answer
    )


def _reword(one: Sequence[int], other: Sequence[int], closest: float) -> bool:
    """Whether one text is the other with few words added; a word that was replaced may change everything."""
    added = abs(len(one) - len(other))
    return fuzz.ratio(one, other) > closest and Indel.distance(one, other) == added


def content_stems(text: str) -> list[str]:
    """The words of a text that say what is asked for, in order and without endings."""
    found = re.findall(r"[^\W\d_]+|\d+", text.casefold())
    return [_stem(word) for word in found if word in _TELLING or word not in FUNCTION_WORDS | _ASKING]


def _stem(word: str) -> str:
    stem = re.sub(r"(?<=\w{3})(?:ing|ed|ies|es|s|e|y)$", "", word)
    return stem[:-1] if len(stem) > 3 and stem[-1] == stem[-2] else stem
