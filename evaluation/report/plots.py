"""Pictures of one number against another: what an edit gives and what it spoils, and what it costs."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from clmeeval_data.evaluation.report.drawing import Picture, frame, log_axis, picture, score_axis, shown_rows
from clmeeval_data.evaluation.report.labels import Point, label, mark
from clmeeval_data.evaluation.report.tables import Row, Table
from clmeeval_data.evaluation.report.untrusted import one_line
from clmeeval_data.evaluation.scoring.significance import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

QUALITY = ("effectiveness", "generalisation", "specificity")


def trade_off(table: Table, across: str, chosen: Mapping[str, str]) -> Picture | None:
    """Exact match of one dimension (``across``, to the right) against that of specificity, with 95 % intervals.

    None where no run has both.

    Args:
        table: The runs to draw; one without both measures is left out.
        across: "effectiveness" or "generalisation".
        chosen: Colour by row label.
    """
    rows, note = shown_rows(table.rows)
    points = []
    for row in rows:
        x, y = (row.run.estimates.get((dimension, "exact_match")) for dimension in (across, "specificity"))
        if x is not None and y is not None:
            points.append(Point(one_line(row.label), x, y, chosen[row.label]))
    if not points:
        return None

    def framed(axes: "Axes") -> None:
        frame(axes, f"{across.capitalize()}: exact match →", "Specificity: exact match →")
        score_axis(axes, "x")
        score_axis(axes, "y")
        axes.set_ylim(-0.16, 1.18)  # with room for names above and below

    text = "; ".join(f"{point.label} {point.place[0]:.3f}, {point.place[1]:.3f}" for point in points)
    text = f"Exact match with 95 % intervals, {across} then specificity: {text}.{note}"
    return picture(
        table, f"{across}-specificity", f"{across.capitalize()} against specificity", text, _drawer(points, framed)
    )


def cost_quality(table: Table, chosen: Mapping[str, str]) -> Picture | None:
    """Seconds per edit, on a logarithmic axis, against the mean of the three exact matches; None without any."""
    rows, note = shown_rows([row for row in table.rows if not row.is_floor])
    points = [point for row in rows if (point := _cost_point(row, chosen)) is not None]
    if not points:
        return None

    def framed(axes: "Axes") -> None:
        frame(axes, "← Seconds per edit", "Mean of the three exact matches →")
        score_axis(axes, "y")
        low, high = (function(point.place[0] for point in points) for function in (min, max))
        log_axis(axes, low / 2, high * 2)

    text = "; ".join(f"{point.label} {point.place[0]:.3g} s, {point.place[1]:.3f}" for point in points)
    text = f"Seconds per edit and the mean exact match of effectiveness, generalisation and specificity: {text}.{note}"
    return picture(table, "cost", "Cost against quality", text, _drawer(points, framed))


def _cost_point(row: Row, chosen: Mapping[str, str]) -> Point | None:
    seconds = row.run.estimates.get(("cost", "edit_seconds"))
    found = [row.run.estimates.get((dimension, "exact_match")) for dimension in QUALITY]
    means = [estimate.mean for estimate in found if estimate is not None and estimate.mean is not None]
    if seconds is None or not seconds.mean or len(means) < len(QUALITY):
        return None
    quality = Estimate(sum(means) / len(means), None, None, seconds.n)
    return Point(one_line(row.label), Estimate(seconds.mean, None, None, seconds.n), quality, chosen[row.label])


def _drawer(points: Sequence[Point], framed: Callable[["Axes"], None]) -> Callable[["Figure"], Callable[[], None]]:
    def draw(figure: "Figure") -> Callable[[], None]:
        axes = figure.add_subplot()
        framed(axes)
        for point in points:
            mark(axes, point)
        return lambda: label(figure, axes, points)

    return draw
