"""The zones of Duval's triangles and pentagons as polygons, for drawing and for looking a point up.

A triangle's vertices are percentages of its three gases, in the order of `gases`; they sum to 100.  A pentagon's are
(x, y) in percent along its axes.  Polygons of one diagram do not overlap; those of a triangle leave no gap.
Triangles 2, 4 and 5 are derived here from the rules in `duval`; tests hold the two against each other.
Sources: Triangle 1 as in IEC 60599; pentagons: Duval and Lamarre, IEEE Electrical Insulation Magazine 30(6), 2014;
Triangles 2, 4, 5: one public implementation of Duval's rules.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from math import hypot
from types import MappingProxyType
from typing import TypeAlias

__all__ = ("MEANING", "ZONES", "Answer", "Diagram", "Polygon", "Zone", "zone_at")

Vertex: TypeAlias = tuple[float, ...]
Polygon: TypeAlias = tuple[Vertex, ...]


class Zone(StrEnum):
    """Names as they are printed in the diagrams; those of fault codes are equal to `findings.FaultCode`."""

    PD = "PD"
    D1 = "D1"
    D2 = "D2"
    DT = "DT"
    T1 = "T1"
    T2 = "T2"
    T3 = "T3"
    S = "S"
    O = "O"  # noqa: E741 - the zone's name
    C = "C"
    T3_H = "T3-H"
    ND = "ND"
    N = "N"
    X1 = "X1"
    X3 = "X3"


MEANING: Mapping[Zone, str] = MappingProxyType(
    {
        Zone.PD: "partial discharge",
        Zone.D1: "discharge of low energy",
        Zone.D2: "discharge of high energy",
        Zone.DT: "discharge together with overheating",
        Zone.T1: "overheating below 300 °C",
        Zone.T2: "overheating, 300 to 700 °C",
        Zone.T3: "overheating above 700 °C",
        Zone.S: "stray gassing of the oil",
        Zone.O: "overheating below 250 °C",
        Zone.C: "overheating with carbonisation of paper",
        Zone.T3_H: "overheating above 700 °C, in oil only",
        Zone.ND: "not determined",
        Zone.N: "normal operation of the tap changer",
        Zone.X1: "arcing out of the ordinary, or overheating",
        Zone.X3: "overheating, or severe arcing",
    }
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one diagram says of one sample: its zone, or none and the reason."""

    zone: Zone | None
    abstained: str = ""


@dataclass(frozen=True, slots=True)
class Diagram:
    """One triangle or pentagon."""

    title: str
    gases: tuple[str, ...]  # fields of `Gases` without the unit: corners of a triangle, axes of a pentagon
    zones: Mapping[Zone, tuple[Polygon, ...]]


_P_PD: Polygon = ((0, 33), (-1, 33), (-1, 24.5), (0, 24.5))
_P_D1: Polygon = ((0, 40), (38, 12), (32, -6.1), (4, 16), (0, 1.5))
_P_D2: Polygon = ((4, 16), (32, -6.1), (24.3, -30), (0, -3), (0, 1.5))
_P_S: Polygon = ((0, 1.5), (-35, 3.1), (-38, 12.4), (0, 40), (0, 33), (-1, 33), (-1, 24.5), (0, 24.5))

_TRIANGLE_1 = {
    Zone.PD: (((100, 0, 0), (98, 2, 0), (98, 0, 2)),),
    Zone.T1: (((96, 4, 0), (76, 4, 20), (80, 0, 20), (98, 0, 2), (98, 2, 0)),),
    Zone.T2: (((80, 0, 20), (76, 4, 20), (46, 4, 50), (50, 0, 50)),),
    Zone.T3: (((50, 0, 50), (35, 15, 50), (0, 15, 85), (0, 0, 100)),),
    Zone.DT: (
        ((87, 13, 0), (47, 13, 40), (31, 29, 40), (0, 29, 71), (0, 15, 85), (35, 15, 50), (46, 4, 50), (96, 4, 0)),
    ),
    Zone.D1: (((0, 100, 0), (0, 77, 23), (64, 13, 23), (87, 13, 0)),),
    Zone.D2: (((64, 13, 23), (0, 77, 23), (0, 29, 71), (31, 29, 40), (47, 13, 40)),),
}
_TRIANGLE_2 = {
    Zone.N: (((2, 92, 6), (19, 75, 6), (19, 58, 23), (2, 75, 23)),),
    Zone.D1: (((0, 100, 0), (19, 81, 0), (19, 75, 6), (2, 92, 6), (2, 75, 23), (0, 77, 23)),),
    Zone.X1: (((19, 81, 0), (100, 0, 0), (77, 0, 23), (19, 58, 23)),),
    Zone.X3: (((0, 77, 23), (62, 15, 23), (0, 15, 85)),),
    Zone.T2: (((77, 0, 23), (62, 15, 23), (35, 15, 50), (50, 0, 50)),),
    Zone.T3: (((50, 0, 50), (35, 15, 50), (0, 15, 85), (0, 0, 100)),),
}
_TRIANGLE_4 = {
    Zone.PD: (((98, 0, 2), (97, 1, 2), (84, 1, 15), (85, 0, 15)),),
    Zone.S: (
        (
            (100, 0, 0),
            (54, 46, 0),
            (9, 46, 45),
            (9, 30, 61),
            (15, 30, 55),
            (15, 24, 61),
            (40, 24, 36),
            (64, 0, 36),
            (85, 0, 15),
            (84, 1, 15),
            (97, 1, 2),
            (98, 0, 2),
        ),
    ),
    Zone.C: (((64, 0, 36), (40, 24, 36), (15, 24, 61), (15, 30, 55), (0, 30, 70), (0, 0, 100)),),
    Zone.O: (((9, 30, 61), (0, 30, 70), (0, 100, 0), (9, 91, 0)),),
    Zone.ND: (((9, 46, 45), (9, 91, 0), (54, 46, 0)),),
}
_TRIANGLE_5 = {
    Zone.PD: (((98, 2, 0), (97, 2, 1), (84, 15, 1), (85, 15, 0)),),
    Zone.O: (
        ((100, 0, 0), (98, 2, 0), (97, 2, 1), (84, 15, 1), (75, 15, 10), (90, 0, 10)),
        ((46, 54, 0), (36, 54, 10), (0, 90, 10), (0, 100, 0)),
    ),
    Zone.S: (((85, 15, 0), (75, 15, 10), (36, 54, 10), (46, 54, 0)),),
    Zone.T2: (((90, 0, 10), (78, 12, 10), (53, 12, 35), (65, 0, 35)),),
    Zone.C: (((78, 12, 10), (60, 30, 10), (0, 30, 70), (16, 14, 70), (36, 14, 50), (38, 12, 50)),),
    Zone.T3: (
        ((65, 0, 35), (53, 12, 35), (38, 12, 50), (36, 14, 50), (16, 14, 70), (0, 30, 70), (0, 0, 100)),
        ((35, 30, 35), (0, 30, 70), (0, 65, 35)),
    ),
    Zone.ND: (((60, 30, 10), (35, 30, 35), (0, 65, 35), (0, 90, 10)),),
}
_PENTAGON_1 = {
    Zone.PD: (_P_PD,),
    Zone.D1: (_P_D1,),
    Zone.D2: (_P_D2,),
    Zone.T3: (((0, -3), (24.3, -30), (23.5, -32.4), (1, -32.4), (-6, -4)),),
    Zone.T2: (((-6, -4), (1, -32.4), (-22.5, -32.4)),),
    Zone.T1: (((-6, -4), (-22.5, -32.4), (-23.5, -32.4), (-35, 3.1), (0, 1.5), (0, -3)),),
    Zone.S: (_P_S,),
}
_PENTAGON_2 = {
    Zone.PD: (_P_PD,),
    Zone.D1: (_P_D1,),
    Zone.D2: (_P_D2,),
    Zone.T3_H: (((0, -3), (24.3, -30), (23.5, -32.4), (2.5, -32.4), (-3.5, -3)),),
    Zone.C: (((-3.5, -3), (2.5, -32.4), (-21.5, -32.4), (-11, -8)),),
    Zone.O: (((-3.5, -3), (-11, -8), (-21.5, -32.4), (-23.5, -32.4), (-35, 3.1), (0, 1.5), (0, -3)),),
    Zone.S: (_P_S,),
}
_AXES = ("h2", "c2h6", "ch4", "c2h4", "c2h2")

ZONES: Mapping[str, Diagram] = MappingProxyType(
    {
        "duval_triangle_1": Diagram("Duval Triangle 1", ("ch4", "c2h2", "c2h4"), MappingProxyType(_TRIANGLE_1)),
        "duval_triangle_2": Diagram("Duval Triangle 2", ("ch4", "c2h2", "c2h4"), MappingProxyType(_TRIANGLE_2)),
        "duval_triangle_4": Diagram("Duval Triangle 4", ("h2", "c2h6", "ch4"), MappingProxyType(_TRIANGLE_4)),
        "duval_triangle_5": Diagram("Duval Triangle 5", ("ch4", "c2h6", "c2h4"), MappingProxyType(_TRIANGLE_5)),
        "duval_pentagon_1": Diagram("Duval Pentagon 1", _AXES, MappingProxyType(_PENTAGON_1)),
        "duval_pentagon_2": Diagram("Duval Pentagon 2", _AXES, MappingProxyType(_PENTAGON_2)),
    }
)


def zone_at(diagram: Diagram, point: Vertex) -> Zone:
    """The zone whose polygon holds the point, in the diagram's own coordinates, else the nearest zone.

    Only the first two coordinates count; a triangle's third follows from them.
    """
    for zone, polygons in diagram.zones.items():
        if any(_inside(point, polygon) for polygon in polygons):
            return zone
    return min(diagram.zones, key=lambda zone: min(_distance(point, polygon) for polygon in diagram.zones[zone]))


def _inside(point: Vertex, polygon: Polygon) -> bool:
    """Even-odd rule."""
    x, y = point[:2]
    inside = False
    for (x0, y0, *_), (x1, y1, *_) in pairwise([*polygon, polygon[0]]):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
            inside = not inside
    return inside


def _distance(point: Vertex, polygon: Polygon) -> float:
    """Distance from the point to the polygon's nearest edge."""
    x, y = point[:2]
    distances = []
    for (x0, y0, *_), (x1, y1, *_) in pairwise([*polygon, polygon[0]]):
        dx, dy = x1 - x0, y1 - y0
        along = max(0.0, min(1.0, ((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy)))
        distances.append(hypot(x - x0 - along * dx, y - y0 - along * dy))
    return min(distances)
