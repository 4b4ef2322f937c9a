"""Child workflows: recorded ids, parents that leave memory meanwhile, cancellation and retry through the family."""

import asyncio
import contextlib
from datetime import timedelta
from typing import Any

import pytest

from journal.engine import (
    Kind,
    RunCancelled,
    RunFailed,
    RunState,
    StepFailed,
    checkpoint,
    services,
    sleep,
    start_child,
    submit_child,
    timeout,
    wait_for,
    workflow,
)

HOUR = timedelta(hours=1)


@checkpoint()
async def work(name: str) -> str:
    if name in services(object).__dict__.setdefault("broken", set()):
        raise ValueError(name)
    return name.upper()


@workflow("grandchild")
async def grandchild(name: str) -> str:
    answer = await wait_for("go", str)
    return await work(name) + answer


@workflow("middle")
async def middle(name: str) -> str:
    try:
        return await start_child(grandchild, name)
    except asyncio.CancelledError:
        await work("tidied")
        raise


@workflow("top")
async def top(name: str) -> list[str]:
    return [await work("top"), await start_child(middle, name), await work("end")]


@workflow("impatient")
async def impatient() -> str:
    with contextlib.suppress(TimeoutError):
        async with timeout(HOUR):
            await start_child(grandchild, "late")
    await sleep(HOUR)
    return "went on"


@workflow("leaver")
async def leaver() -> str:
    submit_child(grandchild, "left")
    await sleep(HOUR)
    return "gone"


@workflow("tolerant")
async def tolerant() -> str:
    try:
        return await start_child(grandchild, "x")
    except StepFailed as err:
        return str(err)


def ids(world: Any) -> dict[str, str]:
    return {one.name: one.run_id for one in world.store.records if one.kind == Kind.RUN_STARTED}


async def parked(world: Any, count: int) -> None:
    await world.pump(lambda: world.engine._residents.parked_count == count and not world.engine._residents._runs)


async def test_a_family_leaves_memory_and_comes_back_by_itself(world: Any) -> None:
    async with world.life(top, middle, grandchild) as engine:
        run_id = await engine.start(top, "x", key="k")
        await parked(world, 3)
    async with world.life(top, middle, grandchild) as engine:
        assert len(await engine.resume()) == 3
        await parked(world, 3)
        assert await engine.answer(ids(world)["grandchild"], "go", "!", by="me")
        assert await world.finish(run_id) == ["TOP", "X!", "END"]
        assert dict(world.ledger.started) == {"work#1": 1, "work#2": 1}
        assert await engine.resume() == []


async def test_cancelling_cascades_and_each_cleans_up(world: Any) -> None:
    async with world.life(top, middle, grandchild) as engine:
        run_id = await engine.start(top, "x", key="k")
        await parked(world, 3)
        await engine.cancel(run_id, by="me")
        with pytest.raises(RunCancelled):
            await world.finish(run_id)
        await world.pump(lambda: world.kinds("run.cancelled") == ["run.cancelled"] * 3)
        assert {(await engine.run(one)).state for one in ids(world).values()} == {RunState.CANCELLED}
        assert "work#1" in [step.key for step in await engine.steps(ids(world)["middle"])]


@pytest.mark.parametrize("parent", [impatient, leaver], ids=["deadline", "end of the parent"])
async def test_a_child_nobody_waits_for_is_cancelled(world: Any, parent: Any) -> None:
    async with world.life(parent, grandchild) as engine:
        run_id = await engine.start(parent, key="k")
        await parked(world, 2)
        await world.finish(run_id, timedelta(minutes=10))
        await world.pump(lambda: bool(world.kinds("run.cancelled")))
        assert (await engine.run(ids(world)["grandchild"])).state is RunState.CANCELLED


async def test_a_failed_or_cancelled_child_is_a_failed_step(world: Any) -> None:
    async with world.life(tolerant, grandchild) as engine:
        run_id = await engine.start(tolerant, key="k")
        await parked(world, 2)
        await engine.cancel(ids(world)["grandchild"], by="you", reason="no use")
        assert await world.finish(run_id) == "grandchild: Cancelled: by you; no use"


async def test_retrying_the_parent_retries_the_child(world: Any) -> None:
    world.broken = {"x"}
    async with world.life(top, middle, grandchild) as engine:
        run_id = await engine.start(top, "x", key="k")
        await parked(world, 3)
        await engine.answer(ids(world)["grandchild"], "go", "!", by="me")
        with pytest.raises(RunFailed, match="ValueError: x"):
            await world.finish(run_id)
        world.broken.clear()
        await engine.retry(run_id)
        assert await world.finish(run_id) == ["TOP", "X!", "END"]
        assert len(ids(world)) == 3
        assert world.kinds("run.retried") == ["run.retried"] * 3
