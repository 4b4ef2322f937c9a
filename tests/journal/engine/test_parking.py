"""Runs that wait leave memory, cost nothing while they wait, and come back by themselves."""

import asyncio
import gc
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from journal.engine import BadAnswer, EngineClosed, MemoryStore, checkpoint, settle, sleep, wait_for, workflow

DAY = timedelta(days=1)
PAGE_BYTES = 4096
MEGABYTE = 1 << 20


@checkpoint()
async def note(what: str) -> str:
    return what


@workflow("asking")
async def asking(name: str) -> str:
    first = await note(name)
    answer = await wait_for("go", str, timeout=14 * DAY)
    await sleep(3 * DAY)
    return f"{first} {answer} {await note('end')}"


@workflow("branching")
async def branching() -> list[Any]:
    """One branch waits for a person, the other for time: the run is parked only while both do."""

    async def ask() -> str:
        return await wait_for("go", str)

    async def rest() -> str:
        for _ in range(3):
            await sleep(DAY)
            await note("rested")
        return "rest"

    tasks = [asyncio.create_task(ask()), asyncio.create_task(rest())]
    return [one.value for one in await settle(tasks)]


def parked(world: Any) -> int:
    return world.engine._residents.parked_count


async def is_parked(world: Any, count: int = 1) -> None:
    await world.pump(lambda: parked(world) == count and not world.engine._residents._runs)


async def test_a_waiting_run_leaves_memory_and_an_answer_brings_it_back(world: Any) -> None:
    async with world.life(asking) as engine:
        run_id = await engine.start(asking, "a", key="a")
        result = asyncio.ensure_future(engine.result(run_id))
        await is_parked(world)
        assert (await engine.run(run_id)).state.goes_on
        with pytest.raises(BadAnswer):
            await engine.answer(run_id, "go", 5, by="me")
        await is_parked(world)
        answers = await asyncio.gather(*(engine.answer(run_id, "go", f"{n}", by="me") for n in range(5)))
        assert answers.count(True) == 1
        await is_parked(world)
        assert not await engine.answer(run_id, "go", "late", by="me")
        await is_parked(world)
        await world.pump(result.done, DAY)
        assert result.result() == f"a {answers.index(True)} end"
        assert world.ledger.started == {"note#1": 1, "note#2": 1}


async def test_an_open_run_that_was_not_resumed_takes_an_answer(world: Any) -> None:
    async with world.life(asking) as engine:
        run_id = await engine.start(asking, "a", key="a")
        await is_parked(world)
    async with world.life(asking) as engine:
        assert await engine.answer(run_id, "go", "x", by="me")
        assert await world.finish(run_id, DAY) == "a x end"


async def test_deadlines_do_not_move_while_a_run_comes_and_goes(world: Any) -> None:
    async with world.life(branching) as engine:
        run_id = await engine.start(branching, key="b")
        await is_parked(world)
        for number in range(1, 24):  # each wrong answer brings the run back, an hour later each time
            world.clock.advance(timedelta(hours=1))
            with pytest.raises(BadAnswer):
                await engine.answer(run_id, "go", number, by="me")
            await is_parked(world)
        assert not world.ledger.started
        world.clock.advance(timedelta(hours=1))
        engine.clock_changed()
        await world.pump(lambda: world.ledger.started["note#1"] == 0 and world.ledger.started["t2/note#1"] == 1)
        assert await engine.answer(run_id, "go", "x", by="me")
        assert await world.finish(run_id, timedelta(hours=1)) == ["x", "rest"]


async def test_close_tells_who_waits_for_a_parked_run(world: Any) -> None:
    async with world.life(asking) as engine:
        run_id = await engine.start(asking, "a", key="a")
        await is_parked(world)
        result = asyncio.ensure_future(engine.result(run_id))
        await asyncio.sleep(0)
    with pytest.raises(EngineClosed):
        await result


async def test_a_run_that_cannot_be_read_back_waits_for_the_next_resume(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.life(asking) as engine:
        run_id = await engine.start(asking, "a", key="a")
        await is_parked(world)
        whole = world.store.histories
        monkeypatch.setattr(world.store, "histories", _refuse)
        result = asyncio.ensure_future(engine.result(run_id))
        await world.pump(result.done, DAY)
        with pytest.raises(OSError, match="away"):
            result.result()
        monkeypatch.setattr(world.store, "histories", whole)
        assert await engine.resume() == [run_id]
        assert (await engine.run(run_id)).state.goes_on


async def _refuse(_: Any) -> Any:
    raise OSError("away")


def rss_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


@pytest.mark.timeout(300)
@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.slow)])
async def test_thousands_of_parked_runs_fit_and_need_no_turns(world: Any, count: int) -> None:
    async with world.life(asking) as engine:
        before = rss_bytes()
        for first in range(0, count, 500):
            await asyncio.gather(*(engine.start(asking, str(n), key=str(n)) for n in range(first, first + 500)))
        await is_parked(world, count)
        grown = rss_bytes() - before
        print(f"{count} parked runs and their rows: {grown / MEGABYTE:.0f} MB")  # noqa: T201
        assert grown < 100 * MEGABYTE
        assert len(engine._timers._heap) < 2.1 * count
        loop = asyncio.get_running_loop()
        turns = 0
        plain = loop.call_soon

        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal turns
            turns += 1
            return plain(*args, **kwargs)

        loop.call_soon = counted  # type: ignore[method-assign]
        try:
            await asyncio.wait([asyncio.ensure_future(asyncio.sleep(0.05))])
        finally:
            loop.call_soon = plain  # type: ignore[method-assign]
        assert turns < 10


async def test_a_thousand_open_runs_are_read_in_batches(world: Any) -> None:
    async with world.life(asking) as engine:
        for number in range(1000):
            await engine.start(asking, str(number), key=str(number))
        await is_parked(world, 1000)
    reads = 0

    class Counting(MemoryStore):
        async def histories(self, run_ids: Any) -> Any:
            nonlocal reads
            reads += 1
            return await super().histories(run_ids)

    async with world.life(asking) as engine:
        counting = Counting(world.clock, records=world.store.records)
        engine._core.store = engine._store = counting
        assert len(await engine.resume()) == 1000
        assert reads <= 16
        assert not world.ledger.started
        await is_parked(world, 1000)
