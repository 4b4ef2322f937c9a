"""The hard agent: what may become a finding, what counts as a measurement, when an alarm begins and ends."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from drivers.base import Point, Quality, Sample
from drivers.modbus import ModbusDevice, ModbusLinkConfig, ModbusSource
from gateway.agents.hard import HardAgent
from gateway.alarms import Judgement
from hil_sim.modbus_plc import ModbusPlc
from hil_sim.register_maps import MAPS
from models.asset import Asset
from models.findings import Severity

CLEAR_AFTER = 4
LOST_AFTER_S = 30.0
DEVICE = ModbusDevice(name="dga", asset="T1", template="vaisala-opt100")
CHANNELS = dict.fromkeys(MAPS["vaisala-opt100"].floats, 1.0)


@pytest.fixture
def make_agent(t1: Asset, gas_points: Sequence[Point], clock: Any) -> Callable[..., HardAgent]:
    def make(points: Sequence[Point] = gas_points) -> HardAgent:
        return HardAgent(t1, points, clock, clear_after_cycles=CLEAR_AFTER, lost_delay_s=LOST_AFTER_S)

    return make


@pytest.fixture
def agent(make_agent: Callable[..., HardAgent]) -> HardAgent:
    return make_agent()


@pytest.fixture
def feed(agent: HardAgent, monitor: Any, gases: Any) -> Callable[..., list[list[Judgement]]]:
    """`feed("D2", 5)`: what each of five measurements changes."""

    def feed_(kind: str, cycles: int, to: HardAgent = agent) -> list[list[Judgement]]:
        return [to.observe(monitor.measure(gases[kind])) for _ in range(cycles)]

    return feed_


def raised(judgements: Sequence[Sequence[Judgement]]) -> list[int]:
    """Which measurements, counted from 1, say that there is a fault."""
    return [number for number, some in enumerate(judgements, start=1) if any(map(is_fault, some))]


def is_fault(judgement: Judgement) -> bool:
    return judgement.finding is not None and judgement.definition != "MeasurementLost"


def cleared(judgements: Sequence[Sequence[Judgement]]) -> list[int]:
    return [
        number for number, some in enumerate(judgements, start=1) if any(one.finding is None for one in machine(some))
    ]


def machine(judgements: Sequence[Judgement]) -> list[Judgement]:
    """What is said of the machine, not of its sensors."""
    return [one for one in judgements if one.definition != "MeasurementLost"]


def test_a_fault_is_found_with_the_fifth_measurement(feed: Any) -> None:
    feed("healthy", 6)
    assert raised(feed("D2", 5)) == [5]


def test_a_fault_that_was_there_from_the_start_needs_five_measurements_as_well(feed: Any) -> None:
    assert raised(feed("D2", 5)) == [5]


def test_the_finding_carries_its_evidence_and_its_onset(feed: Any, clock: Any) -> None:
    feed("healthy", 6)
    (judgement,) = feed("D2", 5)[-1]
    finding = judgement.finding
    assert finding is not None
    assert (finding.code, finding.severity) == ("D2", Severity.CRITICAL)
    assert finding.first_time == clock.now()
    assert len(finding.evidence) == 5 * 6
    assert {sample.value for sample in finding.evidence if sample.point_id == "T1/SIML.C2H2ppm"} == {187.0}
    assert "D2" in judgement.value


def test_one_onset_for_as_long_as_the_condition_lasts(feed: Any) -> None:
    later = [one.finding for some in feed("D2", 9) for one in some]
    assert len(later) == 5
    assert {finding.first_time for finding in later} == {later[0].first_time}
    assert len({finding.id for finding in later}) == 5


@pytest.mark.parametrize("quality", [Quality.BAD, Quality.UNCERTAIN, Quality.STALE])
def test_a_value_that_may_not_be_trusted_never_becomes_a_finding(
    agent: HardAgent, feed: Any, monitor: Any, gases: Any, quality: Quality
) -> None:
    feed("healthy", 6)
    changes = []
    for _ in range(12):
        monitor.measure(gases["D2"])
        changes += agent.observe(monitor.poll(quality))
    assert not any(map(is_fault, changes))
    assert agent.measurements("SIML.H2ppm") == 6


@pytest.mark.parametrize("mark", ["test", "substituted"])
def test_what_is_no_measurement_never_becomes_a_finding(agent: HardAgent, monitor: Any, gases: Any, mark: str) -> None:
    judgements = []
    for _ in range(12):
        monitor.measure(gases["D2"])
        judgements.append(agent.observe(monitor.poll(**{mark: True})))
    assert raised(judgements) == []
    assert agent.measurements("SIML.H2ppm") == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "187", True])
def test_a_good_sample_that_is_no_number_spoils_its_whole_measurement(
    agent: HardAgent, monitor: Any, gases: Any, value: Any
) -> None:
    judgements = [agent.observe(monitor.measure((*gases["D2"][:4], value))) for _ in range(12)]
    assert raised(judgements) == []
    assert agent.measurements("SIML.H2ppm") == 0


def test_one_bad_gas_spoils_its_whole_measurement(agent: HardAgent, monitor: Any, gases: Any) -> None:
    judgements = []
    for _ in range(12):
        good = monitor.measure(gases["D2"])
        bad = monitor.poll(Quality.BAD)
        judgements.append(agent.observe([*good[:2], bad[2], *good[3:]]))
    assert raised(judgements) == []


def hot_oil(interval_s: float = 60.0) -> Point:
    return Point(id="T1/SIML.Tmp", unit="degC", group="T1/SIML.Tmp", update_interval_s=interval_s)


@pytest.mark.parametrize("value", [math.nan, math.inf, True, "150"])
def test_a_temperature_that_is_no_number_is_not_judged(make_agent: Any, clock: Any, sample: Any, value: Any) -> None:
    agent = make_agent([hot_oil()])
    for _ in range(5):
        clock.advance(60)
        assert agent.observe([sample("T1/SIML.Tmp", value)]) == []
    assert agent.observe([sample("T1/SIML.Tmp", 150.0)])


@pytest.mark.parametrize("value", [-100.0, 401.0, 1e300])
def test_a_temperature_that_no_machine_has_is_not_judged(make_agent: Any, clock: Any, sample: Any, value: Any) -> None:
    agent = make_agent([hot_oil()])
    assert len(agent.observe([sample("T1/SIML.Tmp", 150.0)])) == 1
    for _ in range(2 * CLEAR_AFTER):
        clock.advance(60)
        assert agent.observe([sample("T1/SIML.Tmp", value)]) == []


# -- through the real decoder


@pytest.fixture
async def dga_wire(make_agent: Any, clock: Any, gases: Any) -> Any:
    """A simulated monitor behind a real Modbus source; `await play(wire, cycles)` returns what each read changes."""
    plc = ModbusPlc({1: MAPS["vaisala-opt100"]})
    await plc.start()
    source = ModbusSource(ModbusLinkConfig(name="dga", host=plc.host, port=plc.port, devices=(DEVICE,)), clock)
    await source.open()
    agent = make_agent(source.points)

    async def play(kind: str, wire: str, cycles: int) -> tuple[list[list[Judgement]], list[Sample]]:
        judgements, samples = [], []
        for number in range(cycles):
            clock.advance(3600)
            shown = CHANNELS | dict(zip(("h2", "ch4", "c2h6", "c2h4", "c2h2"), gases[kind], strict=True))
            total = sum(gases[kind]) + shown["co"]
            plc.show(1, shown | {"tdcg": total, "chamber": 40 + number / 100}, wire=wire)
            samples = await source.read()
            judgements.append(agent.observe(samples))
        return judgements, samples

    yield play
    await source.close()
    await plc.stop()


async def test_a_fault_comes_through_the_wire(dga_wire: Any) -> None:
    judgements, samples = await dga_wire("D2", "wire_ok", 5)
    assert {sample.quality for sample in samples} == {Quality.GOOD}
    assert raised(judgements) == [5]


@pytest.mark.parametrize("wire", ["sentinel_nan", "sentinel_8000", "swap_words"])
async def test_rubbish_on_the_wire_never_becomes_a_finding(dga_wire: Any, wire: str) -> None:
    judgements, samples = await dga_wire("D2", wire, 12)
    assert Quality.GOOD not in {sample.quality for sample in samples}
    assert raised(judgements) == []


async def test_rubbish_between_two_readings_neither_raises_nor_clears(dga_wire: Any) -> None:
    await dga_wire("D2", "wire_ok", 6)
    judgements, _ = await dga_wire("healthy", "swap_words", 2 * CLEAR_AFTER)
    assert raised(judgements) == cleared(judgements) == []


# -- measurements, not polls


def test_a_poll_is_not_a_measurement(agent: HardAgent, monitor: Any, gases: Any, clock: Any) -> None:
    changes = [agent.observe(monitor.measure(gases["D2"]))]
    for _ in range(999):
        clock.advance(1)
        changes.append(agent.observe(monitor.poll()))
    assert agent.measurements("SIML.H2ppm") == 1
    assert not any(changes)


def test_an_alarm_is_not_cleared_by_polling_the_same_measurement_often(
    feed: Any, agent: HardAgent, monitor: Any
) -> None:
    feed("D2", 6)
    feed("healthy", 5)
    assert not any(agent.observe(monitor.poll()) for _ in range(1000))


# -- begin and end


def test_it_clears_only_after_that_many_healthy_measurements(feed: Any) -> None:
    feed("D2", 6)
    healthy = feed("healthy", 4 + CLEAR_AFTER)
    assert cleared(healthy) == [4 + CLEAR_AFTER]  # four of the new level cannot be judged yet
    assert raised(healthy) == []


def test_it_clears_when_the_gases_fall_below_what_the_monitor_resolves(feed: Any) -> None:
    feed("D2", 6)
    assert cleared(feed("quiet", 4 + CLEAR_AFTER)) == [4 + CLEAR_AFTER]


def test_a_measurement_with_the_fault_begins_the_count_anew(feed: Any) -> None:
    feed("D2", 6)
    assert cleared(feed("healthy", 3 + CLEAR_AFTER)) == []
    assert raised(feed("D2", 5)) == [5]
    assert cleared(feed("healthy", 3 + CLEAR_AFTER)) == []


# -- a lost measurement


def lost_and_back(changes: Sequence[Judgement]) -> list[bool]:
    return [one.finding is not None for one in changes if one.definition == "MeasurementLost"]


def test_a_silent_device_is_told_after_the_delay_and_cleared_at_its_return(
    agent: HardAgent, monitor: Any, gases: Any, clock: Any
) -> None:
    agent.observe(monitor.measure(gases["healthy"]))
    assert lost_and_back(agent.observe(monitor.stale())) == []
    clock.advance(LOST_AFTER_S - 1)
    assert lost_and_back(agent.observe(monitor.stale())) == []
    clock.advance(1)
    (judgement,) = agent.observe(monitor.stale())
    assert judgement.finding is not None
    assert "SIML.H2ppm and 5 more" in judgement.value
    assert agent.observe(monitor.stale()) == []
    assert lost_and_back(agent.observe(monitor.poll())) == [False]
    assert agent.observe(monitor.poll()) == []


def test_a_device_that_is_back_before_the_delay_is_not_told(agent: HardAgent, monitor: Any, clock: Any) -> None:
    agent.observe(monitor.stale())
    clock.advance(LOST_AFTER_S - 1)
    assert agent.observe(monitor.poll()) == []
    clock.advance(LOST_AFTER_S)
    assert agent.observe(monitor.poll()) == []


def test_a_device_that_answers_rubbish_is_as_good_as_lost(agent: HardAgent, monitor: Any, clock: Any) -> None:
    agent.observe(monitor.poll(Quality.BAD))
    clock.advance(2 * LOST_AFTER_S)
    assert lost_and_back(agent.observe(monitor.poll(Quality.BAD))) == [True]
    assert agent.observe(monitor.poll(Quality.BAD)) == []
    assert lost_and_back(agent.observe(monitor.poll())) == [False]


def test_a_lost_measurement_that_stood_before_the_restart_is_cleared_once_it_is_back(
    agent: HardAgent, monitor: Any, clock: Any
) -> None:
    agent.continue_alarms(["MeasurementLost"])
    agent.observe(monitor.stale())
    clock.advance(2 * LOST_AFTER_S)
    assert agent.observe(monitor.stale()) == []
    assert lost_and_back(agent.observe(monitor.poll())) == [False]


def test_another_device_of_the_asset_does_not_clear_it_after_a_restart(
    make_agent: Any, gas_points: Any, monitor: Any, sample: Any, clock: Any
) -> None:
    agent = make_agent([*gas_points, hot_oil()])
    agent.continue_alarms(["MeasurementLost"])
    assert agent.observe([sample("T1/SIML.Tmp", 50.0)]) == []
    clock.advance(2 * LOST_AFTER_S)
    assert agent.observe([sample("T1/SIML.Tmp", 51.0)]) == []
    assert lost_and_back(agent.observe(monitor.poll())) == [False]


def test_it_stands_until_every_device_of_the_asset_is_back(
    make_agent: Any, gas_points: Any, monitor: Any, sample: Any, clock: Any
) -> None:
    agent = make_agent([*gas_points, hot_oil()])
    both = [*monitor.stale(), sample("T1/SIML.Tmp", None, Quality.STALE)]
    agent.observe(both)
    clock.advance(LOST_AFTER_S)
    assert lost_and_back(agent.observe(both)) == [True, True]
    assert agent.observe(monitor.poll()) == []
    assert lost_and_back(agent.observe([sample("T1/SIML.Tmp", 50.0)])) == [False]


def test_a_device_that_dies_before_the_other_is_back_continues_the_alarm(
    make_agent: Any, gas_points: Any, monitor: Any, sample: Any, clock: Any
) -> None:
    agent = make_agent([*gas_points, hot_oil()])
    agent.observe(monitor.stale())
    clock.advance(LOST_AFTER_S)
    assert lost_and_back(agent.observe(monitor.stale())) == [True]
    agent.observe([sample("T1/SIML.Tmp", None, Quality.STALE)])
    assert lost_and_back(agent.observe(monitor.poll())) == []  # the oil is unwatched, though not yet for long
    clock.advance(LOST_AFTER_S)
    agent.observe([sample("T1/SIML.Tmp", None, Quality.STALE)])
    assert lost_and_back(agent.observe([sample("T1/SIML.Tmp", 50.0)])) == [False]


def test_after_a_restart_too_the_alarm_outlasts_a_second_loss(
    make_agent: Any, gas_points: Any, monitor: Any, sample: Any
) -> None:
    """Power goes while one device is lost; by the time it is back the other one is seen once and gone again."""
    agent = make_agent([*gas_points, hot_oil()])
    agent.continue_alarms(["MeasurementLost"])
    assert lost_and_back(agent.observe([sample("T1/SIML.Tmp", 50.0)])) == []
    assert lost_and_back(agent.observe([sample("T1/SIML.Tmp", None, Quality.STALE)])) == []
    assert lost_and_back(agent.observe(monitor.poll())) == []
    assert lost_and_back(agent.observe([sample("T1/SIML.Tmp", 50.0)])) == [False]


def test_doubted_values_for_longer_than_the_delay_are_as_good_as_lost(
    agent: HardAgent, monitor: Any, clock: Any
) -> None:
    agent.observe(monitor.poll(Quality.UNCERTAIN))
    clock.advance(LOST_AFTER_S)
    assert lost_and_back(agent.observe(monitor.poll(Quality.UNCERTAIN))) == [True]
    assert lost_and_back(agent.observe(monitor.poll())) == [False]


# -- a restart


def test_a_restart_judges_the_same(agent: HardAgent, make_agent: Any, monitor: Any, gases: Any) -> None:
    kept = [monitor.measure(gases["healthy"]) for _ in range(6)] + [monitor.measure(gases["D2"]) for _ in range(4)]
    for samples in kept:
        agent.observe(samples)
    again = make_agent()
    again.warm([one for samples in kept for one in samples])
    assert again.cycle_counts == agent.cycle_counts
    fifth = monitor.measure(gases["D2"])
    (before,), (after,) = agent.observe(fifth), again.observe(fifth)
    assert before == after
    assert after.finding is not None


def test_warming_up_judges_nothing_and_counts_no_poll_twice(make_agent: Any, monitor: Any, gases: Any) -> None:
    agent = make_agent()
    kept = [monitor.measure(gases["D2"]) for _ in range(6)]
    kept += [monitor.poll() for _ in range(50)]
    agent.warm([one for samples in kept for one in reversed(samples)])
    assert agent.cycle_counts == {"T1/dga": 6}
    assert agent.observe(monitor.poll()) == []
    assert set(agent.qualities.values()) == {Quality.GOOD}


# -- what is worth keeping


def test_a_measurement_is_kept_once_and_not_each_poll(agent: HardAgent, monitor: Any, gases: Any, clock: Any) -> None:
    kept: list[Sequence[Sample]] = []
    agent.observe(monitor.measure(gases["healthy"]), kept.append)
    for _ in range(599):
        clock.advance(1)
        agent.observe(monitor.poll(), kept.append)
    assert len(kept) == 1
    clock.advance(1)
    agent.observe(monitor.poll(), kept.append)
    assert len(kept) == 2  # that it was watched is worth a row now and then
    agent.observe(monitor.poll(Quality.BAD), kept.append)
    assert len(kept) == 3


def test_a_restart_judges_from_what_was_kept_as_if_it_had_not_stopped(
    make_agent: Any, gas_points: Any, monitor: Any, gases: Any, clock: Any
) -> None:
    kept: list[Sample] = []
    before = make_agent(gas_points)
    for _ in range(4):
        before.observe(monitor.measure(gases["D2"]), kept.extend)
        for _ in range(50):
            clock.advance(1)
            before.observe(monitor.poll(), kept.extend)
    after = make_agent(gas_points)
    after.warm(kept)
    last = monitor.measure(gases["D2"])
    assert [one.definition for one in after.observe(last)] == ["DgaFault"]
    assert len(kept) == 4 * len(gas_points)
