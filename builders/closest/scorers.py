"""What texts are made of, and how much each part counts: two texts are the closer the more they share of it.

Every score is rapidfuzz's plain ratio, 200 L / (A + B) for texts of lengths A and B with a longest common subsequence
of length L, after both were written with one character for one part. Where the order doesn't matter, the parts stand in
one fixed order; and each stands there as often as it counts.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from clmeeval_data import syntax
from clmeeval_data.errors import UnknownNameError


@dataclass(frozen=True)
class Scorer:
    """One score, 0 where nothing is shared to 100 for the same parts.

    Args:
        parts: The parts of a text in order.
        weighted: Whether a part counts as often as it has bits of information, at least once: the more, the fewer texts
            of the pool hold it. Otherwise it counts once.
        ordered: Whether shared parts count only as far as they come in the same order in both texts.
    """

    parts: Callable[[str], list[str]]
    weighted: bool
    ordered: bool

    def weight(self, holders: int, texts: int) -> int:
        """What a part counts that ``holders`` of all ``texts`` hold."""
        return max(1, round(math.log2(texts / holders))) if self.weighted else 1


def words(text: str) -> list[str]:
    """Runs of letters and runs of digits, without case and plural."""
    found = re.findall(r"[^\W\d_]+|\d+", text.casefold())
    return [word[:-1] if len(word) > 3 and word[-1] == "s" else word for word in found]


SCORERS: Mapping[str, Scorer] = {
    "words": Scorer(words, weighted=True, ordered=False),
    "tokens": Scorer(syntax.tokens, weighted=False, ordered=True),
}


def scorer_named(name: str) -> Scorer:
    """The scorer of that name.

    Raises:
        UnknownNameError: If there is none.
    """
    if name not in SCORERS:
        raise UnknownNameError(f"unknown scorer {name!r}. Known: {', '.join(sorted(SCORERS))}.")
    return SCORERS[name]
