"""Gases that rise: when the rule speaks, when it leaves it to the amounts, and what a restart keeps."""

import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from drivers.base import Point
from gateway.agents.gas_history import rebuild_trends
from gateway.agents.hard import HardAgent
from gateway.alarms import DEFINITIONS, TEXT_CHARS_MAX, AlarmBook, Judgement
from journal.samples import SampleLog
from models.asset import Asset
from models.dga.accuracy import GasAccuracy
from models.findings import Family, Severity

CLEAR_AFTER = 4
ACCURATE = GasAccuracy(relative=0.02, h2_relative=0.02, h2_ul_l=2, ch4_ul_l=2, c2h6_ul_l=2, c2h4_ul_l=2, c2h2_ul_l=1)
CALM = (20.0, 40.0, 12.0, 12.0, 0.0)  # H2, CH4, C2H6, C2H4, C2H2: typical of a sealed machine of 22 years


def rising(h2: float) -> tuple[float, ...]:
    return (h2, *CALM[1:])


@pytest.fixture
def agent(t1: Asset, gas_points: Sequence[Point], clock: Any) -> HardAgent:
    return HardAgent(t1, gas_points, clock, gas_accuracy=ACCURATE, clear_after_cycles=CLEAR_AFTER)


@pytest.fixture
def day(agent: HardAgent, monitor: Any) -> Callable[..., list[Judgement]]:
    """A day of hourly measurements; what they say."""

    def day_(values: Sequence[float], to: HardAgent = agent, keep: Any = lambda _: None) -> list[Judgement]:
        return [one for _ in range(24) for one in to.observe(monitor.measure(values), keep)]

    return day_


def rates(judgements: Sequence[Judgement]) -> list[Judgement]:
    return [one for one in judgements if one.definition == "DgaRate" and one.finding is not None]


def test_amounts_that_are_typical_and_rise_fast_are_told(day: Any) -> None:
    day(rising(20))
    day(rising(20))
    told = rates(day(rising(65)))
    assert len(told) == 1  # with the cycle that ends the day
    finding = told[0].finding
    assert finding is not None
    assert (finding.code, finding.severity, finding.family) == ("GasRising", Severity.WARNING, Family.MIXED)
    assert finding.indicator == "SIML.H2ppm"
    assert finding.evidence
    assert told[0].value == "H2 +45 uL/L in 1 d, limit 40"


def test_the_alarm_has_all_that_an_alarm_needs_and_fits_its_line(day: Any, t1: Asset, clock: Any) -> None:
    day(rising(20))
    day(rising(20))
    day(rising(65))
    book = AlarmBook("g1", "Northfield", [t1], clock, simulated=False)
    revision = book.judge(rates(day(rising(65)))[0])
    assert revision is not None
    assert revision.alarm.text == "Northfield B1 T1: DGA trend H2 +45 uL/L in 1 d, limit 40; take oil sample"
    assert len(revision.alarm.text) <= TEXT_CHARS_MAX
    assert set(DEFINITIONS["DgaRate"].time_to_respond_h) == {Severity.ADVISORY, Severity.WARNING, Severity.CRITICAL}


def test_where_the_amounts_say_as_much_one_alarm_is_enough(day: Any, gases: Any) -> None:
    day(rising(20))
    day(rising(20))
    said = [*day(gases["D2"]), *day(gases["D2"]), *day(gases["D2"])]
    assert not rates(said)
    assert any(one.definition == "DgaFault" and one.finding is not None for one in said)


def test_it_clears_once_no_span_holds_the_rise(day: Any) -> None:
    for _ in range(10):
        day(rising(20))
    assert rates(day(rising(65)))
    assert [bool(rates(day(rising(65)))) for _ in range(7)] == [True] * 7
    later = [one for _ in range(2) for one in day(rising(65)) if one.finding is not None]
    assert {one.finding.severity for one in later if one.finding} == {Severity.ADVISORY}  # by the 30 days


def test_it_clears_when_the_gases_are_gone(day: Any) -> None:
    day(rising(20))
    day(rising(20))
    assert rates(day(rising(65)))
    day(rising(20))
    over = [one for one in day(rising(20)) if one.definition == "DgaRate"]
    assert over
    assert all(one.finding is None for one in over)


def test_a_month_of_noise_as_large_as_the_monitors_accuracy_raises_nothing(monitor: Any, agent: HardAgent) -> None:
    noise = random.Random(5)
    said = []
    for _ in range(35 * 24):
        values = [
            max(0.0, level + noise.uniform(-1, 1) * ACCURATE.uncertainty_ul_l(gas, level))
            for gas, level in zip(("h2", "ch4", "c2h6", "c2h4", "c2h2"), CALM, strict=True)
        ]
        said += agent.observe(monitor.measure(values))
    assert not rates(said)
    assert agent.trend.rises()


def test_the_trend_is_of_the_device_that_shows_hydrogen(t1: Asset, gas_points: Sequence[Point], clock: Any) -> None:
    other = Point(id="T1/SIML.COppm", unit="uL/L", group="T1/co-monitor", update_interval_s=60)
    assert other not in HardAgent(t1, [*gas_points, other], clock).gas_points
    assert len(HardAgent(t1, [*gas_points, other], clock).gas_points) == 5
    assert HardAgent(t1, [other], clock).gas_points == ()


async def test_a_restart_keeps_the_days(
    t1: Asset, gas_points: Sequence[Point], clock: Any, day: Any, agent: HardAgent, tmp_path: Path
) -> None:
    samples = SampleLog(tmp_path / "samples", clock)
    await samples.open()
    for h2 in (20, 20, 21, 22, 23, 24, 25, 26, 27, 28):
        day(rising(h2), keep=samples.add)
        await samples.flush()
    await samples.close()
    samples = SampleLog(tmp_path / "samples", clock)
    await samples.open()
    again = HardAgent(t1, gas_points, clock, gas_accuracy=ACCURATE)
    again.warm(samples.recent([point.id for point in gas_points], clock.now() - timedelta(days=1)))
    assert len(again.trend.days) < len(agent.trend.days)
    await rebuild_trends(samples, [again], clock, 1.0)
    await samples.close()
    assert again.trend.days == agent.trend.days
    assert again.trend.rises() == agent.trend.rises()
    assert len(again.trend.days) == 10


async def test_an_asset_without_gases_needs_nothing(q1: Asset, clock: Any, tmp_path: Path) -> None:
    samples = SampleLog(tmp_path / "samples", clock)
    await samples.open()
    breaker = HardAgent(q1, [], clock)
    await rebuild_trends(samples, [breaker], clock, 1.0)
    await samples.close()
    assert breaker.trend.days == {}
