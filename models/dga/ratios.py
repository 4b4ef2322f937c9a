"""Gas-ratio methods: IEC 60599, Rogers and Doernenburg (IEEE C57.104), for mineral oil; second opinions.

Inputs: µL/L.  R1 = CH4/H2, R2 = C2H2/C2H4, R3 = C2H2/CH4, R4 = C2H6/C2H2, R5 = C2H4/C2H6.  A ratio whose denominator
is zero is infinite, and zero when its numerator is zero too (no sign of the gas that the rule looks for): never NaN.
Limits of validity: ratios of gases near the detection limits mean nothing; the gate in `limits` comes first, and
Doernenburg has a test of its own.
Called by `consensus`.
"""

# ruff: noqa: PLR2004 - the numbers are the published tables'; names would hide them

from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from models.data_sheet import DataSheet, Mark
from models.dga.gases import Gases
from models.findings import Family, FaultCode

__all__ = ("SHEETS", "FamilyAnswer", "Ratios", "doernenburg", "iec_60599", "ratios", "rogers")

# Doernenburg's L1, µL/L: above twice one of the first, and above one of the second, the ratios may be used.
_L1_KEY = {"h2": 100.0, "ch4": 120.0, "c2h2": 1.0, "c2h4": 50.0}
_L1_OTHER = {"c2h6": 65.0, "co": 350.0}


class Ratios(NamedTuple):
    """The three ratios that IEC 60599 and Rogers use; from 0 to infinity, never NaN."""

    r1: float  # CH4/H2
    r2: float  # C2H2/C2H4
    r5: float  # C2H4/C2H6


@dataclass(frozen=True, slots=True)
class FamilyAnswer:
    """What a method says that tells families only: one, or none and the reason."""

    family: Family | None
    abstained: str = ""


def ratios(gases: Gases) -> Ratios:
    """The ratios of one sample."""
    return Ratios(
        r1=_ratio(gases.ch4_ul_l, gases.h2_ul_l),
        r2=_ratio(gases.c2h2_ul_l, gases.c2h4_ul_l),
        r5=_ratio(gases.c2h4_ul_l, gases.c2h6_ul_l),
    )


def iec_60599(gases: Gases) -> tuple[FaultCode, ...]:
    """Every code whose row of IEC 60599's ratio table holds; empty for "no diagnosis".

    D1 and D2 overlap in the table: both are given then, the severer (D2) first.  No other rows overlap.
    """
    r1, r2, r5 = ratios(gases)
    table = (
        (FaultCode.PD, r1 < 0.1 and r5 < 0.2),
        (FaultCode.D2, 0.6 <= r2 <= 2.5 and 0.1 <= r1 <= 1 and r5 > 2),
        (FaultCode.D1, r2 > 1 and 0.1 <= r1 <= 0.5 and r5 > 1),
        (FaultCode.T1, r1 > 1 and r5 < 1),  # R2 is not significant here
        (FaultCode.T2, r2 < 0.1 and r1 > 1 and 1 <= r5 <= 4),
        (FaultCode.T3, r2 < 0.2 and r1 > 1 and r5 > 4),
    )
    return tuple(code for code, holds in table if holds)


def rogers(gases: Gases) -> FaultCode | None:
    """Rogers' code, N for "normal", or `None` where no row holds; the method knows no D1."""
    r1, r2, r5 = ratios(gases)
    low = r2 < 0.1
    table = (
        (FaultCode.N, low and 0.1 <= r1 <= 1 and r5 < 1),
        (FaultCode.PD, low and r1 < 0.1 and r5 < 1),
        (FaultCode.D2, 0.1 <= r2 <= 3 and 0.1 <= r1 <= 1 and r5 > 3),
        (FaultCode.T1, low and 0.1 <= r1 <= 1 and 1 <= r5 <= 3),
        (FaultCode.T2, low and r1 > 1 and 1 <= r5 <= 3),
        (FaultCode.T3, low and r1 > 1 and r5 > 3),
    )
    return next((code for code, holds in table if holds), None)


def doernenburg(gases: Gases) -> FamilyAnswer:
    """Doernenburg's family; abstains where the gases are too little for its ratios, or where no row holds."""
    amounts = gases.model_dump()
    if not any(amounts[f"{gas}_ul_l"] > 2 * limit for gas, limit in _L1_KEY.items()):
        return FamilyAnswer(None, "H2, CH4, C2H2 and C2H4 are all within twice their limits L1")
    if not any((amounts[f"{gas}_ul_l"] or 0.0) > limit for gas, limit in _L1_OTHER.items()):
        return FamilyAnswer(None, "neither C2H6 nor CO is above its limit L1")
    r1, r2, _ = ratios(gases)
    r3 = _ratio(gases.c2h2_ul_l, gases.ch4_ul_l)
    r4 = _ratio(gases.c2h6_ul_l, gases.c2h2_ul_l) if gases.c2h2_ul_l else inf  # without acetylene nothing arcs
    table = (
        (Family.THERMAL, r1 > 1 and r2 < 0.75 and r3 < 0.3 and r4 > 0.4),
        (Family.PD, r1 < 0.1 and r3 < 0.3 and r4 > 0.4),
        (Family.DISCHARGE, 0.1 < r1 < 1 and r2 > 0.75 and r3 > 0.3 and r4 < 0.4),
    )
    family = next((family for family, holds in table if holds), None)
    return FamilyAnswer(family, "" if family else "no row of its table holds")


def _ratio(numerator: float, denominator: float) -> float:
    if denominator == 0:
        return inf if numerator > 0 else 0.0
    return numerator / denominator


_FIVE = "H2, CH4, C2H6, C2H4, C2H2 in uL/L"
_MINERAL = "mineral oil; amounts well above detection limits and typical values"

SHEETS = (
    DataSheet(
        name="iec_60599",
        title="IEC 60599 gas ratios",
        function="models.dga.ratios.iec_60599",
        inputs=(_FIVE,),
        output="PD D1 D2 T1 T2 T3; D2 and D1 together where the table overlaps",
        validity=(_MINERAL, "no diagnosis outside its rows"),
        source="IEC 60599, ratio table",
        mark=Mark.VERIFIED,
    ),
    DataSheet(
        name="rogers",
        title="Rogers ratios",
        function="models.dga.ratios.rogers",
        inputs=(_FIVE,),
        output="N PD D2 T1 T2 T3",
        validity=(_MINERAL, "knows no D1; no diagnosis outside its rows"),
        source="IEEE C57.104, Rogers ratio method",
        mark=Mark.VERIFIED,
    ),
    DataSheet(
        name="doernenburg",
        title="Doernenburg ratios",
        function="models.dga.ratios.doernenburg",
        inputs=(f"{_FIVE}, CO in uL/L where it is measured",),
        output="families: thermal, partial discharge, discharge",
        validity=(
            "mineral oil",
            "one of H2, CH4, C2H2, C2H4 above twice its limit L1 and C2H6 or CO above L1, else it abstains",
        ),
        source="IEEE C57.104, Doernenburg ratio method",
        mark=Mark.VERIFIED,
    ),
)
