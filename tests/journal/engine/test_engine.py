"""Effects, retries, mismatches, failures and the ends of runs."""

import asyncio
import dataclasses
import itertools
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from journal.engine import (
    Backoff,
    Effect,
    EngineClosed,
    Entry,
    InDoubt,
    Kind,
    Nondeterministic,
    NotStarted,
    RunFailed,
    RunPaused,
    RunState,
    SettleFailed,
    SimulatedCrash,
    StepFailed,
    StepState,
    UnknownRun,
    checkpoint,
    current_run,
    decode,
    emit,
    emit_entry,
    idempotency_key,
    services,
    settle,
    sleep,
    workflow,
)

HOUR = timedelta(hours=1)


class Box(BaseModel):
    items: list[int] = []


class Tools:
    """What the steps of these tests share with their test."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.fail = 0
        self.error: type[BaseException] = ConnectionError
        self.hold = asyncio.Event()


def tools() -> Tools:
    return services(object).__dict__["tools"]


@pytest.fixture(autouse=True)
def kit(world: Any) -> Tools:
    world.tools = Tools()
    return world.tools


@checkpoint()
async def pure(value: int = 0) -> int:
    tools().calls.append(value)
    return value


@checkpoint(effect=Effect.IDEMPOTENT, retries=2, timeout_s=30)
async def retried() -> int:
    kit = tools()
    kit.calls.append(idempotency_key())
    if len(kit.calls) <= kit.fail:
        raise kit.error("away")
    return len(kit.calls)


@checkpoint(effect=Effect.AT_MOST_ONCE, timeout_s=30)
async def once() -> str:
    kit = tools()
    kit.calls.append("once")
    if kit.fail:
        raise kit.error("who knows")
    await kit.hold.wait()
    return "switched"


@checkpoint(retries=1, timeout_s=10)
async def hangs() -> None:
    tools().calls.append("hangs")
    await asyncio.Event().wait()


@checkpoint()
async def packs(items: list[int]) -> Box:
    box = Box(items=items)
    tools().calls.append(box)
    return box


@checkpoint()
async def lies() -> int:
    return "no number"  # type: ignore[return-value]


@checkpoint(retries=5)
async def huge() -> bytes:
    tools().calls.append("huge")
    return bytes(5 * 1024 * 1024)


@workflow("plain")
async def plain(first: int) -> int:
    return await pure(first) + await pure(first + 1)


@workflow("retrying")
async def retrying() -> int:
    return await retried()


@workflow("switching")
async def switching() -> str:
    return await once()


@workflow("boxing")
async def boxing() -> Box:
    box = await packs([1])
    box.items.append(2)
    return box


def workflow_of(step: Any) -> Any:
    @workflow(f"of-{step.spec.name}")
    async def only() -> Any:
        return await step()

    return only


async def test_start_is_idempotent_by_key_and_results_are_typed(world: Any, kit: Tools) -> None:
    async with world.life(boxing, plain) as engine:
        ids = await asyncio.gather(*(engine.start(plain, 1, key="same") for _ in range(5)))
        assert len(set(ids)) == 1
        assert ids[0].startswith("r1-")
        assert await world.finish(ids[0]) == 3
        assert await engine.start(plain, 1, key="same") == ids[0]
        assert kit.calls == [1, 2]
        assert await engine.start(plain, 1) != await engine.start(plain, 1)
        box = await world.finish(await engine.start(boxing, key="box"))
        assert box == Box(items=[1, 2])
        assert Box(items=[1]) in kit.calls  # the body got a decoded copy, not the step's own object
        with pytest.raises(UnknownRun):
            await engine.result("r1-nothing")
    async with world.life(boxing) as engine:
        assert await engine.result(await engine.start(boxing, key="box")) == Box(items=[1, 2])


async def test_wrong_arguments_are_refused_before_anything_is_kept(world: Any) -> None:
    async with world.life() as engine:
        with pytest.raises(TypeError):
            await engine.start(plain, 1, 2, key="k")
        with pytest.raises(Exception, match="valid integer"):
            await engine.start(plain, "x", key="k")
        assert not world.store.records


async def test_retries_wait_and_are_rows_that_survive_a_restart(world: Any, kit: Tools) -> None:
    kit.fail = 2
    async with world.life(retrying) as engine:
        run_id = await engine.start(retrying, key="k")
        await world.pump(lambda: len(world.keys(Kind.STEP_FAILED)) == 1)
        (step,) = await engine.steps(run_id)
        assert (step.state, step.attempts, step.error) == (StepState.RETRYING, 1, "ConnectionError: away")
    async with world.life(retrying) as engine:
        await engine.resume()
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(kit.calls) == 1  # the pause goes on after the restart
        assert await world.finish(run_id, timedelta(seconds=1)) == 3
    assert kit.calls == [f"{run_id}/retried#1"] * 3
    assert [decode(one.payload)["attempt"] for one in world.store.records if one.kind == Kind.STEP_FAILED] == [1, 2]


@checkpoint(effect=Effect.IDEMPOTENT, retries=4, backoff=Backoff(first_s=10, factor=3, most_s=60))
async def patient() -> int:
    tools().calls.append("patient")
    raise ConnectionError("away")


@workflow("patiently")
async def patiently() -> int:
    return await patient()


async def test_pauses_grow_by_the_factor_up_to_their_bound_and_over_restarts(world: Any, kit: Tools) -> None:
    async with world.life(patiently) as engine:
        run_id = await engine.start(patiently, key="k")
        await world.pump(lambda: len(world.keys(Kind.STEP_FAILED)) == 2, timedelta(seconds=1))
    world.clock.reboot(timedelta(0))
    async with world.life(patiently) as engine:
        await engine.resume()
        with pytest.raises(RunPaused):
            await world.finish(run_id, timedelta(seconds=1))
    told = [decode(one.payload) for one in world.store.records if one.kind == Kind.STEP_FAILED]
    assert [one.get("remaining_s") for one in told] == [10, 30, 60, 60, None]
    gaps = [later["at"] - one["at"] for one, later in itertools.pairwise(told)]
    assert all(gap >= timedelta(seconds=one["remaining_s"]) for one, gap in zip(told, gaps, strict=False))
    assert len(kit.calls) == 5


def test_a_backoff_without_bounds_is_refused() -> None:
    assert [Backoff().pause_s(attempt) for attempt in (1, 2, 9, 10, 100)] == [1, 2, 256, 300, 300]
    for wrong in ({"first_s": -1}, {"factor": 0.5}, {"factor": 11}, {"most_s": 86_401}, {"first_s": 9, "most_s": 8}):
        with pytest.raises(ValueError, match="first_s <= most_s <= 86400"):
            Backoff(**wrong)


async def test_exhaustion_pauses_the_run_and_a_restart_does_not_loop(world: Any, kit: Tools) -> None:
    kit.fail = 99
    async with world.life(retrying) as engine:
        run_id = await engine.start(retrying, key="k")
        with pytest.raises(RunPaused, match="ConnectionError: away"):
            await world.finish(run_id, timedelta(seconds=1))
    async with world.life(retrying) as engine:
        assert await engine.resume() == []
        with pytest.raises(RunPaused, match="away"):
            await engine.result(run_id)
        (view,) = await engine.runs()
        assert (view.state, view.key) == (RunState.PAUSED, "k")
        assert await engine.answer(run_id, "x", 1, by="me") is False
    assert len(kit.calls) == 3


async def test_a_step_without_retries_fails_the_run_with_what_it_raised(world: Any) -> None:
    @checkpoint()
    async def boom() -> int:
        raise KeyError("gone")

    wf = workflow_of(boom)
    async with world.life(wf) as engine:
        run_id = await engine.start(wf, key="k")
        with pytest.raises(RunFailed, match="StepFailed: boom: KeyError: 'gone'"):
            await world.finish(run_id)
        assert (await engine.run(run_id)).state is RunState.FAILED
        assert await engine.runs() == []
    assert world.kinds("run.", "step.") == [Kind.RUN_STARTED, Kind.STEP_FAILED, Kind.RUN_FAILED]


async def test_a_timeout_is_a_failed_attempt(world: Any, kit: Tools) -> None:
    wf = workflow_of(hangs)
    async with world.life(wf) as engine:
        with pytest.raises(RunPaused, match="TimeoutError: no outcome within 10 s"):
            await world.finish(await engine.start(wf, key="k"), timedelta(seconds=1))
    assert kit.calls == ["hangs", "hangs"]


@pytest.mark.parametrize(("step", "error"), [(huge, "PayloadTooLarge"), (lies, "Undecodable")])
async def test_a_value_that_cannot_be_kept_is_terminal(world: Any, step: Any, error: str) -> None:
    wf = workflow_of(step)
    async with world.life(wf) as engine:
        run_id = await engine.start(wf, key="k")
        with pytest.raises((RunFailed, RunPaused), match=error):
            await world.finish(run_id)
        (view,) = await engine.steps(run_id)
        assert (view.state, view.attempts) == (StepState.FAILED, 1)


def test_declarations_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="AT_MOST_ONCE cannot have retries"):
        checkpoint(effect=Effect.AT_MOST_ONCE, retries=1)(pure.body)
    with pytest.raises(ValueError, match="timeout_s"):
        checkpoint(timeout_s=0)(pure.body)
    with pytest.raises(ValueError, match="keys"):
        checkpoint(name="a/b")(pure.body)
    with pytest.raises(TypeError, match="annotate what it returns"):
        checkpoint()(lambda: None)  # type: ignore[arg-type,return-value]


async def test_at_most_once_has_a_durable_start(world: Any, kit: Tools) -> None:
    kit.hold.set()
    async with world.life(switching) as engine:
        assert await world.finish(await engine.start(switching, key="k")) == "switched"
    assert world.kinds("step.") == [Kind.STEP_STARTED, Kind.STEP_DONE]


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("crash_at", [2, 3])
async def test_at_most_once_never_begins_twice_across_crashes(
    world: Any, kit: Tools, crash_at: int, keep: bool
) -> None:
    kit.hold.set()
    async with world.life(switching, crash_at=crash_at, keep_at_crash=keep) as engine:
        with pytest.raises(SimulatedCrash):
            await world.finish(await engine.start(switching, key="k"))
    kept = world.kinds("step.")
    outcome: list[Any] = []
    async with world.life(switching) as engine:
        await engine.resume()
        (task,) = await asyncio.gather(world.finish(await engine.start(switching, key="k")), return_exceptions=True)
        outcome.append(task)
    expected = {(): str, (Kind.STEP_STARTED,): InDoubt, (Kind.STEP_STARTED, Kind.STEP_DONE): str}
    assert isinstance(outcome[0], expected[tuple(kept)])
    assert len(kit.calls) <= 1


@pytest.mark.parametrize("how", ["error", "timeout", "kill"])
async def test_an_unknown_outcome_is_in_doubt_and_holds_the_run(world: Any, kit: Tools, how: str) -> None:
    kit.fail = int(how == "error")
    async with world.life(switching) as engine:
        run_id = await engine.start(switching, key="k")
        await world.pump(lambda: kit.calls == ["once"])
        step = {"timeout": timedelta(seconds=31)}.get(how, timedelta(0))
        caught = [] if how == "kill" else [await asyncio.gather(world.finish(run_id, step), return_exceptions=True)]
        assert all(isinstance(one, InDoubt) for (one,) in caught)
    async with world.life(switching) as engine:
        await engine.resume()
        with pytest.raises(InDoubt, match="once"):
            await world.finish(run_id)
    async with world.life(switching) as engine:
        assert await engine.resume() == []
        (view,) = await engine.steps(run_id)
        assert view.state is StepState.IN_DOUBT
        assert (await engine.run(run_id)).state is RunState.IN_DOUBT
    assert kit.calls == ["once"]
    assert world.keys(Kind.STEP_IN_DOUBT) == ["once#1"]


@workflow("cancels")
async def cancels() -> str:
    branch = once.submit()
    await pure()
    branch.cancel()
    await sleep(HOUR)
    return "went on"


async def test_a_cancelled_at_most_once_step_is_in_doubt(world: Any, kit: Tools) -> None:
    async with world.life(cancels) as engine:
        with pytest.raises(InDoubt, match="cancelled"):
            await world.finish(await engine.start(cancels, key="k"))
    world.store.records = [one for one in world.store.records if one.kind != Kind.STEP_IN_DOUBT]
    async with world.life(cancels) as engine:  # the power went before that row
        await engine.resume()
        with pytest.raises(InDoubt, match="the process ended while the step ran"):
            await world.finish(await engine.start(cancels, key="k"))
    assert kit.calls.count("once") == 1


async def test_known_not_started_is_a_plain_failure(world: Any, kit: Tools) -> None:
    kit.fail, kit.error = 1, NotStarted
    async with world.life(switching) as engine:
        with pytest.raises(RunFailed, match="NotStarted: who knows"):
            await world.finish(await engine.start(switching, key="k"))
    assert world.kinds("step.") == [Kind.STEP_STARTED, Kind.STEP_FAILED]


@checkpoint()
async def raises_alarm(level: int) -> int:
    emit("alarm", {"level": level}, key="a1", name="overheat")
    emit_entry(Entry(kind="outbox.queued", key="m1", payload=b"raw"))
    if level < 0:
        raise ValueError("no such level")
    return level


@workflow("alarming")
async def alarming(level: int) -> int:
    return await raises_alarm(level)


async def test_emitted_rows_commit_with_the_outcome_or_not_at_all(world: Any) -> None:
    async with world.life(alarming) as engine:
        await world.finish(await engine.start(alarming, 1, key="k"))
        calls = world.store.appends
        alarm, queued = world.store.records[2:4]
        assert (alarm.kind, alarm.key, alarm.name, decode(alarm.payload)) == ("alarm", "a1", "overheat", {"level": 1})
        assert (queued.kind, queued.payload, queued.run_id) == ("outbox.queued", b"raw", alarm.run_id)
        assert calls == 3  # started, the step with both rows, done
        with pytest.raises(RunFailed):
            await world.finish(await engine.start(alarming, -1, key="bad"))
        assert len(world.keys("alarm")) == 1


@checkpoint()
async def misuses() -> str:
    problems = []
    for call in (lambda: emit(Kind.STEP_DONE, {}), lambda: services(int)):
        try:
            call()
        except (ValueError, TypeError) as err:
            problems.append(str(err))
    return f"{current_run().workflow}: " + "; ".join(problems)


async def test_misuse_inside_a_step_is_refused(world: Any) -> None:
    wf = workflow_of(misuses)
    async with world.life(wf) as engine:
        text = await world.finish(await engine.start(wf, key="k"))
    assert text == ("of-misuses: kind 'step.done' is the engine's own; the engine's services are a World, not a int")


def versions() -> list[tuple[str, Callable[[], Any], str]]:
    async def changed_argument() -> int:
        return await pure(1) + await pure(99)

    async def removed() -> int:
        return await pure(1)

    async def inserted() -> int:
        await sleep(HOUR)
        return await pure(1) + await pure(2)

    async def renamed() -> Any:
        await pure(1)
        return await packs([2])

    async def branched() -> Any:
        return await asyncio.gather(pure(1), pure(2))

    return [
        ("changed", changed_argument, r"row 3 'pure#2' was recorded as 'pure' with arguments \w+; the code now asks"),
        ("removed", removed, r"row 3 records 'pure#2', but the code ended without asking for it"),
        ("inserted", inserted, r"row 2 records 'pure#1' next; the code now asks for 'sleep#1' instead"),
        ("renamed", renamed, r"row 3 records 'pure#2' next; the code now asks for 'packs#1' instead"),
        ("branched", branched, r"row 2 records 'pure#1' next; the code now asks for 't1/pure#1', 't2/pure#1' instead"),
    ]


@pytest.mark.parametrize(("body", "message"), [(body, text) for _, body, text in versions()])
async def test_changed_code_is_stopped_with_both_sides(world: Any, kit: Tools, body: Any, message: str) -> None:
    async def original() -> int:
        return await pure(1) + await pure(2)

    wf = workflow("changing")(original)
    async with world.life(wf) as engine:
        run_id = await engine.start(wf, key="k")
        await world.finish(run_id)
    world.store.records.pop()
    before = len(kit.calls)
    changed = workflow("changing")(body)
    changed.code = wf.code  # as where something that it calls has changed: a changed source is tried dry first
    async with world.life(changed) as engine:
        await engine.resume()
        with pytest.raises(Nondeterministic, match=message) as caught:
            await world.finish(run_id)
        assert "Bring back the code" in caught.value.message
        assert len(kit.calls) == before
    async with world.life(wf) as engine:
        assert await engine.resume() == []
        assert (await engine.run(run_id)).state is RunState.NONDETERMINISTIC


async def test_a_begun_step_that_is_no_longer_asked_is_a_mismatch(world: Any, kit: Tools) -> None:
    async with world.life(switching) as engine:
        run_id = await engine.start(switching, key="k")
        await world.pump(lambda: kit.calls == ["once"])

    async def forgets() -> str:
        return str(await pure())

    async with world.life(workflow("switching")(forgets)) as engine:
        await engine.resume()
        with pytest.raises(Nondeterministic, match="records 'once#1' next; the code now asks for 'pure#1'"):
            await world.finish(run_id)


async def test_a_body_that_swallows_everything_cannot_hide_a_mismatch(world: Any, kit: Tools) -> None:
    async def stubborn() -> int:
        for number in (7, 8, 9):
            try:
                await pure(number)
            except BaseException:  # noqa: BLE001
                continue
        return 1

    async with world.life(plain) as engine:
        run_id = await engine.start(plain, 1, key="k")
        await world.finish(run_id)
    world.store.records.pop()
    async with world.life(workflow("plain")(lambda _: stubborn())) as engine:
        await engine.resume()
        with pytest.raises(Nondeterministic):
            await world.finish(run_id)
    assert kit.calls == [1, 2]


@checkpoint(retries=1)
async def picky(number: int) -> int:
    if number % 2:
        raise ValueError(f"odd {number}")
    return number


@workflow("settling")
async def settling(numbers: list[int], needed: int, tolerated: int | None) -> list[str]:
    branches = [picky.submit(number, label=f"n{number}") for number in numbers]
    settled = await settle(branches, min_successful=needed, tolerated_failures=tolerated)
    return [f"{one.label}: {one.value}" if one.ok else f"{one.label}: {type(one.error).__name__}" for one in settled]


async def test_settle_tolerates_what_it_is_told_to(world: Any) -> None:
    async with world.life(settling) as engine:
        run_id = await engine.start(settling, [1, 2, 3], 1, None, key="a")
        assert await world.finish(run_id, HOUR) == ["n1: StepFailed", "n2: 2", "n3: StepFailed"]
        for args in (([1, 2], 2, None), ([1, 2], 1, 0), ([], 1, None)):
            with pytest.raises((RunPaused, RunFailed), match=SettleFailed.__name__):
                await world.finish(await engine.start(settling, *args), HOUR)
    (row,) = [decode(one.payload) for one in world.store.records if one.run_id == run_id and one.kind == "settle.done"]
    assert row["branches"][0] == {"label": "n1", "ok": False, "error": "StepFailed"}


@workflow("orphans")
async def orphans() -> str:
    hangs.submit()
    tools_branch = asyncio.create_task(sleep(HOUR))
    await pure(1)
    return f"done before {tools_branch.done()}"


async def test_branches_that_outlive_the_body_are_cancelled(world: Any) -> None:
    async with world.life(orphans) as engine:
        run_id = await engine.start(orphans, key="k")
        assert await world.finish(run_id) == "done before False"
        assert not world.engine._residents._runs
    world.store.records.pop()
    async with world.life(orphans) as engine:
        await engine.resume()
        assert await world.finish(run_id) == "done before False"


async def test_close_leaves_runs_open_and_tells_who_waits(world: Any, kit: Tools) -> None:
    async with world.life(switching) as engine:
        run_id = await engine.start(switching, key="k")
        result = asyncio.ensure_future(engine.result(run_id))
        await world.pump(lambda: kit.calls == ["once"])
    with pytest.raises(EngineClosed):
        await result
    with pytest.raises(EngineClosed):
        await engine.start(switching, key="other")
    assert world.kinds("run.") == [Kind.RUN_STARTED]


async def test_a_workflow_nobody_registered_stays_open_and_is_named(
    world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with world.life(switching) as engine:
        await engine.start(switching, key="k")
    async with world.life() as engine:
        with caplog.at_level(logging.ERROR):
            assert await engine.resume() == []
        assert "no workflow named 'switching' is registered" in caplog.text


async def test_step_errors_reach_the_body_the_same_live_and_in_replay(world: Any) -> None:
    @workflow("catching")
    async def catching() -> list[Any]:
        try:
            await picky(1)
        except StepFailed as err:
            return [err.step, err.error_type, err.message, err.exhausted]
        return []

    async with world.life(catching) as engine:
        run_id = await engine.start(catching, key="k")
        live = await world.finish(run_id, HOUR)
    world.store.records.pop()
    async with world.life(catching) as engine:
        await engine.resume()
        assert await world.finish(run_id) == live == ["picky", "ValueError", "odd 1", True]


async def test_arguments_that_no_longer_fit_hold_the_run_and_leave_the_others(world: Any, kit: Tools) -> None:
    async with world.life(plain, switching) as engine:
        held = await engine.start(plain, 1, key="a")
        other = await engine.start(switching, key="b")
    world.store.records = [one for one in world.store.records if one.kind == Kind.RUN_STARTED]
    kit.hold.set()

    async def narrower() -> int:
        return 0

    async with world.life(workflow("plain")(narrower), switching) as engine:
        await engine.resume()
        assert await world.finish(other) == "switched"
        with pytest.raises(Nondeterministic, match="the recorded arguments do not fit"):
            await world.finish(held)


async def test_a_damaged_run_leaves_the_others(world: Any, kit: Tools, caplog: pytest.LogCaptureFixture) -> None:
    async with world.life(switching) as engine:
        await engine.start(switching, key="a")
        good = await engine.start(switching, key="b")
    world.store.records = [one for one in world.store.records if one.kind == Kind.RUN_STARTED]
    world.store.records[0] = dataclasses.replace(world.store.records[0], payload=b"\x00\xc1")
    kit.hold.set()
    async with world.life(switching) as engine:
        assert await engine.resume() == [good]
        assert await world.finish(good) == "switched"
    assert "its rows cannot be read" in caplog.text


async def test_a_recorded_value_that_no_longer_fits_holds_the_run(world: Any) -> None:
    async with world.life(plain) as engine:
        run_id = await engine.start(plain, 1, key="k")
        await world.finish(run_id)
    world.store.records.pop()

    @checkpoint(name="pure")
    async def narrowed(value: int = 0) -> list[int]:
        return [value]

    async def body(first: int) -> Any:
        return await narrowed(first)

    async with world.life(workflow("plain")(body)) as engine:
        await engine.resume()
        with pytest.raises(Nondeterministic, match="does not fit its return type"):
            await world.finish(run_id)


async def test_a_loop_that_is_taken_down_ends_no_run(world: Any, kit: Tools) -> None:
    async with world.life(switching, retrying) as engine:
        run_id = await engine.start(retrying, key="k")
        kit.fail = 1
        await world.pump(lambda: len(kit.calls) == 1)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        with pytest.raises(EngineClosed):
            await world.finish(run_id)
    assert world.kinds("run.") == [Kind.RUN_STARTED]
    async with world.life(retrying) as engine:
        assert await engine.resume() == [run_id]
        assert await world.finish(run_id, timedelta(seconds=1)) == 2


@workflow("grouping")
async def grouping() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(picky(1))
        group.create_task(sleep(HOUR))


async def test_exhaustion_within_a_group_pauses_too(world: Any) -> None:
    async with world.life(grouping) as engine:
        with pytest.raises(RunPaused, match="ExceptionGroup"):
            await world.finish(await engine.start(grouping, key="k"), timedelta(seconds=1))


async def test_a_failed_append_stops_the_run_until_the_next_resume(world: Any) -> None:
    """The process lives on, as after a full disk: the same engine takes the run up again."""
    async with world.life(plain, crash_at=3) as engine:
        run_id = await engine.start(plain, 1, key="k")
        with pytest.raises(SimulatedCrash):
            await world.finish(run_id)
        await world.pump(lambda: run_id not in engine._residents)
        world.store.dead = False
        assert await engine.resume() == [run_id]
        assert await world.finish(run_id) == 3
