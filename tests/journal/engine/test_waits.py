"""Waits take one answer, checked; deadlines come late rather than early, whatever the clock does."""

import asyncio
import contextlib
from datetime import timedelta
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from journal.engine import (
    BadAnswer,
    Kind,
    RunFailed,
    RunState,
    StepState,
    WaitExpired,
    checkpoint,
    decode,
    now,
    sleep,
    timeout,
    wait_for,
    workflow,
)

DAY = timedelta(days=1)


class Verdict(BaseModel):
    code: Literal["D1", "D2"]
    sure: bool = False


@checkpoint()
async def note(text: str) -> str:
    return text


@workflow("asks")
async def asks() -> Verdict:
    await note("before")
    return await wait_for("verdict", Verdict, timeout=14 * DAY, question="What did you find?")


@workflow("asks-twice")
async def asks_twice() -> list[str]:
    first = await wait_for("verdict", Verdict)
    second = await wait_for("verdict", Verdict)
    return [first.code, second.code]


@workflow("defaults")
async def defaults() -> list[Any]:
    chosen = await wait_for("a", Verdict, timeout=DAY, default=Verdict(code="D2"))
    nothing = await wait_for("b", Verdict, timeout=DAY, default=None)
    return [chosen, nothing, now()]


@workflow("expires")
async def expires() -> str:
    try:
        await wait_for("verdict", Verdict, timeout=DAY)
    except WaitExpired as err:
        return str(err)
    return "answered"


@workflow("naps")
async def naps() -> str:
    await sleep(14 * DAY)
    return "woke"


@workflow("hurries")
async def hurries() -> list[str]:
    seen = []
    try:
        async with timeout(DAY):
            await wait_for("never", Verdict)
    except TimeoutError:
        seen.append("late")
    async with timeout(DAY):
        seen.append(await note("in time"))
    await sleep(3 * DAY)
    return seen


async def started(engine: Any, wf: Any) -> str:
    run_id: str = await engine.start(wf, key="k")
    await settle_down()
    return run_id


async def settle_down() -> None:
    for _ in range(100):
        await asyncio.sleep(0)


async def test_an_answer_is_checked_kept_and_shown(world: Any) -> None:
    async with world.life(asks) as engine:
        run_id = await started(engine, asks)
        with pytest.raises(BadAnswer, match="wait 'verdict' takes Verdict"):
            await engine.answer(run_id, "verdict", {"code": "T1"}, by="me")
        with pytest.raises(BadAnswer):
            await engine.answer(run_id, "verdict", object(), by="me")
        assert world.keys(Kind.WAIT_ANSWERED) == []
        assert (await engine.steps(run_id))[-1].state is StepState.WAITING
        assert await engine.answer(run_id, "verdict", Verdict(code="D1"), by="me")
        assert not await engine.answer(run_id, "verdict", Verdict(code="D2"), by="you")
        assert await world.finish(run_id) == Verdict(code="D1")
        assert not await engine.answer(run_id, "verdict", Verdict(code="D2"), by="you")
        assert not await engine.answer("r1-unknown", "verdict", Verdict(code="D2"), by="you")
    (opened,) = [decode(one.payload) for one in world.store.records if one.kind == Kind.WAIT_OPENED]
    assert opened["question"] == "What did you find?"
    assert opened["schema"]["properties"]["code"]["enum"] == ["D1", "D2"]
    (answered,) = [decode(one.payload) for one in world.store.records if one.kind == Kind.WAIT_ANSWERED]
    assert (answered["value"], answered["by"]) == ({"code": "D1", "sure": False}, "me")


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("count", [2, 17])
async def test_of_many_concurrent_answers_exactly_one_counts(world: Any, count: int, early: bool) -> None:
    async with world.life(asks) as engine:
        run_id = await engine.start(asks, key="k")
        await (asyncio.sleep(0) if early else settle_down())
        answers = await asyncio.gather(
            *(engine.answer(run_id, "verdict", {"code": "D1", "sure": n == 0}, by=f"p{n}") for n in range(count))
        )
        assert answers.count(True) == 1
        assert (await world.finish(run_id)).sure == answers[0]
    assert len(world.keys(Kind.WAIT_ANSWERED)) == 1 + early  # an early one is repeated where it is taken


async def test_an_early_answer_is_kept_over_a_restart(world: Any) -> None:
    async with world.life(asks) as engine:
        run_id = await engine.start(asks, key="k")
        assert await engine.answer(run_id, "verdict", {"code": "D2"}, by="me")
        assert world.keys(Kind.WAIT_OPENED) == []
    async with world.life(asks) as engine:
        await engine.resume()
        assert not await engine.answer(run_id, "verdict", {"code": "D1"}, by="you")
        assert await world.finish(run_id) == Verdict(code="D2")


async def test_an_early_answer_that_does_not_fit_leaves_the_wait_open(world: Any) -> None:
    async with world.life(asks) as engine:
        run_id = await engine.start(asks, key="k")
        assert await engine.answer(run_id, "verdict", {"code": "??"}, by="me")
        await settle_down()
    async with world.life(asks) as engine:
        await engine.resume()
        assert await engine.answer(run_id, "verdict", {"code": "D1"}, by="you")
        assert await world.finish(run_id) == Verdict(code="D1")


async def test_waits_of_one_name_are_answered_in_turn_or_by_key(world: Any) -> None:
    async with world.life(asks_twice) as engine:
        run_id = await started(engine, asks_twice)
        assert not await engine.answer(run_id, "verdict#2", {"code": "D1"}, by="me")
        assert await engine.answer(run_id, "verdict", {"code": "D1"}, by="me")
        await settle_down()
        assert await engine.answer(run_id, "verdict#2", {"code": "D2"}, by="me")
        assert await world.finish(run_id) == ["D1", "D2"]


async def test_an_answer_during_replay_waits_for_its_wait(world: Any) -> None:
    async with world.life(asks) as engine:
        run_id = await started(engine, asks)
    async with world.life(asks) as engine:
        await engine.resume()
        with pytest.raises(BadAnswer):  # at once: the body has not come to the wait again
            await engine.answer(run_id, "verdict", {"code": "?"}, by="me")
        assert await engine.answer(run_id, "verdict", {"code": "D1"}, by="me")
        assert await world.finish(run_id) == Verdict(code="D1")


async def test_defaults_and_expiry(world: Any) -> None:
    async with world.life(defaults, expires) as engine:
        begun = world.clock.now()
        chosen, nothing, at = await world.finish(await engine.start(defaults, key="d"), timedelta(hours=1))
        assert (Verdict.model_validate(chosen), nothing) == (Verdict(code="D2"), None)
        assert at >= begun + 2 * DAY
        text = await world.finish(await engine.start(expires, key="e"), timedelta(hours=1))
        assert text == "nobody answered 'verdict' within 1 day, 0:00:00"
    assert len(world.keys(Kind.WAIT_EXPIRED)) == 3


async def test_an_uncaught_expiry_fails_the_run(world: Any) -> None:
    async with world.life(asks) as engine:
        run_id = await engine.start(asks, key="k")
        with pytest.raises(RunFailed, match="WaitExpired"):
            await world.finish(run_id, timedelta(hours=1))
        assert (await engine.run(run_id)).state is RunState.FAILED


async def test_a_durable_timeout_cancels_its_block_only(world: Any) -> None:
    async with world.life(hurries) as engine:
        assert await world.finish(await engine.start(hurries, key="k"), timedelta(hours=1)) == ["late", "in time"]
    assert world.keys(Kind.TIMER_SET) == ["timeout#1", "timeout#2", "sleep#1"]


async def asleep(world: Any, engine: Any, run_id: str, by: timedelta) -> bool:
    """Move the clock; True if the run still sleeps."""
    world.clock.advance(by)
    engine.clock_changed()
    await settle_down()
    return bool((await engine.run(run_id)).state.goes_on)


async def test_within_one_life_the_monotonic_clock_decides(world: Any) -> None:
    async with world.life(naps) as engine:
        run_id = await started(engine, naps)
        world.clock.wall += timedelta(days=10_000)  # somebody sets the wall clock
        assert await asleep(world, engine, run_id, timedelta(0))
        assert await asleep(world, engine, run_id, 13 * DAY)
        assert not await asleep(world, engine, run_id, DAY)


async def test_after_a_restart_a_trusted_wall_clock_decides(world: Any) -> None:
    async with world.life(naps) as engine:
        run_id = await started(engine, naps)
    world.clock.reboot(10 * DAY)
    async with world.life(naps) as engine:
        await engine.resume()
        await settle_down()
        assert await asleep(world, engine, run_id, 3 * DAY)
        assert not await asleep(world, engine, run_id, DAY)
    assert world.keys(Kind.TIMER_SET) == ["sleep#1"]


async def test_an_untrusted_clock_counts_from_the_boot_until_trust_returns(world: Any) -> None:
    async with world.life(naps) as engine:
        run_id = await started(engine, naps)
    world.clock.reboot(20 * DAY)
    world.clock.is_trusted = False
    async with world.life(naps) as engine:
        await engine.resume()
        await settle_down()
        assert await asleep(world, engine, run_id, 13 * DAY)
        world.clock.is_trusted = True
        assert not await asleep(world, engine, run_id, timedelta(0))


async def test_a_timer_set_under_an_untrusted_clock_never_uses_the_wall(world: Any) -> None:
    world.clock.is_trusted = False
    async with world.life(naps) as engine:
        run_id = await started(engine, naps)
    world.clock.is_trusted = True
    world.clock.reboot(5000 * DAY)  # the year was wrong when it was set
    async with world.life(naps) as engine:
        await engine.resume()
        await settle_down()
        assert await asleep(world, engine, run_id, 13 * DAY)
        assert not await asleep(world, engine, run_id, DAY)


async def test_a_sleeping_run_needs_no_turns_of_the_loop(world: Any) -> None:
    async with world.life(naps) as engine:
        await started(engine, naps)
        loop = asyncio.get_running_loop()
        turns = 0
        plain = loop.call_soon

        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal turns
            turns += 1
            return plain(*args, **kwargs)

        with contextlib.ExitStack() as stack:
            stack.callback(setattr, loop, "call_soon", plain)
            loop.call_soon = counted  # type: ignore[method-assign]
            await asyncio.wait([asyncio.ensure_future(asyncio.sleep(0.05))])
        assert turns < 10
