"""Two methods on the same cases: by how much their means differ, how sure that is, and how often chance does as much.

Nothing is assumed of how scores are distributed: what is tested is that either method could have had either score of a
case. Plain numpy.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clmeeval_data.errors import ResultsError
from clmeeval_data.evaluation.scoring.significance import (
    NORMAL,
    Bounds,
    Estimate,
    effective_cases,
    is_binary,
    skewed_bounds,
    student_quantile,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ENUMERATED = 16  # differing cases up to which all 2 ** 16 flips are gone through
FLIPS = 20_000  # drawn flips beyond; the least p they can give is 1 / 20,001
PACKED = 12  # cases whose flips are looked up together, in a table of 2 ** 12 sums
TIE = 1e-9  # relative: sums closer than this are equal but for rounding
HALVINGS = 40


@dataclass(frozen=True)
class Comparison:
    """The mean of ``first - second`` over ``n`` cases, its 95 % interval, and the two-sided p of no difference.

    ``differing``: the cases on which the two scores are not equal. ``low`` and ``high`` are None where a single case
    cannot tell.
    """

    difference: float
    low: float | None
    high: float | None
    p: float
    n: int
    differing: int


def compare_paired(
    first: Sequence[float], second: Sequence[float], *, binary: bool | None = None, seed: int = 0
) -> Comparison:
    """Compare two methods' scores of the same cases, in the same order.

    0/1 scores: McNemar's exact test. Others: the sign-flip permutation test of the mean, exact for up to 16 differing
    cases, else with 20,000 drawn flips (p = (1 + as extreme) / (1 + drawn), so never 0). Intervals are
    ``difference_interval``'s; they come from another principle than p, and may disagree with it at the margin.

    Args:
        first: One score per case.
        second: The other method's, of the same cases.
        binary: Whether the scores are 0 or 1. None: whether they all are.
        seed: Of the drawn flips.

    Raises:
        ResultsError: If there is no case, the two differ in length, or ``binary`` scores are not 0 or 1.
    """
    import numpy as np

    one, other = (np.asarray(values, dtype=np.float64) for values in (first, second))
    if one.shape != other.shape or one.ndim != 1 or not one.size:
        raise ResultsError(f"cannot pair {one.size} scores with {other.size}: expected the same cases, at least one.")
    both = np.concatenate([one, other])
    if binary is None:
        binary = is_binary(both) and bool((both >= 0).all())
    elif binary and not ((both == 0) | (both == 1)).all():
        raise ResultsError("scores said to be binary are not all 0 or 1. Compare them with binary=False.")
    differences = one - other
    differences[np.abs(differences) <= TIE] = 0.0  # means of the same numbers in another order
    gained, lost = int((differences > 0).sum()), int((differences < 0).sum())
    p = sign_test(gained, lost) if binary else flip_test(differences, seed)
    found = difference_interval(differences, in_unit=bool(both.min() >= 0 and both.max() <= 1))
    return Comparison(float(differences.mean()), found.low, found.high, p, one.size, gained + lost)


def difference_interval(differences: "Sequence[float] | NDArray[np.float64]", in_unit: bool = True) -> Estimate:
    """The mean of per-case differences with its 95 % interval, of the family of ``significance.interval``.

    Args:
        differences: One difference per case.
        in_unit: Whether they are of scores in [0, 1], which get ``difference_bounds``; others get ``skewed_bounds``,
            and none for a single case.
    """
    import numpy as np

    data = np.asarray(differences, dtype=np.float64)
    if not data.size:
        return Estimate(None, None, None, 0)
    mean = float(data.mean())
    if data.size == 1 and not in_unit:
        return Estimate(mean, None, None, 1)
    in_unit = in_unit and bool((abs(data) <= 1).all())
    low, high = difference_bounds(data) if in_unit else skewed_bounds(data)
    return Estimate(mean, min(low, mean), max(high, mean), data.size)


def sign_test(gained: int, lost: int) -> float:
    """The exact two-sided p of McNemar's test: of a fair coin that falls ``gained`` times one way, ``lost`` the other.

    Source: McNemar, Psychometrika 1947; the exact form is the binomial test.
    """
    tosses = gained + lost
    if gained == lost:
        return 1.0
    logs = (
        math.lgamma(tosses + 1) - math.lgamma(heads + 1) - math.lgamma(tosses - heads + 1)
        for heads in range(min(gained, lost) + 1)
    )
    return min(1.0, 2 * math.fsum(math.exp(log - tosses * math.log(2)) for log in logs))


def flip_test(differences: "Sequence[float] | NDArray[np.float64]", seed: int = 0) -> float:
    """The two-sided p of the permutation test that gives each difference either sign with equal chance.

    Source: Fisher, The Design of Experiments, 1935, section 21; the drawn form as Phipson and Smyth, 2010.
    """
    import numpy as np

    data = np.asarray(differences, dtype=np.float64)
    data = data[data != 0]
    if not data.size:
        return 1.0
    reached = abs(float(data.sum())) - TIE * float(np.abs(data).sum())
    if data.size <= ENUMERATED:
        return float((np.abs(_all_sums(data)) >= reached).mean())
    drawn = np.abs(_drawn_sums(data, seed))
    return float((1 + (drawn >= reached).sum()) / (1 + FLIPS))


def difference_bounds(differences: "NDArray[np.float64]") -> Bounds:
    """Tango's score interval for the mean difference of paired scores in [0, 1].

    For 0/1 scores it is Tango's own: 40 cases without any difference yield [-0.09, 0.09]. Other scores count as more
    cases, as in ``significance.score_bounds``.

    Source: Tango, Statistics in Medicine 1998, equation 8.
    """
    import numpy as np

    n = differences.size
    gain, loss = float(np.maximum(differences, 0).mean()), float(np.maximum(-differences, 0).mean())
    if is_binary(differences):
        return _tango(gain, loss, n, NORMAL)
    if n == 1:
        return Bounds(-1.0, 1.0)
    effective = effective_cases(n, float(differences.var()), gain + loss - (gain - loss) ** 2)
    if effective == math.inf:
        return Bounds(gain - loss, gain - loss)
    return _tango(gain, loss, effective, student_quantile(n - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values corrected so that a false alarm anywhere among them has at most the chance of one, in their order.

    Source: Holm, Scandinavian Journal of Statistics 1979.
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """The p values corrected for the share of false alarms among those that pass, in their order; milder than Holm's.

    Source: Benjamini and Hochberg, JRSS B 1995.
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place], reverse=True)
    corrected, smallest = [0.0] * len(p_values), 1.0
    for rank, place in enumerate(order):
        smallest = min(smallest, p_values[place] * len(order) / (len(order) - rank))
        corrected[place] = smallest
    return corrected


def _all_sums(data: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """The sums under all 2 ** n choices of signs."""
    import numpy as np

    if data.size == 1:
        return np.array([data[0], -data[0]])
    half = data.size // 2
    return np.add.outer(_all_sums(data[:half]), _all_sums(data[half:])).ravel()


def _drawn_sums(data: "NDArray[np.float64]", seed: int) -> "NDArray[np.float64]":
    """The sums under drawn signs: twelve cases at a time, by looking up a random number in a table of their sums."""
    import numpy as np

    generator = np.random.default_rng(seed)
    sums = np.zeros(FLIPS)
    for start in range(0, data.size, PACKED):
        table = _all_sums(data[start : start + PACKED])
        chosen = generator.integers(0, 2**16, FLIPS, dtype=np.uint16) & (table.size - 1)
        sums += table.take(chosen)
    return sums


def _tango(gain: float, loss: float, n: float, quantile: float) -> Bounds:
    """The differences that a score test does not refuse, by bisection from the observed one to either end."""
    observed = gain - loss

    def refused(truth: float) -> bool:
        linear = (2 - gain + loss) * truth - gain - loss
        lost = (math.sqrt(max(0.0, linear**2 + 8 * loss * truth * (1 - truth))) - linear) / 4  # most likely at truth
        variance = (2 * lost + truth * (1 - truth)) / n
        return (observed - truth) ** 2 > quantile**2 * max(0.0, variance)

    ends = []
    for end in (-1.0, 1.0):
        inside, outside = observed, end
        for _ in range(HALVINGS):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if refused(middle) else (middle, outside)
        ends.append(inside)
    return Bounds(ends[0], ends[1])
