"""Schedules: due times, what a gap leaves out, overlaps, and one run per fire through crashes."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from journal.engine import Kind, Schedule, SimulatedCrash, checkpoint, decode, wait_for, workflow
from journal.engine.cron import Cron

HOUR = timedelta(hours=1)


@checkpoint()
async def note(what: str) -> str:
    return what


@workflow("rounds")
async def rounds(what: str) -> str:
    return await note(what)


@workflow("long")
async def long() -> str:
    return await wait_for("go", str)


HOURLY = Schedule(name="hourly", workflow=rounds, args=("x",), every=HOUR, catch_up=3 * HOUR, overlap="allow")


@pytest.mark.parametrize(
    ("text", "moment", "expected"),
    [
        ("* * * * *", "2026-03-01T00:00", "2026-03-01T00:01"),
        ("*/15 8-10 * * *", "2026-03-01T10:50", "2026-03-02T08:00"),
        ("5,35 0 1 1,7 *", "2026-03-01T00:00", "2026-07-01T00:05"),
        ("0 6 * * 1-5", "2026-03-06T06:00", "2026-03-09T06:00"),
        ("0 6 * * 7", "2026-03-02T00:00", "2026-03-08T06:00"),
        ("0 0 13 * 5", "2026-03-01T00:00", "2026-03-06T00:00"),
        ("0 0 29 2 *", "2026-03-01T00:00", "2028-02-29T00:00"),
        ("30/10 12 * * *", "2026-03-01T12:31", "2026-03-01T12:40"),
    ],
)
def test_cron_times(text: str, moment: str, expected: str) -> None:
    start = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    assert Cron.parse(text).after(start) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize("text", ["* * * *", "60 * * * *", "5-1 * * * *", "*/0 * * * *", "x * * * *", "1/ * * * *"])
def test_cron_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="cron"):
        Cron.parse(text)


def test_schedules_that_make_no_sense_are_refused() -> None:
    for more in ({}, {"every": HOUR, "cron": "* * * * *"}, {"every": timedelta(0)}, {"cron": "0 0 31 2 *"}):
        with pytest.raises(ValueError, match="schedule s"):
            Schedule(name="s", workflow=rounds, **more)  # type: ignore[arg-type]


def dues(world: Any) -> list[str]:
    rows = [decode(one.payload) for one in world.store.records if one.kind == Kind.SCHEDULE_FIRED]
    return [f"{row['due']:%d %H:%M}{' skipped' * row['skipped']}" for row in rows]


async def hours(world: Any, count: int) -> None:
    for _ in range(4 * count):
        world.clock.advance(HOUR / 4)
        world.engine.clock_changed()
        for _ in range(40):
            await asyncio.sleep(0)


async def test_each_hour_one_run_and_a_gap_is_caught_up_within_its_window(world: Any) -> None:
    world.clock.wall += timedelta(minutes=7)
    async with world.life(rounds) as engine:
        await engine.schedule(HOURLY)
        with pytest.raises(ValueError, match="two schedules"):
            await engine.schedule(HOURLY)
        await hours(world, 2)
        assert dues(world) == ["01 01:00", "01 02:00"]
    world.clock.reboot(timedelta(hours=10))
    async with world.life(rounds) as engine:
        await engine.resume()
        await engine.schedule(HOURLY)
        assert dues(world)[2:] == ["01 10:00", "01 11:00", "01 12:00"]
        await hours(world, 1)
        assert dues(world)[5:] == ["01 13:00"]
    assert len(world.keys(Kind.RUN_DONE)) == len(set(world.keys(Kind.RUN_STARTED))) == 6


@pytest.mark.parametrize(("overlap", "open_runs"), [("skip", 1), ("allow", 3), ("cancel", 1)])
async def test_overlaps(world: Any, overlap: Any, open_runs: int) -> None:
    async with world.life(long) as engine:
        await engine.schedule(Schedule(name="s", workflow=long, cron="0 * * * *", overlap=overlap))
        await hours(world, 3)
        runs = await engine.runs()
        assert [run.state.goes_on for run in runs] == [True] * open_runs
    assert sum("skipped" in due for due in dues(world)) == (2 if overlap == "skip" else 0)


async def test_without_the_time_an_interval_counts_and_cron_waits(world: Any) -> None:
    world.clock.is_trusted = False
    async with world.life(rounds) as engine:
        await engine.schedule(HOURLY, Schedule(name="c", workflow=rounds, args=("c",), cron="0 0 * * *"))
        await hours(world, 2)
        assert len(dues(world)) == 2
        world.clock.is_trusted = True
        world.clock.wall = datetime(2027, 5, 5, 22, 30, tzinfo=UTC)
        await hours(world, 2)
        assert "06 00:00" in dues(world)


@pytest.mark.parametrize("keep", [False, True], ids=["not-kept", "ack-lost"])
async def test_a_crash_at_every_append_starts_each_fire_once(make_world: Callable[[], Any], keep: bool) -> None:
    for crash_at in range(1, 12):
        world = make_world()
        with contextlib.suppress(SimulatedCrash):
            async with world.life(rounds, crash_at=crash_at, keep_at_crash=keep) as engine:
                await engine.schedule(HOURLY)
                await hours(world, 3)
        async with world.life(rounds) as engine:
            await engine.resume()
            await engine.schedule(HOURLY)
            await hours(world, 1)
        started = world.keys(Kind.RUN_STARTED)
        assert len(started) == len(set(started)) == len(world.keys(Kind.RUN_DONE)), crash_at
