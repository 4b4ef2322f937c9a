"""Daily medians of a gas monitor and what rises too fast."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.asset import Breathing, Fluid, Nameplate
from models.dga.accuracy import GasAccuracy
from models.dga.rates import DAYS_KEPT, SETTLING_CYCLES, GasTrend, judge_rises
from models.features import MIN_RELIABLE, Cycle
from models.findings import Severity

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
SEALED = Nameplate(breathing=Breathing.SEALED, age_years=20)
EXACT = GasAccuracy(
    relative=0.01, h2_relative=0.01, h2_ul_l=0.5, ch4_ul_l=0.5, c2h6_ul_l=0.5, c2h4_ul_l=0.5, c2h2_ul_l=0.5
)


def cycle(time, h2=50.0, c2h2=0.0, **more) -> Cycle:
    values = {"SIML.H2ppm": h2, "SIML.CH4ppm": 40.0, "SIML.C2H6ppm": 40.0, "SIML.C2H4ppm": 40.0, "SIML.C2H2ppm": c2h2}
    return Cycle(1, time, values | more)


def trend_of(*h2_by_day, first=START, per_day=24, trend=None, **more) -> GasTrend:
    """Whole days of so much hydrogen, hourly, and the first cycle of the day behind them."""
    trend = trend or GasTrend()
    for day, h2 in enumerate(h2_by_day):
        for number in range(per_day):
            trend.feed(cycle(first + day * timedelta(days=1) + number * 24 * HOUR / per_day, h2, **more))
    trend.feed(cycle(first + len(h2_by_day) * timedelta(days=1), h2_by_day[-1], **more))
    return trend


def medians(trend) -> list[float]:
    return [day["h2"] for day in trend.days.values()]


def rises(trend, gas="h2") -> dict[int, float]:
    return {rise.span_days: rise.rise_ul_l for rise in trend.rises() if rise.gas == gas}


def test_a_day_is_its_median():
    assert medians(trend_of(50, 51, 52)) == [50, 51, 52]


def test_a_single_jump_does_not_count():
    trend = GasTrend()
    for number in range(24):
        trend.feed(cycle(START + number * HOUR, 500 if number == 12 else 50))
    trend.feed(cycle(START + 24 * HOUR))
    assert medians(trend) == [50]


def test_what_jumps_to_and_fro_is_no_day():
    trend = GasTrend()
    for number in range(24):
        trend.feed(cycle(START + number * HOUR, 500 if number % 2 else 50))
    trend.feed(cycle(START + 24 * HOUR))
    assert medians(trend) == []


def test_the_first_cycles_after_a_standstill_do_not_count():
    trend = GasTrend()
    for number in range(SETTLING_CYCLES):
        trend.feed(cycle(START + number * HOUR, 90))
    for number in range(SETTLING_CYCLES, MIN_RELIABLE + SETTLING_CYCLES):
        trend.feed(cycle(START + number * HOUR, 91))
    for number in range(SETTLING_CYCLES + MIN_RELIABLE - 1):
        trend.feed(cycle(START + (16 + number) * HOUR, 92))  # eight hours later; all but three count
    trend.feed(cycle(START + 24 * HOUR))
    assert medians(trend) == [91]


def test_a_day_with_too_few_cycles_is_no_day():
    assert medians(trend_of(50, 51, per_day=MIN_RELIABLE - 1)) == []
    assert trend_of(50, 51, per_day=MIN_RELIABLE - 1).rises() == ()


def test_the_hours_of_an_evening_are_no_day():
    trend = GasTrend()
    for number in range(24):
        trend.feed(cycle(START + 12 * HOUR + number * HOUR / 2, 50))
    assert trend_of(51, first=START + timedelta(days=1), trend=trend).rises() == ()
    assert medians(trend) == [51]


def test_rises_over_one_seven_and_thirty_days():
    trend = trend_of(*(50 + day for day in range(31)))
    assert rises(trend) == {1: 1, 7: 7, 30: 30}
    assert rises(trend, "co") == {}


def test_a_missing_first_day_is_replaced_by_an_older_one_and_the_rise_scaled():
    trend = trend_of(50)
    trend = trend_of(*(52 + day for day in range(6)), first=START + timedelta(days=3), trend=trend)
    assert rises(trend) == {1: 1, 7: pytest.approx(7 * 7 / 8)}  # the last is day 8; day 1 is missing, day 0 is there


def test_while_the_past_is_short_a_span_begins_with_the_oldest_day():
    assert rises(trend_of(50, 53, 54)) == {1: 1, 7: 4}
    assert rises(trend_of(50, 54)) == {1: 4}


def test_without_yesterday_there_is_no_rise():
    trend = trend_of(50, 60)
    assert rises(trend) == {1: 10}
    trend.feed(cycle(START + timedelta(days=4)))
    trend.feed(cycle(START + timedelta(days=4) + HOUR))
    assert trend.rises() == ()


def test_memory_is_bounded():
    trend = trend_of(*range(50, 150), per_day=8)
    assert len(trend.days) == DAYS_KEPT


def test_a_clock_that_is_set_back_a_little_changes_nothing_and_days_begin_anew_where_it_was_more():
    trend = trend_of(50, 51, 52)
    trend.feed(cycle(START + timedelta(days=3) - HOUR))
    assert medians(trend) == [50, 51, 52]
    trend.feed(cycle(START + timedelta(days=1)))
    trend.feed(cycle(START + timedelta(days=1)))
    assert medians(trend) == [50]


@pytest.mark.parametrize("stamp", [START + timedelta(days=25_000), datetime(1970, 1, 1, tzinfo=UTC)])
def test_one_wrong_stamp_costs_nothing(stamp):
    trend = trend_of(50, 51, 52)
    trend.feed(cycle(stamp))
    trend.feed(cycle(START + timedelta(days=3) + HOUR))
    assert rises(trend) == {1: 1, 7: 2}


def test_what_lacks_a_gas_is_passed_over():
    trend = GasTrend()
    trend.feed(Cycle(1, START, {"SIML.H2ppm": 5.0}))
    assert trend.days == {}


def test_restored_days_lie_before_today_and_what_was_kept_is_the_fuller():
    live = trend_of(60, first=START + timedelta(days=2), per_day=8)
    kept = trend_of(50, 51, 52, 53, 54)
    live.restore(kept)
    assert medians(live) == [50, 51, 52]
    assert rises(live) == {1: 1, 7: 2}


@given(st.lists(st.floats(0, 1000), min_size=3, max_size=12))
def test_restarted_and_rebuilt_is_as_if_never_stopped(h2):
    whole = trend_of(*h2)
    restarted = GasTrend()
    restarted.feed(cycle(START + len(h2) * timedelta(days=1), h2[-1]))
    restarted.restore(trend_of(*h2))
    assert (restarted.days, restarted.rises()) == (whole.days, whole.rises())


@pytest.mark.parametrize(
    ("h2", "severity"),
    [
        ([50, 89], Severity.NONE),  # limit 40
        ([50, 91], Severity.WARNING),
        ([50, 55, 60, 65, 70, 75, 80, 91], Severity.WARNING),
        ([50 + 41 * day / 30 for day in range(31)], Severity.ADVISORY),
        ([50 + 39 * day / 30 for day in range(31)], Severity.NONE),
        ([91, 50], Severity.NONE),  # a fall is none
    ],
)
def test_the_shorter_the_time_the_worse(h2, severity):
    assert judge_rises(trend_of(*h2), SEALED, EXACT).severity is severity


@pytest.mark.parametrize(("last", "in_band"), [(85, False), (86.1, True), (90, True)])
def test_below_the_limit_it_clears_only_at_nine_tenths(last, in_band):
    judged = judge_rises(trend_of(50, last), SEALED, EXACT)
    assert (judged.severity, judged.in_band) == (Severity.NONE, in_band)


def test_what_accuracy_alone_could_make_is_no_rise():
    coarse = GasAccuracy()
    trend = GasTrend()
    for day, c2h2 in enumerate((0.0, 2.0)):
        trend_of(50, first=START + day * timedelta(days=1), trend=trend, c2h2=c2h2)
    assert judge_rises(trend, SEALED, coarse).severity is Severity.NONE
    judged = judge_rises(trend, SEALED, EXACT)
    assert (judged.severity, judged.exceeded) == (Severity.WARNING, ("c2h2",))
    assert judged.text == "C2H2 +2 uL/L in 1 d, limit 0.707"


def test_the_facts_hold_rise_and_limit_and_the_leader_comes_first():
    judged = judge_rises(trend_of(50, 150, c2h2=0.0), SEALED, EXACT)
    assert [(fact.name, fact.value) for fact in judged.facts] == [
        ("H2 rise in 1 d", 100),
        ("H2 rise in 1 d limit, C57.104 table 3 or accuracy", 40),
    ]
    assert judged.text == "H2 +100 uL/L in 1 d, limit 40"


def test_other_fluids_have_no_limits():
    ester = Nameplate(fluid=Fluid.NATURAL_ESTER)
    assert judge_rises(trend_of(50, 500), ester, EXACT).severity is Severity.NONE
