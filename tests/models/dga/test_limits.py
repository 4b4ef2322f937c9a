"""The IEEE C57.104-2019 gate."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from models.asset import Breathing, Fluid, Nameplate
from models.dga.accuracy import DEFAULT_ACCURACY, GasAccuracy
from models.dga.gases import DatedGases, Gases
from models.dga.limits import c57_104_status, gas_rates, rise_limits

QUIET = {"h2_ul_l": 10, "ch4_ul_l": 10, "c2h6_ul_l": 10, "c2h4_ul_l": 10, "c2h2_ul_l": 0}
SEALED_20 = Nameplate(breathing=Breathing.SEALED, age_years=20)
FREE_20 = Nameplate(breathing=Breathing.FREE, age_years=20)


def quiet_but(**changes) -> Gases:
    return Gases(**(QUIET | changes))


@pytest.mark.parametrize(
    ("nameplate", "changes", "status"),
    [
        (SEALED_20, {}, 1),
        (SEALED_20, {"h2_ul_l": 75}, 1),  # at the limit is not above it
        (SEALED_20, {"h2_ul_l": 75.1}, 2),
        (SEALED_20, {"h2_ul_l": 200.1}, 3),
        (SEALED_20, {"c2h2_ul_l": 1.5}, 2),
        (SEALED_20, {"c2h2_ul_l": 2.5}, 3),
        (FREE_20, {"c2h2_ul_l": 1.5}, 1),
        (FREE_20, {"ch4_ul_l": 55}, 2),
        (Nameplate(breathing=Breathing.FREE, age_years=31), {"ch4_ul_l": 55}, 3),  # column > 30 years
        (Nameplate(breathing=Breathing.SEALED, age_years=5), {"c2h4_ul_l": 45}, 3),  # column 1-9 years
        (SEALED_20, {"co_ul_l": 1000}, 2),
        (SEALED_20, {"co2_ul_l": 14001}, 3),
    ],
)
def test_status(nameplate, changes, status):
    assert c57_104_status(quiet_but(**changes), nameplate).status == status


def test_excess_is_told_with_value_and_limit():
    limits = c57_104_status(quiet_but(h2_ul_l=210), SEALED_20)
    assert limits.exceeded == ("h2",)
    assert [(fact.name, fact.value, fact.unit) for fact in limits.facts] == [
        ("H2", 210, "uL/L"),
        ("H2 limit, C57.104 table 2", 200, "uL/L"),
    ]
    assert limits.assumptions == ()


@pytest.mark.parametrize(
    ("rise", "status"), [({}, 1), ({"c2h2_ul_l": 0.1}, 2), ({"h2_ul_l": 50}, 1), ({"h2_ul_l": 51}, 2)]
)
def test_deltas_raise_the_status_to_two(rise, status):
    limits = c57_104_status(quiet_but(**rise), SEALED_20, previous=quiet_but())
    assert limits.status == status


START = datetime(2024, 1, 1, tzinfo=UTC)
MONITOR = GasAccuracy(relative=0.1, h2_relative=0.15)


def monthly(*h2_ul_l, months=1.0) -> list[DatedGases]:
    """Samples some months apart with this much hydrogen."""
    step = timedelta(days=365.25 / 12 * months)
    return [DatedGases(taken=START + number * step, gases=quiet_but(h2_ul_l=h2)) for number, h2 in enumerate(h2_ul_l)]


@pytest.mark.parametrize(
    ("rise", "status"), [({"c2h2_ul_l": 0.9}, 1), ({"h2_ul_l": 51}, 2), ({"ch4_ul_l": 44, "h2_ul_l": 10}, 2)]
)
def test_on_a_monitor_a_delta_counts_only_beyond_what_its_accuracy_could_make(rise, status):
    limits = c57_104_status(quiet_but(**rise), SEALED_20, previous=quiet_but(), accuracy=MONITOR)
    assert limits.status == status


def test_an_accuracy_that_nobody_stated_is_named():
    limits = c57_104_status(quiet_but(), SEALED_20, accuracy=DEFAULT_ACCURACY)
    assert limits.assumptions == ("the monitor's accuracy is not stated: 15% of the reading assumed",)


@pytest.mark.parametrize(
    ("history", "status"),
    [
        (monthly(10, 15, 20, 25, 30, 35), 3),  # 60 a year over five months, limit 50
        (monthly(10, 14, 18, 22, 26, 30), 1),  # 48 a year
        (monthly(10, 20), 1),  # two samples make no rate
        (monthly(10, 20, 30), 1),  # nor do two months
        (monthly(10, 20, 40, months=6), 3),  # 30 a year over twelve months, limit 20
        (monthly(10, 14, 20, months=6), 1),  # 10 a year
        (monthly(10, 20, 45, months=14), 1),  # only one of two spans of 14 months lies within 24
    ],
)
def test_rates_raise_the_status_to_three(history, status):
    limits = c57_104_status(history[-1].gases, SEALED_20, history=history)
    assert limits.status == status
    assert ("H2 rate" in " ".join(fact.name for fact in limits.facts)) == (status == 3)


def test_a_rate_is_told_with_its_limit():
    limits = c57_104_status(quiet_but(h2_ul_l=35), SEALED_20, history=monthly(10, 15, 20, 25, 30, 35))
    assert limits.facts[-2].name == "H2 rate over 4-9 months"
    assert limits.facts[-2].value == pytest.approx(60)
    assert (limits.facts[-1].name, limits.facts[-1].value) == ("H2 rate over 4-9 months limit, C57.104 table 4", 50)


def test_on_a_monitor_a_rate_counts_only_beyond_what_its_accuracy_could_make():
    history = monthly(10, 15, 20, 25, 30, 35)
    assert c57_104_status(history[-1].gases, SEALED_20, history=history, accuracy=MONITOR).status == 1
    (rate,) = (rate for rate in gas_rates(history, MONITOR) if rate.gas == "h2")
    assert rate.rate_ul_l_a < rate.uncertainty_ul_l_a


def test_without_history_it_says_what_was_not_judged():
    assert len(c57_104_status(quiet_but(), SEALED_20).not_judged) == 2
    assert len(c57_104_status(quiet_but(), SEALED_20, previous=quiet_but()).not_judged) == 1
    assert c57_104_status(quiet_but(), SEALED_20, history=monthly(10, 10, 10, months=3)).not_judged == ()


def test_after_degassing_rates_begin_anew():
    rates = {rate.period: rate for rate in gas_rates(monthly(200, 220, 10, 12, 14, months=2)) if rate.gas == "h2"}
    assert rates["4-9 months"].samples == 3
    assert rates["4-9 months"].rate_ul_l_a == pytest.approx(12)


@given(st.lists(st.floats(0, 1000), min_size=3, max_size=9).map(sorted), st.floats(0, 500))
def test_a_rate_does_not_depend_on_the_level(h2, shift):
    plain, shifted = gas_rates(monthly(*h2, months=3)), gas_rates(monthly(*[each + shift for each in h2], months=3))
    assert [rate.rate_ul_l_a for rate in plain] == pytest.approx([rate.rate_ul_l_a for rate in shifted], abs=1e-6)


def test_the_history_brings_the_delta_too():
    history = monthly(10, 60)
    assert c57_104_status(history[-1].gases, SEALED_20, history=history).status == 2


@pytest.mark.parametrize(
    ("o2", "nameplate", "status", "assumed"),
    [
        (10_000, SEALED_20, 1, 0),  # O2/N2 0.17
        (20_000, SEALED_20, 2, 1),  # 0.33: the lower limits, against the nameplate
        (20_000, FREE_20, 2, 0),
        (10_000, Nameplate(age_years=20), 1, 0),  # measured: breathing need not be known
    ],
)
def test_a_measured_ratio_of_oxygen_selects_the_rows(o2, nameplate, status, assumed):
    limits = c57_104_status(quiet_but(h2_ul_l=45, o2_ul_l=o2, n2_ul_l=60_000), nameplate)
    assert (limits.status, len(limits.assumptions)) == (status, assumed)


def test_the_limits_of_a_rise_are_the_lower_ones_where_breathing_is_unknown():
    assert rise_limits(SEALED_20)["h2"] == 40
    assert rise_limits(Nameplate())["h2"] == 25


def test_unknown_breathing_takes_the_lower_limit_and_says_so():
    limits = c57_104_status(quiet_but(h2_ul_l=45, c2h2_ul_l=1.5), Nameplate())
    assert limits.status == 2
    assert limits.exceeded == ("h2", "c2h2")
    assert any("breathing unknown" in text for text in limits.assumptions)
    assert "age unknown: column 'unknown' used" in limits.assumptions


def test_other_fluids_abstain():
    limits = c57_104_status(quiet_but(h2_ul_l=1000), Nameplate(fluid=Fluid.NATURAL_ESTER))
    assert limits.status is None
    assert "natural_ester" in limits.abstained


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), 1e7])
def test_gases_refuse_what_is_no_concentration(value):
    with pytest.raises(ValidationError):
        quiet_but(h2_ul_l=value)
