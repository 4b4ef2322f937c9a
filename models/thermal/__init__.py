"""The transformer's thermal side, as pure functions; temperatures in °C, rises in K, loads in per unit.

| module | from | to |
|---|---|---|
| `equations` | load and ambient, or measured top oil | top oil and hot spot (IEC 60076-7) |
| `ageing` | hot spot | rate of ageing, loss of life (IEC 60076-7, IEEE C57.91) |
| `limits` | temperatures and load | which loading limits are exceeded |
| `overload` | a state and a load to come | how long until a limit |
| `cooling` | measured top oil beside the model | residual of a cooling fault |

Loss of life is insulation life consumed; it is no forecast of remaining life.
"""

from models.thermal.ageing import ageing_rate, equivalent_ageing, loss_of_life_percent
from models.thermal.equations import (
    MAX_STEP_S,
    Parameters,
    ThermalState,
    assumptions_of,
    parameters_for,
    steady_state,
    step,
    step_from_top_oil,
)
from models.thermal.limits import LoadingLimits, Overheating, Regime, loading_limits, overheating
from models.thermal.sheets import SHEETS

__all__ = (
    "MAX_STEP_S",
    "SHEETS",
    "LoadingLimits",
    "Overheating",
    "Parameters",
    "Regime",
    "ThermalState",
    "ageing_rate",
    "assumptions_of",
    "equivalent_ageing",
    "loading_limits",
    "loss_of_life_percent",
    "overheating",
    "parameters_for",
    "steady_state",
    "step",
    "step_from_top_oil",
)
