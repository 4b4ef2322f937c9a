"""IEC 60076-7 temperatures against published figures."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.errors import BadInput
from models.asset import Cooling, Nameplate, Paper
from models.thermal import (
    ThermalState,
    assumptions_of,
    parameters_for,
    steady_state,
    step,
    step_from_top_oil,
)

ONAF = parameters_for(Nameplate(cooling=Cooling.ONAF))
WORKED_EXAMPLE = parameters_for(  # IEC 60076-7, 250 MVA ONAF
    Nameplate(cooling=Cooling.ONAF, top_oil_rise_k=38.3, hot_spot_gradient_k=14.5 * 1.4, loss_ratio=1000)
)
STEPS = [  # until min, load, published top oil, published hot spot
    (190, 1.0, 61.9, 83.8),
    (365, 0.6, 44.4, 54.0),
    (500, 1.5, 89.2, 127.0),
    (705, 0.3, 35.0, 37.5),
    (730, 2.1, 67.9, 138.6),
    (745, 0.0, 60.3, 75.3),
]


def test_worked_example():
    state, now_min = ThermalState(38.3), 0
    for until_min, load_pu, top_oil_degc, hot_spot_degc in STEPS:
        state = step(state, (until_min - now_min) * 60, load_pu, 25.6, WORKED_EXAMPLE)
        now_min = until_min
        assert state.top_oil_degc == pytest.approx(top_oil_degc, abs=1.2)
        assert state.hot_spot_degc == pytest.approx(hot_spot_degc, abs=1.2)


def test_small_steps_add_up_to_a_large_one():
    large = small = ThermalState(40.0)
    large = step(large, 3600, 1.1, 20.0, ONAF)
    for _ in range(60):
        small = step(small, 60, 1.1, 20.0, ONAF)
    assert large.hot_spot_degc == pytest.approx(small.hot_spot_degc, abs=1e-9)


@settings(max_examples=25)
@given(st.floats(0, 2), st.floats(-40, 50))
def test_constant_load_tends_to_the_steady_state(load_pu, ambient_degc):
    state = ThermalState(ambient_degc)
    for _ in range(3):
        state = step(state, 86_400, load_pu, ambient_degc, ONAF)
    target = steady_state(load_pu, ambient_degc, ONAF)
    assert state.top_oil_degc == pytest.approx(target.top_oil_degc, abs=0.1)
    assert state.hot_spot_degc == pytest.approx(target.hot_spot_degc, abs=0.1)


def test_rated_load_gives_the_rated_rises():
    state = steady_state(1.0, 20.0, ONAF)
    assert (state.top_oil_degc, state.hot_spot_degc) == pytest.approx((72.0, 98.0))


def test_measured_top_oil_takes_the_place_of_the_model():
    state = step_from_top_oil(steady_state(0.0, 20.0, ONAF), 6 * 3600, 1.0, 80.0, ONAF)
    assert state.top_oil_degc == 80.0
    assert state.hot_spot_degc == pytest.approx(106.0, abs=0.5)
    assert step_from_top_oil(state, 0, 1.0, 81.0, ONAF).top_oil_degc == 81.0


def test_the_table_leaves_onan_to_the_heat_run():
    with pytest.raises(BadInput, match="loss_ratio, top_oil_rise_k, hot_spot_gradient_k"):
        parameters_for(Nameplate(cooling=Cooling.ONAN))
    with pytest.raises(BadInput, match="cooling"):
        parameters_for(Nameplate())
    known = Nameplate(cooling=Cooling.ONAN, loss_ratio=6, top_oil_rise_k=50, hot_spot_gradient_k=20)
    assert parameters_for(known).oil_time_min == 210


@pytest.mark.parametrize(
    ("dt_s", "load_pu", "ambient_degc"),
    [(-1, 1, 20), (86_401, 1, 20), (60, -0.1, 20), (60, float("nan"), 20), (60, 1, float("inf")), (60, 9, 20)],
)
def test_what_is_no_load_or_temperature_is_refused(dt_s, load_pu, ambient_degc):
    with pytest.raises(BadInput, match="thermal model"):
        step(ThermalState(40.0), dt_s, load_pu, ambient_degc, ONAF)


def test_what_the_nameplate_does_not_say_is_named():
    assert assumptions_of(Nameplate(cooling=Cooling.ONAF)) == (
        "top_oil_rise_k unknown: the table's 52 K of ONAF is taken",
        "hot_spot_gradient_k unknown: the table's 26 K of ONAF is taken",
        "loss_ratio unknown: the table's 6 of ONAF is taken",
        "paper unknown: aged as kraft, the faster",
    )
    stated = Nameplate(
        cooling=Cooling.ONAF, paper=Paper.UPGRADED, top_oil_rise_k=50, hot_spot_gradient_k=20, loss_ratio=6
    )
    assert assumptions_of(stated) == ()
    assert assumptions_of(Nameplate()) == ()  # the model abstains, so that it assumes nothing


@given(st.floats(0, 2), st.floats(0, 2), st.floats(-40, 50), st.integers(1, 86_400))
def test_more_load_never_cools_the_winding_for_long(one_pu, other_pu, ambient_degc, dt_s):
    """Top oil rises with load at any time; the hot spot, which overshoots, once it has settled."""
    low, high = sorted((one_pu, other_pu))
    start = steady_state(0.5, ambient_degc, ONAF)
    assert (
        step(start, dt_s, low, ambient_degc, ONAF).top_oil_degc
        <= step(start, dt_s, high, ambient_degc, ONAF).top_oil_degc + 1e-9
    )
    assert (
        steady_state(low, ambient_degc, ONAF).hot_spot_degc
        <= steady_state(high, ambient_degc, ONAF).hot_spot_degc + 1e-9
    )
