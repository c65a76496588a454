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
    log_axis,
    picture,
    score_axis,
    shape,
    shortened,
    shown_rows,
)
from clmeeval_data.evaluation.report.runs import Measure
from clmeeval_data.evaluation.report.tables import Row, Table
from clmeeval_data.evaluation.scoring.significance import Estimate, interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DIMENSIONS = ("effectiveness", "generalisation", "specificity")
WIDE = (9.4, 3.6)  # inches
QUARTERS = ("short", "2nd", "3rd", "long")
FEWEST_IN_SLICE = 5
BINS = 40
NEAR, FAR = "#2f7fd1", "#d1731a"
CODEBOOKS_SHOWN = 4
FARTHEST_ASIDE = 8.0  # points
CLOSEST_TICKS = 0.2  # of the axis: nearer to the last one, a label would run into it
NEAREST = 1e-3  # of the radius: what is nearer, or equal, stands in the first bin


def sequential(table: Table, chosen: Mapping[str, str]) -> Picture | None:
    """Exact match over the number of edits in force, one panel per dimension; None where no run has checkpoints.

    A point is the mean over the cases edited by then, with its 95 % interval.
    """
    rows, note = shown_rows([row for row in table.rows if row.run.checkpoints])
    if not rows:
        return None

    def draw(figure: "Figure") -> None:
        panels = _panels(figure, "Edits in force, and n cases asked")
        for axes, dimension in zip(panels, DIMENSIONS, strict=True):
            measure = (dimension, "exact_match")
            _edits_axis(axes, rows, measure)
            for row, aside in zip(rows, _asides(len(rows)), strict=True):
                points = [(p.edits, p.estimates[measure]) for p in row.run.checkpoints if measure in p.estimates]
                _line(axes, points, chosen[row.label], aside)
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
            axes.set_xlim(-0.3, len(names) - 0.7)
            for row, aside in zip(rows, _asides(len(rows)), strict=True):
                values = row.cases.scores.get((dimension, "exact_match"))
                if values is not None:
                    groups = [np.asarray(values)[part] for part in parts]
                    points = [(x, interval(group[np.isfinite(group)].tolist())) for x, group in enumerate(groups)]
                    _line(axes, points, chosen[row.label], aside)
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

    found = [row for row in table.rows if len(row.cases.near) and len(row.cases.far)]
    rows = found[:CODEBOOKS_SHOWN]
    if not rows:
        return None
    note = f" The first {len(rows)} of {len(found)} methods with a codebook." if len(found) > len(rows) else ""
    across = "Distance to the edit's key, in radii" if len(rows) <= 2 else "Distance, in radii"
    pairs = [tuple(np.maximum(np.asarray(d), NEAREST) for d in (row.cases.near, row.cases.far)) for row in rows]
    nearest = min(0.5, *(float(d.min()) for pair in pairs for d in pair))
    furthest = max(2.0, *(float(d.max()) for pair in pairs for d in pair))
    bins = np.geomspace(nearest, furthest * 1.01, BINS)

    def draw(figure: "Figure") -> None:
        panels = figure.subplots(1, len(rows), squeeze=False, sharey=True)[0]
        for axes, row, (near, far) in zip(panels, rows, pairs, strict=True):
            frame(axes, across, "Share of the pairs" if axes is panels[0] else "")
            log_axis(axes, bins[0] / 1.2, bins[-1] * 1.2)
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
    return picture(table, "distances", "Keys near and far", f"{'; '.join(told)}.{note}", draw, (width, WIDE[1]))


def _panels(figure: "Figure", across: str) -> Sequence["Axes"]:
    figure.set_layout_engine("constrained", wspace=0.06)  # so that labels at the panels' ends stay apart
    panels: Sequence[Axes] = figure.subplots(1, len(DIMENSIONS), sharey=True)
    for axes, dimension in zip(panels, DIMENSIONS, strict=True):
        frame(axes, across if axes is panels[1] else "", "Exact match" if axes is panels[0] else "")
        axes.set_title(dimension.capitalize(), fontsize=10, color=MUTED)
        score_axis(axes, "y")
    return panels


def _edits_axis(axes: "Axes", rows: Sequence[Row], measure: Measure) -> None:
    """A logarithmic axis, as checkpoints lie on one, with a tick for each count that has room beside the last."""
    from matplotlib.ticker import NullLocator

    cases: dict[int, int] = {}
    for point in (point for row in rows for point in row.run.checkpoints if measure in point.estimates):
        cases[point.edits] = max(cases.get(point.edits, 0), point.estimates[measure].n)
    if not cases:
        return
    counts = sorted(cases)
    first, last = counts[0], counts[-1]
    axes.set_xscale("log")
    margin = (last / first) ** 0.1 if last > first else 2.0
    axes.set_xlim(first / margin, last * margin)
    room = CLOSEST_TICKS * math.log(last / first)
    ticks = [count for count in counts if count == last or math.log(last / count) > room]
    axes.set_xticks(ticks, [f"{count:,}\nn={cases[count]:,}" for count in ticks])
    axes.xaxis.set_minor_locator(NullLocator())


def _asides(count: int) -> list[float]:
    """How far each of so many lines stands beside its place, in points, so that equal values do not hide each other."""
    step = min(3.0, 2 * FARTHEST_ASIDE / max(1, count - 1))
    return [step * (number - (count - 1) / 2) for number in range(count)]


def _line(axes: "Axes", points: "Sequence[tuple[float, Estimate]]", colour: str, aside: float) -> None:
    """A line through means, with their 95 % intervals."""
    from matplotlib.transforms import ScaledTranslation

    found = [
        (x, e.mean, e.mean if e.low is None else e.low, e.mean if e.high is None else e.high)
        for x, e in points
        if e.mean is not None
    ]
    if not found:
        return
    places, means, lows, highs = zip(*found, strict=True)
    errors = [[max(0.0, m - low) for m, low in zip(means, lows, strict=True)]]
    errors.append([max(0.0, high - m) for m, high in zip(means, highs, strict=True)])
    axes.errorbar(
        places,
        means,
        errors,
        fmt=f"{shape(colour)}-",
        color=colour,
        markersize=4,
        linewidth=1.4,
        elinewidth=1.0,
        alpha=0.9,
        transform=axes.transData + ScaledTranslation(aside / 72, 0, axes.figure.dpi_scale_trans),
    )


def _mean(estimate: Any) -> str:
    return "–" if estimate is None or estimate.mean is None else f"{estimate.mean:.3f}"
