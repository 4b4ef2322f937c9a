"""Kill at every append: a corpus of workflows is cut at each one, before and after it was kept, and recovered.

Also replay fidelity: under random timing, a full record replays to the very same interleaving with nothing run.
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from journal.engine import (
    Effect,
    Engine,
    Entry,
    Kind,
    MemoryStore,
    Record,
    SimulatedCrash,
    StepFailed,
    Workflow,
    checkpoint,
    decode,
    emit,
    services,
    settle,
    sleep,
    start_child,
    submit_child,
    timeout,
    wait_first,
    wait_for,
    workflow,
)

TICK = timedelta(seconds=5)


class Verdict(BaseModel):
    code: str
    sure: bool = False


async def passes(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@checkpoint()
async def ask(branch: str, number: int) -> str:
    """Finding 4 of the research: every agent calls one and the same step."""
    await passes(3 * number + 2)
    emit("asked", {"branch": branch}, key=f"{branch}{number}")
    return f"answer({branch}{number})"


@checkpoint()
async def slow(number: int) -> int:
    await passes(20 * number + 1)
    return number * 10


@checkpoint(effect=Effect.IDEMPOTENT, retries=3)
async def flaky(number: int) -> int:
    world = services(object)
    seen: set[int] = world.__dict__.setdefault("seen", set())
    if number not in seen:
        seen.add(number)
        raise ConnectionError("away")
    return number


@checkpoint()
async def broken(number: int) -> int:
    raise ValueError(f"no {number}")


@workflow("sequential")
async def sequential(count: int) -> list[str]:
    return [await ask("S", number) for number in range(count)]


async def three(branch: str) -> list[str]:
    return [await ask(branch, number) for number in range(3)]


@workflow("gathered")
async def gathered() -> list[list[str]]:
    return list(await asyncio.gather(three("A"), three("B")))


@workflow("grouped")
async def grouped() -> list[Any]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(three(name)) for name in "AB"]
        inner = group.create_task(nested())
    return [*(task.result() for task in tasks), inner.result()]


async def nested() -> list[str]:
    return list(await asyncio.gather(ask("X", 1), asyncio.wait_for(ask("Y", 0), 3600), ask("Z", 2)))


@workflow("settled")
async def settled() -> list[str]:
    branches = [slow.submit(3, label="three"), broken.submit(1), slow.submit(1), flaky.submit(7, label="flaky")]
    outcomes = await settle(branches, min_successful=3)
    return [f"{one.label}={one.value if one.ok else one.error}" for one in outcomes]


@workflow("waiting")
async def waiting() -> list[str]:
    first = await ask("W", 0)
    verdict = await wait_for("verdict", Verdict, timeout=timedelta(days=14), question="What was it?")
    late = await wait_for("late", Verdict, timeout=timedelta(minutes=1), default=Verdict(code="none"))
    await sleep(timedelta(hours=3))
    return [first, verdict.code, late.code, await ask("W", 1)]


@workflow("completed")
async def completed() -> list[int]:
    tasks = [asyncio.create_task(slow(number)) for number in (3, 1, 2)]
    return [await done for done in asyncio.as_completed(tasks)]


@workflow("raced")
async def raced() -> list[Any]:
    branches = [slow.submit(2), slow.submit(1), slow.submit(4)]
    winner = await wait_first(branches)
    branches[2].cancel()
    with contextlib.suppress(TimeoutError):
        async with timeout(timedelta(minutes=2)):
            await wait_for("never", Verdict)
    return [await winner, *[one.value for one in await settle(branches[:2])], await ask("R", 0)]


@workflow("child")
async def child(name: str) -> str:
    first = await ask.submit(name, 0, label=name)
    await sleep(timedelta(minutes=5))
    return f"{first} {await ask.submit(name, 1, label=name)}"


@workflow("failing child")
async def failing_child() -> int:
    return await broken.submit(5, label="fails")


@workflow("family")
async def family() -> list[Any]:
    branches = [submit_child(child, name, label=name) for name in "AB"]
    failed = submit_child(failing_child)
    first = await start_child(child, "C")
    outcomes = await settle([*branches, failed], min_successful=2)
    return [first, *[one.value if one.ok else str(one.error) for one in outcomes], await ask("F", 0)]


CORPUS: list[tuple[Workflow[Any, Any], tuple[Any, ...]]] = [
    (sequential, (4,)),
    (gathered, ()),
    (grouped, ()),
    (settled, ()),
    (waiting, ()),
    (completed, ()),
    (raced, ()),
    (family, ()),
]
NAMES = [wf.name for wf, _ in CORPUS]


async def drive(world: Any, engine: Engine, wf: Workflow[Any, Any], args: Sequence[Any]) -> Any:
    """One life: resume, start by key, answer, wait for the end."""
    await engine.resume()
    run_id = await engine.start(wf, *args, key="the-run")
    await engine.answer(run_id, "verdict", {"code": "D1"}, by="operator")
    return await world.finish(run_id, TICK)


async def undisturbed(make_world: Callable[[], Any], wf: Workflow[Any, Any], args: Sequence[Any]) -> tuple[Any, Any]:
    world = make_world()
    async with world.life(wf) as engine:
        return await drive(world, engine, wf, args), world


@pytest.mark.parametrize("keep", [False, True], ids=["not-kept", "ack-lost"])
@pytest.mark.parametrize(("wf", "args"), CORPUS, ids=NAMES)
async def test_a_crash_at_every_append(
    make_world: Callable[[], Any], wf: Workflow[Any, Any], args: tuple[Any, ...], keep: bool
) -> None:
    expected, whole = await undisturbed(make_world, wf, args)
    for crash_at in range(1, whole.store.appends + 1):
        world = make_world()
        async with world.life(wf, crash_at=crash_at, keep_at_crash=keep) as engine:
            with contextlib.suppress(SimulatedCrash):
                await drive(world, engine, wf, args)
        finished = set(world.keys(Kind.STEP_DONE))
        async with world.life(wf) as engine:
            assert await drive(world, engine, wf, args) == expected, crash_at
        assert not finished & set(world.ledger.started), f"ran again after crash {crash_at}"
        assert sorted(world.keys(Kind.STEP_DONE)) == sorted(whole.keys(Kind.STEP_DONE)), crash_at
        assert sorted(world.keys("asked")) == sorted(whole.keys("asked")), crash_at


@pytest.mark.parametrize("keep", [False, True], ids=["not-kept", "ack-lost"])
async def test_two_crashes_in_branches_never_swap_results(make_world: Callable[[], Any], keep: bool) -> None:
    expected, whole = await undisturbed(make_world, gathered, ())
    for first in range(1, whole.store.appends + 1):
        for second in range(1, whole.store.appends + 1 - first):
            world = make_world()
            for crash_at in (first, second):
                async with world.life(gathered, crash_at=crash_at, keep_at_crash=keep) as engine:
                    with contextlib.suppress(SimulatedCrash):
                        await drive(world, engine, gathered, ())
            async with world.life(gathered) as engine:
                assert await drive(world, engine, gathered, ()) == expected, (first, second)


# A wait_for(step()) that is cancelled before its first move drops the coroutine it was given, as in plain asyncio.
@pytest.mark.filterwarnings("ignore:coroutine 'Checkpoint._run' was never awaited")
async def test_a_kill_without_a_failing_append_resumes_too(make_world: Callable[[], Any]) -> None:
    """Cancel the engine after each number of loop passes, as a stop of the service would."""
    expected, _ = await undisturbed(make_world, grouped, ())
    for count in range(0, 60, 3):
        world = make_world()
        async with world.life(grouped) as engine:
            await engine.start(grouped, key="the-run")
            await passes(count)
        async with world.life(grouped) as engine:
            assert await drive(world, engine, grouped, ()) == expected, count


GOLDEN = sorted(Path(__file__).parent.glob("golden/*/*.bin"))


def test_there_is_a_golden_journal_of_each_workflow() -> None:
    assert {path.stem for path in GOLDEN} == set(NAMES)


def golden(path: Path) -> list[Record]:
    return [Record(**row) for row in decode(path.read_bytes())]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: f"{path.parent.name}/{path.stem}")
async def test_golden_journals_of_each_release_replay(make_world: Callable[[], Any], path: Path) -> None:
    """Without their last row they come to the recorded end, and nothing runs; cut in the middle they go on."""
    wf, args = next((wf, args) for wf, args in CORPUS if wf.name == path.stem)
    records = golden(path)
    expected = decode(next(one.payload for one in reversed(records) if one.kind == Kind.RUN_DONE))["value"]
    run_id = next(one.run_id for one in records if one.run_id)
    for count in (len(records) - 1, len(records) // 2, 1):
        world = make_world()
        world.clock.wall = records[count - 1].wall
        world.store = MemoryStore(world.clock, records=records[:count])
        async with world.life(wf) as engine:
            assert await engine.resume() == [run_id]
            if count < len(records) - 1:
                assert await drive(world, engine, wf, args) == expected
            else:
                assert await world.finish(run_id) == expected
                assert not world.ledger.started


class GroupingStore(MemoryStore):
    """Acknowledges in groups at random moments, in order, as group commit does."""

    def __init__(self, *args: Any, chance: random.Random, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._chance = chance
        self._group: asyncio.Event | None = None

    async def append(self, entries: Sequence[Entry]) -> list[int]:
        seqs = self._keep(entries, self._clock.now())
        if self._group is None:
            self._group = asyncio.Event()
            asyncio.get_running_loop().create_task(self._flush(self._chance.randrange(12)))
        await self._group.wait()
        return seqs

    async def _flush(self, count: int) -> None:
        group = self._group
        await passes(count)
        assert group is not None
        self._group = None
        group.set()


class Timing:
    """How many passes each step takes: different in each life."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)


@checkpoint()
async def jitter(who: str, number: int) -> str:
    await passes(services(Timing).chance.randrange(15))
    if (len(who) + number) % 5 == 0:
        raise ValueError(who)
    return f"{who}{number}"


async def meander(log: list[str], who: str, depth: int) -> str:
    for number in range(3):
        try:
            log.append(await jitter(who, number))
        except Exception as err:  # noqa: BLE001
            log.append(f"{who} lost {number}: {err}")
    if depth:
        tasks = [asyncio.create_task(meander(log, f"{who}.{index}", depth - 1)) for index in range(2)]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        log.append(f"{who} saw {sorted(task.result() for task in done)}, {len(pending)} left")
        log.extend([await one for one in asyncio.as_completed([*pending, asyncio.create_task(jitter_safe(who))])])
    return who


async def jitter_safe(who: str) -> str:
    with contextlib.suppress(Exception):
        async with asyncio.timeout(None), asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(jitter(who, number + 3))
    return f"{who} group left"


@workflow("meandering")
async def meandering() -> list[str]:
    log: list[str] = []
    branches = [jitter.submit("sub", number) for number in range(3)]
    names = await asyncio.gather(*(meander(log, name, 2) for name in ("a", "bb", "ccc")))
    await asyncio.shield(asyncio.gather(asyncio.gather(meander(log, "deep", 0)), meander(log, "flat", 0)))
    first = await wait_first(branches)
    log += [*names, first.label, *(one.label for one in await settle(branches, min_successful=0))]
    return log


@workflow("contested")
async def contested() -> list[str]:
    """Deadlines, cancellation, answers and failures race with steps; what the body saw is its result."""
    log: list[str] = []
    racers = [asyncio.create_task(race(log, f"r{number}", number)) for number in range(6)]
    watcher = asyncio.create_task(watch(log))
    for number in range(4):
        done, pending = await asyncio.wait(racers, return_when=asyncio.FIRST_COMPLETED)
        log.append(f"{len(done)} ended, {len(pending)} go on")
        racers = list(pending)
        if number == 1:
            racers[0].cancel()
        if not racers:
            break
    await asyncio.wait([watcher, *racers])
    return log


async def race(log: list[str], who: str, seconds: int) -> None:
    for turn in range(3):
        try:
            async with timeout(timedelta(seconds=seconds * 3 + turn)):
                log.append(await jitter(who, turn))
                await sleep(timedelta(seconds=2 * turn + seconds))
                async with asyncio.TaskGroup() as group:
                    group.create_task(sleep(timedelta(seconds=turn + 1)))
                    group.create_task(jitter(who, turn + 2))
            log.append(f"{who} in time")
        except TimeoutError:
            log.append(f"{who} late")
        except ExceptionGroup as err:
            log.append(f"{who} lost {len(err.exceptions)}")
        except asyncio.CancelledError:
            log.append(f"{who} cancelled")
            raise
        except StepFailed:
            log.append(f"{who} failed")


async def watch(log: list[str]) -> None:
    verdict = await wait_for("verdict", Verdict, timeout=timedelta(seconds=9), default=Verdict(code="none"))
    log.append(f"verdict {verdict.code}")


async def play(world: Any, timing: Timing, run_id: str) -> Any:
    """Time passes and an answer comes, both by chance."""
    result = asyncio.ensure_future(world.engine.result(run_id))
    for turn in range(5000):
        if result.done():
            return result.result()
        if turn % 7 == 0 and timing.chance.random() < 0.5:
            world.clock.advance(timedelta(seconds=timing.chance.random() * 2))
            world.engine.clock_changed()
        if turn == 60:
            await world.engine.answer(run_id, "verdict", {"code": "D1"}, by="chance")
        await asyncio.sleep(0)
    raise AssertionError("the run hangs")


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("wf", [meandering, contested], ids=lambda wf: wf.name)
async def test_a_full_record_replays_to_the_same_interleaving(
    make_world: Callable[[], Any], wf: Workflow[Any, Any], seed: int
) -> None:
    world = make_world()
    timing = Timing(seed)
    world.store = GroupingStore(world.clock, chance=timing.chance)
    world.engine = Engine(world.store, world.clock, services=timing)
    run_id = await world.engine.start(wf, key="k")
    expected = await play(world, timing, run_id)
    await world.engine.close()
    assert len(expected) > 10
    records = world.store.records
    for kept in (records[:-1], records[:-2], records[: -len(records) // 2], records[: len(records) // 3]):
        again = make_world()
        again.store = MemoryStore(again.clock, records=kept)
        async with again.life(wf) as engine:
            timing = engine._core.services = Timing(seed + 1000)
            assert await engine.resume() == [run_id]
            result = await play(again, timing, run_id)
            finished = {record.key for record in kept if record.kind == Kind.STEP_DONE}
            assert not finished & set(again.ledger.started)
            assert len(kept) < len(records) - 1 or (result, again.ledger.started) == (expected, Counter())
