"""Finds where the level of a series changed, as it comes in: a two-sided cumulative sum with its onset.

In: one number at a time, in any unit, with the mean and the spread (standard deviation) that it had while healthy.
Out: a change, with the row on which it most likely began, as soon as the cumulative sum passes its limit.  Causal.

The sums are Page's (1954) in the tabular form: S⁺ ← max(0, S⁺ + z - k), S⁻ ← max(0, S⁻ - z - k) with
z = (x - mean) / spread.  The change is dated to the row after the sum last was zero, which is its maximum-likelihood
estimate (Hinkley 1971).  With k = ½ it is tuned to shifts of one spread and more; with h = 8 and independent normal
rows it errs once in several thousand rows.  After a change the level is learnt anew from the rows since its onset:
this tells changes from one another, it is not a judgement that the new level is healthy.
Limits of validity: rows that wander (autocorrelation) raise more false changes; give such a series a greater `spread`.
Called by the anomaly rule of a hard agent and by `models.evaluation.detectors`.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite

from drivers.errors import BadInput

__all__ = ("Change", "ChangePoints", "last_change")

SLACK = 0.5  # k: half the shift, in spreads, that should be found quickest
LIMIT = 8.0  # h
LEARN_ROWS_MAX = 50  # rows since the onset that the new level is learnt from: enough for a mean within 0.15 spreads


@dataclass(frozen=True, slots=True)
class Change:
    """A change of level: rows are counted from the first that was fed, from 0."""

    onset_row: int
    found_row: int
    before: float
    after: float  # both levels in the series' own unit


class ChangePoints:
    """Watches one series."""

    def __init__(self, mean: float, spread: float, *, slack: float = SLACK, limit: float = LIMIT) -> None:
        """`spread` is above zero and in the unit of the series.  Raises BadInput."""
        if not (isfinite(mean) and isfinite(spread) and spread > 0):
            raise BadInput(f"mean {mean} and spread {spread}: finite numbers, the spread above zero")
        self.mean = mean
        self._spread, self._slack, self._limit = spread, slack, limit
        self._up = self._down = 0.0
        self._up_since = self._down_since = 0
        self._row = -1
        self._newest: deque[float] = deque(maxlen=LEARN_ROWS_MAX)

    @property
    def evidence(self) -> float:
        """The greater of the two sums in limits; a change is found above 1."""
        return max(self._up, self._down) / self._limit

    def feed(self, value: float) -> Change | None:
        """The change that this row completes.  Raises BadInput for what is not finite; it leaves no trace."""
        if not isfinite(value):
            raise BadInput(f"{value} is no measurement")
        self._row += 1
        self._newest.append(value)
        score = (value - self.mean) / self._spread
        self._up = max(0.0, self._up + score - self._slack)
        self._down = max(0.0, self._down - score - self._slack)
        if self._up == 0:
            self._up_since = self._row + 1
        if self._down == 0:
            self._down_since = self._row + 1
        if self.evidence <= 1:
            return None
        onset = self._up_since if self._up >= self._down else self._down_since
        since = list(self._newest)[-(self._row - onset + 1) :]
        change = Change(onset, self._row, self.mean, sum(since) / len(since))
        self.mean = change.after
        self._up = self._down = 0.0
        self._up_since = self._down_since = self._row + 1
        return change


def last_change(values: Iterable[float], mean: float, spread: float) -> Change | None:
    """The newest change in a series that began at this level, if there is one."""
    watch = ChangePoints(mean, spread)
    changes = [change for value in values if (change := watch.feed(value)) is not None]
    return changes[-1] if changes else None
