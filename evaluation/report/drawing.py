"""Pictures as SVG files, drawn by matplotlib: the same input gives the same bytes; colours follow light and dark."""

import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

from clmeeval_data.evaluation.report.tables import Row, Table
from clmeeval_data.evaluation.report.untrusted import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Mid-tones that keep a contrast of 3 : 1 on white and on near-black.
PALETTE = (
    "#2b8bdc", "#d1731a", "#1f9a68", "#9166d6", "#d64560", "#1d93a8", "#8a5a2b", "#d94fb8",
    "#7a8b1f", "#4a58d6", "#b5391f", "#4f9e1c",
)  # fmt: skip
SHAPES = "os^DvP"  # of markers, so that lines of similar colours can be told apart
FLOOR_COLOUR = "#7d8590"
LETTERS = 13  # of a subtitle to an inch
MOST_ROWS = 12  # runs in one picture: more cannot be told apart
INK, MUTED, LINE = "#1f2328", "#59636e", "#d8dee4"
DARK = {INK: "#e6edf3", MUTED: "#9aa5b1", LINE: "#2e3640"}
WIDE_RANGE = 300  # of a logarithmic axis: from here on only powers of ten have room
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
    "legend.labelcolor": INK,
    "text.color": INK,
    "text.parse_math": False,
}


@dataclass(frozen=True)
class Picture:
    """A picture of a table: ``name`` of its file, ``title``, ``text`` for who cannot see it, the SVG itself.

    ``size``: width and height in an SVG's pixels.
    """

    name: str
    title: str
    text: str
    svg: str
    size: tuple[int, int]

    @property
    def wide(self) -> bool:
        """Whether it takes a row for itself."""
        return self.size[0] > 2 * self.size[1]


def colours(tables: Iterable[Table]) -> dict[str, str]:
    """A colour per row label, the same in every table; the floor is grey."""
    rows = [row for table in tables for row in table.rows]
    shades = cycle(PALETTE)
    named = {label: next(shades) for label in sorted({row.label for row in rows if not row.is_floor})}
    return {**named, **{row.label: FLOOR_COLOUR for row in rows if row.is_floor}}


def shape(colour: str) -> str:
    """The marker that goes with a colour."""
    return SHAPES[PALETTE.index(colour) % len(SHAPES)] if colour in PALETTE else "X"


def shown_rows(rows: Sequence[Row]) -> tuple[list[Row], str]:
    """The first rows, as many as one picture can show, with the floor among them; and a note on the others."""
    floors = [row for row in rows if row.is_floor][:1]
    others = [row for row in rows if not row.is_floor]
    kept = others[: MOST_ROWS - len(floors)]
    left = len(others) - len(kept)
    return kept + floors, f" The first {len(kept)} of {len(others)} methods." if left else ""


def picture(
    table: Table,
    name: str,
    title: str,
    text: str,
    draw: Callable[["Figure"], Callable[[], None] | None],
    size: tuple[float, float] = (4.7, 4.2),
) -> Picture:
    """Draw a picture of a table.

    Args:
        table: Its title stands below that of the picture.
        name: Of the kind of picture.
        title: What is to be seen.
        text: The same in words and numbers.
        draw: Draws on the figure; what it returns is called once the layout is fixed, to place labels.
        size: Width and height in inches.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=size, dpi=72, layout="constrained")  # an SVG's pixel
        FigureCanvasAgg(figure)
        figure.suptitle(f"{title}\n", x=0.012, ha="left", fontsize=11, fontweight="bold")
        subtitle = one_line(table.title)
        most = int(LETTERS * size[0])
        subtitle = subtitle if len(subtitle) <= most else subtitle[: most - 1] + "…"
        figure.text(0.012, 1 - 0.36 / size[1], subtitle, fontsize=9, color=MUTED, va="center")
        after = draw(figure)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # labels are placed for this layout
        if after is not None:
            after()
        buffer = io.StringIO()
        figure.savefig(
            buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
    svg = _finished(buffer.getvalue(), f"{title}. {text}")
    return Picture(f"{table.key}-{name}", title, text, svg, (round(72 * size[0]), round(72 * size[1])))


def frame(axes: "Axes", across: str, up: str) -> None:
    """Labels, a light grid, no box."""
    axes.set(xlabel=across, ylabel=up)
    axes.grid(color=LINE, linewidth=0.8, alpha=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def score_axis(axes: "Axes", which: str) -> None:
    """Make an axis, "x" or "y", that of a score from 0 to 1."""
    ticks = [0, 0.25, 0.5, 0.75, 1]
    getattr(axes, f"set_{which}lim")(-0.06, 1.06)
    getattr(axes, f"set_{which}ticks")(ticks, [f"{tick:g}" for tick in ticks])


def log_axis(axes: "Axes", low: float, high: float) -> None:
    """Make the horizontal axis logarithmic from ``low`` to ``high``, with as many labels as have room."""
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < WIDE_RANGE else (1,)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())


def legend(figure: "Figure", rows: Sequence[Row], chosen: Mapping[str, str]) -> None:
    """The names of the rows below everything."""
    from matplotlib.lines import Line2D

    shades = [chosen[row.label] for row in rows]
    handles = [Line2D([], [], color=shade, marker=shape(shade), markersize=5, linewidth=1.6) for shade in shades]
    labels = [shortened(row.label) for row in rows]
    columns = max(1, int(figure.get_figwidth() * 12 // (max(map(len, labels)) + 6)))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)


def shortened(label: str) -> str:
    """A label in one line of at most 40 characters."""
    label = one_line(label)
    return label if len(label) <= 40 else label[:39] + "…"


def _finished(svg: str, text: str) -> str:
    """One ``<svg>`` file: a title for who cannot see it, the reader's own font, dark colours where dark is on."""
    from markupsafe import escape

    found = re.search(r'<svg[^>]*viewBox="([^"]+)"[^>]*>(.*)</svg>', svg, flags=re.DOTALL)
    if found is None:
        raise RuntimeError("matplotlib wrote no <svg> element with a viewBox")
    box, drawing = found.groups()
    width, height = box.split()[2:]
    drawing = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", drawing, flags=re.DOTALL)
    drawing = drawing.replace("xlink:href=", "href=")
    drawing = re.sub(r"(font: [^;\"]*?)'[^;\"]+", r"\1system-ui, sans-serif", drawing)
    drawing = re.sub(r"font-family: [^;\"]+", "font-family: system-ui, sans-serif", drawing)
    rules = "".join(
        f'[style*="{kind}: {light}"]{{{kind}:{dark}!important}}'
        for light, dark in DARK.items()
        for kind in ("fill", "stroke")
    )
    style = f"svg{{stroke-linejoin:round;color-scheme:light dark}}@media(prefers-color-scheme:dark){{{rules}}}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" width="{width}" height="{height}" role="img" '
        f'aria-labelledby="title"><title id="title">{escape(text)}</title><style>{style}</style>{drawing}</svg>\n'
    )
