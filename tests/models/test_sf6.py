"""SF6 thresholds and the time left."""

import pytest

from drivers.errors import BadInput
from models.asset import Nameplate
from models.findings import Severity
from models.sf6 import assess, pressure_slope_bar_per_s, time_to_threshold_s

BREAKER = Nameplate(sf6_alarm_bara=5.8, sf6_lockout_bara=5.3)
HOURS = [3600.0 * hour for hour in range(24)]


@pytest.mark.parametrize(
    ("pressure", "severity", "code"),
    [
        (6.2, Severity.NONE, ""),
        (5.8, Severity.WARNING, "GasLow"),
        (5.5, Severity.WARNING, "GasLow"),
        (5.3, Severity.CRITICAL, "GasLockout"),
        (0.0, Severity.CRITICAL, "GasLockout"),
    ],
)
def test_stages(pressure, severity, code):
    verdict = assess(pressure, BREAKER)
    assert (verdict.severity, verdict.code) == (severity, code)
    assert verdict.facts[0].value == pressure


def test_missing_thresholds_are_named():
    assert "sf6_alarm_bara" in assess(5.0, Nameplate()).abstained
    assert assess(5.0, Nameplate(sf6_alarm_bara=5.8)).code == "GasLow"
    assert assess(6.0, Nameplate(sf6_alarm_bara=5.8)).assumptions == (
        "sf6_lockout_bara unknown: that stage is not watched",
    )


@pytest.mark.parametrize("pressure", [-0.1, float("nan"), float("inf")])
def test_what_is_no_pressure_is_refused(pressure):
    with pytest.raises(BadInput):
        assess(pressure, BREAKER)


def test_time_left_of_a_steady_leak():
    pressures = [6.2 - 0.01 * hour for hour in range(24)]
    pressures[7] = 3.0  # an outlier does not turn the trend
    assert time_to_threshold_s(HOURS, pressures, 5.8) == pytest.approx((5.97 - 5.8) / 0.01 * 3600, rel=1e-6)
    assert pressure_slope_bar_per_s(HOURS, pressures) == pytest.approx(-0.01 / 3600)


def test_no_leak_no_forecast():
    assert time_to_threshold_s(HOURS, [6.2] * 24, 5.8) is None
    assert time_to_threshold_s(HOURS, [6.2 + 0.01 * hour for hour in range(24)], 5.8) is None
    assert time_to_threshold_s(HOURS[:3], [6.2, 6.1, 6.0], 5.8) is None
    assert time_to_threshold_s([0.0] * 10, [6.2] * 10, 5.8) is None
    assert time_to_threshold_s([], [], 5.8) is None
    assert time_to_threshold_s(HOURS[:2], [6.0, 5.7], 5.8) == 0
    with pytest.raises(BadInput):
        time_to_threshold_s(HOURS, [6.2], 5.8)


def test_a_long_window_is_thinned():
    times = [60.0 * minute for minute in range(5000)]
    assert pressure_slope_bar_per_s(times, [6.0 - 1e-6 * time for time in times]) == pytest.approx(-1e-6)
