"""The winding's hot spot, calculated from measured top oil and load: for machines without a hot-spot sensor.

In: load in per unit of rating and top oil in °C, with the times of their measurement.  Out: hot spot in °C, relative
ageing rate, and hours of insulation life used since the start of this process.  Source: IEC 60076-7, see
`models.thermal`.  Called by the hard agent of a transformer whose nameplate says enough.
"""

from datetime import datetime

from drivers.errors import BadInput
from models.asset import Nameplate
from models.thermal import MAX_STEP_S, ThermalState, ageing_rate, parameters_for, steady_state, step_from_top_oil

__all__ = ("ThermalTwin",)


class ThermalTwin:
    """One transformer's thermal state."""

    def __init__(self, nameplate: Nameplate, time_factor: float) -> None:
        """`time_factor` is device seconds per real second.  Raises BadInput naming what the nameplate lacks."""
        self._parameters = parameters_for(nameplate)
        self._paper = nameplate.paper
        self._time_factor = time_factor
        self._state: ThermalState | None = None
        self._time: datetime | None = None
        self.life_used_h = 0.0

    @property
    def hot_spot_degc(self) -> float | None:
        """Calculated hot spot; None before the first measurement."""
        return self._state.hot_spot_degc if self._state else None

    @property
    def ageing_rate(self) -> float | None:
        """Relative ageing at the calculated hot spot; 1 is the paper's reference."""
        return ageing_rate(self._state.hot_spot_degc, self._paper) if self._state else None

    def feed(self, time: datetime, load_pu: float, top_oil_degc: float) -> None:
        """One measurement.  After a gap the winding is taken to have settled at the load that is found."""
        since_s = (time - self._time).total_seconds() * self._time_factor if self._time else MAX_STEP_S + 1
        if since_s <= 0:
            return
        try:
            if self._state is None or since_s > MAX_STEP_S:
                settled = steady_state(load_pu, 0.0, self._parameters)
                self._state = ThermalState(top_oil_degc, settled.winding_rise_k, settled.oil_lag_k)
            else:
                self._state = step_from_top_oil(self._state, since_s, load_pu, top_oil_degc, self._parameters)
                self.life_used_h += ageing_rate(self._state.hot_spot_degc, self._paper) * since_s / 3600
        except BadInput:  # GOOD by its device's word, and yet no load or temperature: start anew with the next
            self._state = None
        self._time = time
