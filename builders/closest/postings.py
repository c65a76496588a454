"""Which texts share which parts: the arrays that a search reads.

The nth occurrence of a part in a text is an element of its own. So a text is a set of elements, and two texts share
what the elements weigh that both hold. Elements are numbered from the most telling to the least: by falling weight, and
then by the number of texts that hold them.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Numbers: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Rows:
    """Rows of numbers, one after the other in ``values``; row i starts at ``starts[i]``."""

    values: Numbers
    starts: Numbers

    @classmethod
    def of_lengths(cls, values: Numbers, lengths: Numbers) -> "Rows":
        """Values that were written row by row, given the lengths of the rows."""
        return cls(values, np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))))

    def __getitem__(self, row: int) -> Numbers:
        return self.values[self.starts[row] : self.starts[row + 1]]

    def __iter__(self) -> Iterator[Numbers]:
        return (self[row] for row in range(len(self.starts) - 1))

    def sums(self, rows: Numbers, of_value: Numbers) -> Numbers:
        """For each of some rows, none of them empty, the sum of ``of_value`` at its values."""
        lengths = self.starts[rows + 1] - self.starts[rows]
        firsts = np.cumsum(lengths) - lengths
        places = np.repeat(self.starts[rows] - firsts, lengths) + np.arange(lengths.sum())
        return np.add.reduceat(of_value[self.values[places]], firsts)


@dataclass(frozen=True)
class Postings:
    """Texts as sets of elements, and back.

    Args:
        parts: The number of each part.
        sequences: Per text, the numbers of its parts in order.
        of_part: Per part, its elements: the first occurrence, the second, and so on.
        elements: Per text, its elements in ascending order, so the most telling first.
        places: Per element, the texts that hold it in ascending order.
        weights: Per element.
        totals: Per text, what its elements weigh together.
    """

    parts: dict[str, int]
    sequences: Rows
    of_part: Rows
    elements: Rows
    places: Rows
    weights: Numbers
    totals: Numbers

    def __len__(self) -> int:
        return len(self.totals)

    @classmethod
    def of(cls, texts: Iterable[list[str]], weight: Callable[[int, int], int]) -> "Postings":
        """The postings of texts that are given as their parts; ``weight`` as in ``Scorer``."""
        parts: dict[str, int] = {}
        lengths: list[int] = []

        def numbers() -> Iterator[int]:
            for text in texts:
                lengths.append(len(text))
                for part in text:
                    yield parts.setdefault(part, len(parts))

        flat = np.fromiter(numbers(), dtype=np.int32)
        sequences = Rows.of_lengths(flat, np.array(lengths, dtype=np.int64))
        owners, found, occurrences = _sorted(sequences, len(parts))
        weights, of_part, elements = _elements(found, occurrences, len(parts), len(lengths), weight)
        elements = _sorted_within(owners, elements, len(weights))
        order = np.argsort(elements, kind="stable")
        return cls(
            parts=parts,
            sequences=sequences,
            of_part=of_part,
            elements=Rows(elements, sequences.starts),
            places=Rows.of_lengths(owners[order], np.bincount(elements, minlength=len(weights))),
            weights=weights,
            totals=np.bincount(owners, weights=weights[elements], minlength=len(lengths)).astype(np.int32),
        )


def _sorted(sequences: Rows, parts: int) -> tuple[Numbers, Numbers, Numbers]:
    """Every part of every text, sorted by text and part: the text, the part, and which occurrence it is, from 0."""
    owners = np.repeat(np.arange(len(sequences.starts) - 1, dtype=np.int32), np.diff(sequences.starts))
    found = _sorted_within(owners, sequences.values, parts)
    fresh = np.flatnonzero((np.diff(found, prepend=-1) != 0) | (np.diff(owners, prepend=-1) != 0))
    occurrences = np.arange(len(found), dtype=np.int32)
    occurrences -= np.repeat(fresh, np.diff(fresh, append=len(found))).astype(np.int32)
    return owners, found, occurrences


def _sorted_within(owners: Numbers, values: Numbers, count: int) -> Numbers:
    """Values below ``count`` in ascending order within each run of equal owners, which ascend."""
    keys = owners.astype(np.int64) * max(count, 1)
    keys += values
    keys.sort()
    keys %= max(count, 1)
    return keys.astype(np.int32)


def _elements(
    found: Numbers, occurrences: Numbers, parts: int, texts: int, weight: Callable[[int, int], int]
) -> tuple[Numbers, Rows, Numbers]:
    """The weight of each element, the elements of each part, and the element of each occurrence of a part."""
    most = np.zeros(parts, dtype=np.int64)
    np.maximum.at(most, found, occurrences + 1)
    starts = np.cumsum(most) - most
    elements = starts[found] + occurrences
    holders = np.bincount(elements, minlength=int(most.sum()))
    known = {count: weight(count, texts) for count in set(holders[starts].tolist())}
    weights = np.repeat(np.array([known[count] for count in holders[starts].tolist()], dtype=np.int32), most)
    order = np.lexsort((np.arange(len(weights)), holders, -weights))
    renumbered = np.empty(len(order), dtype=np.int32)
    renumbered[order] = np.arange(len(order))
    return weights[order], Rows.of_lengths(renumbered, most), renumbered[elements]
