"""SF6: the equation of state against a reference, thresholds, what is not guessed, leaks and the time left."""

from math import isnan, nan
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import BadInput
from models.asset import InsulatingGas, Nameplate
from models.findings import Severity
from models.sf6 import (
    DAY_S,
    Leak,
    absolute_bara,
    assess,
    density_kg_m3,
    leak,
    leak_verdict,
    pressure_at_20,
    pressure_bara,
    vapour_pressure_bara,
)

BREAKER = Nameplate(sf6_alarm_bara=5.8, sf6_lockout_bara=5.3, insulating_gas=InsulatingGas.SF6)


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


# -- the gas


def test_the_equation_agrees_with_the_reference_equation_of_state():
    coolprop = pytest.importorskip("CoolProp.CoolProp", reason="the oracle CoolProp is not installed")
    worst = compared = 0
    for degc in range(-40, 81, 10):
        for bara in (1.0, 3.0, 5.0, 6.5, 8.0, 10.0, 12.0):
            if bara < 0.97 * vapour_pressure_bara(degc):
                exact = coolprop.PropsSI("D", "T", degc + 273.15, "P", bara * 1e5, "SF6")
                worst = max(worst, abs(pressure_bara(exact, degc) / bara - 1))
                compared += 1
    assert compared > 60
    assert worst < 0.007
    for degc in (-40, -20, 0, 20, 40):
        exact = coolprop.PropsSI("P", "T", degc + 273.15, "Q", 1, "SF6") / 1e5
        assert vapour_pressure_bara(degc) == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize(
    ("bara", "degc", "kg_m3"),
    [(7.0, 20.0, 46.002), (6.0, 20.0, 38.857), (6.0, -20.0, 47.771), (5.0, 50.0, 28.427), (3.3, -40.0, 27.294)],
)
def test_densities_of_the_reference_equation(bara, degc, kg_m3):
    """Values of CoolProp 8.0.0 (Guder and Wagner), so that the equation is held where that library is absent."""
    assert density_kg_m3(bara, degc) == pytest.approx(kg_m3, rel=0.008)


def test_vapour_pressure_at_known_temperatures():
    assert vapour_pressure_bara(20.0) == pytest.approx(20.98, rel=1e-3)
    assert vapour_pressure_bara(-40.0) == pytest.approx(3.408, rel=1e-3)
    assert vapour_pressure_bara(50.0) == float("inf")


@given(st.floats(0.5, 9.0), st.floats(-20, 80))
def test_density_and_pressure_are_each_others_inverse(bara, degc):
    bara = min(bara, 0.95 * vapour_pressure_bara(degc))
    assert pressure_bara(density_kg_m3(bara, degc), degc) == pytest.approx(bara, rel=1e-8)


@given(st.floats(1.0, 8.0), st.floats(-15, 70))
def test_temperature_does_not_move_the_pressure_at_20(bara_20, degc):
    density = density_kg_m3(bara_20, 20.0)
    shown = pressure_bara(density, degc)
    found = pressure_at_20(BREAKER, absolute=min(shown, 15.0), temperature_degc=degc)
    assert found.method == "beattie_bridgman"
    assert found.bara == pytest.approx(bara_20, rel=1e-6)


def test_the_sensors_density_comes_before_the_equation():
    found = pressure_at_20(BREAKER, density=46.0, absolute=3.0, temperature_degc=20.0)
    assert (found.method, found.bara) == ("density", pytest.approx(7.0, rel=0.005))
    own = pressure_at_20(BREAKER, normalised_bara=6.1, density=46.0, temperature_degc=20.0)
    assert (own.method, own.bara) == ("sensor", pytest.approx(6.1))


def test_what_is_assumed_is_named():
    found = pressure_at_20(Nameplate(), density=40.0)
    assert [note.partition(":")[0] for note in found.assumptions] == [
        "insulating_gas unknown",
        "gas temperature unknown",
    ]


@pytest.mark.parametrize("gas", [InsulatingGas.SF6_N2, InsulatingGas.SF6_CF4])
def test_mixtures_abstain_unless_the_sensor_normalises(gas):
    plate = Nameplate(insulating_gas=gas)
    assert gas in pressure_at_20(plate, density=40.0, temperature_degc=20.0).abstained
    assert gas in pressure_at_20(plate, absolute=6.0, temperature_degc=20.0).abstained
    assert pressure_at_20(plate, normalised_bara=6.0).bara == 6.0


@pytest.mark.parametrize("how", [{"absolute": 4.85}, {"density": 50.0}, {"normalised_bara": 7.5}])
def test_gas_that_begins_to_liquefy_abstains(how):
    found = pressure_at_20(BREAKER, temperature_degc=-30.0, **how)
    assert found.bara is None
    assert "liquefy" in found.abstained


def test_too_little_is_measured():
    assert "neither" in pressure_at_20(BREAKER, absolute=6.0).abstained


@pytest.mark.parametrize(
    "how",
    [
        {"absolute": 16.0, "temperature_degc": 20.0},
        {"absolute": 6.0, "temperature_degc": 95.0},
        {"density": -1.0},
        {"density": 200.0},
        {"normalised_bara": -0.5},
    ],
)
def test_outside_the_limits_of_validity_is_refused(how):
    with pytest.raises(BadInput):
        pressure_at_20(BREAKER, **how)


def test_a_liquid_has_no_vapour_density():
    with pytest.raises(BadInput, match="liquid"):
        density_kg_m3(14.0, 0.0)


def test_gauge_and_absolute_are_never_taken_for_each_other():
    assert absolute_bara(6.0, "bara", None) == (6.0, ())
    assert absolute_bara(5.0, "barg", 0.95) == (pytest.approx(5.95), ())
    value, notes = absolute_bara(75.0, "psig", None)
    assert value == pytest.approx(75 * 0.0689476 + 1.01325)
    assert "atmospheric_bara" in notes[0]
    assert absolute_bara(0.6, "MPaa", None)[0] == pytest.approx(6.0)
    with pytest.raises(BadInput, match="absolute or gauge"):
        absolute_bara(6.0, "bar", None)


# -- leaks: quarters of days


def quarters(days: int, bara, degc=lambda _: 20.0) -> list[tuple[float, float, float]]:
    return [(day * DAY_S, bara(day), degc(day)) for day in (quarter / 4 for quarter in range(days * 4))]


def test_a_steady_leak_has_its_rate_and_its_times():
    rows = quarters(20, lambda day: 6.2 - 0.01 * day)
    rows[30] = (rows[30][0], 5.9, 20.0)  # an outlier does not turn the trend
    found = leak(rows)
    assert isinstance(found, Leak)
    assert found.trend.per_s * DAY_S == pytest.approx(-0.01)
    # density rises faster than pressure: 0.01 bar of 6.0 bar is more than its share of the gas
    assert found.percent_per_year == pytest.approx(100 * 365.25 * 0.01 / 6.0, rel=0.15)
    verdict = leak_verdict(found, BREAKER)
    facts = {fact.name: fact.value for fact in verdict.facts}
    assert (verdict.severity, verdict.code) == (Severity.WARNING, "GasLeak")
    level = 6.2 - 0.01 * 19.75
    assert facts["time to alarm"] == pytest.approx((level - 5.8) / 0.01, rel=0.01)
    assert facts["time to lock-out"] == pytest.approx((level - 5.3) / 0.01, rel=0.01)
    assert facts["time to alarm, at least"] <= facts["time to alarm"] <= facts["time to alarm, at most"]


def test_below_the_alarm_stage_the_next_one_is_the_lock_out():
    found = leak(quarters(20, lambda day: 5.7 - 0.01 * day))
    verdict = leak_verdict(found, BREAKER)
    assert {fact.name: fact.value for fact in verdict.facts}["time to alarm"] == 0
    assert verdict.text.endswith(f"next stage in {(5.7 - 0.1975 - 5.3) / 0.01:.0f} d")


def test_noise_around_a_tight_vessel_is_no_leak():
    random = Random(7)
    verdicts = []
    for number in range(80):
        found = leak(quarters(4 if number % 2 else 30, lambda _: 6.2 + random.gauss(0, 0.01)))
        assert isinstance(found, Leak)
        verdicts.append(bool(leak_verdict(found, BREAKER).severity))
    assert sum(verdicts) <= 2  # of 80: half of them are four days of much scatter


def test_the_interval_holds_the_true_rate():
    random = Random(11)
    held = 0
    for _ in range(60):
        found = leak(quarters(20, lambda day: 6.2 - 0.002 * day + random.gauss(0, 0.01)))
        assert isinstance(found, Leak)
        held += found.trend.low_per_s <= -0.002 / DAY_S <= found.trend.high_per_s
    assert held >= 48


def test_a_top_up_is_left_out():
    found = leak(quarters(24, lambda day: (6.2 if day < 12 else 6.5) - 0.005 * (day % 12)))
    assert isinstance(found, Leak)
    assert found.top_ups == 1
    assert found.trend.per_s * DAY_S == pytest.approx(-0.005, rel=0.01)


def test_only_like_temperatures_are_compared():
    """A sensor that reads 0.002 bar more per kelvin in the afternoon sun: nights are alike, and tell the leak."""
    warm = lambda day: 35.0 + day if day % 1 == 0.5 else 10.0 + (day % 1)  # noqa: E731
    found = leak(quarters(20, lambda day: 6.2 - 0.004 * day + 0.002 * (warm(day) - 10), warm))
    assert isinstance(found, Leak)
    assert found.at_degc == pytest.approx(10.0, abs=1)
    assert found.trend.per_s * DAY_S == pytest.approx(-0.004, rel=0.05)


def test_too_little_to_go_by_is_said():
    assert "samples at like" in str(leak(quarters(1, lambda _: 6.0)))
    assert "days" in str(leak([(hour * 3600, 6.0, 20.0) for hour in range(24)]))
    assert leak_verdict("why", BREAKER).abstained == "why"


def test_an_unknown_temperature_and_missing_thresholds_are_named():
    found = leak(quarters(20, lambda day: 6.2 - 0.01 * day, lambda _: nan))
    assert isinstance(found, Leak)
    assert found.at_degc is None
    verdict = leak_verdict(found, Nameplate())
    assert verdict.severity is Severity.NONE
    assert len(verdict.assumptions) == 4
    assert leak_verdict(found, Nameplate(sf6_leak_percent_per_year=0.5)).severity is Severity.ADVISORY
    assert not any(isnan(fact.value) for fact in verdict.facts)


@given(st.floats(0.0005, 0.02), st.integers(12, 40))
def test_a_faster_leak_is_never_reported_as_slower(rate, days):
    slow = leak(quarters(days, lambda day: 7.0 - rate * day))
    fast = leak(quarters(days, lambda day: 7.0 - 2 * rate * day))
    assert isinstance(slow, Leak)
    assert isinstance(fast, Leak)
    assert fast.percent_per_year > slow.percent_per_year > 0
