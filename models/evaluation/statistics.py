"""The statistics of a score: interval of a share, paired difference, McNemar's test, calibration error.

Inputs are plain arrays and counts; nothing here knows what is scored.  Called by `models.evaluation.dga` and
`models.training.dga`.
"""

from math import comb, sqrt

import numpy as np
import numpy.typing as npt

__all__ = ("calibration_error", "mcnemar_p", "paired_interval", "wilson_interval")

Z_95 = 1.959964  # two-sided 95 % quantile of the standard normal distribution
RESAMPLES = 2000  # of the bootstrap: its 2.5 % quantile then rests on 50 draws
SEED = 20260
BINS = 10

Booleans = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]


def wilson_interval(successes: int, n: int) -> tuple[float, float] | None:
    """95 % score interval of a share (Wilson 1927); None without cases."""
    if n == 0:
        return None
    share, z2 = successes / n, Z_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 * sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_interval(difference: Numbers) -> tuple[float, float] | None:
    """95 % bootstrap interval of the mean of per-case differences; the seed is fixed.  None without cases."""
    if len(difference) == 0:
        return None
    rng = np.random.default_rng(SEED)
    values, counts = np.unique(difference, return_counts=True)  # a resample is a draw of counts: small and exact
    means = rng.multinomial(len(difference), counts / len(difference), size=RESAMPLES) @ values / len(difference)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def mcnemar_p(only_first: int, only_second: int) -> float:
    """Exact two-sided p of McNemar's test, from the cases that just one of two methods has right."""
    n, least = only_first + only_second, min(only_first, only_second)
    return min(1.0, 2 * sum(comb(n, k) for k in range(least + 1)) / (1 << n))


def calibration_error(confidence: Numbers, right: Booleans) -> float | None:
    """Expected calibration error: mean gap of confidence and share right over ten equal bins.  None without cases."""
    if len(confidence) == 0:
        return None
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [abs(float(np.sum(confidence[bins == each] - right[bins == each]))) for each in range(BINS)]
    return sum(gaps) / len(confidence)
