"""De-duplication: pairs that ask for the same thing again, each with the pair that decided.

The prompts of the kept pairs all differ, and no two kept pairs are the same on one side and nearly the same on the
other. Pairs that are near on both sides and the same on neither stay: read by eye, most of them are minimal pairs ("the
largest", "the smallest"), which are no duplicates but the hardest neighbours.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rapidfuzz import fuzz

from clmeeval_data import syntax
from clmeeval_data.builders.sources import Pair
from clmeeval_data.english import stem
from clmeeval_data.records import BENCHMARKS

# Words in which two wordings of one request may differ. "Not", "without" and the like are none of them.
_LOOSE = frozenset(
    re.findall(
        r"\w+",
        "a an the python python2 python3 how do does did i can could should would you we one to in of for from with "
        "use using via my is are was be it its this that there way please get getting what which when where and so "
        "some s",
    )
)
_LITERAL = re.compile(r"`([^`]*)`|(?<!\w)'([^']*)'(?!\w)|(?<!\w)\"([^\"]*)\"(?!\w)|(?<!\w)([\w.]*\d[\w.]*\w|\d)(?!\w)")
_WORD = re.compile(r"\w+|[+*/%=<>&|^~@$]")
_OWN_NAME = re.compile(r"\bdef \w+")


@dataclass(frozen=True)
class Dedup:
    """What counts as a duplicate, besides a pair whose prompt is the same but for layout, case and, in code, names.

    Args:
        wording: Intents are the same, too, when they differ only in the form of their words, in words such as articles,
            or in that one of them spells out the literals (CNLE).
        near_text: From this similarity on (0 to 100) two texts, intents or descriptions, are near; they make a
            duplicate when their codes are the same up to names. Above 100: never.
        near_code: From this similarity of their tokens on (0 to 100) two functions are near; they make a duplicate when
            their descriptions are the same (CSNE). Above 100: never.
    """

    wording: bool = False
    near_text: float = 101.0
    near_code: float = 101.0


@dataclass(frozen=True)
class Duplicate:
    """Why a pair is a duplicate, and of which one: its place in the sequence that was searched."""

    kind: str
    of: int


@dataclass(frozen=True)
class _Test:
    """One way to be a duplicate: an equal key, and a comparison of those that share it."""

    kind: str
    key: Callable[[Pair], str]
    same: Callable[[Pair, Pair], bool]


def winning_order(pairs: Sequence[Pair], benchmark: str) -> list[int]:
    """The places of the pairs in the order in which they win over their duplicates.

    By source, in the order in which the sources first appear, then by case id: so the choice doesn't depend on the
    order of the rows within a source.
    """
    rank: dict[str, int] = {}
    keys = []
    for place, pair in enumerate(pairs):
        source = rank.setdefault(pair.provenance.source, len(rank))
        keys.append((source, BENCHMARKS[benchmark].case_id(pair.prompt, pair.target), place))
    return [place for _, _, place in sorted(keys)]


def duplicates(
    pairs: Sequence[Pair], rule: Dedup, benchmark: str, order: Iterable[int] | None = None
) -> dict[int, Duplicate]:
    """The places of the pairs that repeat another one, each with the kept pair that it repeats.

    For CNLE a pair repeats another when their intents are the same, whatever the snippets: of two answers one must go.
    Equal snippets of different intents are no duplicates, unless the intents are near. For CSNE a pair repeats another
    when their functions are the same, whatever the descriptions; or when the descriptions are the same and the
    functions near, or the other way round, where a function's own name doesn't count.

    Args:
        pairs: All of them.
        rule: What counts as the same, and as near.
        benchmark: "cnle" or "csne".
        order: The places in the order in which they win: the first of several stays. By default as they come.
    """
    tests = _tests(rule, benchmark)
    buckets: list[dict[bytes, list[int]]] = [defaultdict(list) for _ in tests]
    found: dict[int, Duplicate] = {}
    for place in range(len(pairs)) if order is None else order:
        pair = pairs[place]
        shelves = [bucket[_digest(test.key(pair))] for test, bucket in zip(tests, buckets, strict=True)]
        duplicate = next(_repeated(pair, pairs, tests, shelves), None)
        if duplicate is not None:
            found[place] = duplicate
            continue
        for shelf in shelves:
            shelf.append(place)
    return found


def _repeated(
    pair: Pair, pairs: Sequence[Pair], tests: Sequence[_Test], shelves: Sequence[Sequence[int]]
) -> Iterator[Duplicate]:
    for test, shelf in zip(tests, shelves, strict=True):
        yield from (Duplicate(test.kind, place) for place in shelf if test.same(pair, pairs[place]))


def _tests(rule: Dedup, benchmark: str) -> list[_Test]:
    return _cnle_tests(rule) if benchmark == "cnle" else _csne_tests(rule)


def _cnle_tests(rule: Dedup) -> list[_Test]:
    def near(one: Pair, other: Pair) -> bool:
        return _text_ratio(one.prompt, other.prompt) >= rule.near_text

    tests = [_Test("the same prompt as another row", lambda pair: _folded(pair.prompt), _always)]
    if rule.wording:
        tests.append(_Test("the same intent in other words", lambda pair: _wording(pair.prompt), _agree_in_literals))
    if rule.near_text <= 100:
        tests.append(_Test("a near intent with the same snippet", lambda pair: _form(pair.target), near))
    return tests


def _csne_tests(rule: Dedup) -> list[_Test]:
    def near_text(one: Pair, other: Pair) -> bool:
        return _text_ratio(one.target, other.target) >= rule.near_text

    def near_code(one: Pair, other: Pair) -> bool:
        return fuzz.ratio(syntax.tokens(one.prompt), syntax.tokens(other.prompt)) >= rule.near_code

    tests = [_Test("the same prompt as another row", lambda pair: _normalised(pair.prompt), _always)]
    if rule.near_text <= 100:
        tests.append(_Test("a near description of the same code", lambda pair: _nameless(pair.prompt), near_text))
    if rule.near_code <= 100:
        tests.append(
            _Test("a near function with the same description", lambda pair: _folded(pair.target).rstrip("."), near_code)
        )
    return tests


def _always(_one: Pair, _other: Pair) -> bool:
    return True


def _wording(text: str) -> str:
    """The stems of the words that make the meaning of a text, in their order, without its literals.

    A text without such words stands for itself.
    """
    words = _WORD.findall(_LITERAL.sub(" ", text).casefold())
    return " ".join(stem(word) for word in words if word not in _LOOSE) or text


def _agree_in_literals(one: Pair, other: Pair) -> bool:
    """Whether two intents have the same literals, or one of them has none."""
    first, second = (
        frozenset("".join(found).strip() for found in _LITERAL.findall(pair.prompt)) for pair in (one, other)
    )
    return first == second or not first or not second


def _form(snippet: str) -> str:
    return syntax.normalised(snippet, free_names=True)


def _nameless(function: str) -> str:
    """The normalised form of a function, whatever its own name."""
    return _OWN_NAME.sub("def _", _normalised(function), count=1)


@lru_cache(maxsize=2)
def _normalised(function: str) -> str:
    return syntax.normalised(function)


def _text_ratio(one: str, other: str) -> float:
    return fuzz.ratio(_folded(one), _folded(other))


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()[:16]
