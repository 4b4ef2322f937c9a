"""Finds where the level of a series changed, as it comes in: a two-sided cumulative sum with its onset.

In: one number at a time, in any unit, with the mean and the spread (standard deviation) that it had while healthy.
Out: a change, with the row on which it most likely began, as soon as the cumulative sum passes its limit.  Causal.

The sums are Page's (1954) in the tabular form: S⁺ ← max(0, S⁺ + z - k), S⁻ ← max(0, S⁻ - z - k) with
z = (x - mean) / spread.  The change is dated to the row after the sum last was zero, which is its maximum-likelihood
estimate (Hinkley 1971).  With k = ½ it is tuned to shifts of one spread and more; with h = 8 and independent normal
rows it errs once in some ten thousand rows.  After a change the level is learnt anew from the rows since its onset, and
scores allow for what is not yet known of it (self-starting sums, Hawkins 1987): this tells changes from one another, it
is not a judgement that the new level is healthy.
Limits of validity: rows that wander (autocorrelation) raise more false changes; give such a series a greater `spread`.
Called by the anomaly rule of a hard agent.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf, isfinite, sqrt

from drivers.errors import BadInput

__all__ = ("Change", "ChangePoints", "last_change")

SLACK = 0.5  # k: half the shift, in spreads, that should be found quickest
LIMIT = 8.0  # h
LEARN_ROWS = 500  # that a new level is learnt from: an error of its mean brings false changes nearer


@dataclass(frozen=True, slots=True)
class Change:
    """A change of level: rows are counted from the first that was fed, from 0."""

    onset_row: int
    found_row: int
    before: float
    after: float  # mean since the onset; both levels in the series' own unit


@dataclass(slots=True)
class _Sum:
    """One of the two sums, with the rows since it last was zero."""

    sign: int
    evidence: float = 0.0
    rows: int = 0
    total: float = 0.0  # of the values in these rows

    def add(self, value: float, score: float) -> None:
        self.evidence = max(0.0, self.evidence + self.sign * score - SLACK)
        self.rows, self.total = (self.rows + 1, self.total + value) if self.evidence else (0, 0.0)


class ChangePoints:
    """Watches one series."""

    def __init__(self, mean: float, spread: float) -> None:
        """`spread` is above zero and in the unit of the series.  Raises BadInput."""
        if not (isfinite(mean) and isfinite(spread) and spread > 0):
            raise BadInput(f"mean {mean} and spread {spread}: finite numbers, the spread above zero")
        self.mean = mean
        self._spread = spread
        self._learnt_rows = inf  # the level that was handed in is known
        self._row = -1
        self._sums = (_Sum(1), _Sum(-1))

    @property
    def evidence(self) -> float:
        """The greater of the two sums in limits; a change is found above 1."""
        return max(side.evidence for side in self._sums) / LIMIT

    def feed(self, value: float) -> Change | None:
        """The change that this row completes.  Raises BadInput for what is not finite; it leaves no trace."""
        if not isfinite(value):
            raise BadInput(f"{value} is no measurement")
        self._row += 1
        score = (value - self.mean) / (self._spread * sqrt(1 + 1 / self._learnt_rows))
        for side in self._sums:
            side.add(value, score)
        if self.evidence <= 1:
            if self._learnt_rows < LEARN_ROWS:
                self._learnt_rows += 1
                self.mean += (value - self.mean) / self._learnt_rows
            return None
        side = max(self._sums, key=lambda one: one.evidence)
        change = Change(self._row - side.rows + 1, self._row, self.mean, side.total / side.rows)
        self.mean, self._learnt_rows = change.after, side.rows
        self._sums = (_Sum(1), _Sum(-1))
        return change


def last_change(values: Iterable[float], mean: float, spread: float) -> Change | None:
    """The newest change in a series that began at this level, if there is one."""
    watch = ChangePoints(mean, spread)
    changes = [change for value in values if (change := watch.feed(value)) is not None]
    return changes[-1] if changes else None
