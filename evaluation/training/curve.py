"""How a training went: its losses by step, as a file and as a picture."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from clmeeval_data.atomic import written_aside
from clmeeval_data.errors import ResultsError
from clmeeval_data.evaluation.results import write_json


@dataclass
class Curve:
    """How a training went.

    ``losses``: of every step's batch, before its update. ``validations``: (steps taken, validation loss), the first
    before any step. ``seconds``: wall time of the steps and validations, over all sittings.
    """

    losses: list[float] = field(default_factory=list)
    validations: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def best(self) -> tuple[int, float]:
        """Steps and loss of the lowest validation loss, the earliest of equals."""
        return min(self.validations, key=lambda taken: taken[1])

    @property
    def waited(self) -> int:
        """How many validations there were since the best."""
        return sum(step > self.best[0] for step, _ in self.validations)

    def as_dict(self) -> dict[str, Any]:
        """The curve as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Curve":
        """The inverse of ``as_dict``.

        Raises:
            KeyError: If a field is missing.
        """
        validations = [(int(step), float(loss)) for step, loss in values["validations"]]
        return cls(list(values["losses"]), validations, values["seconds"])

    def write(self, path: Path) -> None:
        """Write the curve as JSON.

        Raises:
            ResultsError: If it cannot be written.
        """
        write_json(path, self.as_dict())

    @classmethod
    def read(cls, path: Path) -> "Curve":
        """Read what ``write`` wrote.

        Raises:
            ResultsError: If it cannot be read.
        """
        try:
            return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ResultsError(f"cannot read {path}: {error}. Remove its folder to train again.") from error


def draw_curve(curve: Curve, title: str, path: Path) -> None:
    """The losses by step as an SVG picture: the batches', the validation cases', and the state that was kept.

    Raises:
        ResultsError: If it cannot be written.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "clmeeval", "svg.fonttype": "none"}):
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.add_subplot(title=title, xlabel="steps", ylabel="loss")
        axes.plot(range(1, len(curve.losses) + 1), curve.losses, linewidth=0.8, alpha=0.6, label="training batch")
        steps, losses = zip(*curve.validations, strict=True)
        axes.plot(steps, losses, marker=".", label="validation")
        axes.plot(*curve.best, marker="o", linestyle="", label=f"kept: {curve.best[1]:.4g} after {curve.best[0]}")
        axes.legend()
        try:
            with written_aside(path) as aside:
                figure.savefig(aside, format="svg", metadata={"Date": None})
        except OSError as error:
            raise ResultsError(f"cannot write {path}: {error}. Choose a folder you may write to.") from error
