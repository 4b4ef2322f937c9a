"""The classical methods over many compositions at once: for Monte Carlo, for training and for scoring.

Input: (n, 5) amounts in µL/L, columns as `FAULT_GASES`.  Output per method: (n, 9) booleans, columns as `ANSWERS`; a
row without any mark is "no diagnosis", a row with two is an overlap.  The scalar functions in `duval` and `ratios` are
the reference, which tests hold these against; the pentagon's polygons are those of `zones`.
Called by `uncertainty`, `learned`, `models.training.dga` and `models.evaluation.dga`.
"""

# ruff: noqa: PLR2004 - the numbers are the published tables'; names would hide them

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from models.dga.zones import ZONES, Polygon
from models.findings import FaultCode

__all__ = ("ANSWERS", "CODES", "Amounts", "Marks", "Matrix", "answers", "marks_of", "pentagon_centroids", "shares")

CODES = (FaultCode.PD, FaultCode.D1, FaultCode.D2, FaultCode.T1, FaultCode.T2, FaultCode.T3)  # what a fault can be
ANSWERS = (*CODES, FaultCode.DT, FaultCode.S, FaultCode.N)  # what a method can say

Matrix = npt.NDArray[np.float64]
Amounts = Matrix  # (n, 5), µL/L
Marks = npt.NDArray[np.bool_]  # (n, len(ANSWERS))

_H2, _CH4, _C2H6, _C2H4, _C2H2 = range(5)
_EPSILON_PERCENT = 1e-6  # as in `duval`: one or two gases alone still span an area
_AXES_RAD = np.radians([90.0, 162.0, 234.0, 306.0, 18.0])  # H2, C2H6, CH4, C2H4, C2H2
_PENTAGON_ORDER = (_H2, _C2H6, _CH4, _C2H4, _C2H2)
_PENTAGON = tuple((ANSWERS.index(FaultCode(zone)), polys[0]) for zone, polys in ZONES["duval_pentagon_1"].zones.items())


def answers(amounts: Amounts) -> dict[str, Marks]:
    """What each method says of each row, under the names that `consensus` gives its votes."""
    r1, r2, r5 = (
        _ratio(amounts[:, above], amounts[:, below]) for above, below in ((_CH4, _H2), (_C2H2, _C2H4), (_C2H4, _C2H6))
    )
    return {
        "duval_triangle_1": _triangle_1(amounts),
        "duval_pentagon_1": _pentagon_1(amounts),
        "iec_60599": _iec_60599(r1, r2, r5),
        "rogers": _rogers(r1, r2, r5),
    }


def marks_of(codes: tuple[FaultCode, ...]) -> Marks:
    """One method's answer as a row of marks, (9,)."""
    return np.array([code in codes for code in ANSWERS])


def shares(amounts: Amounts) -> Matrix:
    """Each gas as a share of the row's sum, 0 to 1; zeros where there is no gas."""
    total = amounts.sum(axis=1, keepdims=True)
    return amounts / np.where(total > 0, total, 1.0)


def pentagon_centroids(amounts: Amounts) -> Matrix:
    """(n, 2) centroids in percent along the pentagon's axes; meaningless where there is no gas."""
    percents = np.maximum(100 * shares(amounts)[:, _PENTAGON_ORDER], _EPSILON_PERCENT)
    x, y = percents * np.cos(_AXES_RAD), percents * np.sin(_AXES_RAD)
    x_next, y_next = np.roll(x, -1, axis=1), np.roll(y, -1, axis=1)
    cross = x * y_next - x_next * y
    area3 = 3 * cross.sum(axis=1)
    return np.stack([((x + x_next) * cross).sum(axis=1) / area3, ((y + y_next) * cross).sum(axis=1) / area3], axis=1)


def _triangle_1(amounts: Amounts) -> Marks:
    three = amounts[:, [_CH4, _C2H4, _C2H2]]
    total = three.sum(axis=1)
    ch4, c2h4, c2h2 = 100 * three.T / np.where(total > 0, total, 1.0)
    rules = (
        (FaultCode.PD, ch4 >= 98),
        (FaultCode.D1, (c2h4 <= 23) & (c2h2 >= 13)),
        (FaultCode.D2, ((c2h4 > 23) & (c2h4 <= 40) & (c2h2 >= 13)) | ((c2h4 > 40) & (c2h2 >= 29))),
        (FaultCode.T1, (c2h2 <= 4) & (c2h4 <= 20)),
        (FaultCode.T2, (c2h2 <= 4) & (c2h4 > 20) & (c2h4 < 50)),
        (FaultCode.T3, (c2h2 <= 15) & (c2h4 >= 50)),
        (FaultCode.DT, np.ones_like(ch4, dtype=bool)),
    )
    return _first(rules, total > 0)


def _pentagon_1(amounts: Amounts) -> Marks:
    centroids = pentagon_centroids(amounts)
    marks = np.zeros((len(amounts), len(ANSWERS)), dtype=bool)
    open_rows = amounts.sum(axis=1) > 0
    for column, polygon in _PENTAGON:
        found = open_rows & _inside(centroids, polygon)
        marks[found, column] = True
        open_rows &= ~found
    if open_rows.any():  # the rounded vertices leave 0.24 % of the area in no zone
        distances = np.stack([_distance(centroids[open_rows], polygon) for _, polygon in _PENTAGON])
        marks[np.flatnonzero(open_rows), np.array([column for column, _ in _PENTAGON])[distances.argmin(axis=0)]] = True
    return marks


def _iec_60599(r1: Matrix, r2: Matrix, r5: Matrix) -> Marks:
    return _all(
        (FaultCode.PD, (r1 < 0.1) & (r5 < 0.2)),
        (FaultCode.D2, (r2 >= 0.6) & (r2 <= 2.5) & (r1 >= 0.1) & (r1 <= 1) & (r5 > 2)),
        (FaultCode.D1, (r2 > 1) & (r1 >= 0.1) & (r1 <= 0.5) & (r5 > 1)),
        (FaultCode.T1, (r1 > 1) & (r5 < 1)),
        (FaultCode.T2, (r2 < 0.1) & (r1 > 1) & (r5 >= 1) & (r5 <= 4)),
        (FaultCode.T3, (r2 < 0.2) & (r1 > 1) & (r5 > 4)),
    )


def _rogers(r1: Matrix, r2: Matrix, r5: Matrix) -> Marks:
    low, middle = r2 < 0.1, (r1 >= 0.1) & (r1 <= 1)
    rules = (
        (FaultCode.N, low & middle & (r5 < 1)),
        (FaultCode.PD, low & (r1 < 0.1) & (r5 < 1)),
        (FaultCode.D2, (r2 >= 0.1) & (r2 <= 3) & middle & (r5 > 3)),
        (FaultCode.T1, low & middle & (r5 >= 1) & (r5 <= 3)),
        (FaultCode.T2, low & (r1 > 1) & (r5 >= 1) & (r5 <= 3)),
        (FaultCode.T3, low & (r1 > 1) & (r5 > 3)),
    )
    return _first(rules, np.ones_like(low))


def _all(*rules: tuple[FaultCode, Marks]) -> Marks:
    marks = np.zeros((len(rules[0][1]), len(ANSWERS)), dtype=bool)
    for code, holds in rules:
        marks[:, ANSWERS.index(code)] = holds
    return marks


def _first(rules: tuple[tuple[FaultCode, Marks], ...], open_rows: Marks) -> Marks:
    """Rules in their order: a row belongs to the first that holds."""
    left = open_rows.copy()
    claimed = []
    for code, holds in rules:
        claimed.append((code, left & holds))
        left &= ~holds
    return _all(*claimed)


def _ratio(numerator: Matrix, denominator: Matrix) -> Matrix:
    """As `ratios`: x/0 is infinite and 0/0 is zero."""
    there = denominator > 0
    with np.errstate(over="ignore"):  # a trace in the denominator may make it infinite, as it should
        return np.where(there, numerator / np.where(there, denominator, 1.0), np.where(numerator > 0, np.inf, 0.0))


def _inside(points: Matrix, polygon: Polygon) -> Marks:
    """Even-odd rule."""
    x, y = points[:, 0], points[:, 1]
    inside = np.zeros(len(points), dtype=bool)
    for (x0, y0, *_), (x1, y1, *_) in pairwise([*polygon, polygon[0]]):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside


def _distance(points: Matrix, polygon: Polygon) -> Matrix:
    """Distance from each point to the polygon's nearest edge."""
    x, y = points[:, 0], points[:, 1]
    nearest = np.full(len(points), np.inf)
    for (x0, y0, *_), (x1, y1, *_) in pairwise([*polygon, polygon[0]]):
        dx, dy = x1 - x0, y1 - y0
        along = np.clip(((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy), 0.0, 1.0)
        nearest = np.minimum(nearest, np.hypot(x - x0 - along * dx, y - y0 - along * dy))
    return nearest
