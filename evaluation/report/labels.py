"""Names beside the points of a scatter plot, where they cover neither a point nor another name."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clmeeval_data.evaluation.report.drawing import INK, MUTED
from clmeeval_data.evaluation.scoring.significance import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

LONGEST_LINE = 24  # characters of a label
SAME = 6.0  # points closer than this, in pixels, share one label,
MINGLED = 12.0  # and of those closer than this no label can be told to be the other's


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


def mark(axes: "Axes", point: Point) -> None:
    """Draw a point with its intervals."""
    for start, end in point.bars:
        axes.plot(*zip(start, end, strict=True), color=point.colour, linewidth=1.6, alpha=0.45)
    axes.plot(*point.place, "o", color=point.colour, markersize=8, clip_on=False, zorder=3)


def label(figure: "Figure", axes: "Axes", points: Sequence[Point]) -> None:
    """Write each point's name where it covers neither a point nor another name, with a thin line if it stands apart."""
    from matplotlib.transforms import Bbox

    places = [tuple(axes.transData.transform(point.place)) for point in points]
    taken = [Bbox.from_bounds(x - 6, y - 6, 12, 12) for x, y in places]
    taken += [Bbox(axes.transData.transform(ends)).padded(2) for point in points for ends in point.bars]
    written: list[Bbox] = []
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
        others = [(a, b) for a, b in places if max(abs(a - x), abs(b - y)) > MINGLED]
        left, bottom = _free_place((x, y), others, extent.width, extent.height, taken, written, room)
        text.set_position((left, bottom))
        box = Bbox.from_bounds(left, bottom, extent.width, extent.height)
        written.append(box)
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
    point: tuple[float, float],
    others: Sequence[tuple[float, float]],
    width: float,
    height: float,
    taken: Sequence["Bbox"],
    written: Sequence["Bbox"],
    inside: "Bbox",
) -> tuple[float, float]:
    """The lower left corner of a box near the point that covers little of what is taken or written, and lies inside.

    Nearer to the point than to any of the others, if that can be: else it would be read as another's.
    """
    from matplotlib.transforms import Bbox

    def cost(corner: tuple[float, float]) -> float:
        box = Bbox.from_bounds(*corner, width, height)
        covered = sum(_overlap(box, other) for other in taken) + 10 * sum(_overlap(box, other) for other in written)
        outside = width * height - _overlap(box, inside)
        apart = _distance(box, point)
        nearest = min((_distance(box, other) for other in others), default=math.inf)
        return covered + 10 * outside + 3 * apart + 20 * max(0.0, apart - nearest)

    x, y = point
    corners = []
    for away in (5, 8, 14, 22, 32, 44, 58, 74):
        right, left, above, below = x + away + 3, x - away - 3 - width, y + away, y - away - height
        corners += [(right, y - height / 2), (left, y - height / 2), (x - width / 2, above), (x - width / 2, below)]
        corners += [(right, above), (left, above), (right, below), (left, below)]
    return min(corners, key=cost)


def _distance(box: "Bbox", point: tuple[float, float]) -> float:
    """The larger of the two distances, across and up, from a box to a point."""
    x, y = point
    return float(max(box.x0 - x, x - box.x1, box.y0 - y, y - box.y1))


def _overlap(one: "Bbox", other: "Bbox") -> float:
    wide = min(one.x1, other.x1) - max(one.x0, other.x0)
    high = min(one.y1, other.y1) - max(one.y0, other.y0)
    return float(wide * high) if wide > 0 and high > 0 else 0.0


def _lead(axes: "Axes", point: tuple[float, float], box: "Bbox") -> None:
    x, y = min(max(point[0], box.x0), box.x1), min(max(point[1], box.y0), box.y1)
    if max(abs(x - point[0]), abs(y - point[1])) > 16:
        style: dict[str, Any] = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 5}
        axes.annotate("", point, (x, y), "figure pixels", "figure pixels", arrowprops=style, annotation_clip=False)
