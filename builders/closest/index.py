"""The texts of a pool in the order of their closeness to a text, found without scoring them all."""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from rapidfuzz import fuzz, process

from clmeeval_data.builders.closest.postings import Numbers, Postings
from clmeeval_data.builders.closest.reading import SLACK, Query, Reading
from clmeeval_data.builders.closest.scorers import scorer_named

_AT_ONCE = 256  # texts to score before looking whether the closest is among them; then twice as many, and so on
_SURROGATES = 0xD800, 0x800  # the first number that stands for no character, and how many follow it
_CHARACTERS = 0x110000 - 0x800


class Match(NamedTuple):
    """A text of the pool, by its place there, with its score: 0 to 100, higher is closer."""

    place: int
    score: float


class Index:
    """A pool of texts that can be asked for those closest to a text, as often as one likes and by several threads.

    Answers are exact: they equal those of scoring every text of the pool.

    Args:
        texts: The pool.
        scorer: The name of a scorer of ``SCORERS``.

    Raises:
        UnknownNameError: If there is no such scorer.
    """

    def __init__(self, texts: Iterable[str], scorer: str) -> None:
        self._scorer = scorer_named(scorer)
        self._postings = Postings.of(map(self._scorer.parts, texts), self._scorer.weight)
        sequences, highest = self._postings.sequences, len(self._postings.parts)
        self._written = [_written(sequence, highest) for sequence in sequences] if self._scorer.ordered else []

    def __len__(self) -> int:
        return len(self._postings)

    def ranked(self, query: int | str) -> Iterator[Match]:
        """The texts of the pool by falling score, those of equal score by place; each is found when it is asked for.

        Args:
            query: A place in the pool, which is left out then, or another text.

        Raises:
            IndexError: If the pool has no such place.
        """
        asked = self._query(query)
        reading, waiting = Reading(self._postings, asked), _Waiting()
        while not reading.finished:
            reading.read_on()
            if reading.finished or (reading.promising and not self._scorer.ordered):
                yield from self._look(reading, asked, waiting)
        yield from self._nothing_shared(reading, asked)

    def above(self, place: int, threshold: float) -> list[Match]:
        """The other texts whose score with the text at a place is ``threshold`` or more, in the order of ``ranked``.

        The higher the threshold, the faster.

        Raises:
            IndexError: If the pool has no such place.
        """
        asked = self._query(place)
        if threshold <= 0 or not asked.total:
            return [match for match in self.ranked(place) if match.score >= threshold]
        reading, found = Reading(self._postings, asked), _Waiting()
        reading.read_until(threshold)
        places, _ = reading.candidates(threshold)
        found.add(places, self._scores(reading, asked, places))
        return found.take(threshold)

    def written(self, place: int) -> Sequence[Hashable]:
        """A text as rapidfuzz compares it, one character for one part, so that its plain ratio is the score.

        Raises:
            IndexError: If the pool has no such place.
        """
        asked, weights = self._query(place), self._postings.weights
        if self._scorer.ordered:
            return _written(asked.sequence, len(self._postings.parts))
        return _written(np.repeat(asked.elements, weights[asked.elements]), len(weights))

    def _query(self, query: int | str) -> Query:
        if isinstance(query, str):
            return self._other(self._scorer.parts(query))
        if not 0 <= query < len(self):
            raise IndexError(f"no text {query} in a pool of {len(self)}")
        postings = self._postings
        return Query(postings.elements[query], int(postings.totals[query]), postings.sequences[query], query)

    def _other(self, parts: Sequence[str]) -> Query:
        """A text that isn't of the pool; a part that the pool doesn't know weighs as if one of its texts held it."""
        postings = self._postings
        elements, total = [np.zeros(0, dtype=np.int32)], 0
        for part, count in Counter(parts).items():
            if part in postings.parts:
                of_part = postings.of_part[postings.parts[part]]
                elements.append(of_part[:count])
                total += count * int(postings.weights[of_part[0]])
            else:
                total += count * self._scorer.weight(1, max(len(self), 1))
        sequence = np.array([postings.parts.get(part, len(postings.parts)) for part in parts], dtype=np.int32)
        return Query(np.sort(np.concatenate(elements)), total, sequence, None)

    def _look(self, reading: Reading, asked: Query, waiting: "_Waiting") -> Iterator[Match]:
        """The matches that no text can precede any more, in order; the texts that could are scored first."""
        places, bounds = reading.candidates(reading.limit)
        size = _AT_ONCE
        while True:
            yield from waiting.take(max(reading.limit, bounds.max(initial=-1.0)) + SLACK)
            if not len(places):
                return
            now = bounds >= (np.partition(bounds, -size)[-size] if len(bounds) > size else -1.0)
            waiting.add(places[now], self._scores(reading, asked, places[now]))
            reading.forget(places[now])
            places, bounds = places[~now], bounds[~now]
            size *= 2

    def _scores(self, reading: Reading, asked: Query, places: Numbers) -> Numbers:
        """The scores of some texts that share something with the query."""
        if not len(places):
            return np.zeros(0)
        if self._scorer.ordered:
            texts = [self._written[place] for place in places.tolist()]
            query = _written(asked.sequence, len(self._postings.parts))
            scores: Numbers = process.cdist([query], texts, scorer=fuzz.ratio, dtype=np.float64)[0]
        else:
            both = self._postings.totals[places] + asked.total
            scores = (1.0 - (both - 2 * reading.shared(places)) / both) * 100.0  # rapidfuzz's formula, to the last bit
        return scores

    def _nothing_shared(self, reading: Reading, asked: Query) -> Iterator[Match]:
        """What is left when all has been read: for a text without parts those without parts are the same."""
        places = reading.unmet()
        same = self._postings.totals[places] == 0 if asked.total == 0 else np.zeros(len(places), dtype=bool)
        yield from (Match(place, 100.0) for place in places[same].tolist())
        yield from (Match(place, 0.0) for place in places[~same].tolist())


class _Waiting:
    """Texts whose scores are known, and that wait for the time when none can precede them."""

    def __init__(self) -> None:
        self._places: Numbers = np.zeros(0, dtype=np.int32)
        self._scores: Numbers = np.zeros(0)

    def add(self, places: Numbers, scores: Numbers) -> None:
        self._places = np.concatenate((self._places, places))
        self._scores = np.concatenate((self._scores, scores))

    def take(self, least: float) -> list[Match]:
        """Those with this score or more, in order; they wait no longer."""
        enough = self._scores >= least
        places, scores = self._places[enough], self._scores[enough]
        self._places, self._scores = self._places[~enough], self._scores[~enough]
        order = np.lexsort((places, -scores))
        return [Match(*match) for match in zip(places[order].tolist(), scores[order].tolist(), strict=True)]


def _written(numbers: Numbers, highest: int) -> Sequence[Hashable]:
    """Numbers up to ``highest`` as a text with one character for each; as they are where there aren't enough."""
    if highest >= _CHARACTERS:
        return tuple(numbers.tolist())
    first, gap = _SURROGATES
    return np.where(numbers < first, numbers, numbers + gap).astype("<u4").tobytes().decode("utf-32-le")
