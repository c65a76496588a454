"""Means with their uncertainty: 95 % intervals over cases, chosen by what they hold in a simulation.

The percentile bootstrap cannot leave the range of the values it resamples. Of simulated data sets of 40 cases it holds
the true mean in 55 % where 2 in 100 cases score 1, in 90 % of BLEU-like scores (85 % zeros), in 66 % where 97 in 100
cases are perfect; BCa in 50, 93 and 67 %. The intervals here hold it in 95, 93 and 95 %. Out of reach stay 0/1 scores
of few cases, as a share of ones comes in steps of 1 / n (by the truth 91 to 98 % at n = 20, 93 to 98 % at 40, 93 to
97 % at 200, 95 % on average over truths), and means that hang on a rare kind of case which the data may not hold.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CONFIDENCE = 0.95
NORMAL = 1.959963984540054  # the normal distribution's 97.5 % quantile
STUDENT = (12.70620473617, 4.30265272975, 3.18244630528, 2.77644510520, 2.57058183564, 2.44691184879, 2.36462425101)


class Bounds(NamedTuple):
    """The two ends of an interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """A mean over ``n`` cases and its 95 % interval; None where there are too few cases to tell."""

    mean: float | None
    low: float | None
    high: float | None
    n: int

    def as_dict(self) -> dict[str, float | int | None]:
        """The estimate as one JSON object."""
        return asdict(self)


def interval(values: Sequence[float], in_unit: bool | None = None) -> Estimate:
    """Mean of ``values`` with its 95 % interval; equal values give equal intervals, whatever their order.

    Scores in [0, 1] get ``score_bounds``, others ``skewed_bounds``. One value of the latter kind has no interval, and
    values that are all the same, but neither 0 nor 1, have one without width.

    Args:
        values: One number per case.
        in_unit: Whether the values are scores that lie in [0, 1] by definition. None: whether they happen to; values
            outside are never taken for such scores.
    """
    import numpy as np

    data = np.sort(np.asarray(values, dtype=np.float64))
    if data.size == 0:
        return Estimate(None, None, None, 0)
    mean = float(data.mean())
    in_unit = in_unit is not False and bool(data[0] >= 0 and data[-1] <= 1)
    if data.size == 1 and not in_unit:
        return Estimate(mean, None, None, 1)
    low, high = score_bounds(data) if in_unit else skewed_bounds(data)
    # Rounding may put the bounds of equal values a hair beside their mean.
    return Estimate(mean, min(low, mean), max(high, mean), data.size)


def score_bounds(data: "NDArray[np.float64]") -> Bounds:
    """Wilson's score interval for the mean of scores in [0, 1].

    For scores that are all 0 or 1 it is Wilson's own: 20 successes out of 20 yield [0.84, 1]. Other scores vary less
    than 0/1 scores of the same mean, so each counts as more than one case: n is divided by the ratio of the variances
    (the design effect), and Student's quantile stands in for the normal one, as the ratio is itself an estimate. So the
    interval stays within [0, 1] and takes its width from the mean it tests, not from the mean that happened.

    Source: Wilson, JASA 1927; the effective number of cases is Korn and Graubard's, Survey Methodology 1998.
    """
    n, mean, variance = data.size, float(data.mean()), float(data.var())
    if is_binary(data):
        return _wilson(mean, n, NORMAL)
    if n == 1:
        return Bounds(0.0, 1.0)
    effective = effective_cases(n, variance, mean * (1 - mean))
    return Bounds(mean, mean) if effective == math.inf else _wilson(mean, effective, student_quantile(n - 1))


def skewed_bounds(data: "NDArray[np.float64]") -> Bounds:
    """Student's interval corrected for skewness: Hall's monotone transformation of the t statistic.

    It is what the studentised bootstrap gives, to its own order of accuracy, without its draws, and finite where its
    resamples have no spread; without skewness it is Student's interval. Covers at n = 20, 50 and 200: 95, 95 and 95 %
    for normal values, 96, 95 and 95 % for entropies with a long lower tail, 95, 93 and 95 % for log-normal seconds. The
    percentile bootstrap: 92, 94 and 95; 91, 94 and 95; 91, 92 and 95 %.

    Source: Hall, JRSS B 1992, "On the removal of skewness by transformation", the cubic transformation.
    """
    import numpy as np

    n, mean, spread = data.size, float(data.mean()), float(data.std())
    if spread <= 1e-12 * max(1.0, abs(mean)):
        return Bounds(mean, mean)
    skew = float(np.mean(((data - mean) / spread) ** 3))
    root = student_quantile(n - 1) / math.sqrt(n - 1)
    return Bounds(mean - spread * _unskewed(root, skew, n), mean - spread * _unskewed(-root, skew, n))


def is_binary(data: "NDArray[np.float64]") -> bool:
    """Whether every value is 0, 1 or, for a difference of such, -1."""
    return bool(((data == 0) | (data == 1) | (data == -1)).all())


def effective_cases(n: int, variance: float, largest: float) -> float:
    """How many all-or-nothing cases tell as much as ``n`` cases of this variance, ``largest`` that of the former."""
    return math.inf if variance <= 1e-24 else (n - 1) * largest / variance


def student_quantile(freedom: int) -> float:
    """The 97.5 % quantile of Student's t, within 1e-6 of the exact one.

    Source: Abramowitz and Stegun 1964, 26.7.5; a table where that series is too short.
    """
    if freedom <= len(STUDENT):
        return STUDENT[freedom - 1]
    z, v = NORMAL, float(freedom)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / v**power for power, term in enumerate(terms, start=1))


def _wilson(mean: float, n: float, quantile: float) -> Bounds:
    square = quantile * quantile / n
    centre = (mean + square / 2) / (1 + square)
    half = math.sqrt(max(0.0, mean * (1 - mean)) * square + square * square / 4) / (1 + square)
    return Bounds(max(0.0, centre - half), min(1.0, centre + half))


def _unskewed(root: float, skew: float, n: int) -> float:
    """The w with w + g w^2 / 3 + g^2 w^3 / 27 + g / 6n = root, for the skewness g."""
    if abs(skew) < 1e-6:
        return root
    import numpy as np

    return float(3 / skew * (np.cbrt(1 + skew * (root - skew / (6 * n))) - 1))
