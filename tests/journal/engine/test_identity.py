"""Every task has its own place in the run, and what has none is refused with what to change."""

import asyncio
import contextvars
from typing import Any

import pytest

from journal.engine import (
    Kind,
    OutsideRun,
    RunFailed,
    checkpoint,
    current_run,
    now,
    random,
    settle,
    uuid,
    workflow,
)


@checkpoint()
async def echo(value: int) -> int:
    return value


@checkpoint()
async def fan_out(count: int) -> int:
    """Tasks of a step are plain tasks."""
    await asyncio.gather(*(asyncio.sleep(0) for _ in range(count)))
    task = asyncio.get_running_loop().create_task(asyncio.sleep(0))
    await task
    return len(type(task).__name__)


async def run(world: Any, wf: Any, *args: Any) -> Any:
    async with world.life(wf) as engine:
        return await world.finish(await engine.start(wf, *args, key="k"))


@workflow("shapes")
async def shapes() -> None:
    await echo(0)
    await echo(0)
    await asyncio.gather(echo(1), twice(2), echo(3))
    async with asyncio.TaskGroup() as group:
        group.create_task(twice(4))
    branches = [echo.submit(5), echo.submit(6, label="six"), echo.submit(7, label="six")]
    await settle(branches)
    await asyncio.create_task(outer())


async def twice(value: int) -> None:
    await echo(value)
    await echo(value)


async def outer() -> None:
    await asyncio.gather(twice(8), asyncio.shield(asyncio.create_task(echo(9))))


async def test_keys_come_from_parents_labels_names_and_numbers(world: Any) -> None:
    await run(world, shapes)
    assert sorted(world.keys(Kind.STEP_DONE)) == [
        "echo#1",
        "echo#2",
        "six/echo#1",
        "six~2/echo#1",
        "t1/echo#1",
        "t2/echo#1",
        "t2/echo#2",
        "t3/echo#1",
        "t4/echo#1",
        "t4/echo#2",
        "t5/echo#1",
        "t6/t1/echo#1",
        "t6/t2/echo#1",
        "t6/t2/echo#2",
    ]


@workflow("stolen")
async def stolen() -> int:
    call = echo(1)
    return await asyncio.create_task(pass_on(call))


async def pass_on(call: Any) -> Any:
    return await call


@workflow("raw-task")
async def raw_task() -> int:
    return await asyncio.Task(echo(1))


@workflow("raw-task-within")
async def raw_task_within() -> None:
    await asyncio.Task(twice(1))


@workflow("callback")
async def from_callback() -> None:
    loop = asyncio.get_running_loop()
    made: asyncio.Future[Any] = loop.create_future()
    loop.call_soon(lambda: made.set_result(loop.create_task(twice(1))))
    await (await made)


@workflow("addresses")
async def addresses() -> list[int]:
    return [await done for done in asyncio.as_completed([echo(1), echo(2)])]


@pytest.mark.parametrize(
    ("wf", "message"),
    [
        (stolen, r"called in the body's own task and is awaited in branch 't1': call it in the task"),
        (raw_task, r"by another task: create tasks with asyncio.create_task"),
        (raw_task_within, r"by another task: create tasks with asyncio.create_task"),
        (from_callback, r"created from a callback"),
        (addresses, r"as_completed starts bare coroutines in no fixed order: hand it tasks"),
    ],
    ids=lambda one: getattr(one, "name", ""),
)
async def test_a_task_without_a_certain_place_is_refused(world: Any, wf: Any, message: str) -> None:
    with pytest.raises(RunFailed, match=message) as caught:
        await run(world, wf)
    assert caught.value.error_type == "UnlabelledBranch"
    assert not world.keys(Kind.STEP_DONE)


@checkpoint()
async def calls_a_step() -> int:
    return await echo(1)


@workflow("nests")
async def nests() -> int:
    return await calls_a_step()


async def test_steps_are_leaves(world: Any) -> None:
    with pytest.raises(RunFailed, match="steps are leaves"):
        await run(world, nests)


async def test_nothing_works_outside_a_run() -> None:
    for call in (current_run, now, random, uuid):
        with pytest.raises(OutsideRun):
            call()
    with pytest.raises(OutsideRun, match=r"Engine\.start"):
        await echo(1)
    with pytest.raises(OutsideRun):
        echo.submit(1)


@workflow("in-sets")
async def in_sets() -> list[str]:
    tasks = {asyncio.create_task(named(letter)): letter for letter in "abcdefgh"}
    done, _ = await asyncio.wait(tasks)
    await echo(1)
    return [tasks[task] for task in done]


async def named(letter: str) -> str:
    await echo(ord(letter))
    return letter


async def test_sets_of_tasks_have_one_order_in_every_life(world: Any) -> None:
    orders = []
    kept: list[Any] = []
    for _ in range(4):
        padding = [object() for _ in range(len(orders) * 7)]  # moves addresses
        world.store.records = kept[:]
        async with world.life(in_sets) as engine:
            orders.append(await world.finish(await engine.start(in_sets, key="k")))
        kept = kept or world.store.records[:-1]
        del padding
    assert orders == [orders[0]] * 4


@workflow("chance")
async def chance() -> list[Any]:
    first = [now(), random(), uuid(), current_run().key]
    await echo(1)
    inner = await asyncio.gather(draw(), draw())
    return [*first, now(), random(), uuid(), *inner]


async def draw() -> Any:
    return random(), uuid()


async def test_time_and_chance_are_the_same_in_replay(world: Any) -> None:
    expected = await run(world, chance)
    drawn = [expected[1], expected[5], *(one for one, _ in expected[-2:])]
    assert len(set(drawn)) == 4
    world.store.records.pop()
    world.clock.advance(world.clock.wall - world.clock.wall.replace(year=2025))
    assert await run(world, chance) == expected
    assert not world.ledger.started


async def test_the_factory_chains_is_inert_elsewhere_and_is_taken_off(world: Any) -> None:
    loop = asyncio.get_running_loop()
    made = []

    def former(loop: Any, coro: Any, **kwargs: Any) -> Any:
        made.append(coro)
        return asyncio.Task(coro, loop=loop, **kwargs)

    loop.set_task_factory(former)
    try:
        async with world.life(shapes, steps) as engine:
            await world.finish(await engine.start(shapes, key="k"))
            assert loop.get_task_factory() is not former
            assert await world.finish(await engine.start(steps, key="j")) == len("Task")
        assert loop.get_task_factory() is former
        assert len(made) > 14
    finally:
        loop.set_task_factory(None)


@workflow("steps")
async def steps() -> int:
    return await fan_out(3)


async def test_the_factory_keeps_a_given_context(world: Any) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")

    async def read() -> str:
        await echo(1)
        return variable.get()

    @workflow("contexts")
    async def contexts() -> list[str]:
        context = contextvars.copy_context()
        context.run(variable.set, "given")
        given = asyncio.get_running_loop().create_task(read(), context=context)
        variable.set("own")
        return [await given, await asyncio.create_task(read())]

    assert await run(world, contexts) == ["given", "own"]
    assert sorted(world.keys(Kind.STEP_DONE)) == ["t1/echo#1", "t2/echo#1"]
