"""Top oil, hot spot and load against the limits of a loading regime.

Inputs in °C and per unit of rating.  Output: severity, code and facts of what is exceeded.
Source: the table of IEC 60076-7 as one public copy of it has it (a single source: compare it with your copy of the
standard, and with what your utility allows, before you rely on it).
Limits of validity: mineral oil.  Called by hard agents and the overload calculator.
"""

from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from models.asset import Cooling
from models.findings import Fact, Severity
from models.thermal.equations import check

__all__ = ("LoadingLimits", "Overheating", "Regime", "loading_limits", "overheating")


class Regime(StrEnum):
    """How a transformer is loaded."""

    NORMAL = "normal_cyclic"
    LONG_EMERGENCY = "long_emergency"  # weeks, until a failed neighbour is replaced
    SHORT_EMERGENCY = "short_emergency"  # less than half an hour, until load is shed


class LoadingLimits(NamedTuple):
    """Limits of one regime."""

    top_oil_degc: float
    hot_spot_degc: float
    load_pu: float


class Overheating(NamedTuple):
    """Which loading limits are exceeded; code is empty and severity NONE where none is."""

    severity: Severity
    code: str
    facts: tuple[Fact, ...]


# Regime: top oil °C, hot spot °C, load of a distribution transformer, load of a large power transformer.
_TABLE = MappingProxyType(
    {
        Regime.NORMAL: (105.0, 120.0, 1.5, 1.3),
        Regime.LONG_EMERGENCY: (115.0, 140.0, 1.8, 1.3),
        Regime.SHORT_EMERGENCY: (115.0, 160.0, 2.0, 1.5),
    }
)
_STAGES = ((Regime.LONG_EMERGENCY, Severity.CRITICAL), (Regime.NORMAL, Severity.WARNING))


def loading_limits(regime: Regime, cooling: Cooling | None) -> LoadingLimits:
    """The regime's limits; a power transformer is taken as large, which has the lowest load limit."""
    top_oil_degc, hot_spot_degc, distribution_pu, large_pu = _TABLE[regime]
    load_pu = distribution_pu if cooling is Cooling.ONAN_DISTRIBUTION else large_pu
    return LoadingLimits(top_oil_degc, hot_spot_degc, load_pu)


def overheating(top_oil_degc: float, hot_spot_degc: float) -> Overheating:
    """Above normal cyclic loading WARNING, above long-time emergency loading CRITICAL.

    Code `HotSpotHigh` or `TopOilHigh`, the hot spot where both are over the limits of that stage.
    """
    check(0.0, top_oil_degc)
    check(0.0, hot_spot_degc)
    measured = (("TopOil", top_oil_degc, 0), ("HotSpot", hot_spot_degc, 1))
    for regime, severity in _STAGES:
        limits = _TABLE[regime]
        over = [(name, value, limits[index]) for name, value, index in measured if value > limits[index]]
        if over:
            facts = tuple(
                fact
                for name, value, limit in over
                for fact in (
                    Fact(name=name, value=value, unit="degC"),
                    Fact(name=f"{name} limit", value=limit, unit="degC"),
                )
            )
            return Overheating(severity, f"{over[-1][0]}High", facts)
    return Overheating(Severity.NONE, "", ())
