"""Duval's Triangle 1 and Pentagon 1: gas concentrations to a fault zone, for mineral oil, main tank.

Inputs: µL/L; only the proportions matter, so the caller must make sure that the gases are well above the
detection limits (`features.above_detection`) and above typical values (`limits`): proportions of noise are noise.
Sources: Triangle 1 as in IEC 60599; Pentagon 1 in Duval and Lamarre, IEEE Electrical Insulation Magazine 30(6), 2014.
Called by `consensus`.
"""

# ruff: noqa: PLR2004 - the numbers are the published tables'; names would hide them

from itertools import pairwise
from math import cos, hypot, radians, sin

from models.dga.gases import Gases
from models.findings import FaultCode

__all__ = ("pentagon_1", "pentagon_centroid", "triangle_1")

_AXES_DEG = (90.0, 162.0, 234.0, 306.0, 18.0)  # H2, C2H6, CH4, C2H4, C2H2
_AXES = tuple((cos(radians(angle)), sin(radians(angle))) for angle in _AXES_DEG)
_EPSILON_PERCENT = 1e-6  # lifts a gas of zero, so that one or two gases alone still span an area with a centroid

_PENTAGON_1: dict[FaultCode, tuple[tuple[float, float], ...]] = {
    FaultCode.PD: ((0, 33), (-1, 33), (-1, 24.5), (0, 24.5)),
    FaultCode.D1: ((0, 40), (38, 12), (32, -6.1), (4, 16), (0, 1.5)),
    FaultCode.D2: ((4, 16), (32, -6.1), (24.3, -30), (0, -3), (0, 1.5)),
    FaultCode.T3: ((0, -3), (24.3, -30), (23.5, -32.4), (1, -32.4), (-6, -4)),
    FaultCode.T2: ((-6, -4), (1, -32.4), (-22.5, -32.4)),
    FaultCode.T1: ((-6, -4), (-22.5, -32.4), (-23.5, -32.4), (-35, 3.1), (0, 1.5), (0, -3)),
    FaultCode.S: ((0, 1.5), (-35, 3.1), (-38, 12.4), (0, 40), (0, 33), (-1, 33), (-1, 24.5), (0, 24.5)),
}


def triangle_1(gases: Gases) -> FaultCode | None:
    """Zone of CH4, C2H4 and C2H2 in Triangle 1; `None` when none of the three is present.

    Every point of the triangle, borders included, has exactly one zone.
    """
    total = gases.ch4_ul_l + gases.c2h4_ul_l + gases.c2h2_ul_l
    if total == 0:
        return None
    return _triangle_zone(
        ch4=100 * gases.ch4_ul_l / total, c2h4=100 * gases.c2h4_ul_l / total, c2h2=100 * gases.c2h2_ul_l / total
    )


def pentagon_1(gases: Gases) -> FaultCode | None:
    """Zone of the centroid in Pentagon 1; `None` when none of the five gases is present.

    The published vertices are rounded and leave 0.24 % of the area in no zone: there the nearest zone is taken.
    """
    centroid = pentagon_centroid(gases)
    if centroid is None:
        return None
    for code, polygon in _PENTAGON_1.items():
        if _inside(centroid, polygon):
            return code
    return min(_PENTAGON_1, key=lambda code: _distance(centroid, _PENTAGON_1[code]))


def pentagon_centroid(gases: Gases) -> tuple[float, float] | None:
    """Centroid (x, y), in percent along the axes, of the polygon that the five gases span; `None` without gas."""
    amounts = (gases.h2_ul_l, gases.c2h6_ul_l, gases.ch4_ul_l, gases.c2h4_ul_l, gases.c2h2_ul_l)
    total = sum(amounts)
    if total == 0:
        return None
    percents = [max(100 * amount / total, _EPSILON_PERCENT) for amount in amounts]
    corners = [(percent * x, percent * y) for percent, (x, y) in zip(percents, _AXES, strict=True)]
    area2 = sum_x = sum_y = 0.0
    for (x0, y0), (x1, y1) in pairwise([*corners, corners[0]]):
        cross = x0 * y1 - x1 * y0
        area2 += cross
        sum_x += (x0 + x1) * cross
        sum_y += (y0 + y1) * cross
    return sum_x / (3 * area2), sum_y / (3 * area2)


def _triangle_zone(*, ch4: float, c2h4: float, c2h2: float) -> FaultCode:
    """Rules in their order, in percent of the three gases; what no rule claims is the mixed zone DT."""
    rules = (
        (FaultCode.PD, ch4 >= 98),
        (FaultCode.D1, c2h4 <= 23 and c2h2 >= 13),
        (FaultCode.D2, (23 < c2h4 <= 40 and c2h2 >= 13) or (c2h4 > 40 and c2h2 >= 29)),
        (FaultCode.T1, c2h2 <= 4 and c2h4 <= 20),
        (FaultCode.T2, c2h2 <= 4 and 20 < c2h4 < 50),
        (FaultCode.T3, c2h2 <= 15 and c2h4 >= 50),
    )
    return next((code for code, holds in rules if holds), FaultCode.DT)


def _inside(point: tuple[float, float], polygon: tuple[tuple[float, float], ...]) -> bool:
    """Even-odd rule."""
    x, y = point
    inside = False
    for (x0, y0), (x1, y1) in pairwise([*polygon, polygon[0]]):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
            inside = not inside
    return inside


def _distance(point: tuple[float, float], polygon: tuple[tuple[float, float], ...]) -> float:
    """Distance from the point to the polygon's nearest edge."""
    x, y = point
    distances = []
    for (x0, y0), (x1, y1) in pairwise([*polygon, polygon[0]]):
        dx, dy = x1 - x0, y1 - y0
        along = max(0.0, min(1.0, ((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy)))
        distances.append(hypot(x - x0 - along * dx, y - y0 - along * dy))
    return min(distances)
