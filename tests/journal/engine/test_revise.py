"""Retry, rewind, fork, cancel and reconcile: what keeps its outcome, what is done again, and what is refused."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from journal.engine import (
    Effect,
    InDoubt,
    Kind,
    NotRevisable,
    NotStarted,
    RunCancelled,
    RunFailed,
    RunPaused,
    RunState,
    SimulatedCrash,
    StepState,
    UnknownRun,
    WouldRepeat,
    checkpoint,
    services,
    settle,
    sleep,
    timeout,
    wait_first,
    wait_for,
    workflow,
)

HOUR = timedelta(hours=1)


class Switch:
    """What the steps of these tests do."""

    def __init__(self) -> None:
        self.broken = {"b"}
        self.seen: list[str] = []
        self.hold = asyncio.Event()


def switch() -> Switch:
    return services(object).__dict__["switch"]


@pytest.fixture(autouse=True)
def kit(world: Any) -> Switch:
    world.switch = Switch()
    return world.switch


@checkpoint()
async def weigh(name: str) -> str:
    switch().seen.append(name)
    if name in switch().broken:
        raise ValueError(name)
    return name.upper()


@checkpoint(effect=Effect.AT_MOST_ONCE)
async def send(text: str) -> str:
    switch().seen.append(f"send {text}")
    if "send" in switch().broken:
        raise NotStarted("not connected")
    if "lost" in switch().broken:
        raise ConnectionError("lost")
    return f"sent {text}"


async def chain(name: str) -> str:
    return await weigh(f"{name}1") + await weigh(name) + await weigh(f"{name}2")


@workflow("fanned")
async def fanned(strict: bool) -> list[Any]:
    answer = await wait_for("go", str)
    tasks = [asyncio.create_task(chain(name)) for name in "abc"]
    other = await wait_first([weigh.submit("first", label="x")])
    settled = await settle(tasks, min_successful=3 if strict else 1)
    total = await weigh("+".join(str(one.value) for one in settled if one.ok))
    return [answer, await other, total, await send(total)]


async def started(engine: Any, strict: bool) -> str:
    run_id: str = await engine.start(fanned, strict, key="f")
    assert await engine.answer(run_id, "go", "yes", by="me")
    return run_id


def seen(kit: Switch) -> list[str]:
    found, kit.seen = sorted(kit.seen), []
    return found


async def test_retry_runs_only_the_failed_branch_and_what_depends_on_it(world: Any, kit: Switch) -> None:
    async with world.life(fanned) as engine:
        run_id = await started(engine, strict=True)
        with pytest.raises(RunFailed):
            await world.finish(run_id)
        assert seen(kit) == ["a", "a1", "a2", "b", "b1", "c", "c1", "c2", "first"]
        kit.broken.clear()
        await engine.retry(run_id, by="me")
        assert await world.finish(run_id) == ["yes", "FIRST", "A1AA2+B1BB2+C1CC2", "sent A1AA2+B1BB2+C1CC2"]
        assert seen(kit) == ["a1aa2+b1bb2+c1cc2".upper(), "b", "b2", "send A1AA2+B1BB2+C1CC2"]
    async with world.life(fanned) as engine:
        assert await engine.resume() == []
        (failed,) = [step for step in await engine.steps(run_id) if step.key == "t2/weigh#2"]
        assert (failed.state, failed.voided) == (StepState.DONE, 1)
    assert world.keys(Kind.WAIT_ANSWERED) == ["go", "go#1"]


async def test_a_tolerated_failure_can_be_retried_after_the_end(world: Any, kit: Switch) -> None:
    async with world.life(fanned) as engine:
        kit.broken.add("send")
        run_id = await started(engine, strict=False)
        with pytest.raises(RunFailed, match="not connected"):
            await world.finish(run_id)
        kit.broken.clear()
        await engine.retry(run_id)
        result = await world.finish(run_id)
        assert result[2] == "A1AA2+B1BB2+C1CC2"
        with pytest.raises(NotRevisable, match=r"no outcome of nothing#1"):
            await engine.retry(run_id, only=["nothing#1"])
        with pytest.raises(UnknownRun):
            await engine.retry("r1-none")


async def test_a_retry_that_would_send_again_is_held_with_a_list(world: Any, kit: Switch) -> None:
    async with world.life(fanned) as engine:
        run_id = await started(engine, strict=False)
        assert (await world.finish(run_id))[3] == "sent A1AA2+C1CC2"
        kit.broken.clear()
        await engine.retry(run_id)
        with pytest.raises(RunPaused, match="WouldRepeat: AT_MOST_ONCE steps would run again: send#1"):
            await world.finish(run_id)
        assert [text for text in kit.seen if text.startswith("send")] == ["send A1AA2+C1CC2"]
    async with world.life(fanned) as engine:
        assert await engine.resume() == []
        assert (await engine.run(run_id)).state is RunState.PAUSED


@pytest.mark.parametrize("keep", [False, True], ids=["not-kept", "ack-lost"])
async def test_a_crash_at_every_append_of_a_retry(make_world: Callable[[], Any], keep: bool) -> None:
    """The retried run is cut at each append, twice, and comes to what the undisturbed one comes to."""

    async def failed() -> Any:
        world = make_world()
        world.switch = Switch()
        async with world.life(fanned) as engine:
            run_id = await started(engine, strict=True)
            with pytest.raises(RunFailed):
                await world.finish(run_id)
        world.switch = Switch()
        world.switch.broken.clear()
        return world, run_id

    async def retried(world: Any, run_id: str, crash_at: int | None) -> Any:
        async with world.life(fanned, crash_at=crash_at, keep_at_crash=keep) as engine:
            await engine.resume()
            if (await engine.run(run_id)).state is RunState.FAILED:
                await engine.retry(run_id)
            return await world.finish(run_id)

    world, run_id = await failed()
    expected = await retried(world, run_id, None)
    count, effects = world.store.appends, sorted(world.switch.seen)
    for crash_at in range(1, count + 1):
        world, run_id = await failed()
        for at in (crash_at, crash_at, None):
            with contextlib.suppress(SimulatedCrash, InDoubt):
                await retried(world, run_id, at)
        async with world.life(fanned) as engine:
            for step in world.keys(Kind.STEP_IN_DOUBT):  # a person looks whether it was sent
                happened = effects[-1] in world.switch.seen
                await engine.reconcile(run_id, step, happened=happened, value=expected[3], by="me")
        assert await retried(world, run_id, None) == expected, crash_at
        assert set(effects) >= set(world.switch.seen), crash_at
        assert world.switch.seen.count(effects[-1]) == 1, crash_at


@workflow("straight")
async def straight() -> list[str]:
    values = [await weigh("x"), await weigh("y")]
    values.append(await wait_for("go", str))
    values.append(await weigh(f"z{len(values)}"))
    values.append(await weigh("-".join(values)))
    return values


async def test_rewind_takes_back_what_came_after_and_asks_again(world: Any, kit: Switch) -> None:
    async with world.life(straight) as engine:
        run_id = await engine.start(straight, key="s")
        await engine.answer(run_id, "go", "one", by="me")
        assert await world.finish(run_id) == ["X", "Y", "one", "Z3", "X-Y-ONE-Z3"]
        seen(kit)
        await engine.rewind(run_id, "go#1", by="me")
        assert [step.state for step in await engine.steps(run_id)][2:] == [StepState.VOIDED] * 3
        await world.pump(lambda: engine._residents.parked_count == 1)
        assert await engine.answer(run_id, "go#1", "two", by="me")
        assert (await world.finish(run_id))[2:] == ["two", "Z3", "X-Y-TWO-Z3"]
        assert seen(kit) == ["X-Y-two-Z3", "z3"]
        with pytest.raises(NotRevisable, match="no outcome of 'weigh#9'"):
            await engine.rewind(run_id, "weigh#9")
    assert world.kinds("run.") == ["run.started", "run.done", "run.rewound", "run.done"]


async def test_rewind_of_a_waiting_run(world: Any, kit: Switch) -> None:
    async with world.life(straight) as engine:
        run_id = await engine.start(straight, key="s")
        await world.pump(lambda: engine._residents.parked_count == 1)
        await engine.rewind(run_id, "weigh#2")
        await world.pump(lambda: kit.seen == ["x", "y", "y"])
        with pytest.raises(NotRevisable, match="goes on"):
            await engine.retry(run_id)
        await world.pump(lambda: engine._residents.parked_count == 1)
        assert await engine.answer(run_id, "go", "one", by="me")
        assert (await world.finish(run_id))[1] == "Y"


async def test_rewind_never_sends_again(world: Any, kit: Switch) -> None:
    kit.broken.clear()
    async with world.life(fanned) as engine:
        run_id = await started(engine, strict=True)
        await world.finish(run_id)
        with pytest.raises(WouldRepeat, match="send#1"):
            await engine.rewind(run_id, "go#1")
        assert (await engine.run(run_id)).state is RunState.DONE


async def test_fork_shares_the_past_and_overrides_values(world: Any, kit: Switch) -> None:
    async with world.life(straight) as engine:
        run_id = await engine.start(straight, key="s")
        await engine.answer(run_id, "go", "one", by="me")
        await world.finish(run_id)
        seen(kit)
        other = await engine.fork(run_id, "weigh#3", {"go#1": "two", "weigh#1": "W"}, key="fork", by="me")
        assert await world.finish(other) == ["W", "Y", "two", "Z3", "W-Y-TWO-Z3"]
        assert seen(kit) == ["W-Y-two-Z3", "z3"]
        assert await engine.fork(run_id, "weigh#3", key="fork") == other
        same = await engine.fork(run_id, "weigh#4", {"weigh#4": "end"})
        assert (await world.finish(same))[-1] == "end"
        assert seen(kit) == []
        assert await engine.result(run_id) == ["X", "Y", "one", "Z3", "X-Y-ONE-Z3"]
        with pytest.raises(NotRevisable, match="weigh#4"):
            await engine.fork(run_id, "weigh#3", {"weigh#4": "late"})
    async with world.life(straight) as engine:
        assert await engine.resume() == []


async def test_a_fork_does_not_send_again(world: Any, kit: Switch) -> None:
    kit.broken.clear()
    async with world.life(fanned) as engine:
        run_id = await started(engine, strict=True)
        await world.finish(run_id)
        seen(kit)
        other = await engine.fork(run_id, "wait_first#1")
        assert (await world.finish(other))[3] == "sent A1AA2+B1BB2+C1CC2"
        assert not [text for text in kit.seen if text.startswith("send")]
        changed = await engine.fork(run_id, "wait_first#1", {"go#1": "no"})
        assert (await world.finish(changed))[0] == "no"


@pytest.mark.parametrize("happened", [True, False])
async def test_a_person_reconciles_a_step_in_doubt(world: Any, kit: Switch, happened: bool) -> None:
    kit.broken = {"lost"}
    async with world.life(fanned) as engine:
        run_id = await started(engine, strict=True)
        with pytest.raises(InDoubt):
            await world.finish(run_id)
        kit.broken.clear()
        with pytest.raises(NotRevisable, match="not in doubt about 'weigh#1'"):
            await engine.reconcile(run_id, "weigh#1", happened=True)
        await engine.reconcile(run_id, "send#1", happened=happened, value="seen on the bus", by="me")
        result = await world.finish(run_id)
    assert (result[3] == "seen on the bus") is happened
    assert len([text for text in kit.seen if text.startswith("send")]) == 2 - happened


@workflow("tidy")
async def tidy() -> str:
    try:
        await weigh("work")
        async with timeout(30 * HOUR):
            await asyncio.gather(sleep(10 * HOUR), wait_for("never", str))
    except asyncio.CancelledError:
        await weigh("undo")
        await sleep(timedelta(seconds=10))
        await weigh("undone")
        raise
    return "worked"


@workflow("stubborn")
async def stubborn() -> str:
    try:
        await sleep(10 * HOUR)
    finally:
        await sleep(10 * HOUR)
    return "never"


async def test_a_cancelled_run_cleans_up_and_ends(world: Any, kit: Switch) -> None:
    async with world.life(tidy) as engine:
        run_id = await engine.start(tidy, key="t")
        await world.pump(lambda: engine._residents.parked_count == 1)
        assert await engine.cancel(run_id, by="me", reason="wrong asset")
        assert not await engine.cancel(run_id, by="you")
        with pytest.raises(RunCancelled, match="by me; wrong asset"):
            await world.finish(run_id, timedelta(seconds=1))
        assert kit.seen == ["work", "undo", "undone"]
        assert (await engine.run(run_id)).state is RunState.CANCELLED
        assert not await engine.cancel(run_id)
        assert await engine.resume() == []
        with pytest.raises(UnknownRun):
            await engine.cancel("r1-none")
    assert world.kinds("run.") == ["run.started", "run.cancelling", "run.cancelled"]


@pytest.mark.parametrize("keep", [False, True], ids=["not-kept", "ack-lost"])
async def test_a_crash_at_every_append_of_a_cancellation(make_world: Callable[[], Any], keep: bool) -> None:
    async def cancelled(world: Any, crash_at: int | None) -> None:
        async with world.life(tidy, crash_at=crash_at, keep_at_crash=keep) as engine:
            await engine.resume()
            run_id = await engine.start(tidy, key="t")
            await world.pump(lambda: "sleep#1" in str(world.keys(Kind.TIMER_SET)) or world.store.dead)
            await engine.cancel(run_id, by="me")
            await world.finish(run_id, timedelta(seconds=1))

    for crash_at in range(1, 14):
        world = make_world()
        world.switch = Switch()
        with contextlib.suppress(SimulatedCrash, RunCancelled):
            await cancelled(world, crash_at)
        with pytest.raises(RunCancelled):
            await cancelled(world, None)
        assert list(dict.fromkeys(world.switch.seen)) == ["work", "undo", "undone"], crash_at
        assert world.kinds("run.canc") == ["run.cancelling", "run.cancelled"], crash_at


async def test_clean_up_is_bounded(world: Any) -> None:
    async with world.life(stubborn) as engine:
        run_id = await engine.start(stubborn, key="s")
        await world.pump(lambda: engine._residents.parked_count == 1)
        await engine.cancel(run_id)
        begun = world.clock.now()
        with pytest.raises(RunCancelled, match="clean-up did not end within 60 s"):
            await world.finish(run_id, timedelta(seconds=1))
        assert world.clock.now() - begun < timedelta(seconds=100)


async def test_a_held_run_can_be_given_up_and_a_cancelled_one_retried(world: Any, kit: Switch) -> None:
    kit.broken = {"lost"}
    async with world.life(fanned) as engine:
        run_id = await started(engine, strict=True)
        with pytest.raises(InDoubt):
            await world.finish(run_id)
        assert await engine.cancel(run_id, by="me")
        with pytest.raises(RunCancelled):
            await engine.result(run_id)
    async with world.life(tidy) as engine:
        run_id = await engine.start(tidy, key="t")
        await engine.cancel(run_id)
        with pytest.raises(RunCancelled):
            await world.finish(run_id, timedelta(seconds=1))
        await engine.retry(run_id)
        await world.pump(lambda: engine._residents.parked_count == 1)
        assert (await engine.run(run_id)).state.goes_on
