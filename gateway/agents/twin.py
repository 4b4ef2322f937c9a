"""What no sensor of a transformer shows, calculated from those that there are, at each measurement.

In: load in per unit of rating, top oil and, where it is measured, ambient in °C, with the times of their measurement.
Out: hot spot in °C, relative ageing rate, hours of insulation life used since the start of this process; how much
hotter the oil is than load and ambient explain, in K.  Source: IEC 60076-7, see `models.thermal`.  Called by the hard
agent of a transformer whose nameplate says enough.
"""

from datetime import datetime

from drivers.errors import BadInput
from models.asset import Nameplate
from models.thermal import (
    MAX_STEP_S,
    ThermalState,
    ageing_rate,
    assumptions_of,
    parameters_for,
    steady_state,
    step_from_top_oil,
)
from models.thermal.cooling import CoolingFit, CoolingMonitor

__all__ = ("HOT_SPOT_CALCULATED", "OIL_RESIDUAL", "OIL_RESIDUAL_LIMIT", "ThermalTwin")

HOT_SPOT_CALCULATED = "SPTR.HPTmpClc"
OIL_RESIDUAL, OIL_RESIDUAL_LIMIT = "SIML.TmpRsd", "SIML.TmpRsdLim"
KEEP_FIT_H = 24.0  # of commissioning that a power cut may cost


class ThermalTwin:
    """One transformer's thermal state."""

    def __init__(self, nameplate: Nameplate, time_factor: float, cooling_fit: CoolingFit | None = None) -> None:
        """`time_factor` is device seconds per real second.  Raises BadInput naming what the nameplate lacks."""
        self._parameters = parameters_for(nameplate)
        self._paper = nameplate.paper
        self._time_factor = time_factor
        self._state: ThermalState | None = None
        self._time: datetime | None = None
        self._cooling = CoolingMonitor(self._parameters, cooling_fit)
        self._kept_fit = self._cooling.fit
        self._load_pu: float | None = None
        self._ambient_degc: float | None = None
        self._unseen_s = 0.0  # device time since ambient was last seen
        self.assumptions = assumptions_of(nameplate)
        self.life_used_h = 0.0

    @property
    def hot_spot_degc(self) -> float | None:
        """Calculated hot spot; None before the first measurement."""
        return self._state.hot_spot_degc if self._state else None

    @property
    def ageing_rate(self) -> float | None:
        """Relative ageing at the calculated hot spot; 1 is the paper's reference."""
        return ageing_rate(self._state.hot_spot_degc, self._paper) if self._state else None

    @property
    def calculated(self) -> dict[str, float | None]:
        """Indicator → value, None where nothing can be said; a residual comes with its limit."""
        limit_k = self._cooling.fit.limit_k
        return {
            HOT_SPOT_CALCULATED: self.hot_spot_degc,
            OIL_RESIDUAL: None if limit_k is None or self._unseen_s else self._cooling.residual_k,
            OIL_RESIDUAL_LIMIT: limit_k,
        }

    @property
    def snapshot(self) -> dict[str, float | str | None]:
        """Where it stands, for people and for the overload calculator; None before the first measurement."""
        state = self._state
        return {
            "time": self._time.isoformat() if self._time else None,
            "load_pu": self._load_pu,
            "ambient_degc": self._ambient_degc,
            "top_oil_degc": state.top_oil_degc if state else None,
            "winding_rise_k": state.winding_rise_k if state else None,
            "oil_lag_k": state.oil_lag_k if state else None,
            "hot_spot_calculated_degc": self.hot_spot_degc,
            "ageing_rate": self.ageing_rate,
            "life_used_since_start_h": self.life_used_h,
            "cooling": self.cooling_state,
            "oil_rise_factor": self._cooling.fit.rise_factor,
            "top_oil_above_expected_k": self.calculated[OIL_RESIDUAL],
        }

    @property
    def cooling_state(self) -> str:
        """For people: whether cooling is watched, and if not, why."""
        return self._cooling.fit.state

    def fit_to_keep(self) -> CoolingFit | None:
        """What commissioning has learnt, where it is worth a row of the journal: once a day, and at its end."""
        fit, kept = self._cooling.fit, self._kept_fit
        watched_h = fit.learnt_h + fit.refused_h - kept.learnt_h - kept.refused_h
        if watched_h < KEEP_FIT_H and fit.frozen == kept.frozen:
            return None
        self._kept_fit = fit
        return fit

    def feed(
        self,
        time: datetime,
        load_pu: float,
        top_oil_degc: float,
        ambient_degc: float | None = None,
        *,
        learn: bool | None = True,
    ) -> None:
        """One measurement.  After a gap the winding is taken to have settled at the load that is found.

        During commissioning the cooling's fit learns from it where `learn` is true; None for a measurement of the
        past, which does not count at all.
        """
        since_s = (time - self._time).total_seconds() * self._time_factor if self._time else MAX_STEP_S + 1
        if since_s <= 0:
            return
        self._load_pu, self._ambient_degc = load_pu, ambient_degc
        try:
            if self._state is None or since_s > MAX_STEP_S:
                settled = steady_state(load_pu, 0.0, self._parameters)
                self._state = ThermalState(top_oil_degc, settled.winding_rise_k, settled.oil_lag_k)
            else:
                self._state = step_from_top_oil(self._state, since_s, load_pu, top_oil_degc, self._parameters)
                self.life_used_h += ageing_rate(self._state.hot_spot_degc, self._paper) * since_s / 3600
            self._unseen_s += since_s
            if ambient_degc is not None:
                self._cooling.feed(self._unseen_s, load_pu, ambient_degc, top_oil_degc, learn=learn)
                self._unseen_s = 0.0
        except BadInput:  # GOOD by its device's word, and yet no load or temperature: start anew with the next
            self._state = None
        self._time = time
