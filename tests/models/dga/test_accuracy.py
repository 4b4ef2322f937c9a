"""Stated accuracy and how far a change can be told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.dga.accuracy import DEFAULT_ACCURACY, GasAccuracy, accuracy_of

amount = st.floats(min_value=0, max_value=1e5)


def test_the_larger_part_counts():
    accuracy = accuracy_of("vaisala-opt100")
    assert accuracy.uncertainty_ul_l("c2h2", 10) == 2
    assert accuracy.uncertainty_ul_l("c2h2", 100) == 10
    assert accuracy.uncertainty_ul_l("h2", 200) == 30  # hydrogen has a share of its own


def test_a_monitor_that_nobody_states_is_assumed():
    assert accuracy_of("some-other") is DEFAULT_ACCURACY
    assert DEFAULT_ACCURACY.assumed
    assert not accuracy_of("vaisala-opt100").assumed
    assert not GasAccuracy(c2h2_ul_l=0.5).assumed


def test_a_rise_is_less_certain_than_either_end():
    assert GasAccuracy(relative=0, ch4_ul_l=3).of_rise_ul_l("ch4", 10, 20) == pytest.approx(3 * 2**0.5)


@given(amount, amount)
def test_a_rise_is_a_sum_with_weights_of_one(before, after):
    accuracy = DEFAULT_ACCURACY
    as_sum = accuracy.of_sum_ul_l("co", [(-1.0, before), (1.0, after)])
    assert accuracy.of_rise_ul_l("co", before, after) == pytest.approx(as_sum)
    assert as_sum >= accuracy.uncertainty_ul_l("co", max(before, after))
