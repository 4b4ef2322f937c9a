"""Older and other limits of dissolved gases: TDCG conditions, typical values of IEC 60599, fault-specific limits.

Inputs: µL/L of one sample and the nameplate.  Second opinions beside `limits`, which is the gate: none of them
opens or closes it.  Limits of validity: mineral oil; other fluids abstain.  The numbers marked "one source" in their
data sheets were not compared with the standards' texts.  Called by `consensus` and by laboratory reports.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from models.asset import Fluid, Nameplate
from models.data_sheet import DataSheet, Mark
from models.dga.gases import ALL_GASES, FAULT_GASES, Gases
from models.dga.tables import (
    CONDITIONS_2008,
    FAULT_SPECIFIC,
    TYPICAL_60599,
    TYPICAL_C2H2_COMMUNICATING_UL_L,
)
from models.findings import Fact

__all__ = ("SHEETS", "Conditions", "Typical", "c57_104_2008", "fault_specific_level", "iec_60599_typical")


@dataclass(frozen=True, slots=True)
class Conditions:
    """IEEE C57.104-2008: condition 1 to 4 of the sum and of each gas; `condition` is the worst."""

    condition: int | None
    tdcg_ul_l: float = 0.0  # total dissolved combustible gas
    by_gas: Mapping[str, int] | None = None  # `tdcg` and gases
    assumptions: tuple[str, ...] = ()
    abstained: str = ""


@dataclass(frozen=True, slots=True)
class Typical:
    """Which gases are above the 90 % typical values of IEC 60599."""

    exceeded: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    assumptions: tuple[str, ...] = ()
    abstained: str = ""


def c57_104_2008(gases: Gases, nameplate: Nameplate) -> Conditions:
    """Conditions by the limits of 2008; CO2 is judged but is no combustible gas, so that TDCG is without it."""
    if abstained := _unfit("IEEE C57.104", nameplate):
        return Conditions(condition=None, abstained=abstained)
    tdcg_ul_l = sum(gases.of(gas) or 0.0 for gas in (*FAULT_GASES, "co"))
    values = {"tdcg": tdcg_ul_l} | {gas: value for gas in ALL_GASES if (value := gases.of(gas)) is not None}
    by_gas = {name: 1 + sum(value > limit for limit in CONDITIONS_2008[name]) for name, value in values.items()}
    missing = () if gases.co_ul_l is not None else ("CO not measured: TDCG without it",)
    return Conditions(max(by_gas.values()), tdcg_ul_l, by_gas, missing)


def iec_60599_typical(gases: Gases, nameplate: Nameplate) -> Typical:
    """Gases above their 90 % typical value, with value and limit as facts."""
    if abstained := _unfit("IEC 60599", nameplate):
        return Typical(abstained=abstained)
    limits = dict(TYPICAL_60599)
    assumptions: tuple[str, ...] = ()
    if nameplate.tap_changer_communicates:
        limits["c2h2"] = TYPICAL_C2H2_COMMUNICATING_UL_L
    elif nameplate.tap_changer_communicates is None:
        assumptions = ("tap changer's oil taken to stay out of the main tank: the lower limit of C2H2 used",)
    exceeded = tuple(gas for gas, limit in limits.items() if (gases.of(gas) or 0.0) > limit)
    facts = tuple(
        fact
        for gas in exceeded
        for fact in (
            Fact(name=gas.upper(), value=gases.of(gas) or 0.0, unit="uL/L"),
            Fact(name=f"{gas.upper()} limit, IEC 60599 typical value", value=limits[gas], unit="uL/L"),
        )
    )
    return Typical(exceeded, facts, assumptions)


def fault_specific_level(fault: str, gases: Gases) -> int:
    """How far a fault named in `tables.FAULT_SPECIFIC` has come: 0 below L1, 1 above it, 2 above L2.

    A suffix says where it burns: P in paper, which is the more dangerous, H in oil alone.  Raises KeyError.
    """
    gas, *limits = FAULT_SPECIFIC[fault]
    value = gases.of(gas)
    assert value is not None, "the fault gases are always measured"
    return sum(value > limit for limit in limits)


def _unfit(standard: str, nameplate: Nameplate) -> str:
    fits = nameplate.fluid is Fluid.MINERAL
    return "" if fits else f"{standard} holds for mineral oil, not for {nameplate.fluid}"


_SEVEN = "H2, CH4, C2H6, C2H4, C2H2, CO, CO2 in uL/L"

SHEETS = (
    DataSheet(
        name="ieee_c57_104_2008",
        title="IEEE C57.104-2008 TDCG conditions",
        function="models.dga.typical.c57_104_2008",
        inputs=(_SEVEN, "nameplate: fluid"),
        output="condition 1 to 4 of TDCG and of each gas",
        validity=("mineral oil", "withdrawn: replaced by the edition of 2019, kept because fleets were ranked by it"),
        source="IEEE C57.104-2008 as two independent implementations have it",
        mark=Mark.VERIFIED,
    ),
    DataSheet(
        name="iec_60599_typical",
        title="IEC 60599 90 % typical values",
        function="models.dga.typical.iec_60599_typical",
        inputs=(_SEVEN, "nameplate: fluid, communicating tap changer"),
        output="gases above their typical value",
        validity=(
            "mineral oil",
            "one set of values for all machines; the standard publishes ranges, which were not seen",
        ),
        source="values used in one public implementation",
        mark=Mark.ONE_SOURCE,
    ),
    DataSheet(
        name="fault_specific_limits",
        title="Fault-specific limits L1 and L2",
        function="models.dga.typical.fault_specific_level",
        inputs=("a fault of Triangle 1, 4, 5 or Pentagon 2, in paper or in oil", "its key gas in uL/L"),
        output="0 below L1, 1 above L1, 2 above L2",
        validity=("mineral oil", "the place, paper or oil, has to be known or assumed"),
        source="CIGRE and Duval, as one public implementation has them",
        mark=Mark.ONE_SOURCE,
    ),
)
