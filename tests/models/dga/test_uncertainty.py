"""Zones within a monitor's stated accuracy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.dga.accuracy import DEFAULT_ACCURACY, GasAccuracy
from models.dga.gases import Gases
from models.dga.uncertainty import UNDECIDED, draw_amounts, zone_probabilities

EXACT = GasAccuracy(relative=0, h2_relative=0, h2_ul_l=0, ch4_ul_l=0, c2h6_ul_l=0, c2h4_ul_l=0, c2h2_ul_l=0)
PERCENT = EXACT.model_copy(update={"relative": 0.1, "h2_relative": 0.1})
amount = st.floats(0, 1e5)


def gases(h2, ch4, c2h6, c2h4, c2h2) -> Gases:
    return Gases(h2_ul_l=h2, ch4_ul_l=ch4, c2h6_ul_l=c2h6, c2h4_ul_l=c2h4, c2h2_ul_l=c2h2)


def test_an_exact_monitor_has_one_zone_per_method():
    said = zone_probabilities(gases(440, 89, 19, 304, 757), EXACT)  # IEC TC10 database, inspected case, D2
    assert said == {
        "duval_triangle_1": {"D2": 1.0},
        "duval_pentagon_1": {"D1": 1.0},
        "iec_60599": {"D1/D2": 1.0},
        "rogers": {"D2": 1.0},
    }
    assert zone_probabilities(gases(78, 20, 11, 13, 28), EXACT)["rogers"] == {UNDECIDED: 1.0}


def test_on_the_border_of_two_zones_each_gets_its_half():
    said = zone_probabilities(gases(100, 500, 100, 500, 0), PERCENT, draws=4000)["duval_triangle_1"]
    assert said["T2"] == pytest.approx(0.5, abs=0.03)
    assert said["T3"] == pytest.approx(0.5, abs=0.03)


def test_the_share_of_a_zone_is_the_share_of_the_rectangle():
    # T2 where C2H4 < CH4: over CH4 on 432 to 528, the part of C2H4's 468 to 572 that lies below it.
    said = zone_probabilities(gases(0, 480, 0, 520, 0), PERCENT, draws=20_000)["duval_triangle_1"]
    ch4 = np.linspace(432, 528, 2001)
    expected = np.clip((ch4 - 468) / 104, 0, 1).mean()
    assert said["T2"] == pytest.approx(expected, abs=0.01)


@settings(max_examples=40)
@given(st.tuples(amount, amount, amount, amount, amount))
def test_shares_sum_to_one_and_repeat(values):
    said = zone_probabilities(gases(*values), DEFAULT_ACCURACY, draws=60)
    assert said == zone_probabilities(gases(*values), DEFAULT_ACCURACY, draws=60)
    for shares in said.values():
        assert sum(shares.values()) == pytest.approx(1)
        assert list(shares.values()) == sorted(shares.values(), reverse=True)


def test_draws_stay_within_the_stated_limits_and_above_zero():
    sample = gases(100, 5, 200, 0, 1)
    drawn = draw_amounts(sample, DEFAULT_ACCURACY)
    assert drawn.shape == (500, 5)
    assert drawn.min() == 0
    assert np.all(drawn.max(axis=0) <= [125, 15, 230, 10, 3])
    assert drawn[:, 0].min() >= 75
