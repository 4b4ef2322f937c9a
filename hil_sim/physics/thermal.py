"""Load and ambient temperature to top oil and hot spot: the difference equations of IEC 60076-7:2018.

Inputs: load factor K in pu of rating, ambient in °C, step in minutes.  States: top-oil temperature and the two
parts of the hot-spot rise over top oil.  Outputs in °C.  Valid for oil-filled transformers with one cooling stage.
Called by `hil_sim.substation` at each physics tick.
"""

import math
from dataclasses import dataclass, replace
from types import MappingProxyType

__all__ = ("COOLING", "ThermalModel", "ThermalParameters")

MAX_STEP_MIN = 1.0  # the winding time constant may be 4 min; longer ticks are cut into steps that stay well below it


@dataclass(frozen=True, slots=True, kw_only=True)
class ThermalParameters:
    """Constants of one machine; names as in IEC 60076-7, the last three from its heat run."""

    oil_time_constant_min: float
    winding_time_constant_min: float
    oil_exponent: float
    winding_exponent: float
    k11: float
    k21: float
    k22: float
    loss_ratio: float
    top_oil_rise_k: float
    hot_spot_rise_k: float  # H·gr, hot spot over top oil at rated load


COOLING = MappingProxyType(
    {
        "ONAN-distribution": ThermalParameters(
            oil_time_constant_min=180,
            winding_time_constant_min=4,
            oil_exponent=0.8,
            winding_exponent=1.6,
            k11=1.0,
            k21=1.0,
            k22=2.0,
            loss_ratio=5,
            top_oil_rise_k=55,
            hot_spot_rise_k=23,
        ),
        "ONAF": ThermalParameters(
            oil_time_constant_min=150,
            winding_time_constant_min=7,
            oil_exponent=0.8,
            winding_exponent=1.3,
            k11=0.5,
            k21=2.0,
            k22=2.0,
            loss_ratio=6,
            top_oil_rise_k=52,
            hot_spot_rise_k=26,
        ),
    }
)
"""Recommended values of IEC 60076-7:2018 by cooling class."""


class ThermalModel:
    """State of one transformer's oil and winding temperatures."""

    def __init__(self, parameters: ThermalParameters, *, top_oil_degc: float, winding_rise_k: float = 0.0) -> None:
        """Start at the top-oil temperature in °C and a settled hot-spot rise over it in K."""
        self.parameters = parameters
        self.top_oil_degc = top_oil_degc
        self._rise_winding_k = parameters.k21 * winding_rise_k
        self._rise_oil_k = (parameters.k21 - 1) * winding_rise_k

    @classmethod
    def settled(cls, parameters: ThermalParameters, *, load_pu: float, ambient_degc: float) -> "ThermalModel":
        """The state after a long time at this load (pu) and ambient temperature (°C)."""
        top_oil_degc = ambient_degc + _ultimate_oil_rise_k(parameters, load_pu)
        return cls(parameters, top_oil_degc=top_oil_degc, winding_rise_k=_winding_rise_k(parameters, load_pu))

    @property
    def hot_spot_degc(self) -> float:
        """Winding hot-spot temperature in °C."""
        return self.top_oil_degc + self._rise_winding_k - self._rise_oil_k

    def scale_oil_rise(self, factor: float) -> None:
        """Multiply the rated top-oil rise, as a failed cooler does."""
        self.parameters = replace(self.parameters, top_oil_rise_k=self.parameters.top_oil_rise_k * factor)

    def advance(self, duration_min: float, *, load_pu: float, ambient_degc: float) -> None:
        """Go on by a duration in minutes at constant load (pu) and ambient temperature (°C)."""
        steps = max(1, math.ceil(duration_min / MAX_STEP_MIN))
        for _ in range(steps):
            self._step(duration_min / steps, load_pu, ambient_degc)

    def _step(self, step_min: float, load_pu: float, ambient_degc: float) -> None:
        p = self.parameters
        oil_rise_k = _ultimate_oil_rise_k(p, load_pu) - (self.top_oil_degc - ambient_degc)
        winding_rise_k = _winding_rise_k(p, load_pu)
        self.top_oil_degc += step_min / (p.k11 * p.oil_time_constant_min) * oil_rise_k
        self._rise_winding_k += (
            step_min / (p.k22 * p.winding_time_constant_min) * (p.k21 * winding_rise_k - self._rise_winding_k)
        )
        self._rise_oil_k += (
            step_min * p.k22 / p.oil_time_constant_min * ((p.k21 - 1) * winding_rise_k - self._rise_oil_k)
        )


def _ultimate_oil_rise_k(p: ThermalParameters, load_pu: float) -> float:
    return p.top_oil_rise_k * math.pow((1 + p.loss_ratio * load_pu**2) / (1 + p.loss_ratio), p.oil_exponent)


def _winding_rise_k(p: ThermalParameters, load_pu: float) -> float:
    return p.hot_spot_rise_k * math.pow(load_pu, p.winding_exponent)
