"""Unreadable rows: counted and passed over up to a share, beyond which a source is not what it should be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clmeeval_data.builders.pipeline.stages import READING
from clmeeval_data.builders.sources import Source
from clmeeval_data.errors import ConfigError, SourceError


@dataclass(frozen=True)
class Tolerance:
    """How much of a source may be unreadable: at most a ``share`` (0 to 1), asked once ``after`` rows were read.

    Raises:
        ConfigError: If the share is no share.
    """

    share: float = 0.01
    after: int = 100

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ConfigError(f"a share of {self.share} unreadable rows can't be tolerated. Expected 0 to 1.")


ONE_PERCENT = Tolerance()


@dataclass
class _Count:
    read: int = 0
    unreadable: int = 0
    first: str = ""


class Damage:
    """The unreadable rows of each source so far. Sources are told apart by their places: two may have one name."""

    def __init__(self, sources: Sequence[Source], tolerance: Tolerance) -> None:
        self._sources = sources
        self._tolerance = tolerance
        self._counts = [_Count() for _ in sources]

    def count(self, place: int, row: Mapping[str, Any]) -> None:
        """Take notice of one row of the result of ``stages.Select``."""
        count = self._counts[place]
        count.read += 1
        gone = row.get("dropped")
        if gone is not None and gone["step"] == READING:
            count.unreadable += 1
            count.first = count.first or f"{gone['reason']}: {' '.join(gone['text'].split())[:100]!r}"

    def check(self, place: int) -> None:
        """The source at that place is sound as far as it was read.

        Raises:
            SourceError: If more rows are unreadable than tolerated.
        """
        count, tolerance = self._counts[place], self._tolerance
        if count.read >= tolerance.after and count.unreadable > tolerance.share * count.read:
            raise SourceError(
                f"{count.unreadable} of the first {count.read} rows of source {self._sources[place].name!r} are "
                f"unreadable, more than {100 * tolerance.share:g} %. The first one: {count.first}. Check that the file "
                "is whole and in the form of that source, or raise --max-unreadable."
            )
