"""Bins, slopes with their interval, and comparison with a reference."""

from math import isnan, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import BadInput
from models.trend import BinSeries, against_baseline, mean_of_last, slope, time_to_s

HOURS = [3600.0 * hour for hour in range(24)]


def test_a_bin_is_the_mean_of_what_was_measured_in_it():
    series = BinSeries(100.0, 10)
    assert not series.add(10, (1.0, nan))
    assert not series.add(90, (3.0, nan))
    assert series.add(110, (9.0, 5.0))
    (row,) = series.rows
    assert row[:2] == (50.0, 2.0)
    assert isnan(row[2])


def test_what_is_older_than_a_closed_bin_changes_nothing():
    series = BinSeries(100.0, 10)
    for time_s in (10, 110, 210):
        series.add(time_s, (1.0,))
    series.add(20, (99.0,))
    series.add(150, (99.0,))
    series.add(310, (1.0,))
    assert [row[1] for row in series.rows] == [1.0, 1.0, 1.0]


def test_a_series_goes_on_where_it_stopped():
    first = BinSeries(100.0, 3)
    for time_s in range(0, 600, 100):
        first.add(time_s, (float(time_s),))
    second = BinSeries(100.0, 3)
    second.recall(first.rows)
    assert len(second.rows) == 3
    for time_s in range(0, 800, 100):  # the same measurements once more, and two new ones
        second.add(time_s, (float(time_s),))
    assert [row[1] for row in second.rows] == [400.0, 500.0, 600.0]
    with pytest.raises(BadInput):
        BinSeries(0, 3)


@given(st.floats(-1e3, 1e3), st.floats(-1, 1))
def test_a_straight_line_is_found(level, rise):
    found = slope(HOURS, [level + rise * hour for hour in range(24)])
    assert found is not None
    assert found.per_s == pytest.approx(rise / 3600, abs=1e-12)
    assert found.low_per_s <= found.per_s <= found.high_per_s
    assert found.level == pytest.approx(level + rise * 23, abs=1e-6)


def test_no_slope_without_points_or_time():
    assert slope(HOURS[:3], [1.0, 2.0, 3.0]) is None
    assert slope([0.0] * 10, [1.0] * 10) is None
    with pytest.raises(BadInput):
        slope(HOURS, [1.0])


def test_a_long_series_is_thinned():
    times = [60.0 * minute for minute in range(5000)]
    found = slope(times, [6.0 - 1e-6 * time for time in times])
    assert found is not None
    assert (found.points, found.per_s) == (120, pytest.approx(-1e-6))


def test_no_pair_is_formed_across_a_break():
    values = [10.0 - hour for hour in range(12)] + [40.0 - hour for hour in range(12)]
    found = slope(HOURS, values, [0] * 12 + [1] * 12)
    assert found is not None
    assert (found.per_s * 3600, found.level) == (pytest.approx(-1), pytest.approx(29))


def test_time_to_a_threshold_has_an_interval_that_may_be_open():
    falling = slope(HOURS, [10 - 0.1 * hour + (0.3 if hour % 2 else -0.3) for hour in range(24)])
    assert falling is not None
    times = time_to_s(falling, 5.0)
    assert times is not None
    likely, earliest, latest = times
    assert earliest <= likely <= (latest or float("inf"))
    assert time_to_s(falling, 99.0) == (0, 0, 0)
    rising = slope(HOURS, [float(hour) for hour in range(24)])
    assert rising is not None
    assert time_to_s(rising, -5.0) is None


def test_the_newest_values_are_compared_with_a_reference_or_the_own_past():
    found = against_baseline([1.0] * 10 + [1.2] * 5)
    assert found is not None
    assert (found.reference, found.value, found.percent) == (1.0, 1.2, pytest.approx(20))
    with_reference = against_baseline([1.1] * 5, 1.0)
    assert with_reference is not None
    assert with_reference.percent == pytest.approx(10)
    assert against_baseline([1.0] * 14) is None
    assert against_baseline([0.0] * 20) is None


def test_the_mean_skips_what_is_unknown():
    assert mean_of_last([1.0, nan, 3.0], 2) == 2.0
    assert mean_of_last([nan, 3.0], 2) is None
