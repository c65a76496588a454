"""What became of the rows of a source: how many went at which step, for which reason, and a few of them to look at."""

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

Row = TypeVar("Row")

SAMPLES = 5


@dataclass
class Drop:
    """One reason: the step that gave it, how many rows went, and the first few of them."""

    step: str
    reason: str
    count: int = 0
    samples: list[str] = field(default_factory=list)


@dataclass
class Funnel:
    """Counts rows on their way from the source to the dataset.

    Every row that was read is either kept or counted by exactly one reason, so ``read == kept + dropped`` at the end.
    """

    read: int = 0
    steps: list[str] = field(default_factory=list)
    drops: dict[tuple[str, str], Drop] = field(default_factory=dict)

    @property
    def dropped(self) -> int:
        """How many rows were dropped."""
        return sum(drop.count for drop in self.drops.values())

    @property
    def kept(self) -> int:
        """How many rows are left."""
        return self.read - self.dropped

    def ordered(self) -> list[Drop]:
        """The drops in the order of their steps, the most frequent reason of a step first."""
        return sorted(self.drops.values(), key=lambda drop: (self.steps.index(drop.step), -drop.count, drop.reason))

    def drop(self, step: str, reason: str, text: str) -> None:
        """Count one row as dropped; ``text`` is what a reader would want to see of it."""
        self._enter(step)
        entry = self.drops.setdefault((step, reason), Drop(step, reason))
        entry.count += 1
        if len(entry.samples) < SAMPLES:
            entry.samples.append(text)

    def keep(
        self, step: str, rows: Iterable[Row], reason_of: Callable[[Row], str | None], show: Callable[[Row], str]
    ) -> Iterator[Row]:
        """The rows for which there is no reason to drop them; the others are counted."""
        self._enter(step)
        return self._keep(step, rows, reason_of, show)

    def _keep(
        self, step: str, rows: Iterable[Row], reason_of: Callable[[Row], str | None], show: Callable[[Row], str]
    ) -> Iterator[Row]:
        for row in rows:
            reason = reason_of(row)
            if reason is None:
                yield row
            else:
                self.drop(step, reason, show(row))

    def as_dict(self) -> dict[str, Any]:
        """The counts as JSON values."""
        drops = [{"step": drop.step, "reason": drop.reason, "count": drop.count} for drop in self.ordered()]
        return {"read": self.read, "kept": self.kept, "dropped": drops}

    def _enter(self, step: str) -> None:
        if step not in self.steps:
            self.steps.append(step)


class FirstOnly:
    """A reason for every row whose key was seen before."""

    def __init__(self, key: Callable[[Any], Hashable], reason: str) -> None:
        self._key = key
        self._reason = reason
        self._seen: set[Hashable] = set()

    def __call__(self, row: object) -> str | None:
        """The reason when an earlier row had the same key."""
        key = self._key(row)
        if key in self._seen:
            return self._reason
        self._seen.add(key)
        return None
