"""Where the units of a run are computed when it is not here: on the workers of a Ray cluster.

Workers compute and write nothing; the driver alone writes. See ``execution.ray``.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

from clmeeval_data.evaluation.answers import Found
from clmeeval_data.evaluation.editors.contract import Case, Track, untracked
from clmeeval_data.evaluation.protocols.units import Piece, Task
from clmeeval_data.evaluation.recorder import Described

__all__ = ["Workplace"]


class Workplace(Protocol):
    """A process with a loaded model and the methods of a plan, for each of its datasets."""

    def described(self, dataset: int) -> Sequence[Described]:
        """What the run of each method on a dataset, by its index, is."""

    def published(self, dataset: int, cases: Sequence[Case]) -> Found:
        """The unedited answers to cases that somebody has published."""

    def prepare(self, dataset: int, methods: Sequence[int], track: Track = untracked) -> None:
        """Let methods do for a dataset what does not depend on its cases."""

    def compute(self, dataset: int, task: Task) -> Iterator[Piece]:
        """The pieces of a task's result."""
