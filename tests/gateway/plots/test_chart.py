"""Axes are round and hold everything; trends and temperatures show what was measured, limits and what is to come."""

from itertools import combinations
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.plots.chart import Chart, round_ticks
from gateway.plots.svg import Box
from gateway.plots.thermal import thermal_svg
from gateway.plots.trend import trend_svg
from models.asset import Cooling, Nameplate
from models.prognosis import forecast
from models.thermal import parameters_for, steady_state
from models.thermal.overload import overload

SVG = "{http://www.w3.org/2000/svg}"
DAY_S = 86_400.0
TIMES_S = [day * DAY_S for day in range(40)]
RISING = [40 + 1.5 * day + noise for day, noise in enumerate(np.random.default_rng(2).normal(0, 2, 40))]


def points(element):
    return [tuple(map(float, pair.split(","))) for pair in element.get("points").split()]


def lines(root, kind):
    return {line.get(f"data-{kind}"): points(line) for line in root.iter(f"{SVG}polyline") if line.get(f"data-{kind}")}


def names(root):
    return [text for text in root.iter(f"{SVG}text") if text.get("class") == "line-name"]


def room(text):
    half = Box.around((0, 0), text.text, "line-name").right
    middle = float(text.get("x")) + (half if text.get("text-anchor") == "start" else -half)
    return Box.around((middle, float(text.get("y"))), text.text, "line-name")


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_ticks_are_even_and_hold_both_ends(one, other):
    low, high = sorted((one, other))
    ticks = round_ticks(low, high)
    slack = 1e-6 * (high - low)  # less than a pixel
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack
    assert 2 <= len(ticks) <= 9
    steps = np.diff(ticks)
    assert steps == pytest.approx(np.full(len(steps), steps[0]))


def test_ticks_are_round():
    assert round_ticks(0, 100) == [0, 20, 40, 60, 80, 100]
    assert round_ticks(0.013, 0.021) == pytest.approx([0.012, 0.014, 0.016, 0.018, 0.02, 0.022])
    assert round_ticks(5, 5) == pytest.approx([4, 4.5, 5, 5.5, 6])


@given(st.lists(st.tuples(st.floats(-100, 100), st.floats(-1e4, 1e4)), min_size=2, max_size=30))
def test_whatever_is_drawn_lies_on_the_paper(values):
    chart = Chart("t", "d", [x for x, _ in values], [y for _, y in values], x_name="x", y_name="y")
    for x, y in (chart.at(value) for value in values):
        assert 0 <= x <= chart.canvas.width
        assert 0 <= y <= chart.canvas.height


def test_a_trend_shows_measurements_threshold_and_the_interval_in_which_it_is_met():
    found = forecast(TIMES_S, RISING, 150.0)
    root = ET.fromstring(trend_svg("T1 H₂", "µL/L", TIMES_S, RISING, [("limit", 150.0)], found, last="today"))
    assert len(list(root.iter(f"{SVG}circle"))) == len(RISING)
    (limit,) = lines(root, "limit").values()
    ((early, late),) = lines(root, "interval").values()
    assert early[1] == late[1] == limit[0][1]  # at the threshold
    ((_, met),) = lines(root, "curve").values()
    assert early[0] < met[0] < late[0]
    assert met[1] == pytest.approx(limit[0][1], abs=0.1)
    assert "Meets 150 in " in root.find(f"{SVG}desc").text
    assert found.median_s is not None


def test_a_pressure_that_falls_is_drawn_downwards():
    values = [200 - value for value in RISING]
    found = forecast(TIMES_S, values, 50.0)
    root = ET.fromstring(trend_svg("Q1", "bara", TIMES_S, values, [("alarm", 50.0)], found))
    ((begin, end),) = lines(root, "curve").values()
    assert end[0] > begin[0]
    assert end[1] > begin[1]  # pixels count downwards


@pytest.mark.parametrize(
    "values", [[5.0] * 40, [40.0 - day for day in range(40)], [40.0 + (-1) ** day for day in range(40)]]
)
def test_a_trend_without_a_forecast_says_so(values):
    root = ET.fromstring(trend_svg("T1", "µL/L", TIMES_S, values, [("limit", 150.0)], forecast(TIMES_S, values, 150.0)))
    assert lines(root, "curve") == lines(root, "interval") == {}
    assert "No forecast: " in root.find(f"{SVG}desc").text


def test_a_threshold_that_is_met_already_is_said_to_be():
    found = forecast(TIMES_S, RISING, 50.0, upper=True)
    root = ET.fromstring(trend_svg("T1", "µL/L", TIMES_S, RISING, [("limit", 50.0)], found))
    assert "50 is met already." in root.find(f"{SVG}desc").text


def test_a_trend_of_hours_counts_hours():
    times_s = [number * 600.0 for number in range(12)]
    root = ET.fromstring(trend_svg("T1", "degC", times_s, [50.0 + number for number in range(12)], []))
    assert "hours from the last measurement" in [text.text for text in root.iter(f"{SVG}text")]


@pytest.mark.parametrize("load_pu", [0.5, 1.3, 2.0])
def test_temperatures_show_the_past_and_what_a_load_leads_to(load_pu):
    parameters = parameters_for(Nameplate(cooling=Cooling.ONAF))
    start = steady_state(0.7, 25.0, parameters)
    ahead = overload(
        start,
        load_pu,
        25.0,
        parameters,
        None,
        hot_spot_limit_degc=120,
        top_oil_limit_degc=105,
        horizon_s=8 * 3600,
    )
    past = {"top oil": [(-float(hour), 55.0) for hour in range(8, -1, -1)]}
    limits = [("hot-spot limit", 120.0), ("top-oil limit", 105.0)]
    root = ET.fromstring(thermal_svg("T1", past, ahead, limits, ["words"]))
    curves = lines(root, "curve")
    assert set(curves) == {"top oil", "top oil to come", "hot spot to come"}
    assert curves["top oil"][-1][0] == curves["hot spot to come"][0][0]  # now
    hot_limit_px = lines(root, "limit")["hot-spot limit 120 °C"][0][1]
    crosses = min(y for _, y in curves["hot spot to come"]) <= hot_limit_px
    assert crosses == (ahead.hot_spot_s is not None)
    for one, other in combinations(names(root), 2):
        assert not room(one).overlaps(room(other)), (one.text, other.text)
