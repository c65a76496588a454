"""What to search for, on what, and how long."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clmeeval_data.errors import ConfigError
from clmeeval_data.evaluation.editors import EDITORS


@dataclass(frozen=True)
class TunePlan:
    """What to search for.

    ``cases``: of each dataset, on which the best candidates are compared. ``budget``: at most this many evaluations of
    one candidate on one case. ``seed``: chooses the cases. ``overrides``: settings that stay as they are given.
    ``space``: candidates by setting instead of the method's own, layers as they are numbered in the model.
    ``revision``: a tag, branch or commit of the datasets on the Hub.
    """

    model: str
    datasets: tuple[str, ...]
    method: str
    out: Path
    cases: int = 16
    budget: int = 400
    seed: int = 0
    device: str = "cpu"
    dtype: str = "float32"
    batch_size: int = 16
    overrides: tuple[tuple[str, Any], ...] = ()
    space: Mapping[str, Sequence[Any]] | None = None
    revision: str | None = None

    def __post_init__(self) -> None:
        for name in ("cases", "budget", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 1 or more.")
        if not self.datasets:
            raise ConfigError("no dataset to search on. Give at least one.")
        if getattr(EDITORS[self.method], "needs_training", False):
            raise ConfigError(
                f"{self.method} is trained, and its settings take effect in training. Train it with each of them "
                "('clmeeval-evaluate train --set ...') and compare what comes out on the validation split."
            )
