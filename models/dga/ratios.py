"""Gas-ratio methods: IEC 60599 and Rogers (IEEE C57.104), for mineral oil; second opinions beside the triangle.

Inputs: µL/L.  R1 = CH4/H2, R2 = C2H2/C2H4, R5 = C2H4/C2H6.  A ratio whose denominator is zero is infinite, and
zero when its numerator is zero too (no sign of the gas that the rule looks for): never NaN.
Limits of validity: ratios of gases near the detection limits mean nothing; the gate in `limits` comes first.
Called by `consensus`.
"""

# ruff: noqa: PLR2004 - the numbers are the published tables'; names would hide them

from math import inf
from typing import NamedTuple

from models.dga.gases import Gases
from models.findings import FaultCode

__all__ = ("Ratios", "iec_60599", "ratios", "rogers")


class Ratios(NamedTuple):
    """The three ratios both methods use; from 0 to infinity, never NaN."""

    r1: float  # CH4/H2
    r2: float  # C2H2/C2H4
    r5: float  # C2H4/C2H6


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


def _ratio(numerator: float, denominator: float) -> float:
    if denominator == 0:
        return inf if numerator > 0 else 0.0
    return numerator / denominator
