"""How long a transformer may carry a load: thermal state, load and ambient temperature to the time until a limit.

Inputs: load in per unit of rating, temperatures in °C, horizon in seconds.  Outputs: times in seconds, the course of
both temperatures, hours of insulation life used.  Source: the difference equations of IEC 60076-7, minute by minute.
Limits of validity: those of `equations`; constant load and ambient from now on; `NOT_MODELLED` is not in it.  A
planning aid: it neither allows nor forbids anything.  Called by `gateway.cli_thermal` and the plot of temperatures.
"""

from dataclasses import dataclass

from drivers.errors import BadInput
from models.asset import Paper
from models.thermal.ageing import ageing_rate
from models.thermal.equations import Parameters, ThermalState, check, steady_state, step

__all__ = ("NOT_MODELLED", "Overload", "overload")

HORIZON_MAX_S = 7 * 86_400.0  # beyond a week neither load nor ambient is constant
STEP_S = 60.0
COURSE_STEPS = 200  # points of the course that is handed out, at most this many and the ends

NOT_MODELLED = (
    "bushings, leads and cable boxes",
    "the tap changer",
    "current transformers",
    "moisture in the paper, and gas bubbles that it sets free in a hot winding",
    "metal parts that stray flux heats",
    "cooling that fails or switches its stages, sun, wind and altitude",
    "load and ambient that change after now",
)


@dataclass(frozen=True, slots=True)
class Overload:
    """What a load leads to."""

    hot_spot_s: float | None  # until the hot spot's limit, to the minute before; None: not within the horizon
    top_oil_s: float | None  # until the top oil's limit
    settled: ThermalState  # where the load would lead in the end
    life_used_h: float  # insulation life used until the first limit, or within the horizon
    course: tuple[tuple[float, float, float], ...]  # seconds from now, top oil °C, hot spot °C, over the horizon

    @property
    def first_s(self) -> float | None:
        """Until the first of both limits."""
        return min((time_s for time_s in (self.hot_spot_s, self.top_oil_s) if time_s is not None), default=None)


def overload(
    state: ThermalState,
    load_pu: float,
    ambient_degc: float,
    parameters: Parameters,
    paper: Paper | None,
    *,
    hot_spot_limit_degc: float,
    top_oil_limit_degc: float,
    horizon_s: float,
) -> Overload:
    """Carry `load_pu` from `state` on.  Raises BadInput for what is no load, temperature or horizon."""
    check(load_pu, state.top_oil_degc)
    check(load_pu, hot_spot_limit_degc)
    check(load_pu, top_oil_limit_degc)
    settled = steady_state(load_pu, ambient_degc, parameters)
    if not STEP_S <= horizon_s <= HORIZON_MAX_S:
        raise BadInput(f"overload: horizon of {horizon_s} s is outside {STEP_S:.0f} to {HORIZON_MAX_S:.0f} s")
    steps = int(horizon_s // STEP_S)
    keep_each = max(1, -(-steps // COURSE_STEPS))
    hot_spot_s = top_oil_s = None
    life_used_h = 0.0
    course = []
    for number in range(steps + 1):
        if hot_spot_s is None and state.hot_spot_degc >= hot_spot_limit_degc:
            hot_spot_s = max(0, number - 1) * STEP_S
        if top_oil_s is None and state.top_oil_degc >= top_oil_limit_degc:
            top_oil_s = max(0, number - 1) * STEP_S
        if number % keep_each == 0 or number == steps:
            course.append((number * STEP_S, state.top_oil_degc, state.hot_spot_degc))
        if hot_spot_s is None and top_oil_s is None and number < steps:
            life_used_h += ageing_rate(state.hot_spot_degc, paper) * STEP_S / 3600
        state = step(state, STEP_S, load_pu, ambient_degc, parameters)
    return Overload(hot_spot_s, top_oil_s, settled, life_used_h, tuple(course))
