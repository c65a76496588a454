"""What the commands share: bars on stderr, and of the libraries only what a user can act on."""

import logging
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")


class ProgressBars:
    """The advance of a plan as one bar per run, with the time left."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def begin(self, dataset: str, method: str, cases: int) -> None:
        """A new bar: for a method on a dataset, or for a step of a search."""
        self._tasks[method] = self._progress.add_task(f"{dataset} {method}", total=cases)

    def advance(self, method: str, cases: int) -> None:
        """Move a method's bar."""
        self._progress.advance(self._tasks[method], cases)

    def track(self, steps: Iterable[T], description: str, total: int) -> Iterable[T]:
        """A bar for something else that takes long."""
        return self._progress.track(steps, total=total, description=description)


@contextmanager
def progress_bars() -> Iterator[ProgressBars]:
    """Bars on stderr for the length of a block."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield ProgressBars(progress)


def set_environment() -> None:
    """What libraries read when they are loaded."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch: spinning threads starve each other
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def quiet_libraries(verbose: bool) -> None:
    """Our log on stderr; of the libraries only what a user can act on."""
    set_environment()
    level = logging.DEBUG if verbose else logging.WARNING
    logging.basicConfig(
        level=logging.WARNING, format="%(message)s", handlers=[RichHandler(console=Console(stderr=True))]
    )
    logging.getLogger("clmeeval_data").setLevel(level)
    if not verbose:
        warnings.simplefilter("ignore")
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
