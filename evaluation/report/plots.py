"""Figures as SVG text, drawn by matplotlib: the same input gives the same bytes; colours follow the page's theme."""

import io
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clmeeval_data.evaluation.report.tables import Table
from clmeeval_data.evaluation.report.untrusted import one_line
from clmeeval_data.evaluation.scoring.significance import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

# Mid-tones that keep a contrast of 3 : 1 on white and on near-black.
PALETTE = ("#2f7fd1", "#d1731a", "#1f9a68", "#9166d6", "#d64560", "#1d93a8", "#a06a3c", "#c2529b")
FLOOR_COLOUR = "#7d8590"
# Drawn in these colours, which nothing else uses, then replaced by what the page's theme says they are.
THEME = {"#010101": "var(--ink, #1f2328)", "#020202": "var(--muted, #636c76)", "#030303": "var(--line, #d1d9e0)"}
INK, MUTED, LINE = THEME
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "clmeeval",
    "font.size": 10,
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
}
SIZE = (4.7, 4.0)  # inches
LONGEST_LINE = 24  # characters of a label
SAME = 6.0  # points closer than this, in pixels, share one label


@dataclass(frozen=True)
class Point:
    """One labelled point of a scatter plot."""

    label: str
    x: Estimate
    y: Estimate
    colour: str

    @property
    def place(self) -> tuple[float, float]:
        """The two means."""
        return self.x.mean or 0.0, self.y.mean or 0.0

    @property
    def bars(self) -> list[tuple[tuple[float, float], tuple[float, float]]]:
        """The two ends of each interval, the horizontal one first."""
        x, y = self.place
        across = [((self.x.low, y), (self.x.high, y))] if self.x.low is not None and self.x.high is not None else []
        up = [((x, self.y.low), (x, self.y.high))] if self.y.low is not None and self.y.high is not None else []
        return [*across, *up]


def colours(tables: Iterable[Table]) -> dict[str, str]:
    """A colour per row label, the same in every table; the floor is grey."""
    rows = [row for table in tables for row in table.rows]
    cycle = itertools.cycle(PALETTE)
    named = {label: next(cycle) for label in sorted({row.label for row in rows if not row.is_floor})}
    return {**named, **{row.label: FLOOR_COLOUR for row in rows if row.is_floor}}


def trade_off(table: Table, across: str, chosen: Mapping[str, str], name: str) -> str:
    """Exact match of one dimension (``across``, to the right) against that of specificity, with 95 % intervals.

    Args:
        table: The runs to draw; one without both measures is left out.
        across: "effectiveness" or "generalisation".
        chosen: Colour by row label.
        name: Prefix of the ids in the SVG, to be unique in a page.
    """
    points = []
    for row in table.rows:
        x, y = (row.run.estimates.get((dimension, "exact_match")) for dimension in (across, "specificity"))
        if x is not None and y is not None:
            points.append(Point(one_line(row.label), x, y, chosen[row.label]))
    title = f"{across.capitalize()} against specificity: " + "; ".join(
        f"{point.label} {point.place[0]:.3f}, {point.place[1]:.3f}" for point in points
    )
    return _draw(points, f"{across.capitalize()} (EM)", "Specificity (EM)", title, name)


def _draw(points: Sequence[Point], across: str, up: str, title: str, name: str) -> str:
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=SIZE, dpi=72, layout="constrained")  # an SVG's pixel
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        _frame(axes, across, up)
        for point in points:
            _mark(axes, point)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # labels are placed for this layout
        _label(figure, axes, points)
        buffer = io.StringIO()
        figure.savefig(
            buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
    return _themed(buffer.getvalue(), title, name)


def _frame(axes: "Axes", across: str, up: str) -> None:
    axes.set(xlim=(-0.06, 1.06), ylim=(-0.06, 1.18), xlabel=f"{across} →", ylabel=f"{up} →")
    ticks = [0, 0.25, 0.5, 0.75, 1]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.grid(color=LINE, linewidth=0.8, alpha=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _mark(axes: "Axes", point: Point) -> None:
    for start, end in point.bars:
        axes.plot(*zip(start, end, strict=True), color=point.colour, linewidth=1.6, alpha=0.45)
    axes.plot(*point.place, "o", color=point.colour, markersize=8, clip_on=False, zorder=3)


def _label(figure: "Figure", axes: "Axes", points: Sequence[Point]) -> None:
    """Write each point's name where it covers neither a point nor another name, with a thin line if it stands apart."""
    from matplotlib.transforms import Bbox

    places = [tuple(axes.transData.transform(point.place)) for point in points]
    taken = [Bbox.from_bounds(x - 6, y - 6, 12, 12) for x, y in places]
    taken += [Bbox(axes.transData.transform(ends)).padded(2) for point in points for ends in point.bars]
    room = Bbox.from_extents(axes.bbox.x0, axes.bbox.y0, figure.bbox.x1, axes.bbox.y1)
    for group in sorted(_together(places), key=len, reverse=True):
        x, y = places[group[0]]
        text = axes.annotate(
            _joined([points[index].label for index in group]),
            (x, y),
            xycoords="figure pixels",
            textcoords="figure pixels",
            color=INK,
            fontsize=10,
            annotation_clip=False,
            parse_math=False,
        )
        extent = text.get_window_extent()
        left, bottom = _free_place((x, y), extent.width, extent.height, taken, room)
        text.set_position((left, bottom))
        box = Bbox.from_bounds(left, bottom, extent.width, extent.height)
        taken.append(box)
        _lead(axes, (x, y), box)


def _joined(labels: Sequence[str]) -> str:
    line = ", ".join(labels)
    return line if len(line) <= LONGEST_LINE else ",\n".join(labels)


def _together(places: Sequence[tuple[float, float]]) -> list[list[int]]:
    """Indices of points that lie on top of each other, grouped."""
    groups: list[list[int]] = []
    for index, (x, y) in enumerate(places):
        near = (g for g in groups if max(abs(places[g[0]][0] - x), abs(places[g[0]][1] - y)) < SAME)
        group = next(near, None)
        if group is None:
            groups.append([index])
        else:
            group.append(index)
    return groups


def _free_place(
    point: tuple[float, float], width: float, height: float, taken: Sequence["Bbox"], inside: "Bbox"
) -> tuple[float, float]:
    """The lower left corner of a box near the point that covers little of what is taken and lies inside."""
    from matplotlib.transforms import Bbox

    def cost(corner: tuple[float, float]) -> float:
        box = Bbox.from_bounds(*corner, width, height)
        covered = sum(_overlap(box, other) for other in taken)
        outside = width * height - _overlap(box, inside)
        apart = max(
            abs(corner[0] + width / 2 - point[0]) - width / 2, abs(corner[1] + height / 2 - point[1]) - height / 2
        )
        return covered + 10 * outside + 3 * apart

    x, y = point
    corners = []
    for away in (5, 8, 14, 22, 32, 44, 58, 74):
        right, left, above, below = x + away + 3, x - away - 3 - width, y + away, y - away - height
        corners += [(right, y - height / 2), (left, y - height / 2), (x - width / 2, above), (x - width / 2, below)]
        corners += [(right, above), (left, above), (right, below), (left, below)]
    return min(corners, key=cost)


def _overlap(one: "Bbox", other: "Bbox") -> float:
    wide = min(one.x1, other.x1) - max(one.x0, other.x0)
    high = min(one.y1, other.y1) - max(one.y0, other.y0)
    return float(wide * high) if wide > 0 and high > 0 else 0.0


def _lead(axes: "Axes", point: tuple[float, float], box: "Bbox") -> None:
    x, y = min(max(point[0], box.x0), box.x1), min(max(point[1], box.y0), box.y1)
    if max(abs(x - point[0]), abs(y - point[1])) > 16:
        style: dict[str, Any] = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 5}
        axes.annotate("", point, (x, y), "figure pixels", "figure pixels", arrowprops=style, annotation_clip=False)


def _themed(svg: str, title: str, name: str) -> str:
    """One ``<svg>`` element: unique ids, the theme's colours and fonts, and a title for those who cannot see it."""
    from markupsafe import escape

    found = re.search(r'<svg[^>]*viewBox="([^"]+)"[^>]*>(.*)</svg>', svg, flags=re.DOTALL)
    if found is None:
        raise RuntimeError("matplotlib wrote no <svg> element with a viewBox")
    box, drawing = found.groups()
    drawing = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", drawing.replace("xlink:href=", "href="))
    drawing = re.sub(r"font-family: [^;\"]+", "font-family: system-ui, sans-serif", drawing)
    for drawn, meant in THEME.items():
        drawing = drawing.replace(drawn, meant)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" role="img" aria-labelledby="{name}-title" '
        f'style="stroke-linejoin: round"><title id="{name}-title">{escape(title)}</title>{drawing}</svg>'
    )
