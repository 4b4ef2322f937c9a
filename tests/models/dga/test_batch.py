"""The methods over many rows against their scalar references."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.dga.batch import ANSWERS, answers, marks_of, pentagon_centroids, shares
from models.dga.duval import pentagon_1, pentagon_centroid, triangle_1
from models.dga.gases import FAULT_GASES, Gases
from models.dga.ratios import iec_60599, rogers
from models.findings import FaultCode

whole = st.integers(0, 100_000)  # whole numbers: their sums are exact in both, whatever the order


def reference(values) -> dict[str, set[FaultCode]]:
    gases = Gases(**{f"{gas}_ul_l": float(value) for gas, value in zip(FAULT_GASES, values, strict=True)})
    triangle, pentagon, ratio = triangle_1(gases), pentagon_1(gases), rogers(gases)
    return {
        "duval_triangle_1": {triangle} - {None},
        "duval_pentagon_1": {pentagon} - {None},
        "iec_60599": set(iec_60599(gases)),
        "rogers": {ratio} - {None},
    }


def said(rows) -> list[dict[str, set[FaultCode]]]:
    marks = answers(np.array(rows, dtype=np.float64))
    return [
        {
            method: {code for code, mark in zip(ANSWERS, each[row], strict=True) if mark}
            for method, each in marks.items()
        }
        for row in range(len(rows))
    ]


@given(st.lists(st.tuples(whole, whole, whole, whole, whole), min_size=1, max_size=8))
def test_every_row_gets_what_the_scalar_methods_say(rows):
    assert said(rows) == [reference(row) for row in rows]


def test_rows_as_they_are_measured():
    rows = np.random.default_rng(1).lognormal(3, 2, size=(3000, 5)) * np.random.default_rng(2).integers(0, 5, (3000, 5))
    assert said(rows.tolist()) == [reference(row) for row in rows.tolist()]


def test_borders_of_zones():
    rows = [
        (0, 98, 0, 1, 1),
        (0, 80, 0, 20, 0),
        (0, 50, 0, 50, 0),
        (0, 64, 0, 23, 13),
        (10, 1, 1, 0, 0),
        (0, 0, 0, 0, 0),
    ]
    assert said(rows) == [reference(row) for row in rows]


def test_centroids_are_those_of_the_pentagon():
    sample = Gases(h2_ul_l=31, c2h6_ul_l=130, ch4_ul_l=192, c2h4_ul_l=31, c2h2_ul_l=0)  # Duval and Lamarre 2014
    (centroid,) = pentagon_centroids(np.array([[31.0, 192.0, 130.0, 31.0, 0.0]]))
    assert centroid.tolist() == pytest.approx(pentagon_centroid(sample))
    assert centroid.tolist() == pytest.approx([-17.3, -9.1], abs=0.1)


def test_shares_of_no_gas_are_zero():
    assert shares(np.zeros((1, 5))).tolist() == [[0.0] * 5]


def test_marks_name_the_codes():
    assert marks_of((FaultCode.D2, FaultCode.D1)).tolist() == [code in {"D1", "D2"} for code in ANSWERS]
