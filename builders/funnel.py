"""What became of the rows of a source: how many went at which step, for which reason, and a few of them to look at."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

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
    ``steps`` are in the order of the build; one that is not named before it drops a row comes after those that are.
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

    def drop(self, step: str, reason: str, text: str, decided_by: str = "") -> None:
        """Count one row as dropped.

        Args:
            step: Where it was dropped.
            reason: Why.
            text: What a reader would want to see of it.
            decided_by: The same of the row because of which it was dropped, where there is one.
        """
        entry = self._entry(step, reason)
        entry.count += 1
        if len(entry.samples) < SAMPLES:
            entry.samples.append(f"{text} (decided by {decided_by})" if decided_by else text)

    def merge(self, other: "Funnel") -> None:
        """Add the counts of a later part of the rows.

        Parts that are merged in their order give the funnel of the whole, samples included, however they were cut.
        """
        self.read += other.read
        for step in other.steps:
            self._enter(step)
        for drop in other.drops.values():
            entry = self._entry(drop.step, drop.reason)
            entry.count += drop.count
            entry.samples = [*entry.samples, *drop.samples][:SAMPLES]

    def as_dict(self) -> dict[str, Any]:
        """The counts as JSON values, for the manifest."""
        drops = [{"step": drop.step, "reason": drop.reason, "count": drop.count} for drop in self.ordered()]
        return {"read": self.read, "kept": self.kept, "dropped": drops}

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values, the steps and samples too."""
        return {"read": self.read, "steps": list(self.steps), "drops": [asdict(drop) for drop in self.ordered()]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Funnel":
        """The inverse of ``to_json``.

        Raises:
            KeyError: If a field is missing.
        """
        drops = [Drop(**drop) for drop in value["drops"]]
        return cls(value["read"], list(value["steps"]), {(drop.step, drop.reason): drop for drop in drops})

    def _entry(self, step: str, reason: str) -> Drop:
        self._enter(step)
        return self.drops.setdefault((step, reason), Drop(step, reason))

    def _enter(self, step: str) -> None:
        if step not in self.steps:
            self.steps.append(step)
