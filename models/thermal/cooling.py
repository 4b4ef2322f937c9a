"""Cooling faults: measured top oil against what load and ambient explain, adapted to the one transformer.

Inputs: load in per unit, ambient and top oil in °C, steps in seconds of the plant's time.  Outputs: residual in K
(measured less expected, averaged over hours), the limit above which cooling has failed, or why there is none.
Model: the oil equation of IEC 60076-7; commissioning fits the rated rise (a gain), a constant difference of the two
sensors and the oil time constant, each within bounds.
Limits of validity: one cooling stage.  Whether fans run is not measured: what they do at commissioning is expected.

Nothing is ever learnt onto a fault: only the first `COMMISSION_H` hours are learnt from, of them none in which the
caller knows of an alarm or the oil is clearly hotter than expected so far; after that the fit is frozen for good.  A
fault that was there from the start shows as a residual, because the gain cannot follow it beyond its bound.  Another
nameplate starts another commissioning.  Called by `gateway.agents.twin`.
"""

from dataclasses import astuple
from math import exp, sqrt

from pydantic import Field

from drivers.base import Frozen
from models.thermal.equations import MAX_STEP_S, Parameters, check, oil_rise_k

__all__ = ("CoolingFit", "CoolingMonitor")

COMMISSION_H = 336.0  # two weeks: working days and weekends, some weather
LEARNT_H_MIN = 72.0  # less says nothing of a daily course: the nameplate stands alone
COMMISSION_LIMIT_K = 10.0  # hotter than the nameplate by this is not learnt from
FITTED_LIMIT_K = 4.0  # nor what is hotter by this than the fit so far, once there is one
GAIN_BOUNDS = (0.5, 1.25)  # a heat run errs by less upwards; a table's row may be far too warm for a generous cooler
OFFSET_BOUNDS_K = (-5.0, 5.0)  # two sensors, one of them perhaps in the sun
TIME_FACTORS = (0.5, 0.63, 0.8, 1.0, 1.26, 1.6, 2.0)  # oil time constants tried, as multiples of the table's
PRIOR_GAIN_SD, PRIOR_OFFSET_SD_K = 0.15, 2.0  # belief in the nameplate before anything is measured
NOISE_VARIANCE_K2_H = 12.0  # of an hour's mean: the model errs by 1.4 K, for six hours at a time
GAP_S = 3 * 3600.0  # after a longer one the oil has gone its own way
SETTLE = 4.0  # time constants after which a wrong beginning has faded to 2 %
SMOOTH_S = 2 * 3600.0  # a fault lasts; a shower of rain and a switched load do not
SPREADS = 4.0  # standard deviations of commissioning that the limit lies above it
LIMIT_MIN_K, LIMIT_MAX_K = 6.0, 15.0  # closer is weather; beyond, the model explains too little to judge by

_Moments = tuple[float, float, float, float, float, float]  # hours, and sums over them of x, x², y, xy, y²
_NOTHING: _Moments = (0.0,) * 6


class CoolingFit(Frozen):
    """What commissioning has learnt; kept in the journal, so that a restart neither forgets nor learns anew."""

    basis: tuple[float, ...] = Field(
        description="what was fitted: parameters and time constants tried; others need another commissioning"
    )
    learnt_h: float = 0.0
    refused_h: float = 0.0
    moments: tuple[_Moments, ...] = (_NOTHING,) * len(TIME_FACTORS)
    gain: float = 1.0
    offset_k: float = 0.0
    time_factor: float = 1.0
    spread_k: float = 0.0

    @property
    def frozen(self) -> bool:
        """True once commissioning is over."""
        return self.learnt_h + self.refused_h >= COMMISSION_H

    @property
    def limit_k(self) -> float | None:
        """Residual of a cooling fault; None during commissioning and where the model explains too little."""
        limit_k = max(LIMIT_MIN_K, SPREADS * self.spread_k)
        return limit_k if self.frozen and limit_k <= LIMIT_MAX_K else None

    @property
    def rise_factor(self) -> float:
        """How much more top-oil rise commissioning found than the nameplate says, for who plans an overload; 1 or more.

        Less is not counted on: it was found at ordinary loads.
        """
        return max(1.0, self.gain) if self.limit_k is not None else 1.0

    @property
    def state(self) -> str:
        """For people: how far commissioning has come."""
        if not self.frozen:
            hours = f"{self.learnt_h:.0f} of {COMMISSION_H:.0f} h"
            return f"commissioning: {hours}" + (f", {self.refused_h:.0f} h not learnt from" if self.refused_h else "")
        if self.limit_k is None:
            return f"not judged: load and ambient explain top oil to {self.spread_k:.1f} K only"
        adapted = self.learnt_h >= LEARNT_H_MIN
        return "watching" if adapted else "watching by the nameplate alone: commissioning was not healthy"


class CoolingMonitor:
    """One transformer's expected top oil; `feed` it every measurement."""

    def __init__(self, parameters: Parameters, fit: CoolingFit | None = None) -> None:
        """Go on with a fit that was kept, unless it is of another nameplate."""
        self._parameters = parameters
        self._time_s = parameters.k11 * parameters.oil_time_min * 60
        basis = (*astuple(parameters), *TIME_FACTORS)
        self.fit = fit if fit is not None and fit.basis == basis else CoolingFit(basis=basis)
        self._drives_k: list[float] = []  # top-oil rise by the nameplate, delayed, per time constant tried
        self._ambients_degc: list[float] = []
        self._since_s = 0.0
        self._residual_k: float | None = None

    @property
    def residual_k(self) -> float | None:
        """Measured less expected top oil, averaged; None until a wrong beginning has faded."""
        return self._residual_k if self._settled(self.fit.time_factor) else None

    def feed(
        self, dt_s: float, load_pu: float, ambient_degc: float, top_oil_degc: float, *, learn: bool | None = True
    ) -> None:
        """One measurement, `dt_s` after the one before.

        During commissioning it is learnt from where `learn` is true, counted as not learnt from where it is false, and
        not counted where it is None: then it only shows what the oil has gone through.

        Raises BadInput for what is no load or temperature.
        """
        check(load_pu, ambient_degc)
        check(load_pu, top_oil_degc)
        drive_k = oil_rise_k(load_pu, self._parameters)
        if not 0 < dt_s <= GAP_S or not self._drives_k:
            self._drives_k = [top_oil_degc - ambient_degc] * len(TIME_FACTORS)
            self._ambients_degc = [ambient_degc] * len(TIME_FACTORS)
            self._since_s, self._residual_k = 0.0, None
            return
        for index, factor in enumerate(TIME_FACTORS):
            share = 1 - exp(-dt_s / (factor * self._time_s))
            self._drives_k[index] += share * (drive_k - self._drives_k[index])
            self._ambients_degc[index] += share * (ambient_degc - self._ambients_degc[index])
        self._since_s = min(self._since_s + dt_s, MAX_STEP_S * SETTLE)
        self._average(dt_s, top_oil_degc)
        if learn is not None and not self.fit.frozen and self._settled(TIME_FACTORS[-1]):
            self._learn(dt_s / 3600, top_oil_degc, learn=learn)

    def _settled(self, factor: float) -> bool:
        return self._since_s >= SETTLE * factor * self._time_s

    def _average(self, dt_s: float, top_oil_degc: float) -> None:
        if not self._settled(self.fit.time_factor):
            return
        index = TIME_FACTORS.index(self.fit.time_factor)
        expected = self._ambients_degc[index] + self.fit.gain * self._drives_k[index] + self.fit.offset_k
        residual_k = top_oil_degc - expected
        if self._residual_k is None:
            self._residual_k = residual_k
        self._residual_k += (1 - exp(-dt_s / SMOOTH_S)) * (residual_k - self._residual_k)

    def _learn(self, hours: float, top_oil_degc: float, *, learn: bool) -> None:
        """Add the measurement to the sums of every time constant, and fit anew once an hour."""
        fit = self.fit
        residual_k = self._residual_k
        fitted = fit.learnt_h >= LEARNT_H_MIN
        limit_k = max(FITTED_LIMIT_K, SPREADS * fit.spread_k) if fitted else COMMISSION_LIMIT_K
        if not learn or residual_k is None or residual_k > limit_k:
            self.fit = fit.model_copy(update={"refused_h": fit.refused_h + hours})
            return
        moments = tuple(
            _added(kept, hours, drive_k, top_oil_degc - ambient_degc)
            for kept, drive_k, ambient_degc in zip(fit.moments, self._drives_k, self._ambients_degc, strict=True)
        )
        fit = fit.model_copy(update={"moments": moments, "learnt_h": fit.learnt_h + hours})
        if int(fit.learnt_h) > int(self.fit.learnt_h) and fit.learnt_h >= LEARNT_H_MIN:
            fit = _refitted(fit)
        self.fit = fit


def _added(kept: _Moments, hours: float, x: float, y: float) -> _Moments:
    n, sx, sxx, sy, sxy, syy = kept
    return (n + hours, sx + hours * x, sxx + hours * x * x, sy + hours * y, sxy + hours * x * y, syy + hours * y * y)


def _refitted(fit: CoolingFit) -> CoolingFit:
    """The time constant that explains most, with its gain and offset."""
    options = [(*_solved(moments), factor) for moments, factor in zip(fit.moments, TIME_FACTORS, strict=True)]
    spread_k, gain, offset_k, time_factor = min(options)
    return fit.model_copy(update={"gain": gain, "offset_k": offset_k, "time_factor": time_factor, "spread_k": spread_k})


def _solved(moments: _Moments) -> tuple[float, float, float]:
    """Spread, gain and offset: least squares with the nameplate as prior belief, then cut to the bounds."""
    n, sx, sxx, sy, sxy, syy = moments
    prior_gain, prior_offset = NOISE_VARIANCE_K2_H / PRIOR_GAIN_SD**2, NOISE_VARIANCE_K2_H / PRIOR_OFFSET_SD_K**2
    a, b, c = sxx + prior_gain, sx, n + prior_offset
    right_gain, right_offset = sxy + prior_gain, sy  # the prior's mean: gain 1, offset 0
    gain = min(max((right_gain * c - right_offset * b) / (a * c - b * b), GAIN_BOUNDS[0]), GAIN_BOUNDS[1])
    offset_k = min(max((right_offset - b * gain) / c, OFFSET_BOUNDS_K[0]), OFFSET_BOUNDS_K[1])
    squares = syy - 2 * gain * sxy - 2 * offset_k * sy
    squares += gain**2 * sxx + 2 * gain * offset_k * sx + offset_k**2 * n
    return sqrt(max(0.0, squares / n)), gain, offset_k
