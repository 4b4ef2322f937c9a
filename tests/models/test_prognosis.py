"""The forecast covers what it says, is the same each time, and abstains where nobody can say."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import BadInput
from models.prognosis import MEASUREMENTS_MIN, forecast

DAY_S = 86_400.0
SPAN_S = 30 * DAY_S
STEPS = 500  # of the simulated future, per span
HORIZON = 40  # spans


def degraded(rng, count, *, noise, wander, ahead):
    """A quantity that drifts by 1 in a span and wanders: measurements, a threshold ahead, and when it is truly met."""
    times = np.sort(rng.random(count))
    times = (times - times[0]) / (times[-1] - times[0])
    level = times + np.concatenate([[0.0], np.cumsum(rng.normal(0, np.sqrt(wander * np.diff(times))))])
    values = level + rng.normal(0, noise, count)
    steps = rng.normal(1 / STEPS, math.sqrt(wander / STEPS), HORIZON * STEPS)
    met = np.nonzero(np.cumsum(steps) >= ahead)[0]
    when = (met[0] + 1) / STEPS if len(met) else math.inf
    return times * SPAN_S, values, level[-1] + ahead, when * SPAN_S


def coverage(rng, runs, draw):
    """Share of 90 % intervals that hold the truth, and how many there were."""
    covered = given_out = 0
    for _ in range(runs):
        times_s, values, threshold, when_s = degraded(rng, **draw())
        found = forecast(times_s, values, threshold)
        if not found.abstained:
            given_out += 1
            high_s = math.inf if found.high_s is None else found.high_s
            covered += (math.inf if found.low_s is None else found.low_s) <= when_s <= high_s
    return covered / given_out, given_out


def test_ninety_per_cent_intervals_cover_ninety_per_cent():
    """Degradations of every kind: 8 to 200 measurements, wander from as small as the noise to a hundred times it."""
    rng = np.random.default_rng(20260301)

    def draw():
        noise = 10 ** rng.uniform(-2.0, -0.7)
        return {
            "count": int(rng.choice([8, 15, 30, 60, 200])),
            "noise": noise,
            "wander": min(0.3, noise**2 * 10 ** rng.uniform(0, 2)),
            "ahead": rng.uniform(0.2, 2.0),
        }

    share, given_out = coverage(rng, 800, draw)
    assert given_out > 500
    assert 0.85 <= share <= 0.95


def test_a_trend_without_any_wander_is_covered_too():
    """The model always reckons with some wander: on a straight line its intervals are too wide, never too narrow."""
    rng = np.random.default_rng(7)
    share, given_out = coverage(rng, 150, lambda: {"count": 40, "noise": 0.05, "wander": 0.0, "ahead": 1.0})
    assert given_out == 150
    assert share >= 0.9


def test_a_straight_line_is_met_where_it_meets():
    times_s = np.arange(30) * DAY_S
    values = 20 + np.arange(30) + np.random.default_rng(1).normal(0, 0.2, 30)
    found = forecast(times_s, values, 69.0)  # 49 at the end, 1 a day
    assert found.abstained == ""
    assert found.median_s == pytest.approx(20 * DAY_S, rel=0.05)
    assert found.low_s < found.median_s < found.high_s
    assert found.rate_per_s * DAY_S == pytest.approx(1.0, abs=0.05)
    assert found.never == 0.0


def test_a_pressure_that_falls_is_forecast_like_a_gas_that_rises():
    rng = np.random.default_rng(2)
    times_s, noise = np.arange(40) * DAY_S, rng.normal(0, 0.005, 40)
    rising = forecast(times_s, 5.0 + 0.01 * np.arange(40) + noise, 5.8)
    falling = forecast(times_s, 5.8 - 0.01 * np.arange(40) - noise, 5.0)
    assert rising.abstained == falling.abstained == ""
    assert falling.median_s == pytest.approx(rising.median_s, rel=0.1)


@pytest.mark.parametrize(
    ("values", "threshold", "why"),
    [
        ([1.0, 2.0, 3.0], 10.0, f"3 of {MEASUREMENTS_MIN} measurements"),
        ([], 10.0, f"0 of {MEASUREMENTS_MIN} measurements"),
        ([5.0] * 30, 10.0, "the value stands still"),
        ([20 - 0.5 * day + 0.1 * (-1) ** day for day in range(30)], 100.0, "it moves away from the threshold"),
        ([20 + (-1) ** day for day in range(30)], 100.0, "no significant trend"),
    ],
)
def test_where_nobody_can_say_it_says_why(values, threshold, why):
    found = forecast([day * DAY_S for day in range(len(values))], values, threshold)
    assert found.abstained == why
    assert (found.low_s, found.median_s, found.high_s) == (None, None, None)


@pytest.mark.parametrize(("upper", "slope"), [(True, 1.0), (True, -1.0), (False, 1.0), (False, -1.0)])
def test_beyond_the_threshold_is_no_time_at_all_whichever_way_it_moves(upper, slope):
    values = [100 + slope * day + 0.1 * (-1) ** day for day in range(30)]
    found = forecast([day * DAY_S for day in range(30)], values, 50.0 if upper else 150.0, upper=upper)
    assert (found.abstained, found.low_s, found.median_s, found.high_s, found.never) == ("", 0.0, 0.0, 0.0, 0.0)


def test_a_value_that_stands_still_beyond_its_threshold_has_met_it():
    times_s = [day * DAY_S for day in range(30)]
    assert forecast(times_s, [250.0] * 30, 200.0, upper=True).median_s == 0.0
    assert forecast(times_s, [250.0] * 30, 200.0).abstained == "the value stands still"


def test_without_a_side_the_threshold_is_met_from_where_the_level_is():
    values = [100 - day + 0.1 * (-1) ** day for day in range(30)]
    found = forecast([day * DAY_S for day in range(30)], values, 50.0)
    assert found.abstained == ""
    assert found.median_s == pytest.approx(21 * DAY_S, rel=0.1)


def test_the_same_measurements_give_the_same_answer():
    times_s, values, threshold, _ = degraded(np.random.default_rng(3), 50, noise=0.1, wander=0.05, ahead=1.0)
    assert forecast(times_s, values, threshold) == forecast(times_s, values, threshold)


@pytest.mark.parametrize("start", range(20))
def test_a_time_is_only_given_where_it_is_nearly_sure_to_come(start):
    times_s, values, threshold, _ = degraded(np.random.default_rng(start), 12, noise=0.05, wander=0.2, ahead=2.0)
    found = forecast(times_s, values, threshold)
    assert (found.median_s is None) == bool(found.abstained)
    assert found.never is None or found.never <= 0.05


@given(st.floats(1e-3, 1e3), st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_units_do_not_matter(scale, shift, stretch):
    """Times and values in other units: the same forecast in those units."""
    times_s, values, threshold, _ = degraded(np.random.default_rng(4), 20, noise=0.05, wander=0.02, ahead=1.0)
    plain = forecast(times_s, values, threshold)
    other = forecast(times_s * stretch, values * scale + shift, threshold * scale + shift)
    assert other.median_s == pytest.approx(plain.median_s * stretch, rel=1e-3)
    assert other.never == pytest.approx(plain.never, abs=0.01)


@given(st.floats(0.3, 2.0), st.floats(0.3, 2.0))
def test_a_farther_threshold_is_met_no_sooner(one, other):
    times_s, values, threshold, _ = degraded(np.random.default_rng(5), 30, noise=0.05, wander=0.02, ahead=0.0)
    near, far = (forecast(times_s, values, threshold + ahead) for ahead in sorted((one, other)))
    assert near.low_s <= far.low_s
    assert near.median_s <= far.median_s


@given(st.lists(st.floats(-1e6, 1e6), min_size=MEASUREMENTS_MIN, max_size=60), st.floats(-1e6, 1e6))
def test_whatever_is_measured_the_interval_is_in_order(values, threshold):
    found = forecast([float(number) for number in range(len(values))], values, threshold)
    times = [math.inf if time is None else time for time in (found.low_s, found.median_s, found.high_s)]
    assert 0 <= times[0] <= times[1] <= times[2]
    assert bool(found.abstained) or found.never is not None


@pytest.mark.parametrize(
    ("times_s", "values", "threshold"),
    [([1.0], [1.0, 2.0], 1.0), ([1.0, 1.0], [1.0, 2.0], 1.0), ([1.0], [math.nan], 1.0), ([1.0], [1.0], math.inf)],
)
def test_what_is_no_series_is_refused(times_s, values, threshold):
    with pytest.raises(BadInput, match="prognosis"):
        forecast(times_s, values, threshold)
