"""Choices that look random and are not: the same seed and text always choose alike."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Choice:
    """Whatever has to be chosen for one text, decided by a hash of the seed and the text."""

    seed: int
    text: str

    def order(self, topic: str, items: Sequence[Item], key: Callable[[Item], object] = str) -> list[Item]:
        """The items in an order of its own for this topic; two items need different keys to be told apart."""
        return sorted(items, key=lambda item: self._digest(f"{topic}\x1f{key(item)}"))

    def pick(self, topic: str, items: Sequence[Item]) -> Item:
        """One of the items, by its place alone."""
        return items[int.from_bytes(self._digest(topic)[:8], "big") % len(items)]

    def one_in(self, count: int, topic: str) -> bool:
        """Whether this topic is among the one in ``count``."""
        return int.from_bytes(self._digest(topic)[:8], "big") % count == 0

    def _digest(self, topic: str) -> bytes:
        return hashlib.sha256(self._key + topic.encode("utf-8", "replace")).digest()

    @cached_property
    def _key(self) -> bytes:
        return hashlib.sha256(f"{self.seed}\x1f{self.text}".encode("utf-8", "replace")).digest()
