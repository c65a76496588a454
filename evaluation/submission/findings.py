"""What is wrong with a run, one line each: what, where, what was expected and what was found."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from clmeeval_data.evaluation.report.untrusted import clip, one_line

SHOWN = 120  # characters of a value
SHOWN_ALIKE = 10  # problems of one kind that are shown of a run


class Fault(NamedTuple):
    """Something that is not as it must be. ``what`` holds no text of the run's own, so that equal faults are counted.

    ``expected`` and ``found`` are safe to print.
    """

    what: str
    expected: str
    found: str


class Problem(NamedTuple):
    """A fault and its place in the run: a file, a line of it, a case."""

    where: str
    fault: Fault

    def __str__(self) -> str:
        what, expected, found = self.fault
        return f"{self.where}: {what}: expected {expected}, found {found}"


def shown(value: Any) -> str:
    """A value of an untrusted file on one line, clipped: texts in quotes, numbers in full precision."""
    if isinstance(value, str):
        text = repr(clip(value, SHOWN).text)
    elif isinstance(value, dict | list):
        text = f"an object with {len(value)} keys" if isinstance(value, dict) else f"a list of {len(value)}"
    else:
        text = "nothing" if value is None else repr(value)
    clipped = clip(one_line(text), SHOWN)
    return f"{clipped.text}…" if clipped.hidden else clipped.text


class Findings:
    """The problems of one run. Of each kind the first ten are kept and the others counted."""

    def __init__(self) -> None:
        self._kept: list[Problem] = []
        self._counts: Counter[str] = Counter()

    def add(self, where: str, faults: Iterable[Fault]) -> None:
        """Note faults at a place."""
        for fault in faults:
            self._counts[fault.what] += 1
            if self._counts[fault.what] <= SHOWN_ALIKE:
                self._kept.append(Problem(where, fault))

    def extend(self, problems: Iterable[Problem]) -> None:
        """Note problems."""
        for problem in problems:
            self.add(problem.where, [problem.fault])

    def __len__(self) -> int:
        return self._counts.total()

    def __iter__(self) -> Iterator[str]:
        """One line per problem that is kept, and one per kind of which there are more."""
        yield from map(str, self._kept)
        for what, count in self._counts.items():
            if count > SHOWN_ALIKE:
                yield f"{what}: {count - SHOWN_ALIKE:,} more"
