"""The daemon's engine on a clock that jumps: deadlines come late, never early, until two sources agree."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from drivers.base import Quality, Sample
from gateway.plant_clock import PlantClock
from journal import Journal
from journal.engine import ClockSources, Engine, RunState, wait_for, workflow

pytestmark = pytest.mark.may_block  # the files of the sources are written within a test
DAY_S = 86_400.0

YEARS = timedelta(days=3650)


def sample(server_time: datetime | None, monotonic_ns: int, now: datetime) -> Sample:
    return Sample(
        point_id="T1/h2",
        value=1.0,
        quality=Quality.GOOD,
        source_time=None,
        server_time=server_time,
        received_time=now,
        monotonic_ns=monotonic_ns,
        clock_trusted=True,
    )


@pytest.fixture
def sources(tmp_path: Path, clock: Any) -> PlantClock:
    """No time daemon has synchronised and there is no hardware clock, until a test writes these files."""
    return PlantClock(clock, synchronised=tmp_path / "synchronized", hardware_clock=tmp_path / "since_epoch")


def synchronise(tmp_path: Path, moment: datetime) -> None:
    path = tmp_path / "synchronized"
    path.touch()
    os.utime(path, (moment.timestamp(), moment.timestamp()))


def test_the_engine_takes_it_for_a_clock_with_sources(sources: PlantClock) -> None:
    assert isinstance(sources, ClockSources)


async def test_each_source_counts_once(tmp_path: Path, sources: PlantClock, clock: Any) -> None:
    now = clock.now()
    assert sources.agreeing() == 0
    synchronise(tmp_path, now - timedelta(minutes=30))
    await sources.refresh()
    assert sources.agreeing() == 1
    (tmp_path / "since_epoch").write_text(f"{int(now.timestamp()) + 20}\n")
    await sources.refresh()
    assert sources.agreeing() == 2
    for _ in range(3):
        sources.hear([sample(now, clock.monotonic_ns(), now)])
    assert sources.agreeing() == 3


async def test_sources_that_tell_another_time_do_not_count(tmp_path: Path, sources: PlantClock, clock: Any) -> None:
    synchronise(tmp_path, clock.now())
    (tmp_path / "since_epoch").write_text(f"{int(clock.now().timestamp())}\n")
    sources.hear([sample(clock.now(), clock.monotonic_ns(), clock.now())])
    await sources.refresh()
    assert sources.agreeing() == 3
    clock.wall += YEARS
    assert sources.agreeing() == 0


def test_a_time_of_the_plant_ages_and_a_device_without_one_says_nothing(sources: PlantClock, clock: Any) -> None:
    sources.hear([])
    sources.hear([sample(None, clock.monotonic_ns(), clock.now())])
    assert sources.agreeing() == 0
    sources.hear([sample(clock.now(), clock.monotonic_ns(), clock.now())])
    clock.advance(500)
    assert sources.agreeing() == 1
    clock.advance(500)
    assert sources.agreeing() == 0


@pytest.mark.parametrize("text", ["", "nonsense", "9" * 30, "-5"])
async def test_a_hardware_clock_out_of_its_mind_does_not_count(tmp_path: Path, sources: PlantClock, text: str) -> None:
    (tmp_path / "since_epoch").write_text(text)
    await sources.refresh()
    assert sources.agreeing() == 0


@workflow("asking")
async def asking() -> str:
    return await wait_for("verdict", str, timeout=timedelta(days=14), default="nobody")


async def state_of(engine: Engine, run_id: str) -> RunState:
    engine.clock_changed()
    for _ in range(200):
        await engine.steps(run_id)  # lets the run and the writer have their turns
    return (await engine.run(run_id)).state


async def test_a_stepped_clock_ends_no_wait_before_two_sources_agree(
    tmp_path: Path, sources: PlantClock, clock: Any
) -> None:
    """Restarted under a wall clock that has jumped ten years ahead: the deadline of two weeks is not over."""
    journal = await Journal.open(tmp_path / "state", clock)
    engine = Engine(journal.store, sources, boot_id="boot 1")
    run_id = await engine.start(asking, key="incident-1")
    await state_of(engine, run_id)
    await engine.close()
    clock.advance(DAY_S)
    clock.wall += YEARS
    engine = Engine(journal.store, sources, boot_id="boot 1")
    engine.register(asking)
    assert await engine.resume() == [run_id]
    assert await state_of(engine, run_id) is not RunState.DONE
    assert not engine.clock_trusted()
    synchronise(tmp_path, clock.now())
    await sources.refresh()
    assert await state_of(engine, run_id) is not RunState.DONE  # one source is not enough
    (tmp_path / "since_epoch").write_text(f"{int(clock.now().timestamp())}\n")
    await sources.refresh()
    assert await state_of(engine, run_id) is RunState.DONE  # by the wall clock it is long over
    assert engine.clock_trusted()
    await engine.close()
    await journal.close()


async def test_a_person_may_confirm_the_clock(tmp_path: Path, sources: PlantClock, clock: Any) -> None:
    journal = await Journal.open(tmp_path / "state", clock)
    engine = Engine(journal.store, sources, boot_id="boot 1")
    await engine.start(asking, key="incident-1")
    assert engine.clock_trusted()
    clock.wall -= YEARS
    assert not engine.clock_trusted()
    await engine.confirm_clock()
    assert engine.clock_trusted()
    await engine.close()
    await journal.close()


def test_wall_time_is_the_clocks_own(sources: PlantClock, clock: Any) -> None:
    assert (sources.now(), sources.monotonic_ns(), sources.trusted()) == (clock.now(), clock.monotonic_ns(), True)
    assert sources.now().tzinfo is UTC
