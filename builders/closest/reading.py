"""What a query shares with all texts, read from its most telling element on, only as far as is needed."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from clmeeval_data.builders.closest.postings import Numbers, Postings

SLACK = 1e-9  # more than a rounding error of a score, less than the difference of two scores

_FIRST = 2048  # postings to read before the first look at what was found; each further look comes after twice as many
_HOPE = 0.15  # the share of the unread weight that the closest text is expected to hold
_GONE = -(2**30)  # what a text shares that shall be found no more: too little to be made up for


@dataclass(frozen=True)
class Query:
    """A text as elements, the most telling first.

    Args:
        elements: Those that the pool knows.
        total: What all its parts weigh, also those that the pool doesn't know.
        sequence: The numbers of its parts in order; those that the pool doesn't know share one that it doesn't use.
        place: Its place in the pool; None where it is another text.
    """

    elements: Numbers
    total: int
    sequence: Numbers
    place: int | None


class Reading:
    """Bounds of the scores of all texts against one query; no text is bounded too low.

    Once some elements were read, a text that holds none of them shares at most the unread weight R with the query. It
    weighs at least what it shares, so its score is at most ``limit`` = 200 R / (A + R), with A the query's total. Any
    other text shares at most R more than was found in it.
    """

    def __init__(self, postings: Postings, query: Query) -> None:
        starts = postings.places.starts
        self._postings = postings
        self._query = query
        self._weights = postings.weights[query.elements]
        self._cost = np.cumsum(starts[query.elements + 1] - starts[query.elements])
        self._unread = np.cumsum(self._weights[::-1])[::-1]
        self._shared = np.zeros(len(postings), dtype=np.int32)
        self._met: list[Numbers] = []
        self._most = 0
        self._done = 0
        if query.place is not None:
            self._shared[query.place] = _GONE

    @property
    def finished(self) -> bool:
        """Whether all elements were read, so that bounds are exact and every text that shares anything was met."""
        return self._done == len(self._weights)

    @property
    def unread(self) -> int:
        """R, what the unread elements weigh."""
        return 0 if self.finished else int(self._unread[self._done])

    @property
    def limit(self) -> float:
        """The most that a text can score in which nothing was found yet; below all scores when all was read."""
        return _limit(self.unread, self._query.total) if self.unread else -1.0

    @property
    def promising(self) -> bool:
        """Whether some text can be expected to score more than ``limit``, so that a closer look is worth its cost."""
        return self.finished or 100 * (self._most + _HOPE * self.unread) > self.limit * self._query.total

    def read_on(self) -> None:
        """Read at least one more element, and about as much again as was read before."""
        aim = max(_FIRST, 2 * int(self._cost[self._done - 1])) if self._done else _FIRST
        self._read(max(self._done + 1, int(np.searchsorted(self._cost, aim, side="right"))))

    def read_until(self, score: float) -> None:
        """Read until ``limit`` is below a score above 0."""
        limits = _limit(self._unread, self._query.total)
        self._read(int(np.count_nonzero(limits >= score - SLACK)))

    def candidates(self, least: float) -> tuple[Numbers, Numbers]:
        """The texts in which something was found whose score may be ``least`` or more, and the bounds of their scores.

        Those that were forgotten are left out.
        """
        met = np.concatenate(self._met) if self._met else np.zeros(0, dtype=np.int32)
        self._met = [met]
        most = self._shared[met]
        most += self.unread
        both = self._postings.totals[met] + self._query.total
        within = np.flatnonzero(200.0 * most >= (least - SLACK) * both)
        places, both = met[within], both[within]
        most = np.minimum(most[within], np.minimum(both - self._query.total, self._query.total))
        bounds = 200.0 * most / both
        kept = bounds >= least - SLACK
        return places[kept], bounds[kept]

    def shared(self, places: Numbers) -> Numbers:
        """What the query shares with some texts that have elements and weren't forgotten, exactly."""
        if self.finished:
            return self._shared[places]
        weights = np.zeros(len(self._postings.weights), dtype=np.int32)
        weights[self._query.elements] = self._weights
        return self._postings.elements.sums(places, weights)

    def forget(self, places: Numbers) -> None:
        """Some texts are candidates no more."""
        self._shared[places] = _GONE

    def unmet(self) -> Numbers:
        """The texts in which nothing was found, without the query's own."""
        return np.flatnonzero(self._shared == 0)

    def _read(self, end: int) -> None:
        chosen = slice(self._done, end)
        for element, weight in zip(self._query.elements[chosen].tolist(), self._weights[chosen].tolist(), strict=True):
            places = self._postings.places[element]
            before = self._shared[places]
            self._met.append(places[before == 0])
            before += weight
            self._shared[places] = before
            self._most = max(self._most, int(before.max()))
        self._done = max(self._done, min(end, len(self._weights)))


def _limit(unread: Any, total: int) -> Any:
    return 200.0 * unread / (total + unread)
