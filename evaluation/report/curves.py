"""Pictures of what a mean hides: edits in sequence, short and long targets, and how near a codebook's keys are."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clmeeval_data.evaluation.report.drawing import (
    INK,
    MUTED,
    Picture,
    frame,
    legend,
    picture,
    score_axis,
    shortened,
    shown_rows,
)
from clmeeval_data.evaluation.report.runs import Measure
from clmeeval_data.evaluation.report.tables import Row, Table

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DIMENSIONS = ("effectiveness", "generalisation", "specificity")
WIDE = (9.4, 3.6)  # inches
QUARTERS = ("short", "2nd", "3rd", "long")
FEWEST_IN_SLICE = 5
BINS = 40
NEAR, FAR = "#2f7fd1", "#d1731a"
CODEBOOKS_SHOWN = 4
NEAREST = 1e-3  # of the radius: what is nearer, or equal, stands in the first bin


def sequential(table: Table, chosen: Mapping[str, str]) -> Picture | None:
    """Exact match over the number of edits in force, one panel per dimension; None where no run has checkpoints."""
    rows, note = shown_rows([row for row in table.rows if row.run.checkpoints])
    if not rows:
        return None

    def draw(figure: "Figure") -> None:
        panels = _panels(figure, "Edits in force")
        for axes, dimension in zip(panels, DIMENSIONS, strict=True):
            for row in rows:
                _curve(axes, row, (dimension, "exact_match"), chosen[row.label])
        legend(figure, rows, chosen)

    parts = []
    for row in rows:
        last = row.run.checkpoints[-1]
        means = ", ".join(_mean(last.estimates.get((dimension, "exact_match"))) for dimension in DIMENSIONS)
        parts.append(f"{shortened(row.label)} after {last.edits}: {means}")
    text = f"Exact match in effectiveness, generalisation and specificity: {'; '.join(parts)}.{note}"
    return picture(table, "sequential", "Edits in sequence", text, draw, WIDE)


def slices(table: Table, chosen: Mapping[str, str]) -> Picture | None:
    """Exact match by quarters of the cases by the length of their target; None with fewer than 20 cases."""
    import numpy as np

    lengths = np.asarray(table.cases.target_lengths)
    if len(lengths) < len(QUARTERS) * FEWEST_IN_SLICE:
        return None
    parts = np.array_split(np.argsort(lengths, kind="stable"), len(QUARTERS))
    names = [f"{name}\n{lengths[part].min()}–{lengths[part].max()}" for name, part in zip(QUARTERS, parts, strict=True)]
    rows, note = shown_rows([row for row in table.rows if row.run.complete and not row.is_floor])
    if not rows:
        return None

    def draw(figure: "Figure") -> None:
        panels = _panels(figure, "Target length in characters, by quarters")
        for axes, dimension in zip(panels, DIMENSIONS, strict=True):
            axes.set_xticks(range(len(names)), names)
            for row in rows:
                values = row.cases.scores.get((dimension, "exact_match"))
                if values is not None:
                    _slice_line(axes, np.asarray(values), parts, chosen[row.label])
        legend(figure, rows, chosen)

    told = []
    for row in rows:
        values = row.cases.scores.get(("effectiveness", "exact_match"))
        if values is not None:
            means = [float(np.nanmean(np.asarray(values)[part])) for part in (parts[0], parts[-1])]
            told.append(f"{shortened(row.label)} {means[0]:.3f} and {means[1]:.3f}")
    text = f"Effectiveness (exact match) of the shortest and the longest quarter of targets: {'; '.join(told)}.{note}"
    return picture(table, "length", "Short and long targets", text, draw, WIDE)


def distances(table: Table) -> Picture | None:
    """How far the keys of near and far pairs are from the edit's, in radii; None where no run has recorded them.

    Near: prompt and rephrased prompt, which should fall within the radius. Far: prompt and neighbour, which should not.

    Source: the analysis of GRACE in Li et al., ICSE 2025 (arXiv 2411.06638), section V.
    """
    import numpy as np

    rows = [row for row in table.rows if len(row.cases.near) and len(row.cases.far)][:CODEBOOKS_SHOWN]
    if not rows:
        return None
    pairs = [tuple(np.maximum(np.asarray(d), NEAREST) for d in (row.cases.near, row.cases.far)) for row in rows]
    furthest = max(2.0, *(float(d.max()) for pair in pairs for d in pair))
    bins = np.geomspace(NEAREST, furthest * 1.01, BINS)

    def draw(figure: "Figure") -> None:
        panels = figure.subplots(1, len(rows), squeeze=False)[0]
        for axes, row, (near, far) in zip(panels, rows, pairs, strict=True):
            frame(axes, "Distance to the edit's key, in radii", "Share of the pairs" if axes is panels[0] else "")
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.set_title(shortened(row.label), fontsize=10)
            for values, colour, name in ((near, NEAR, "rephrased prompts"), (far, FAR, "neighbours")):
                weights = np.full(len(values), 1 / len(values))
                axes.hist(values, bins=bins, weights=weights, color=colour, alpha=0.6, label=name)
            axes.axvline(1, color=INK, linewidth=1.2, linestyle="--", label="radius")
        figure.legend(
            *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=9
        )

    told = [
        f"{shortened(row.label)}: {(near <= 1).mean():.1%} of the rephrased prompts and {(far <= 1).mean():.1%} of the "
        f"neighbours within the radius (medians {np.median(near):.3g} and {np.median(far):.3g} radii)"
        for row, (near, far) in zip(rows, pairs, strict=True)
    ]
    width = WIDE[0] if len(rows) > 1 else WIDE[0] / 2
    return picture(table, "distances", "Keys near and far", "; ".join(told) + ".", draw, (width, WIDE[1]))


def _panels(figure: "Figure", across: str) -> Sequence["Axes"]:
    panels: Sequence[Axes] = figure.subplots(1, len(DIMENSIONS), sharey=True)
    for axes, dimension in zip(panels, DIMENSIONS, strict=True):
        frame(axes, across if axes is panels[1] else "", "Exact match" if axes is panels[0] else "")
        axes.set_title(dimension.capitalize(), fontsize=10, color=MUTED)
        score_axis(axes, "y")
    return panels


def _curve(axes: "Axes", row: Row, measure: Measure, colour: str) -> None:
    found = [(point.edits, point.estimates[measure]) for point in row.run.checkpoints if measure in point.estimates]
    means = [(edits, estimate.mean) for edits, estimate in found if estimate.mean is not None]
    edits, heights = [edits for edits, _ in means], [mean for _, mean in means]
    axes.plot(edits, heights, "o-", color=colour, markersize=4, linewidth=1.8)
    bounds = [(n, e.low, e.high) for n, e in found if e.low is not None and e.high is not None]
    lows, highs = [low for _, low, _ in bounds], [high for _, _, high in bounds]
    axes.fill_between([n for n, _, _ in bounds], lows, highs, color=colour, alpha=0.12, linewidth=0)


def _slice_line(axes: "Axes", values: "np.ndarray[Any, Any]", parts: Sequence[Any], colour: str) -> None:
    """A line through the means of the parts, with the normal 95 % interval of each mean."""
    import numpy as np

    groups = [values[part][np.isfinite(values[part])] for part in parts]
    found = [(x, group) for x, group in enumerate(groups) if len(group)]
    means = [float(group.mean()) for _, group in found]
    errors = [1.96 * float(group.std()) / math.sqrt(len(group)) for _, group in found]
    places = [x for x, _ in found]
    axes.errorbar(places, means, errors, fmt="o-", color=colour, markersize=4, linewidth=1.6, elinewidth=1.2, alpha=0.9)


def _mean(estimate: Any) -> str:
    return "–" if estimate is None or estimate.mean is None else f"{estimate.mean:.3f}"
