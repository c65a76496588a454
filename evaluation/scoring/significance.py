"""Means with their uncertainty: 95 % intervals by the percentile bootstrap over cases."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

RESAMPLES = 2000
CONFIDENCE = 0.95
BLOCK = 4_000_000  # drawn numbers held at a time: 32 MB


@dataclass(frozen=True)
class Estimate:
    """A mean over ``n`` cases and its 95 % interval; the three numbers are None when there are no cases."""

    mean: float | None
    low: float | None
    high: float | None
    n: int

    def as_dict(self) -> dict[str, float | int | None]:
        """The estimate as one JSON object."""
        return asdict(self)


def interval(values: Sequence[float], seed: int = 0) -> Estimate:
    """Mean of ``values`` with its 95 % percentile bootstrap interval over 2,000 resamples.

    Equal values and seeds give equal intervals. One value gives an interval of no width, and so do values that are all
    equal: 20 successes out of 20 yield [1, 1], which says less than it seems to.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3.
    """
    import numpy as np

    data = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        return Estimate(None, None, None, 0)
    mean = float(data.mean())
    if data.size == 1:
        return Estimate(mean, mean, mean, 1)
    generator = np.random.default_rng(seed)
    rows = max(1, BLOCK // data.size)
    sizes = [min(rows, RESAMPLES - start) for start in range(0, RESAMPLES, rows)]
    means = np.concatenate([data[generator.integers(0, data.size, (size, data.size))].mean(axis=1) for size in sizes])
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    # Rounding may put the bounds of equal values a hair beside their mean.
    return Estimate(mean, min(float(low), mean), max(float(high), mean), data.size)
