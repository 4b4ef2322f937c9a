"""Slow change: many measurements in, one mean per bin of time out, and slopes with an interval.

A window of cycles holds a day at the most, and a leak, a bushing or a battery needs weeks.  `BinSeries` keeps means of
quantities that are measured together; `slope` is the estimator of Theil and Sen, which one outlier in four cannot turn,
with the non-parametric interval of Sen (J. Am. Stat. Assoc. 63, 1968, p. 1379; ties are not corrected for);
`against_baseline` compares the newest values with a reference.  Times in seconds, values in any one unit.
Limits of validity: neighbouring values must not depend on each other much (so bins of hours, not polls), else the
interval is too narrow.  Called by the models of slow equipment and by the rules that remember; no I/O.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, nan, sqrt
from statistics import fmean, median

import numpy as np
from pydantic import Field

from drivers.base import Frozen
from drivers.errors import BadInput
from models.findings import Fact, Severity

__all__ = (
    "Assessment",
    "BinSeries",
    "Drift",
    "Keepsake",
    "Slope",
    "against_baseline",
    "mean_of_last",
    "slope",
    "time_to_s",
)

MIN_POINTS = 8  # fewer give no slope worth a forecast
MAX_POINTS = 120  # 7,140 pairs; a longer series is thinned evenly
Z_90 = 1.6449  # two-sided 90 % interval
BASELINE_VALUES = 10  # the first ones are the machine's own healthy past, where the nameplate has no reference
NEWEST_VALUES = 5  # judged together: one odd record is none


@dataclass(frozen=True, slots=True)
class Assessment:
    """Verdict of one method; `code` is empty where nothing is wrong or nothing can be said, `abstained` says why."""

    severity: Severity
    code: str = ""
    facts: tuple[Fact, ...] = ()
    assumptions: tuple[str, ...] = ()
    abstained: str = ""
    text: str = ""  # for an alarm line, where the first two facts do not say it best


class Keepsake(Frozen):
    """What a rule must not forget over a restart; journalled as it stands."""

    columns: tuple[str, ...] = Field(default=(), description="what the rows hold; other columns are another memory")
    rows: tuple[tuple[float, ...], ...] = ()
    numbers: dict[str, float] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Slope:
    """Change per second with its 90 % interval, and where the trend stands at the last time."""

    per_s: float
    low_per_s: float
    high_per_s: float
    level: float
    points: int


@dataclass(frozen=True, slots=True)
class Drift:
    """The newest values against a reference: their median, the reference, and the change in percent of it."""

    value: float
    reference: float
    percent: float


class BinSeries:
    """Means per bin of time of quantities that are measured together; bounded, the oldest bin falls out.

    A row is (time of the bin's centre in seconds, mean, mean …); a quantity that was never known in a bin is NaN there.
    """

    def __init__(self, bin_s: float, max_bins: int) -> None:
        if bin_s <= 0:
            raise BadInput(f"a bin lasts longer than {bin_s} s")
        self._bin_s = bin_s
        self._rows: deque[tuple[float, ...]] = deque(maxlen=max_bins)
        self._number: int | None = None  # of the open bin
        self._sums: list[float] = []
        self._counts: list[int] = []

    @property
    def rows(self) -> tuple[tuple[float, ...], ...]:
        """Closed bins, oldest first."""
        return tuple(self._rows)

    def recall(self, rows: Sequence[tuple[float, ...]]) -> None:
        """Go on where a process before this one stopped."""
        self._rows.extend(rows)

    def add(self, time_s: float, values: Sequence[float]) -> bool:
        """One measurement; True where it closed the bin before.  What is older than the last closed bin is known."""
        number = int(time_s // self._bin_s)
        if self._rows and number <= int(self._rows[-1][0] // self._bin_s):
            return False
        if self._number is not None and number < self._number:
            return False
        closed = self._number is not None and number > self._number
        if closed:
            self._close()
        if self._number != number:
            self._number, self._sums, self._counts = number, [0.0] * len(values), [0] * len(values)
        for index, value in enumerate(values):
            if isfinite(value):
                self._sums[index] += value
                self._counts[index] += 1
        return closed

    def _close(self) -> None:
        assert self._number is not None
        means = (total / count if count else nan for total, count in zip(self._sums, self._counts, strict=True))
        self._rows.append(((self._number + 0.5) * self._bin_s, *means))


def slope(times_s: Sequence[float], values: Sequence[float], segments: Sequence[int] | None = None) -> Slope | None:
    """Slope after Theil and Sen with its 90 % interval; no pair is formed between two `segments`, which are numbered.

    None with fewer than `MIN_POINTS` points or no time between them.  Raises BadInput for lists of unequal length.
    """
    if len(times_s) != len(values) or (segments is not None and len(segments) != len(values)):
        raise BadInput(f"trend: {len(times_s)} times for {len(values)} values")
    if len(times_s) < MIN_POINTS:
        return None
    keep = np.unique(np.linspace(0, len(times_s) - 1, min(len(times_s), MAX_POINTS)).astype(int))
    times, heights = np.asarray(times_s, float)[keep], np.asarray(values, float)[keep]
    parts = np.zeros(len(keep), int) if segments is None else np.asarray(segments, int)[keep]
    first, second = np.triu_indices(len(keep), k=1)
    apart = times[second] - times[first]
    pairs = apart != 0
    if segments is not None:
        pairs &= parts[first] == parts[second]
    if not pairs.any():
        return None
    slopes = (heights[second] - heights[first])[pairs] / apart[pairs]
    sizes = np.unique(parts, return_counts=True)[1]
    spread = Z_90 * sqrt(float(np.sum(sizes * (sizes - 1) * (2 * sizes + 5))) / 18)
    low = max(0, int((len(slopes) - spread) / 2) - 1)
    high = min(len(slopes) - 1, int((len(slopes) + spread) / 2) + 1)
    slopes = np.partition(slopes, sorted({low, (len(slopes) - 1) // 2, len(slopes) // 2, high}))
    middle = float(slopes[(len(slopes) - 1) // 2] + slopes[len(slopes) // 2]) / 2
    last = parts == parts[-1]
    level = float(np.median(heights[last] - middle * (times[last] - times[-1])))
    return Slope(middle, float(slopes[low]), float(slopes[high]), level, len(keep))


def time_to_s(trend: Slope, threshold: float) -> tuple[float, float, float | None] | None:
    """Seconds until a falling trend meets the threshold: likely, earliest, latest (None: perhaps never).

    (0, 0, 0) at or below it; None where the trend does not fall.
    """
    room = trend.level - threshold
    if room <= 0:
        return 0.0, 0.0, 0.0
    if trend.per_s >= 0:
        return None
    latest = room / -trend.high_per_s if trend.high_per_s < 0 else None
    return room / -trend.per_s, room / -trend.low_per_s, latest


def against_baseline(values: Sequence[float], reference: float | None = None) -> Drift | None:
    """The median of the newest values against `reference`, or against the median of the series' own first values.

    None until there are enough values that do not also belong to the baseline, or where the reference is 0.
    """
    needed = NEWEST_VALUES + (BASELINE_VALUES if reference is None else 0)
    if len(values) < needed:
        return None
    base = median(values[:BASELINE_VALUES]) if reference is None else reference
    newest = median(values[-NEWEST_VALUES:])
    return Drift(newest, base, (newest / base - 1) * 100) if base else None


def mean_of_last(values: Sequence[float], count: int) -> float | None:
    """Mean of the last `count` finite values; None where there are fewer."""
    finite = [value for value in values if isfinite(value)]
    return fmean(finite[-count:]) if len(finite) >= count else None
