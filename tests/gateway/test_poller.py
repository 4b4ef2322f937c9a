"""The poller: on time, never overlapping itself, and honest about silence."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from drivers.base import Point, Quality, Sample
from drivers.clock import SystemClock
from drivers.errors import Misconfigured, Transient
from drivers.modbus import ModbusDevice, ModbusLinkConfig, ModbusSource
from gateway.poller import CONNECTS_PER_MINUTE_MAX, Poller
from gateway.watchdog import Heartbeats
from hil_sim.modbus_plc import ModbusPlc
from hil_sim.register_maps import MAPS

POINT = Point(id="T1/SIML.Tmp", unit="degC", group="g", update_interval_s=60)
PERIOD_S = 1.0
REAL_PERIOD_S = 0.25
DEVICES = {name: ModbusDevice(name=name, asset=name, template="vaisala-opt100") for name in ("T1", "T2")}


class ScriptedSource:
    """What each read does is scripted: a number of seconds to take, or an error to raise; then it answers at once."""

    def __init__(self, clock: Any, *script: float | Exception, open_script: Sequence[Exception] = ()) -> None:
        self.name = "link"
        self.points = (POINT,)
        self.opens_s: list[float] = []
        self.reads_s: list[float] = []
        self.closes = 0
        self.reading = 0
        self._clock = clock
        self._script = list(script)
        self._open_script = list(open_script)

    async def open(self) -> None:
        self.opens_s.append(asyncio.get_running_loop().time())
        if self._open_script:
            raise self._open_script.pop(0)

    async def read(self) -> list[Sample]:
        assert not self.reading
        self.reading += 1
        self.reads_s.append(asyncio.get_running_loop().time())
        try:
            step = self._script.pop(0) if self._script else 0.0
            if isinstance(step, Exception):
                raise step
            await asyncio.sleep(step)
        finally:
            self.reading -= 1
        return [sample_now(self._clock)]

    async def close(self) -> None:
        self.closes += 1


def sample_now(clock: Any) -> Sample:
    return Sample(
        point_id=POINT.id,
        value=50.0,
        quality=Quality.GOOD,
        received_time=clock.now(),
        monotonic_ns=clock.monotonic_ns(),
        clock_trusted=True,
    )


@pytest.fixture
def play(in_jumping_time: Any, loop_clock: Any) -> Callable[..., tuple[Poller, list[Sample]]]:
    """Run a poller on a scripted source for some jumped seconds; `late` collects late heartbeats each second."""

    def run(
        source: ScriptedSource, for_s: float, *, late: set[str] | None = None, boost: bool = False
    ) -> tuple[Poller, list[Sample]]:
        delivered: list[Sample] = []
        heartbeats = Heartbeats(loop_clock)
        poller = Poller(source, PERIOD_S, delivered.extend, loop_clock, heartbeats)

        async def main() -> None:
            if boost:
                poller.boost(for_s / 2)
            task = asyncio.create_task(poller.run())
            loop = asyncio.get_running_loop()
            while loop.time() < for_s and not task.done():
                await asyncio.sleep(1)
                (late if late is not None else set()).update(heartbeats.late())
            task.cancel()
            await asyncio.wait({task})
            assert not heartbeats.late()
            if not task.cancelled():
                task.result()

        in_jumping_time(main())
        return poller, delivered

    return run


def stale(samples: Sequence[Sample]) -> list[Sample]:
    return [sample for sample in samples if sample.quality is Quality.STALE]


def test_it_reads_once_a_period(play: Any, loop_clock: Any) -> None:
    source = ScriptedSource(loop_clock)
    poller, delivered = play(source, 60)
    assert len(source.reads_s) == pytest.approx(60, abs=2)
    assert {round(after - before, 6) for before, after in pairwise(source.reads_s)} == {PERIOD_S}
    assert (poller.stats.skipped_ticks, poller.stats.stale_points) == (0, 0)
    assert poller.stats.samples == poller.stats.polls == len(delivered)


def test_a_slow_read_skips_its_ticks_and_counts_them(play: Any, loop_clock: Any) -> None:
    source = ScriptedSource(loop_clock, 0.0, 3.4)
    poller, _ = play(source, 10)
    assert source.reads_s[:5] == pytest.approx([0.0, 1.0, 4.4, 5.0, 6.0])
    assert poller.stats.skipped_ticks == 2


def test_a_read_within_its_period_does_not_shift_the_next(play: Any, loop_clock: Any) -> None:
    source = ScriptedSource(loop_clock, 0.9, 0.5, 0.1)
    poller, _ = play(source, 5)
    assert source.reads_s[:4] == pytest.approx([0.0, 1.0, 2.0, 3.0])
    assert poller.stats.skipped_ticks == 0


def test_a_read_that_hangs_does_not_hide_that_nothing_comes(play: Any, loop_clock: Any) -> None:
    _, delivered = play(ScriptedSource(loop_clock, 0.0, 0.0, 1e6), 10)
    last_good = max(sample.monotonic_ns for sample in delivered if sample.quality is Quality.GOOD)
    (silent,) = stale(delivered)
    assert silent.monotonic_ns - last_good <= 2 * PERIOD_S * 1e9
    assert silent.value is None
    assert "nothing from link" in silent.reason


def test_a_source_that_never_opens_is_stale_within_two_periods(play: Any, loop_clock: Any) -> None:
    source = ScriptedSource(loop_clock, open_script=[Transient("away")] * 1000)
    poller, delivered = play(source, 10)
    assert [sample.monotonic_ns <= 2 * PERIOD_S * 1e9 for sample in delivered] == [True]
    assert not poller.stats.connected
    assert poller.stats.stale_points == 1


def test_it_comes_back_and_is_no_longer_stale(play: Any, loop_clock: Any) -> None:
    source = ScriptedSource(loop_clock, 0.0, Transient("cut"), open_script=[])
    source._open_script = []
    poller, delivered = play(source, 30)
    assert poller.stats.connected
    assert (poller.stats.failures, poller.stats.connects, poller.stats.stale_points) == (1, 2, 0)
    assert delivered[-1].quality is Quality.GOOD
    assert source.closes == 2


@pytest.mark.parametrize("answers", [0, 1])
def test_a_peer_that_accepts_and_closes_is_not_hammered(play: Any, loop_clock: Any, answers: int) -> None:
    """Also one that gives a good answer each time: that resets the backoff, not the bound on connects."""
    source = ScriptedSource(loop_clock, *[*[0.0] * answers, Transient("closed")] * 2000)
    late: set[str] = set()
    play(source, 600, late=late)
    opens = source.opens_s
    assert len(opens) > CONNECTS_PER_MINUTE_MAX
    for index, opened_s in enumerate(opens):
        assert sum(opened_s <= other < opened_s + 59.999 for other in opens[index:]) <= 6
    assert late == set()


def test_a_boost_polls_twice_as_often_and_ends(play: Any, loop_clock: Any) -> None:
    source = ScriptedSource(loop_clock)
    play(source, 20, boost=True)
    gaps = [round(after - before, 6) for before, after in pairwise(source.reads_s)]
    assert gaps[0] == PERIOD_S / 2
    assert gaps[-1] == PERIOD_S
    assert gaps == sorted(gaps)


def test_cancelling_closes_the_source(play: Any, loop_clock: Any) -> None:
    source = ScriptedSource(loop_clock)
    play(source, 3)
    assert source.closes == 1


def test_what_a_person_must_mend_is_not_retried(play: Any, loop_clock: Any) -> None:
    source = ScriptedSource(loop_clock, open_script=[Misconfigured("no such certificate")])
    with pytest.raises(ExceptionGroup) as caught:
        play(source, 5)
    assert caught.group_contains(Misconfigured)
    assert source.closes == 1


# -- real devices on real sockets


@asynccontextmanager
async def polled(plc: ModbusPlc, asset: str) -> AsyncIterator[list[Sample]]:
    config = ModbusLinkConfig(
        name=f"link-{asset}", host=plc.host, port=plc.port, timeout_s=0.1, devices=(DEVICES[asset],)
    )
    clock, delivered = SystemClock(), []
    poller = Poller(ModbusSource(config, clock), REAL_PERIOD_S, delivered.extend, clock, Heartbeats(clock))
    task = asyncio.create_task(poller.run())
    try:
        yield delivered
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.fixture
async def plcs() -> AsyncIterator[list[ModbusPlc]]:
    plcs = [ModbusPlc({1: MAPS["vaisala-opt100"]}) for _ in range(2)]
    gases = dict.fromkeys(("h2", "ch4", "c2h6", "c2h4", "c2h2", "co"), 10.0)
    for plc in plcs:
        await plc.start()
        rest = dict.fromkeys(MAPS["vaisala-opt100"].floats, 1.0)
        plc.show(1, rest | gases | {"tdcg": 60.0})
    yield plcs
    for plc in plcs:
        await plc.stop()


async def test_a_dead_device_goes_stale_in_two_periods_and_the_other_does_not_notice(
    plcs: list[ModbusPlc], eventually: Any
) -> None:
    async with polled(plcs[0], "T1") as dying, polled(plcs[1], "T2") as other:
        await eventually(lambda: len(dying) > 30 and len(other) > 30)
        points = {sample.point_id for sample in dying}
        await plcs[0].stop()
        await eventually(lambda: len(stale(dying)) == len(points))
        last_good = {s.point_id: s.monotonic_ns for s in dying if s.quality is Quality.GOOD}
        silent = {s.point_id: s.monotonic_ns - last_good[s.point_id] for s in stale(dying)}
        assert set(silent) == points
        slack_s = 0.15  # what a loaded machine may add to a look that is due
        assert max(silent.values()) <= (2 * REAL_PERIOD_S + slack_s) * 1e9

        await plcs[0].start()
        await eventually(lambda: dying[-1].quality is Quality.GOOD)
        assert len(stale(dying)) == len(points)
        assert stale(other) == []
        gaps = pairwise(sorted({sample.monotonic_ns for sample in other}))
        assert max(after - before for before, after in gaps) < 2 * REAL_PERIOD_S * 1e9


def test_the_wait_grows_until_a_link_has_lived_for_a_while(play: Any, loop_clock: Any) -> None:
    """One to sixty seconds: good answers alone do not shorten it, ten seconds of them do."""
    flapping = ScriptedSource(loop_clock, *[0.0, 0.0, Transient("closed")] * 2000)
    play(flapping, 900)
    waits = [after - before for before, after in pairwise(flapping.opens_s)]
    assert min(waits) >= 1.0
    assert min(waits[6:]) >= 30.0  # of a minute, jittered
    assert max(waits) <= 60.0 + 2 * PERIOD_S
    living = ScriptedSource(loop_clock, *[*[0.0] * 12, Transient("cut")] * 2000)
    play(living, 120)
    waits = [after - before for before, after in pairwise(living.opens_s)]
    assert waits
    assert max(waits) <= 12 * PERIOD_S + 2.0 + 0.1


def test_links_do_not_come_back_in_step(play: Any, loop_clock: Any) -> None:
    firsts = []
    for _ in range(5):
        source = ScriptedSource(loop_clock, Transient("cut"))
        play(source, 10)
        firsts.append(round(source.opens_s[1] - source.opens_s[0], 3))
    assert len(set(firsts)) > 1


def _metrics_at(poller: Poller, at_s: int) -> dict[str, float]:
    poller.clock = SimpleNamespace(monotonic_ns=lambda: at_s * 10**9)
    return poller.metrics()


def test_the_past_does_not_pass_for_fresh_and_what_happened_is_counted(play: Any, loop_clock: Any) -> None:
    class Reminiscent(ScriptedSource):
        async def read(self) -> list[Sample]:
            (sample,) = await super().read()
            return [replace(sample, historical=len(self.reads_s) > 3)]

    poller, delivered = play(Reminiscent(loop_clock), 20)
    assert len(stale(delivered)) == 1
    metrics = _metrics_at(poller, 20)
    assert metrics["points_stale"] == 1.0
    assert metrics["samples_historical_total"] == metrics["polls_total"] - 3
    assert (metrics["state"], metrics["disconnections_last_600s"]) == (1.0, 0.0)


def test_the_metrics_of_the_driver_come_along(clock: SystemClock, play: Any, loop_clock: Any) -> None:
    link = ModbusLinkConfig(name="bay", host="127.0.0.1", devices=(DEVICES["T1"],))
    poller = Poller(ModbusSource(link, clock), 1.0, lambda _: None, clock, Heartbeats(clock))
    assert poller.metrics()["requests_total"] == 0.0
    flapping, _ = play(ScriptedSource(loop_clock, 0.0, Transient("a"), 0.0, Transient("b")), 60)
    assert _metrics_at(flapping, 60)["disconnections_last_600s"] == 2.0
    assert _metrics_at(flapping, 700)["disconnections_last_600s"] == 0.0
    assert "requests_total" not in _metrics_at(flapping, 60)
