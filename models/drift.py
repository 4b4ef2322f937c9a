"""A control chart that follows the slow drift of a healthy machine, within bounds, and never a fault.

In: one row of channels at a time, in any units, at a steady pace.  Out: by how much the worst channel exceeds its
limit, and whether the row is anomalous.  Causal: what a row is given depends on it and on earlier rows alone; the
chart knows neither time nor row number, and with steady input it forgets how long it has run.

Each channel is standardised by its commissioning rows and smoothed (exponentially weighted moving average, Roberts
1959).  Its reference follows the smoothed value slowly, so that ambient and process drift do not add up to an alarm.
The limit is a multiple of the root mean square distance between the two during commissioning.  A channel that wanders
rather than trembles (von Neumann's ratio of successive differences to variance near zero: temperatures above all) has
few independent rows among those, so that its limit is wider.

What keeps a fault from being learnt:
- a channel follows only while it stays well within its limit and its asset is `healthy` by the caller's other checks;
- the reference never leaves the band of the commissioning rows, widened by `BAND` spreads.  A fault that grows slower
  than the reference follows meets that bound and stands out from there on.  Only a person moves the band, by
  commissioning anew;
- an alarm holds the reference.  After a recovery the threshold returns with `RECOVERY_DECAY` from a share of the
  fault's own size: a machine rarely returns to the very point where it was.

Limits of validity: a slow fault that stays within the band is not seen, and neither is one that was there during
commissioning.  Called by `models.evaluation.detectors` and by the anomaly rule of a hard agent.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from drivers.base import Frozen
from drivers.errors import BadInput

__all__ = ("ChartFit", "ChartScore", "DriftChart", "Settings", "fit_chart")

MIN_ROWS = 100  # fewer rows know too few states of the machine
MAX_CHANNELS = 256
SETTLING_ROWS = 40  # eight times the memory of the smoothing, most of that of the reference: not counted for the spread

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]


class Settings(Frozen):
    """How a chart behaves; the defaults were chosen on development files, once for all machines."""

    smoothing: float = Field(default=0.2, gt=0, le=1, description="weight of the newest row")
    follow: float = Field(default=0.025, ge=0, le=1, description="weight of the newest smoothed value in the reference")
    limit: float = Field(default=5.5, gt=0, le=1e3, description="spreads of the smoothed value about the reference")
    widest: float = Field(default=2.0, ge=1, le=100, description="times that a wandering channel's limit is wider")
    wander_ratio: float = Field(default=0.5, gt=0, le=2, description="von Neumann's ratio below which it wanders")
    release: float = Field(default=0.7, gt=0, le=1, description="share of the limit below which an anomaly ends")
    follow_below: float = Field(default=0.75, ge=0, le=1, description="share of the limit from which nothing follows")
    band: float = Field(default=3.0, ge=0, le=100, description="spreads that the reference may leave what was seen")
    recovery_share: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="an anomaly also ends when it has shrunk to this share of its greatest size",
    )
    recovery_decay: float = Field(default=0.98, ge=0, lt=1, description="per row, of the size that is remembered")


class ChartFit(Frozen):
    """What commissioning taught; one entry per channel, in the order of the rows that were fitted.

    All but `mean` and `scale` (both in the channel's unit) are in units of `scale`.
    """

    mean: tuple[float, ...] = Field(min_length=1, max_length=MAX_CHANNELS)
    scale: tuple[float, ...]
    reference: tuple[float, ...]  # at the end of commissioning
    spread: tuple[float, ...]
    lowest: tuple[float, ...]  # of the reference
    highest: tuple[float, ...]
    settings: Settings = Settings()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        columns = (self.mean, self.scale, self.reference, self.spread, self.lowest, self.highest)
        if {len(column) for column in columns} != {len(self.mean)}:
            raise ValueError("every list has one number per channel")
        if not np.isfinite(np.array(columns)).all() or min(*self.scale, *self.spread) <= 0:
            raise ValueError("numbers are finite; scale and spread are above zero")
        return self


@dataclass(frozen=True, slots=True)
class ChartScore:
    """What one row shows: `excess` is the worst channel's distance from its reference in limits; 1 is the limit."""

    excess: float
    channel: int  # the worst one
    anomalous: bool


def fit_chart(matrix: Matrix, resolution: Vector, settings: Settings | None = None) -> ChartFit:
    """Fit to commissioning rows, (rows, channels) in time order; `resolution` per channel in its unit, above zero.

    Raises BadInput for fewer than `MIN_ROWS` rows or numbers that are not finite.
    """
    settings = settings or Settings()
    if len(matrix) < MIN_ROWS or not np.isfinite(matrix).all():
        raise BadInput(f"a chart needs {MIN_ROWS} rows of finite numbers, not {len(matrix)}")
    mean, scale = matrix.mean(axis=0), np.sqrt(matrix.var(axis=0) + resolution**2)
    rows = (matrix - mean) / scale
    noise = (np.diff(rows, axis=0) ** 2).mean(axis=0) / 2  # the channel's variance, had it no memory
    wander = np.clip(noise / settings.wander_ratio, 1e-6, 1.0)
    smoothed = _smooth(rows, settings.smoothing, rows[:20].mean(axis=0))
    reference = _smooth(smoothed, settings.follow, smoothed[:60].mean(axis=0))
    apart = (smoothed - reference)[SETTLING_ROWS:]
    trembling = resolution / scale * np.sqrt(settings.smoothing / (2 - settings.smoothing))
    spread = np.sqrt((apart**2).mean(axis=0) + trembling**2) * np.clip(wander**-0.5, 1.0, settings.widest)
    seen = smoothed[SETTLING_ROWS // 2 :]
    return ChartFit(
        mean=tuple(mean.tolist()),
        scale=tuple(scale.tolist()),
        reference=tuple(reference[-1].tolist()),
        spread=tuple(spread.tolist()),
        lowest=tuple((seen.min(axis=0) - settings.band * spread).tolist()),
        highest=tuple((seen.max(axis=0) + settings.band * spread).tolist()),
        settings=settings,
    )


class DriftChart:
    """A chart at work.  It begins at the reference that commissioning ended with, also after every restart."""

    def __init__(self, fit: ChartFit) -> None:
        self.settings = fit.settings
        self._mean, self._scale = np.array(fit.mean), np.array(fit.scale)
        self._limit = np.array(fit.spread) * fit.settings.limit
        self._lowest, self._highest = np.array(fit.lowest), np.array(fit.highest)
        self._reference = np.array(fit.reference)
        self._smoothed = self._reference.copy()
        self._out = np.zeros(len(fit.mean), dtype=bool)  # channels that are anomalous
        self._greatest = np.zeros(len(fit.mean))  # how far out they have been, in limits; fades after recovery

    @property
    def reference(self) -> Vector:
        """Where each channel is expected now, in its unit."""
        here: Vector = self._mean + self._reference * self._scale
        return here

    def update(self, row: npt.ArrayLike, *, healthy: bool = True) -> ChartScore:
        """Judge the next row; where the asset is not `healthy` by other checks, no reference moves.

        Raises BadInput where the row is not one finite number per channel; the chart then stays as it was.
        """
        values = np.asarray(row, dtype=np.float64)
        if values.shape != self._mean.shape or not np.isfinite(values).all():
            raise BadInput(f"a row is {len(self._mean)} finite numbers")
        settings = self.settings
        self._smoothed += settings.smoothing * ((values - self._mean) / self._scale - self._smoothed)
        apart = self._smoothed - self._reference
        excess = np.abs(apart) / self._limit
        self._greatest = np.where(
            self._out, np.maximum(self._greatest, excess), self._greatest * settings.recovery_decay
        )
        remembered = settings.recovery_share * self._greatest
        on, off = np.maximum(1.0, 1.5 * remembered), np.maximum(settings.release, remembered)
        self._out = excess > np.where(self._out, off, on)
        if healthy:
            quiet = ~self._out & (excess < settings.follow_below * on)
            self._reference += np.where(quiet, settings.follow * apart, 0.0)
            np.clip(self._reference, self._lowest, self._highest, out=self._reference)
        worst = int(excess.argmax())
        return ChartScore(float(excess[worst]), worst, bool(self._out.any()))


def _smooth(rows: Matrix, weight: float, start: Vector) -> Matrix:
    """Exponentially weighted moving average down the rows, from `start` on."""
    smoothed, level = np.empty_like(rows), start
    for index, row in enumerate(rows):
        level = level + weight * (row - level)
        smoothed[index] = level
    return smoothed
