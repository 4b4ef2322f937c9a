"""Triangle 1 and Pentagon 1 against published cases, polygons and the whole plane of inputs."""

import csv
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.dga.duval import pentagon_1, pentagon_centroid, triangle_1
from models.dga.gases import Gases
from models.findings import FAMILY, Family, FaultCode

DEV = Path(__file__).parents[3] / ".." / "shared" / "data" / "dga" / "dev.csv"

# IEC TC10 database, inspected cases: H2 CH4 C2H6 C2H4 C2H2 | Triangle 1 | Pentagon 1 | centroid
TC10 = [
    ((32930, 2397, 157, 0, 0), "PD", "PD", (-0.23, 28.76)),
    ((37800, 1740, 249, 8, 8), "PD", "PD", (-0.23, 30.27)),
    ((78, 20, 11, 13, 28), "D1", "D1", (3.19, 14.22)),
    ((305, 100, 33, 161, 541), "D1", "D1", (14.32, 8.38)),
    ((440, 89, 19, 304, 757), "D2", "D1", (15.52, 7.48)),
    ((210, 43, 12, 102, 187), "D2", "D2", (10.63, 9.20)),
    ((1270, 3450, 520, 1390, 8), "T2", "T2", (-7.35, -15.57)),
    ((3420, 7870, 1500, 6990, 33), "T2", "T3", (-2.47, -16.57)),
    ((6709, 10500, 1400, 17700, 750), "T3", "T3", (3.21, -17.51)),
    ((8800, 64064, 72128, 95650, 0), "T3", "T2", (-5.12, -11.06)),
]
# Triangle 1's zones as polygons in (CH4, C2H2, C2H4) percent: the other published form of the same rules.
POLYGONS = {
    "PD": [(100, 0, 0), (98, 2, 0), (98, 0, 2)],
    "T1": [(96, 4, 0), (76, 4, 20), (80, 0, 20), (98, 0, 2), (98, 2, 0)],
    "T2": [(80, 0, 20), (76, 4, 20), (46, 4, 50), (50, 0, 50)],
    "T3": [(50, 0, 50), (35, 15, 50), (0, 15, 85), (0, 0, 100)],
    "DT": [
        (87, 13, 0),
        (47, 13, 40),
        (31, 29, 40),
        (0, 29, 71),
        (0, 15, 85),
        (35, 15, 50),
        (46, 4, 50),
        (96, 4, 0),
    ],
    "D1": [(0, 100, 0), (0, 77, 23), (64, 13, 23), (87, 13, 0)],
    "D2": [(64, 13, 23), (0, 77, 23), (0, 29, 71), (31, 29, 40), (47, 13, 40)],
}
amount = st.floats(min_value=0, max_value=1e6, allow_nan=False)


def gases(values) -> Gases:
    names = ("h2_ul_l", "ch4_ul_l", "c2h6_ul_l", "c2h4_ul_l", "c2h2_ul_l")
    return Gases(**dict(zip(names, values, strict=True)))


def sides(point, polygon) -> list[float]:
    """Signed areas to each edge in the (C2H2, C2H4) plane."""
    corners = [corner[1:] for corner in polygon]
    x, y = point[1:]
    return [(x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) for (x0, y0), (x1, y1) in pairwise([*corners, corners[0]])]


def inside(point, polygon) -> bool:
    corners = [corner[1:] for corner in polygon]
    x, y = point[1:]
    crossings = [
        (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0)
        for (x0, y0), (x1, y1) in pairwise([*corners, corners[0]])
    ]
    return sum(crossings) % 2 == 1


@pytest.mark.parametrize(("values", "triangle", "pentagon", "centroid"), TC10)
def test_inspected_cases(values, triangle, pentagon, centroid):
    sample = gases(values)
    assert triangle_1(sample) == triangle
    assert pentagon_1(sample) == pentagon
    assert pentagon_centroid(sample) == pytest.approx(centroid, abs=0.006)


def test_worked_example_of_the_pentagon():
    sample = Gases(h2_ul_l=31, c2h6_ul_l=130, ch4_ul_l=192, c2h4_ul_l=31, c2h2_ul_l=0)
    assert pentagon_centroid(sample) == pytest.approx((-17.3, -9.1), abs=0.05)
    assert (triangle_1(sample), pentagon_1(sample)) == (FaultCode.T1, FaultCode.T1)


def test_nothing_there_is_no_zone():
    assert triangle_1(gases((1000, 0, 1000, 0, 0))) is None
    assert pentagon_1(gases((0, 0, 0, 0, 0))) is None


@given(st.tuples(amount, amount, amount))
def test_polygons_agree_with_the_rules_off_the_borders_and_tile(three):
    ch4, c2h2, c2h4 = three
    total = ch4 + c2h2 + c2h4 or 1.0
    point = tuple(100 * each / total for each in three)
    zone = triangle_1(gases((0, ch4, 0, c2h4, c2h2)))
    holding = [code for code, polygon in POLYGONS.items() if inside(point, polygon)]
    near_border = min(abs(side) for polygon in POLYGONS.values() for side in sides(point, polygon)) < 1e-6
    assert near_border or sum(three) == 0 or holding == [zone]


@given(st.tuples(amount, amount, amount, amount, amount))
def test_every_gas_mixture_has_a_pentagon_zone(five):
    assert (pentagon_1(gases(five)) is None) == (sum(five) == 0)


def test_the_gap_between_rounded_vertices_goes_to_the_nearest_zone():
    # Pure C2H2 ends outside every polygon's rounded tip or inside D1; both must name D1, its only neighbour there.
    assert pentagon_1(gases((0, 0, 0, 0, 100))) == FaultCode.D1


@pytest.mark.skipif(not DEV.exists(), reason="the development data are not beside the repository")
def test_triangle_reproduces_its_published_score_on_the_development_set():
    with DEV.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["fault"] != "N"]
    said = [triangle_1(gases([float(row[name]) for name in ("H2", "CH4", "C2H6", "C2H4", "C2H2")])) for row in rows]
    right = sum(code == row["fault"] for code, row in zip(said, rows, strict=True))
    family = sum(FAMILY.get(code, Family.NONE) is FAMILY[row["fault"]] for code, row in zip(said, rows, strict=True))
    print(  # noqa: T201 - the figures are the point of the run with `pytest -s`
        f"triangle 1 on {len(rows)} faults: {right / len(rows):.3f}, family {family / len(rows):.3f}"
    )
    assert right / len(rows) == pytest.approx(0.62, abs=0.01)
    assert family / len(rows) == pytest.approx(0.85, abs=0.01)
