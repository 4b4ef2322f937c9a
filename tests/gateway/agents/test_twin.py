"""The calculated hot spot follows load and top oil, survives gaps and rubbish, and counts life only over known time."""

from datetime import UTC, datetime, timedelta

import pytest

from drivers.errors import BadInput
from gateway.agents.twin import ThermalTwin
from models.asset import Cooling, Nameplate, Paper

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
