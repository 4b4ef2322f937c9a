"""Queues: limits, order, what a crash leaves of them, and who is dropped."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from journal.engine import (
    Kind,
    Queue,
    RunCancelled,
    RunState,
    SimulatedCrash,
    checkpoint,
    services,
    wait_for,
    workflow,
)

TWO = Queue(name="two", concurrency=2)
FAIR = Queue(name="fair", concurrency=3, per_partition=1)
SLOW = Queue(name="slow", concurrency=5, rate=(2, timedelta(minutes=1)))
FRESH = Queue(name="fresh", concurrency=1, ttl=timedelta(hours=1))


@checkpoint()
async def work(name: str) -> str:
    world = services(object)
    world.order.append(name)
    world.busy.add(name)
    world.most = max(world.most, len(world.busy))
    await world.gate.wait()
    world.busy.discard(name)
    return name


@workflow("job")
async def job(name: str) -> str:
    return await work(name)


@workflow("asks")
async def asks(name: str) -> str:
    await work(name)
    return await wait_for("go", str)


def equip(world: Any) -> Any:
    world.order, world.busy, world.most, world.gate = [], set(), 0, asyncio.Event()
    return world


@pytest.fixture(autouse=True)
def equipped(world: Any) -> None:
    equip(world)


async def turns(world: Any, count: int) -> None:
    await world.pump(lambda: len(world.order) == count)
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(world.order) == count


async def test_concurrency_and_priority(world: Any) -> None:
    async with world.life(job) as engine:
        ids = [await engine.start(job, name, key=name, queue=TWO, priority=name.isupper()) for name in "abcdEF"]
        await turns(world, 2)
        assert [(await engine.run(one)).state for one in ids[1:3]] == [RunState.RUNNING, RunState.QUEUED]
        world.gate.set()
        assert [await world.finish(one) for one in ids] == list("abcdEF")
        assert (world.order, world.most) == (list("abEFcd"), 2)
        assert await engine.start(job, "a", key="a", queue=TWO) == ids[0]
        with pytest.raises(ValueError, match="two queues"):
            engine.register_queues(Queue(name="two", concurrency=3))
    with pytest.raises(ValueError, match="1 or more"):
        Queue(name="none", concurrency=0)


async def test_partitions_do_not_starve_each_other(world: Any) -> None:
    async with world.life(job) as engine:
        for name in ("a1", "a2", "a3", "b1"):
            await engine.start(job, name, key=name, queue=FAIR, partition=name[0])
        await turns(world, 2)
        assert world.order == ["a1", "b1"]


async def test_the_rate_holds_across_the_minute(world: Any) -> None:
    world.gate.set()
    async with world.life(job) as engine:
        for name in "abcde":
            await engine.start(job, name, key=name, queue=SLOW)
        await turns(world, 2)
        world.clock.advance(timedelta(seconds=59))
        engine.clock_changed()
        await turns(world, 2)
        for count in (4, 5):
            world.clock.advance(timedelta(minutes=1))
            engine.clock_changed()
            await turns(world, count)


async def test_a_waiting_run_gives_its_place_back(world: Any) -> None:
    world.gate.set()
    async with world.life(asks) as engine:
        ids = [await engine.start(asks, name, key=name, queue=TWO) for name in "abcd"]
        await world.pump(lambda: len(world.keys(Kind.WAIT_OPENED)) == 4 and not engine._residents._runs)
        assert await engine.answer(ids[3], "go", "yes", by="me")
        assert await world.finish(ids[3]) == "yes"


async def test_who_waited_too_long_or_was_cancelled_is_dropped(world: Any) -> None:
    async with world.life(job) as engine:
        ids = [await engine.start(job, name, key=name, queue=FRESH) for name in "abc"]
        result = asyncio.ensure_future(engine.result(ids[1]))
        assert await engine.cancel(ids[2], by="me")
        await turns(world, 1)
    world.clock.reboot(timedelta(minutes=59))
    async with world.life(job) as engine:
        engine.register_queues(FRESH)
        assert await engine.resume() == [ids[0]]
        result = asyncio.ensure_future(engine.result(ids[1]))
        await turns(world, 2)
        world.clock.advance(timedelta(minutes=1))
        engine.clock_changed()
        await world.pump(result.done)
        with pytest.raises(RunCancelled, match="did not come in time"):
            result.result()
        world.gate.set()
        assert await world.finish(ids[0]) == "a"
    assert world.order == ["a", "a"]


@pytest.mark.parametrize("keep", [False, True], ids=["not-kept", "ack-lost"])
async def test_a_crash_at_every_append_loses_and_doubles_no_run(make_world: Callable[[], Any], keep: bool) -> None:
    async def enqueue(world: Any, crash_at: int | None) -> None:
        async with world.life(job, crash_at=crash_at, keep_at_crash=keep) as engine:
            engine.register_queues(TWO)
            await engine.resume()
            ids = [await engine.start(job, name, key=name, queue=TWO) for name in "abcd"]
            assert [await world.finish(one) for one in ids] == list("abcd")

    for crash_at in range(1, 18):
        world = equip(make_world())
        world.gate.set()
        with contextlib.suppress(SimulatedCrash):
            await enqueue(world, crash_at)
        await enqueue(world, None)
        assert sorted(set(world.order)) == list("abcd"), crash_at
        assert len(world.keys(Kind.RUN_STARTED)) == len(world.keys(Kind.RUN_DONE)) == 4, crash_at
        assert world.most <= 2, crash_at
