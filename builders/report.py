"""The funnel of a built dataset, read from its manifest: as a table, and as a picture."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from clmeeval_data.atomic import written_aside
from clmeeval_data.errors import DatasetError
from clmeeval_data.storage import read_manifest

LEFT, GONE = "#2f7fd1", "#d1731a"  # mid-tones that stand out on white and on near-black


@dataclass(frozen=True)
class Reason:
    """Rows that went at one step for one reason."""

    step: str
    reason: str
    count: int


@dataclass(frozen=True)
class Stage:
    """One step: how many rows went there, and how many were left after it."""

    step: str
    dropped: int
    left: int


@dataclass(frozen=True)
class Report:
    """What became of the rows from which a dataset was built.

    Args:
        title: The recipe's name, or the benchmark's.
        read: How many rows were read.
        kept: How many became a case.
        reasons: What dropped the others, in the order of the build.
    """

    title: str
    read: int
    kept: int
    reasons: tuple[Reason, ...]

    def share(self, count: int) -> float:
        """What part of all rows that were read this is, from 0 to 1."""
        return count / self.read if self.read else 0.0

    def stages(self) -> list[Stage]:
        """The steps that dropped rows, each once, with the rows that were left after it."""
        gone: dict[str, int] = {}
        for reason in self.reasons:
            gone[reason.step] = gone.get(reason.step, 0) + reason.count
        found = []
        left = self.read
        for step, dropped in gone.items():
            left -= dropped
            found.append(Stage(step, dropped, left))
        return found

    def table(self) -> Table:
        """A row for each reason, and one for what was kept."""
        table = Table(title=f"{self.title}: {self.read} rows read", title_justify="left")
        table.add_column("step")
        table.add_column("reason", overflow="fold")
        table.add_column("rows", justify="right")
        table.add_column("share", justify="right")
        for reason in self.reasons:
            table.add_row(reason.step, reason.reason, str(reason.count), f"{self.share(reason.count):.1%}")
        table.add_section()
        table.add_row("kept", "", str(self.kept), f"{self.share(self.kept):.1%}")
        return table


def report(folder: Path) -> Report:
    """The funnel of a dataset.

    Raises:
        DatasetError: If the folder is no dataset, or its manifest has no funnel that adds up.
    """
    manifest = read_manifest(folder)
    try:
        return _of(manifest)
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f"the manifest of {folder} has no readable funnel ({error!r}). Expected the one that clmeeval-build wrote: "
            "build the dataset again."
        ) from error


def draw(found: Report, path: Path) -> None:
    """The rows that are left after each step, and those that went there, as bars in a picture.

    Args:
        found: The report.
        path: The picture; its name decides the form: ``.svg``, ``.png`` or ``.pdf``.

    Raises:
        DatasetError: If the form is another one, or the picture can't be written.
    """
    form = path.suffix.lower().removeprefix(".")
    if form not in ("svg", "png", "pdf"):
        raise DatasetError(f"can't draw {path.name}: its name must end in .svg, .png or .pdf. Choose another name.")
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    stages = [Stage("read", 0, found.read), *found.stages()]
    with rc_context({"svg.hashsalt": "clmeeval", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7.2, 1.0 + 0.4 * len(stages)), layout="constrained")
        axes = figure.add_subplot(title=f"{found.title}: {found.kept} of {found.read} rows are left", xlabel="rows")
        places = range(len(stages))
        left = [stage.left for stage in stages]
        gone = [stage.dropped for stage in stages]
        axes.barh(places, left, color=LEFT, label="left")
        axes.barh(places, gone, left=left, color=GONE, label="dropped")
        for place, stage in zip(places, stages, strict=True):
            axes.annotate(
                f"{stage.left}" + (f"  −{stage.dropped}" if stage.dropped else ""),
                (stage.left + stage.dropped, place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
            )
        axes.set_yticks(places, [stage.step for stage in stages])
        axes.set_xlim(0, max(found.read, 1) * 1.25)
        axes.invert_yaxis()
        axes.legend(loc="lower right")
        axes.spines[["top", "right"]].set_visible(False)
        try:
            with written_aside(path) as aside:
                figure.savefig(aside, format=form, metadata=_undated(form))
        except OSError as error:
            raise DatasetError(
                f"cannot write {path}: {error.strerror or error}. Choose a file that you may write to."
            ) from error


def _of(manifest: Mapping[str, Any]) -> Report:
    funnel = manifest["funnel"]
    reasons = tuple(Reason(str(drop["step"]), str(drop["reason"]), int(drop["count"])) for drop in funnel["dropped"])
    read, kept = int(funnel["read"]), int(funnel["kept"])
    if read != kept + sum(reason.count for reason in reasons):
        raise ValueError(f"{read} rows read are not {kept} kept and {sum(each.count for each in reasons)} dropped")
    recipe = manifest.get("recipe")
    name = recipe.get("name") if isinstance(recipe, Mapping) else None
    return Report(str(name or manifest["benchmark"]), read, kept, reasons)


def _undated(form: str) -> dict[str, None]:
    """The metadata without which the same report gives the same bytes."""
    return {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(form, {})
