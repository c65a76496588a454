"""Choices that look random and depend on nothing but a seed and the text that they are made for."""

import hashlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """Makes the choices of one attempt at one text: the same question is always answered in the same way.

    Args:
        seed: The user's seed.
        text: The text that is worded anew.
        attempt: Number of the attempt, so that a second one chooses otherwise.
    """

    def __init__(self, seed: int, text: str, attempt: int) -> None:
        self._attempt = attempt
        self._seeded = hashlib.sha256(f"{seed}\x1f{text}".encode("utf-8", "surrogatepass"))
        self._start = hashlib.sha256(f"{seed}\x1f{attempt}\x1f{text}".encode("utf-8", "surrogatepass"))

    def turn(self, what: str, options: Sequence[T]) -> T:
        """One of the options, of which there must be at least one; another one at the next attempt."""
        return options[(_number(self._seeded, what) + self._attempt) % len(options)]

    def pick(self, what: str, options: Sequence[T]) -> T:
        """One of the options, of which there must be at least one."""
        return options[_number(self._start, what) % len(options)]

    def chance(self, what: str, percent: int) -> bool:
        """True in so many of a hundred cases."""
        return _number(self._start, what) % 100 < percent


def _number(start: "hashlib._Hash", what: str) -> int:
    digest = start.copy()
    digest.update(what.encode("utf-8", "surrogatepass"))
    return int.from_bytes(digest.digest()[:8], "big")
