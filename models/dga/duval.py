"""Duval's graphical methods for mineral oil: Triangles 1, 2, 4, 5 and Pentagons 1, 2.

Inputs: µL/L of one sample.  Only proportions count, so all of it holds just where the amounts are well above the
detection limits (`features.above_detection`) and above typical values (`limits`): proportions of noise are noise.
Triangle 1 comes first; 4 and 5 refine what it calls low-energy or thermal, and abstain elsewhere; 2 is for the oil of
a tap changer's own compartment, never for the main tank.
Sources: Triangle 1 as in IEC 60599; pentagons in Duval and Lamarre, IEEE Electrical Insulation Magazine 30(6), 2014;
Triangles 2, 4, 5 as one public implementation has the rules, with two repairs: in Triangle 5 C2H6 < 2 with
1 < C2H4 < 10 is O, as its polygon says, and in Triangle 4 the line C2H6 = 30 with H2 > 15, which no rule claims
although S lies on both sides of it, is S.
Called by `consensus`.
"""

# ruff: noqa: PLR2004 - the numbers are the published tables'; names would hide them

from itertools import pairwise
from math import cos, radians, sin

from models.data_sheet import DataSheet, Mark
from models.dga.gases import Gases
from models.dga.zones import ZONES, Answer, Zone, zone_at
from models.findings import FaultCode

__all__ = (
    "SHEETS",
    "pentagon_1",
    "pentagon_2",
    "pentagon_centroid",
    "percentages",
    "triangle_1",
    "triangle_2",
    "triangle_4",
    "triangle_5",
)

_AXES_DEG = (90.0, 162.0, 234.0, 306.0, 18.0)  # H2, C2H6, CH4, C2H4, C2H2
_AXES = tuple((cos(radians(angle)), sin(radians(angle))) for angle in _AXES_DEG)
_EPSILON_PERCENT = 1e-6  # lifts a gas of zero, so that one or two gases alone still span an area with a centroid
_NO_GAS = "none of its gases is present"


def triangle_1(gases: Gases) -> FaultCode | None:
    """Zone of CH4, C2H4 and C2H2 in Triangle 1; `None` when none of the three is present.

    Every point of the triangle, borders included, has exactly one zone; what no rule claims is the mixed zone DT.
    """
    percents = percentages("duval_triangle_1", gases)
    if percents is None:
        return None
    ch4, c2h2, c2h4 = percents
    rules = (
        (FaultCode.PD, ch4 >= 98),
        (FaultCode.D1, c2h4 <= 23 and c2h2 >= 13),
        (FaultCode.D2, (23 < c2h4 <= 40 and c2h2 >= 13) or (c2h4 > 40 and c2h2 >= 29)),
        (FaultCode.T1, c2h2 <= 4 and c2h4 <= 20),
        (FaultCode.T2, c2h2 <= 4 and 20 < c2h4 < 50),
        (FaultCode.T3, c2h2 <= 15 and c2h4 >= 50),
    )
    return next((code for code, holds in rules if holds), FaultCode.DT)


def triangle_2(gases: Gases) -> Answer:
    """Zone of CH4, C2H2 and C2H4 of an oil-filled tap changer's own compartment."""
    percents = percentages("duval_triangle_2", gases)
    if percents is None:
        return Answer(None, _NO_GAS)
    ch4, c2h2, c2h4 = percents
    if c2h4 <= 23:
        if ch4 > 19:
            return Answer(Zone.X1)
        return Answer(Zone.N if ch4 >= 2 and c2h4 >= 6 else Zone.D1)
    if c2h2 > 15:
        return Answer(Zone.X3)
    return Answer(Zone.T2 if c2h4 < 50 else Zone.T3)


def triangle_4(gases: Gases) -> Answer:
    """Zone of H2, C2H6 and CH4; only where Triangle 1 says PD, T1 or T2."""
    if abstained := _not_after(gases, FaultCode.PD, FaultCode.T1, FaultCode.T2):
        return Answer(None, abstained)
    percents = percentages("duval_triangle_4", gases)
    assert percents is not None, "where Triangle 1 says so there is methane"
    h2, c2h6, ch4 = percents
    if c2h6 <= 24:
        if c2h6 <= 1 and 2 <= ch4 <= 15:
            return Answer(Zone.PD)
        return Answer(Zone.S if ch4 < 36 else Zone.C)
    if c2h6 <= 30:
        return Answer(Zone.S if h2 > 15 else Zone.C)
    if h2 <= 9:
        return Answer(Zone.O)
    return Answer(Zone.S if c2h6 < 46 else Zone.ND)


def triangle_5(gases: Gases) -> Answer:
    """Zone of CH4, C2H6 and C2H4; only where Triangle 1 says T2 or T3."""
    if abstained := _not_after(gases, FaultCode.T2, FaultCode.T3):
        return Answer(None, abstained)
    percents = percentages("duval_triangle_5", gases)
    assert percents is not None, "where Triangle 1 says so there is ethylene"
    _, c2h6, c2h4 = percents
    rules = (
        (Zone.PD, c2h4 <= 1 and 2 <= c2h6 <= 15),
        (Zone.S, c2h4 < 10 and 15 < c2h6 < 54),
        (Zone.O, c2h4 < 10),
        (Zone.T2, c2h4 <= 35 and c2h6 <= 12),
        (Zone.C, (c2h4 < 50 and 12 < c2h6 <= 14) or (c2h4 <= 70 and 14 < c2h6 < 30)),
        (Zone.ND, c2h4 < 35 and c2h6 >= 30),
    )
    return Answer(next((zone for zone, holds in rules if holds), Zone.T3))


def pentagon_1(gases: Gases) -> FaultCode | None:
    """Zone of the centroid in Pentagon 1; `None` when none of the five gases is present.

    The published vertices are rounded and leave 0.24 % of the area in no zone: there the nearest zone is taken.
    """
    centroid = pentagon_centroid(gases)
    return None if centroid is None else FaultCode(zone_at(ZONES["duval_pentagon_1"], centroid))


def pentagon_2(gases: Gases) -> Answer:
    """Zone of the centroid in Pentagon 2, which tells the thermal faults O, C and T3-H; else as Pentagon 1."""
    centroid = pentagon_centroid(gases)
    return Answer(None, _NO_GAS) if centroid is None else Answer(zone_at(ZONES["duval_pentagon_2"], centroid))


def pentagon_centroid(gases: Gases) -> tuple[float, float] | None:
    """Centroid (x, y), in percent along the axes, of the polygon that the five gases span; `None` without gas."""
    shares = percentages("duval_pentagon_1", gases)
    if shares is None:
        return None
    percents = [max(share, _EPSILON_PERCENT) for share in shares]
    corners = [(percent * x, percent * y) for percent, (x, y) in zip(percents, _AXES, strict=True)]
    area2 = sum_x = sum_y = 0.0
    for (x0, y0), (x1, y1) in pairwise([*corners, corners[0]]):
        cross = x0 * y1 - x1 * y0
        area2 += cross
        sum_x += (x0 + x1) * cross
        sum_y += (y0 + y1) * cross
    return sum_x / (3 * area2), sum_y / (3 * area2)


def percentages(diagram: str, gases: Gases) -> tuple[float, ...] | None:
    """Each gas of the diagram of that name in percent of their sum, in its order; `None` without any of them."""
    amounts = [getattr(gases, f"{gas}_ul_l") for gas in ZONES[diagram].gases]
    total = sum(amounts)
    return tuple(100 * amount / total for amount in amounts) if total else None


def _not_after(gases: Gases, *codes: FaultCode) -> str:
    """Why a refinement of Triangle 1 does not apply; empty where it does."""
    first = triangle_1(gases)
    return "" if first in codes else f"for Triangle 1's {', '.join(codes)} alone; it says {first or 'nothing'}"


_MINERAL = "mineral oil; amounts well above detection limits and typical values"
_ONE_SOURCE = "Duval's rules as one public implementation has them"
_LAMARRE = "Duval and Lamarre, IEEE Electrical Insulation Magazine 30(6), 2014"
_FIVE = "H2, CH4, C2H6, C2H4, C2H2 in uL/L"

SHEETS = (
    DataSheet(
        name="duval_triangle_1",
        title="Duval Triangle 1",
        function="models.dga.duval.triangle_1",
        inputs=("CH4, C2H4, C2H2 in uL/L",),
        output="PD D1 D2 DT T1 T2 T3",
        validity=(_MINERAL, "does not see hydrogen: partial discharge with little methane looks thermal"),
        source="IEC 60599",
        mark=Mark.VERIFIED,
    ),
    DataSheet(
        name="duval_triangle_2",
        title="Duval Triangle 2",
        function="models.dga.duval.triangle_2",
        inputs=("CH4, C2H2, C2H4 in uL/L, of the tap changer's compartment",),
        output="N D1 X1 X3 T2 T3",
        validity=("mineral oil of a tap changer's own compartment, whose contacts arc in oil", "never the main tank"),
        source=_ONE_SOURCE,
        mark=Mark.ONE_SOURCE,
    ),
    DataSheet(
        name="duval_triangle_4",
        title="Duval Triangle 4",
        function="models.dga.duval.triangle_4",
        inputs=("H2, C2H6, CH4 in uL/L", "C2H4, C2H2 in uL/L for Triangle 1"),
        output="PD S O C ND",
        validity=(_MINERAL, "only where Triangle 1 says PD, T1 or T2"),
        source=_ONE_SOURCE,
        mark=Mark.ONE_SOURCE,
    ),
    DataSheet(
        name="duval_triangle_5",
        title="Duval Triangle 5",
        function="models.dga.duval.triangle_5",
        inputs=("CH4, C2H6, C2H4 in uL/L", "C2H2 in uL/L for Triangle 1"),
        output="PD S O T2 C T3 ND",
        validity=(_MINERAL, "only where Triangle 1 says T2 or T3"),
        source=_ONE_SOURCE,
        mark=Mark.ONE_SOURCE,
    ),
    DataSheet(
        name="duval_pentagon_1",
        title="Duval Pentagon 1",
        function="models.dga.duval.pentagon_1",
        inputs=(_FIVE,),
        output="PD D1 D2 T1 T2 T3 S",
        validity=(_MINERAL, "in the 0.24 % of the area that rounded vertices leave open: the nearest zone"),
        source=_LAMARRE,
        mark=Mark.VERIFIED,
    ),
    DataSheet(
        name="duval_pentagon_2",
        title="Duval Pentagon 2",
        function="models.dga.duval.pentagon_2",
        inputs=(_FIVE,),
        output="PD D1 D2 S O C T3-H",
        validity=(_MINERAL, "in the area that rounded vertices leave open: the nearest zone"),
        source=_LAMARRE,
        mark=Mark.VERIFIED,
    ),
)
