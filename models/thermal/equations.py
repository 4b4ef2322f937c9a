"""Transformer temperatures: load and ambient (or measured top oil) to top oil and hot spot.

Inputs: load factor in per unit of rating, temperatures in °C, steps in seconds.  States: top-oil temperature and the
two parts of the hot-spot rise.  Outputs in °C.
Source: IEC 60076-7:2018, difference equations and parameter table.
Limits of validity: mineral oil, one cooling stage as in the table.  For ONAN power transformers the table leaves losses
and rises to the heat run.
Called by hard agents, the overload calculator and the tests of the simulator's physics.
"""

from dataclasses import dataclass
from math import isfinite
from types import MappingProxyType
from typing import NamedTuple

from drivers.errors import BadInput
from models.asset import Cooling, Nameplate

__all__ = (
    "MAX_STEP_S",
    "Parameters",
    "ThermalState",
    "assumptions_of",
    "check",
    "oil_rise_k",
    "parameters_for",
    "steady_state",
    "step",
    "step_from_top_oil",
)

MAX_SUBSTEP_S = 60.0  # well below the shortest winding time constant of the table, 4 min
MAX_STEP_S = 86_400.0  # after a longer gap the state says nothing; start from `steady_state`
MAX_LOAD_PU = 5.0  # beyond any overload that a transformer survives: a wrong signal
COLDEST_DEGC, HOTTEST_DEGC = -60.0, 400.0  # outside, a temperature is no temperature of a transformer


@dataclass(frozen=True, slots=True)
class Parameters:
    """One row of the parameter table, overridden by the nameplate's heat run."""

    oil_time_min: float
    winding_time_min: float
    oil_exponent: float  # x
    winding_exponent: float  # y
    k11: float
    k21: float
    k22: float
    loss_ratio: float  # R, load losses over no-load losses
    oil_rise_k: float  # at rated load
    winding_gradient_k: float  # H·gr, hot spot over top oil at rated load


@dataclass(frozen=True, slots=True)
class ThermalState:
    """Where the machine stands thermally."""

    top_oil_degc: float
    winding_rise_k: float = 0.0  # Δθh1, the winding's own rise over the oil around it
    oil_lag_k: float = 0.0  # Δθh2, what the oil's later flow takes away again

    @property
    def hot_spot_degc(self) -> float:
        """Winding hot spot."""
        return self.top_oil_degc + self.winding_rise_k - self.oil_lag_k


class _Row(NamedTuple):
    """Parameter table; `None` where only the heat run knows."""

    oil_time_min: float
    winding_time_min: float
    oil_exponent: float
    winding_exponent: float
    k11: float
    k21: float
    k22: float
    loss_ratio: float | None
    oil_rise_k: float | None
    winding_gradient_k: float | None


_TABLE = MappingProxyType(
    {
        Cooling.ONAN_DISTRIBUTION: _Row(180, 4, 0.8, 1.6, 1.0, 1, 2, 5, 55, 23),
        Cooling.ONAN: _Row(210, 10, 0.8, 1.3, 0.5, 2, 2, None, None, None),
        Cooling.ONAF: _Row(150, 7, 0.8, 1.3, 0.5, 2, 2, 6, 52, 26),
    }
)


def parameters_for(nameplate: Nameplate) -> Parameters:
    """The table's row for the cooling class with the nameplate's heat run in place of the table's.

    Raises BadInput naming every entry of the nameplate without which the model abstains.
    """
    if nameplate.cooling is None:
        raise BadInput("thermal model: nameplate lacks cooling")
    row = _TABLE[nameplate.cooling]
    loss_ratio = nameplate.loss_ratio or row.loss_ratio
    oil_rise_k = nameplate.top_oil_rise_k or row.oil_rise_k
    gradient_k = nameplate.hot_spot_gradient_k or row.winding_gradient_k
    if loss_ratio is None or oil_rise_k is None or gradient_k is None:
        needed = {"loss_ratio": loss_ratio, "top_oil_rise_k": oil_rise_k, "hot_spot_gradient_k": gradient_k}
        missing = ", ".join(name for name, value in needed.items() if value is None)
        raise BadInput(f"thermal model: nameplate lacks {missing}, which the table leaves to the heat run")
    return Parameters(*row[:7], loss_ratio=loss_ratio, oil_rise_k=oil_rise_k, winding_gradient_k=gradient_k)


def assumptions_of(nameplate: Nameplate) -> tuple[str, ...]:
    """What `parameters_for` and the ageing formula take for granted where the nameplate is silent."""
    row = _TABLE.get(nameplate.cooling) if nameplate.cooling else None
    if row is None:
        return ()
    stated = (
        ("top_oil_rise_k", nameplate.top_oil_rise_k, row.oil_rise_k, "K"),
        ("hot_spot_gradient_k", nameplate.hot_spot_gradient_k, row.winding_gradient_k, "K"),
        ("loss_ratio", nameplate.loss_ratio, row.loss_ratio, ""),
    )
    assumed = [
        f"{key} unknown: the table's {typical:g} {unit} of {nameplate.cooling} is taken".replace("  ", " ")
        for key, own, typical, unit in stated
        if own is None and typical is not None
    ]
    if nameplate.paper is None:
        assumed.append("paper unknown: aged as kraft, the faster")
    return tuple(assumed)


def steady_state(load_pu: float, ambient_degc: float, parameters: Parameters) -> ThermalState:
    """The state after a long time at constant load and ambient: where to start when nothing else is known."""
    check(load_pu, ambient_degc)
    rise_k = _winding_drive_k(load_pu, parameters)
    return ThermalState(
        top_oil_degc=ambient_degc + oil_rise_k(load_pu, parameters),
        winding_rise_k=parameters.k21 * rise_k,
        oil_lag_k=(parameters.k21 - 1) * rise_k,
    )


def step(state: ThermalState, dt_s: float, load_pu: float, ambient_degc: float, parameters: Parameters) -> ThermalState:
    """The state `dt_s` later at constant load and ambient (IEC 60076-7 difference equations).

    Raises BadInput for a step outside 0…`MAX_STEP_S`, or for values that are no load or no temperature.
    """
    check(load_pu, ambient_degc)
    final_degc = ambient_degc + oil_rise_k(load_pu, parameters)
    for dt_min in _substeps_min(dt_s):
        share = dt_min / (parameters.k11 * parameters.oil_time_min)
        top_oil_degc = state.top_oil_degc + share * (final_degc - state.top_oil_degc)
        state = _step_winding(state, dt_min, load_pu, top_oil_degc, parameters)
    return state


def step_from_top_oil(
    state: ThermalState, dt_s: float, load_pu: float, top_oil_degc: float, parameters: Parameters
) -> ThermalState:
    """As `step`, with the top-oil temperature measured instead of modelled."""
    check(load_pu, top_oil_degc)
    for dt_min in _substeps_min(dt_s):
        state = _step_winding(state, dt_min, load_pu, top_oil_degc, parameters)
    return ThermalState(top_oil_degc, state.winding_rise_k, state.oil_lag_k)


def _step_winding(
    state: ThermalState, dt_min: float, load_pu: float, top_oil_degc: float, parameters: Parameters
) -> ThermalState:
    """One sub-step of the two parts of the hot-spot rise."""
    drive_k = _winding_drive_k(load_pu, parameters)
    rise_share = dt_min / (parameters.k22 * parameters.winding_time_min)
    lag_share = dt_min * parameters.k22 / parameters.oil_time_min
    return ThermalState(
        top_oil_degc=top_oil_degc,
        winding_rise_k=state.winding_rise_k + rise_share * (parameters.k21 * drive_k - state.winding_rise_k),
        oil_lag_k=state.oil_lag_k + lag_share * ((parameters.k21 - 1) * drive_k - state.oil_lag_k),
    )


def oil_rise_k(load_pu: float, parameters: Parameters) -> float:
    """Top-oil rise over ambient that a constant load tends to."""
    losses = (1 + parameters.loss_ratio * load_pu**2) / (1 + parameters.loss_ratio)
    return float(parameters.oil_rise_k * losses**parameters.oil_exponent)


def _winding_drive_k(load_pu: float, parameters: Parameters) -> float:
    """Hot-spot rise over top oil that a constant load tends to."""
    return float(parameters.winding_gradient_k * load_pu**parameters.winding_exponent)


def _substeps_min(dt_s: float) -> list[float]:
    """Equal parts of the step, each at most `MAX_SUBSTEP_S`, in minutes."""
    if not 0 <= dt_s <= MAX_STEP_S:
        raise BadInput(f"thermal model: step of {dt_s} s is outside 0 to {MAX_STEP_S:.0f} s")
    count = int(dt_s // MAX_SUBSTEP_S) + (dt_s % MAX_SUBSTEP_S > 0)
    return [dt_s / 60 / count] * count if count else []


def check(load_pu: float, temperature_degc: float) -> None:
    """Raises BadInput for what is no load, or no temperature, of a transformer."""
    if not (isfinite(load_pu) and 0 <= load_pu <= MAX_LOAD_PU):
        raise BadInput(f"thermal model: load of {load_pu} pu is outside 0 to {MAX_LOAD_PU}")
    if not (isfinite(temperature_degc) and COLDEST_DEGC <= temperature_degc <= HOTTEST_DEGC):
        raise BadInput(f"thermal model: {temperature_degc} degC is no temperature of a transformer")
