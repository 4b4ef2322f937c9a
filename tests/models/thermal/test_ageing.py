"""Ageing of winding paper against the printed tables of IEC 60076-7 and IEEE C57.91."""

from itertools import pairwise
from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.asset import Paper
from models.thermal import ageing_rate, equivalent_ageing, loss_of_life_percent
from models.thermal.ageing import REFERENCE_55_K

PRINTED = [  # hot spot, F_AA as printed: good to half a unit of the last digit
    (80, "0.036"),
    (98, "0.282"),
    (110, "1.000"),
    (117, "2.02"),
    (120, "2.709"),
    (130, "6.984"),
    (140, "17.2"),
    (160, "92.1"),
    (180, "425"),
]
papers = st.sampled_from([Paper.UPGRADED, Paper.KRAFT, None])
temperatures = st.floats(-60, 400)


@pytest.mark.parametrize(("degc", "printed"), PRINTED)
def test_ageing_of_upgraded_paper_to_the_last_printed_digit(degc, printed):
    digits = len(printed.partition(".")[2])
    assert f"{ageing_rate(degc, Paper.UPGRADED):.{digits}f}" == printed


@pytest.mark.parametrize("degc", [degc for degc, _ in PRINTED])
def test_ageing_of_upgraded_paper_is_arrhenius_with_15000_kelvin(degc):
    """The same law written from its ratio, within 0.1 %."""
    per_kelvin = exp(15_000 * (degc - 110) / ((degc + 273) * 383))
    assert ageing_rate(degc, Paper.UPGRADED) == pytest.approx(per_kelvin, rel=1e-3)


@pytest.mark.parametrize(("degc", "rate"), [(92, 0.5), (98, 1), (104, 2), (110, 4)])
def test_ageing_of_kraft_and_of_unknown_paper(degc, rate):
    assert ageing_rate(degc, Paper.KRAFT) == pytest.approx(rate, rel=1e-3)
    assert ageing_rate(degc, None) == pytest.approx(rate, rel=1e-3)


def test_a_winding_of_55_kelvin_rise_has_its_reference_at_95_degrees():
    assert ageing_rate(95, Paper.UPGRADED, reference_k=REFERENCE_55_K) == pytest.approx(1.0)


@given(temperatures, temperatures, papers)
def test_hotter_paper_never_ages_slower(one_degc, other_degc, paper):
    low, high = sorted((one_degc, other_degc))
    assert ageing_rate(low, paper) <= ageing_rate(high, paper)


@given(st.lists(st.tuples(st.floats(0.01, 1000), st.floats(60, 180)), min_size=1, max_size=20), papers)
def test_equivalent_ageing_lies_between_the_slowest_and_the_fastest(spans, paper):
    rates = [(hours, ageing_rate(degc, paper)) for hours, degc in spans]
    slowest, fastest = min(rate for _, rate in rates), max(rate for _, rate in rates)
    assert slowest * (1 - 1e-9) <= equivalent_ageing(rates) <= fastest * (1 + 1e-9)


@given(st.lists(st.tuples(st.floats(0.01, 1000), st.floats(60, 180)), min_size=2, max_size=20), papers)
def test_life_is_only_ever_lost(spans, paper):
    rates = [(hours, ageing_rate(degc, paper)) for hours, degc in spans]
    lost = [
        loss_of_life_percent(equivalent_ageing(rates[:count]), sum(hours for hours, _ in rates[:count]))
        for count in range(1, len(rates) + 1)
    ]
    assert all(before < after * (1 + 1e-12) for before, after in pairwise(lost))


def test_equivalent_ageing_of_a_day():
    """20 h at 110 °C, 3 h at 120 °C, 1 h at 130 °C."""
    day = [(hours, ageing_rate(degc, Paper.UPGRADED)) for hours, degc in ((20, 110), (3, 120), (1, 130))]
    assert equivalent_ageing(day) == pytest.approx(1.463, rel=1e-3)
    assert f"{loss_of_life_percent(equivalent_ageing(day), 24):.4f}" == "0.0195"
    assert equivalent_ageing([]) == 0
