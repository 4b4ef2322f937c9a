"""The calculated hot spot follows load and top oil, survives gaps and rubbish, and counts life only over known time.

A cooler that fails becomes an alarm; what was learnt at commissioning outlasts a restart.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from drivers.base import Point, Quality
from drivers.errors import BadInput
from gateway.agents.hard import HardAgent
from gateway.agents.twin import OIL_RESIDUAL, ThermalTwin
from gateway.alarms import AlarmBook
from hil_sim.physics.thermal import COOLING, ThermalModel
from models.asset import Asset, AssetKind, Cooling, Nameplate, Paper
from models.findings import Family, Severity
from models.thermal.cooling import COMMISSION_H, CoolingFit

START = datetime(2026, 1, 1, tzinfo=UTC)
ONAF = Nameplate(cooling=Cooling.ONAF, paper=Paper.KRAFT)


def fed(twin: ThermalTwin, load_pu: float, top_oil_degc: float, minutes: int, start: datetime = START) -> datetime:
    for minute in range(minutes + 1):
        twin.feed(start + timedelta(minutes=minute), load_pu, top_oil_degc)
    return start + timedelta(minutes=minutes)


def test_at_rated_load_the_hot_spot_is_the_gradient_above_the_oil() -> None:
    twin = ThermalTwin(ONAF, time_factor=1.0)
    fed(twin, 1.0, 78.0, 600)
    assert twin.hot_spot_degc == pytest.approx(78.0 + 26.0, abs=0.1)  # Δθhr of the ONAF row


def test_a_load_step_overshoots_and_settles() -> None:
    twin = ThermalTwin(ONAF, time_factor=1.0)
    now = fed(twin, 0.5, 50.0, 60)
    assert twin.hot_spot_degc is not None
    before_degc = twin.hot_spot_degc
    fed(twin, 1.0, 50.0, 15, now)
    assert twin.hot_spot_degc > before_degc + 26.0 * (1.0 - 0.5**1.3)  # the oil's flow lags behind the winding


def test_a_simulators_hour_ages_like_an_hour() -> None:
    real, fast = ThermalTwin(ONAF, time_factor=1.0), ThermalTwin(ONAF, time_factor=3600.0)
    for hour in range(25):
        real.feed(START + timedelta(hours=hour), 1.0, 72.0)
        fast.feed(START + timedelta(seconds=hour), 1.0, 72.0)
    assert real.life_used_h == pytest.approx(24.0, rel=0.01)  # 98 °C: kraft paper ages at its reference rate
    assert fast.life_used_h == pytest.approx(real.life_used_h)


def test_a_gap_of_days_counts_no_life_and_settles_at_the_load_found() -> None:
    twin = ThermalTwin(ONAF, time_factor=1.0)
    twin.feed(START, 1.0, 72.0)
    twin.feed(START + timedelta(days=3), 0.0, 20.0)
    assert twin.life_used_h == 0.0
    assert twin.hot_spot_degc == pytest.approx(20.0)


@pytest.mark.parametrize(("load_pu", "top_oil_degc"), [(-1.0, 50.0), (1e9, 50.0), (1.0, -400.0), (float("nan"), 50.0)])
def test_rubbish_makes_it_start_anew(load_pu: float, top_oil_degc: float) -> None:
    twin = ThermalTwin(ONAF, time_factor=1.0)
    twin.feed(START, 1.0, 60.0)
    twin.feed(START + timedelta(minutes=1), load_pu, top_oil_degc)
    assert twin.hot_spot_degc is None
    twin.feed(START + timedelta(minutes=2), 1.0, 60.0)
    assert twin.hot_spot_degc == pytest.approx(86.0)


def test_time_that_goes_back_changes_nothing() -> None:
    twin = ThermalTwin(ONAF, time_factor=1.0)
    twin.feed(START, 1.0, 60.0)
    twin.feed(START - timedelta(hours=1), 0.0, 10.0)
    assert twin.hot_spot_degc == pytest.approx(86.0)


def test_a_poor_nameplate_is_refused_by_name() -> None:
    with pytest.raises(BadInput, match="cooling"):
        ThermalTwin(Nameplate(), time_factor=1.0)


# -- cooling faults


@dataclass
class Bay:
    """A simulated transformer, its three sensors and the agent that watches them."""

    clock: Any
    sample: Callable[..., Any]
    oil: ThermalModel = field(
        default_factory=lambda: ThermalModel.settled(COOLING["ONAF"], load_pu=0.6, ambient_degc=15)
    )
    fit: CoolingFit | None = None
    kept: list[CoolingFit] = field(default_factory=list)
    hour: int = 0

    def __post_init__(self) -> None:
        self.asset = Asset(id="T1", kind=AssetKind.POWER_TRANSFORMER, bay="B1", nameplate=ONAF)
        points = [
            Point(id=f"T1/{name}", unit="", group=f"T1/{name}", update_interval_s=600)
            for name in ("MMXU.LodPu", "STMP.EnvTmp", "SIML.Tmp")
        ]
        self.agent = HardAgent(self.asset, points, self.clock, cooling_fit=self.fit, clear_after_cycles=3)
        self.book = AlarmBook("g1", "Substation North", [self.asset], self.clock, simulated=False)

    @property
    def twin(self) -> ThermalTwin:
        assert self.agent.twin is not None
        return self.agent.twin

    def hours(self, hours: int, ambient_quality: Quality = Quality.GOOD) -> list[Any]:
        """Live on; what changed in the alarms."""
        revisions = []
        for _ in range(hours):
            self.clock.advance(3600)
            self.hour += 1
            ambient_degc = 15 + 5 * math.cos(2 * math.pi * (self.hour - 15) / 24)
            load_pu = 0.6 + 0.15 * math.cos(2 * math.pi * (self.hour - 18) / 24)
            self.oil.advance(60, load_pu=load_pu, ambient_degc=ambient_degc)
            samples = [
                self.sample("T1/MMXU.LodPu", load_pu),
                self.sample("T1/STMP.EnvTmp", ambient_degc, ambient_quality),
                self.sample("T1/SIML.Tmp", self.oil.top_oil_degc),
            ]
            revisions += [self.book.judge(one) for one in self.agent.observe(samples)]
            fit = self.twin.fit_to_keep()
            self.kept += [fit] if fit else []
        return [revision.alarm for revision in revisions if revision is not None]


@pytest.fixture
def bay(clock: Any, sample: Callable[..., Any]) -> Bay:
    return Bay(clock, sample)


def test_a_cooler_that_fails_raises_an_alarm_and_one_that_is_mended_clears_it(bay: Bay) -> None:
    assert bay.hours(int(COMMISSION_H) + 48) == []
    assert bay.twin.cooling_state == "watching"
    bay.oil.scale_oil_rise(1.5)
    alarm, worse = bay.hours(36)
    assert (alarm.definition, alarm.code, alarm.family) == ("CoolingFault", "CoolingFault", Family.OVERHEATING)
    assert (alarm.severity, worse.severity) == (Severity.ADVISORY, Severity.WARNING)
    assert worse.alarm_id == alarm.alarm_id
    assert alarm.text.startswith("B1 T1: cooling ")
    assert alarm.text.endswith(" K hotter than expected, limit 6; check fans, pumps and valves")
    assert "fans and pumps not measured: they are expected to run as they did at commissioning" in (
        alarm.finding.assumptions
    )
    bay.oil.scale_oil_rise(1 / 1.5)
    assert [one.active_state.value for one in bay.hours(36)] == ["Inactive"]


def test_no_alarm_before_commissioning_is_over(bay: Bay) -> None:
    bay.oil.scale_oil_rise(1.5)
    assert bay.hours(int(COMMISSION_H) - 24) == []
    assert bay.twin.cooling_state.startswith("commissioning: ")


def test_what_was_learnt_is_kept_once_a_day_and_outlasts_a_restart(
    bay: Bay, clock: Any, sample: Callable[..., Any]
) -> None:
    bay.hours(int(COMMISSION_H) + 48)
    assert len(bay.kept) == pytest.approx(COMMISSION_H / 24, abs=1)
    assert bay.kept[-1].frozen
    after = Bay(clock, sample, oil=bay.oil, fit=bay.kept[-1])
    after.oil.scale_oil_rise(1.5)
    assert {alarm.definition for alarm in after.hours(36)} == {"CoolingFault"}
    assert after.kept == []


def test_samples_of_the_past_are_not_learnt_twice(bay: Bay, clock: Any, sample: Callable[..., Any]) -> None:
    bay.hours(100)
    past = []
    for _ in range(48):
        clock.advance(3600)
        past += [
            sample("T1/MMXU.LodPu", 0.6),
            sample("T1/STMP.EnvTmp", 15.0),
            sample("T1/SIML.Tmp", 40.0 + len(past) / 100),
        ]
    after = Bay(clock, sample, fit=bay.kept[-1])
    after.agent.warm(past)
    assert after.kept == []
    assert after.twin.cooling_state == f"commissioning: {bay.kept[-1].learnt_h:.0f} of {COMMISSION_H:.0f} h"


def test_without_ambient_nothing_is_said_of_cooling(bay: Bay) -> None:
    bay.hours(int(COMMISSION_H) + 48)
    assert bay.twin.calculated[OIL_RESIDUAL] is not None
    bay.oil.scale_oil_rise(2.0)
    assert [alarm.definition for alarm in bay.hours(12, Quality.BAD)] == ["MeasurementLost"]
    assert bay.twin.calculated[OIL_RESIDUAL] is None


def test_cooling_is_watched_only_where_load_and_ambient_are_measured(bay: Bay) -> None:
    without_ambient = HardAgent(
        bay.asset,
        [Point(id=f"T1/{name}", unit="", group=name, update_interval_s=60) for name in ("MMXU.LodPu", "SIML.Tmp")],
        bay.clock,
    )
    assert "CoolingFault" not in [watch.rule.definition for watch in without_ambient._watches]
    assert "CoolingFault" in [watch.rule.definition for watch in bay.agent._watches]
