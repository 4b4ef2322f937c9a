"""IEC 60076-7 temperatures and ageing against published figures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import BadInput
from models.asset import Cooling, Nameplate, Paper
from models.findings import Severity
from models.thermal import (
    ThermalState,
    ageing_rate,
    equivalent_ageing,
    loss_of_life_percent,
    overheating,
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


@pytest.mark.parametrize(
    ("degc", "rate"),
    [
        (80, 0.036),
        (98, 0.282),
        (110, 1.0),
        (117, 2.02),
        (120, 2.709),
        (130, 6.984),
        (140, 17.2),
        (160, 92.1),
        (180, 425),
    ],
)
def test_ageing_of_upgraded_paper(degc, rate):
    assert ageing_rate(degc, Paper.UPGRADED) == pytest.approx(rate, rel=0.01)


@pytest.mark.parametrize(("degc", "rate"), [(92, 0.5), (98, 1), (104, 2), (110, 4)])
def test_ageing_of_kraft_and_of_unknown_paper(degc, rate):
    assert ageing_rate(degc, Paper.KRAFT) == rate
    assert ageing_rate(degc, None) == rate


def test_equivalent_ageing_of_a_day():
    day = [(hours, ageing_rate(degc, Paper.UPGRADED)) for hours, degc in ((20, 110), (3, 120), (1, 130))]
    assert equivalent_ageing(day) == pytest.approx(1.463, abs=0.001)
    assert loss_of_life_percent(equivalent_ageing(day), 24) == pytest.approx(0.0195, abs=0.0001)
    assert equivalent_ageing([]) == 0


@pytest.mark.parametrize(
    ("top_oil", "hot_spot", "severity", "code"),
    [
        (105, 120, Severity.NONE, ""),
        (105.1, 100, Severity.WARNING, "TopOilHigh"),
        (100, 120.1, Severity.WARNING, "HotSpotHigh"),
        (106, 121, Severity.WARNING, "HotSpotHigh"),
        (106, 140.1, Severity.CRITICAL, "HotSpotHigh"),
        (115.1, 121, Severity.CRITICAL, "TopOilHigh"),
    ],
)
def test_loading_limits(top_oil, hot_spot, severity, code):
    result = overheating(top_oil, hot_spot)
    assert (result.severity, result.code) == (severity, code)
    assert bool(result.facts) == bool(code)
