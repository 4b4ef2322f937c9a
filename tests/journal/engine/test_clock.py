"""Deadlines under clocks that jump, go back, or never learn the time; and the deaths of the process."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from journal.engine import Kind, RunQuarantined, RunState, checkpoint, services, sleep, wait_for, workflow

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
TEN_YEARS = timedelta(days=3653)


@workflow("naps")
async def naps(days: int) -> str:
    await sleep(days * DAY)
    return "awake"


async def turn(count: int = 60) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Box:
    """A machine: true time, and what its clocks say of it."""

    def __init__(self, world: Any, seed: int) -> None:
        self.world = world
        self.chance = random.Random(seed)
        self.true = datetime(2026, 3, 1, tzinfo=UTC)
        self.error = timedelta(0)  # of the wall clock
        world.boots = 1

    def live(self, by: timedelta) -> None:
        """Time passes while the engine is there, an hour at most at a time: the loop looks every minute."""
        self.true += by
        self.world.clock.elapsed_ns += int(by.total_seconds() * 1e9)
        self.tell()

    def off(self, by: timedelta) -> None:
        """Power off; the monotonic clock begins anew, and nobody knows the time unless the network tells."""
        self.true += by
        self.world.clock.elapsed_ns = 0
        self.world.boots += 1
        fate = self.chance.choice(["network", "none", "behind"])
        self.world.clock.is_trusted = fate != "none"
        self.error = {"network": timedelta(0), "none": self.wrong(), "behind": -TEN_YEARS}[fate]
        self.tell()

    def wrong(self) -> timedelta:
        return self.chance.choice([-TEN_YEARS, TEN_YEARS, -DAY, DAY])

    def tell(self) -> None:
        self.world.clock.wall = self.true + self.error


@pytest.mark.parametrize("seed", range(16))
async def test_no_timer_is_lost_and_none_is_early(world: Any, seed: int) -> None:
    """Jumps of ten years, backwards boots, boots without the time, restarts: a state machine against true time."""
    box = Box(world, seed)
    box.tell()
    due: dict[str, datetime] = {}
    awake = timedelta(0)
    for life in range(14):
        async with world.life(naps) as engine:
            await engine.resume()
            for number in range(box.chance.randrange(3)):
                days = box.chance.choice([1, 5, 14])
                due[await engine.start(naps, days, key=f"{life}/{number}")] = box.true + days * DAY
            for _ in range(box.chance.randrange(1, 40)):
                box.live(HOUR)
                awake += HOUR
                if box.chance.random() < 0.1:
                    box.error = box.wrong()  # somebody or something sets the clock
                    box.tell()
                    engine.clock_changed()
                if box.chance.random() < 0.1 and world.clock.is_trusted:
                    box.error = timedelta(0)
                    box.tell()
                    await engine.confirm_clock()
                if box.chance.random() < 0.1 and not world.clock.is_trusted:
                    box.error = timedelta(0)
                    world.clock.is_trusted = True
                    box.tell()
                engine.clock_changed()
                await turn(8)
                for run_id, when in due.items():
                    state = (await engine.run(run_id)).state
                    assert state.goes_on or box.true >= when, (life, run_id)
            await turn()
        if box.chance.random() < 0.6:
            box.off(timedelta(hours=box.chance.randrange(1, 100)))
        else:
            box.live(timedelta(minutes=1))  # only the process is started again
    async with world.life(naps) as engine:
        await engine.resume()
        for _ in range(15 * 24):
            box.live(HOUR)
            engine.clock_changed()
            await turn(4)
        await turn(200)
        assert {(await engine.run(run_id)).state for run_id in due} <= {RunState.DONE}


async def test_a_box_that_never_learns_the_time_and_is_cut_daily_still_gets_there(world: Any) -> None:
    box = Box(world, 1)
    world.clock.is_trusted = False
    days = 0
    async with world.life(naps) as engine:
        run_id = await engine.start(naps, 14, key="k")
    while days < 20:
        async with world.life(naps) as engine:
            await engine.resume()
            for _ in range(23):
                box.live(HOUR)
                engine.clock_changed()
                await turn(4)
            await turn()
            if (await engine.run(run_id)).state is RunState.DONE:
                break
        days += 1
        box.off(HOUR)
        world.clock.is_trusted = False
    assert 14 <= days <= 16


async def test_two_sources_or_a_person_make_a_stepped_clock_trusted_again(world: Any) -> None:
    world.boots = 1
    async with world.life(naps) as engine:
        await engine.start(naps, 14, key="k")
        timers = engine._timers
        assert timers.trusted()
        world.clock.wall += timedelta(seconds=61)
        assert not timers.trusted()
        await turn()
        await engine.confirm_clock()
        assert timers.trusted()
        world.clock.wall -= 2 * HOUR
        engine.clock_changed()
        assert timers.distrusted
    async with world.life(naps) as engine:  # the next life knows
        await engine.resume()
        assert not engine._timers.trusted()
        world.clock.agreeing = lambda: 1
        assert not engine._timers.trusted()
        world.clock.agreeing = lambda: 2
        assert engine._timers.trusted()


@checkpoint()
async def poison() -> str:
    services(object).__dict__.setdefault("begun", []).append(1)
    await asyncio.Event().wait()
    return "never"


@checkpoint()
async def note() -> str:
    return "noted"


@workflow("poisoned")
async def poisoned() -> list[str]:
    return [await note(), await poison()]


@workflow("patient")
async def patient() -> str:
    return await wait_for("go", str)


async def die(world: Any, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a killed process: nothing more is written."""
    monkeypatch.setattr(engine._lives, "_begun", False)
    world.store.dead = True


async def dies_three_times(world: Any, monkeypatch: pytest.MonkeyPatch, boots_between: int) -> tuple[str, str]:
    world.boots = 1
    for life in range(3):
        async with world.life(poisoned, patient) as engine:
            await engine.resume()
            run_id = await engine.start(poisoned, key="p")
            other = await engine.start(patient, key="w")
            await world.pump(lambda life=life: len(world.__dict__.get("begun", [])) == life + 1)
            await turn()
            await die(world, engine, monkeypatch)
        world.boots += boots_between
    return run_id, other


async def test_three_deaths_in_one_boot_quarantine_the_step_that_was_in_flight(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, other = await dies_three_times(world, monkeypatch, 0)
    async with world.life(poisoned, patient) as engine:
        await engine.resume()
        with pytest.raises(RunQuarantined, match="died 3 times within one boot while poison#1 ran"):
            await world.finish(run_id)
        assert (await engine.run(other)).state.goes_on
    async with world.life(poisoned, patient) as engine:
        assert await engine.resume() == [other]
        assert len(world.begun) == 3
        await engine.retry(run_id)
        await world.pump(lambda: len(world.begun) == 4)


async def test_brownouts_do_not_count(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await dies_three_times(world, monkeypatch, 1)
    async with world.life(poisoned, patient) as engine:
        await engine.resume()
        await world.pump(lambda: len(world.begun) == 4)
    assert world.kinds(Kind.RUN_QUARANTINED) == []


async def test_a_clean_stop_is_no_death(world: Any) -> None:
    world.boots = 1
    for _ in range(6):
        async with world.life(poisoned) as engine:
            await engine.resume()
            run_id = await engine.start(poisoned, key="p")
            await turn()
            assert (await engine.run(run_id)).state.goes_on
