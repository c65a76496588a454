"""Which runs of a table are the best in a measure: by paired tests on the same cases, corrected for their number."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from clmeeval_data.evaluation.report.gathered import RunCases
from clmeeval_data.evaluation.report.runs import Measure
from clmeeval_data.evaluation.scoring.paired import compare_paired, holm

if TYPE_CHECKING:
    import numpy as np

FEWEST_CASES = 5  # with fewer, no test could single out a best row
MANY_CASES = 1000  # from here on the normal approximation is as good as an exact test, and takes no time
LEVEL = 0.05


def best_runs(runs: Sequence[RunCases], measure: Measure, sign: int) -> frozenset[int]:
    """The places of the best runs; empty where none is clearly best.

    The leader is the run with the best mean; with it stand those that do not differ from it significantly. They are
    the best if each of them beats each of the others significantly. Both times the p-values are Holm's. The order of
    a cautious reader: where a run cannot be told apart from the leader, nor from one outside, nothing is marked.

    Args:
        runs: Complete runs of one signature.
        measure: What is compared.
        sign: 1 if higher is better, else -1.
    """
    import numpy as np

    columns = {
        place: sign * np.asarray(run.scores[measure], dtype=np.float64)
        for place, run in enumerate(runs)
        if measure in run.scores
    }
    counts = {place: int(np.isfinite(column).sum()) for place, column in columns.items()}
    columns = {place: column for place, column in columns.items() if counts[place] >= FEWEST_CASES}
    if len(columns) < 2:
        return frozenset()
    leader = max(columns, key=lambda place: (float(np.nanmean(columns[place])), -place))
    others = [place for place in columns if place != leader]
    beaten = _beaten(columns, [(leader, other) for other in others])
    best = [leader, *(other for other, clear in zip(others, beaten, strict=True) if not clear)]
    rest = [place for place in columns if place not in best]
    if not rest or not all(_beaten(columns, [(one, other) for one in best for other in rest])):
        return frozenset()
    return frozenset(best)


def _beaten(columns: "dict[int, np.ndarray[Any, Any]]", pairs: Sequence[tuple[int, int]]) -> list[bool]:
    """Per pair whether the first beats the second significantly."""
    compared = [_difference_and_p(columns[one], columns[other]) for one, other in pairs]
    adjusted = holm([p for _, p in compared])
    return [gap > 0 and p < LEVEL for (gap, _), p in zip(compared, adjusted, strict=True)]


def _difference_and_p(first: "np.ndarray[Any, Any]", second: "np.ndarray[Any, Any]") -> tuple[float, float]:
    """Mean difference over the cases that both have, and its two-sided p."""
    import numpy as np

    gaps = first - second
    shared = np.isfinite(gaps)
    n = int(shared.sum())
    if n < FEWEST_CASES:
        return 0.0, 1.0
    gaps = gaps[shared]
    if not gaps.any():
        return 0.0, 1.0
    mean, error = float(gaps.mean()), float(gaps.std(ddof=1)) / math.sqrt(n)
    if n >= MANY_CASES:
        return mean, math.erfc(abs(mean) / error / math.sqrt(2)) if error else 0.0
    return mean, compare_paired(first[shared].tolist(), second[shared].tolist()).p
