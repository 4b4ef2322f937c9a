"""The six properties of a durable agent, checked on any workflow: what a crash, a fork or a crowd must not change.

After "Resume Means Resume" (arXiv:2608.03836): prefix continuation, effects exactly once, fork determinism,
checkpoint validity, consume once, recovery determinism.  Each is a coroutine `property_(subject)` that raises
`Broken` with what it saw.  The workflow runs on the store in memory and on a clock that leaps, so days of waiting
take no time; its steps' services should answer at once.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from journal.engine.codec import decode
from journal.engine.declare import Workflow
from journal.engine.engine import Engine
from journal.engine.errors import InDoubt, RunStopped
from journal.engine.memory_store import MemoryStore, SimulatedCrash
from journal.engine.ports import Kind, Record

__all__ = ("PROPERTIES", "Broken", "NotOffered", "Subject")

CROWD = 8  # concurrent answers, starts and resumes
PASSES_MAX = 20_000  # of the loop until a run that does not end is given up
PASSES_PER_LEAP = 64  # without a new row, before the clock's step doubles
RUN_KEY = "the-run"


class Broken(AssertionError):
    """The workflow does not have the property; says where the crash was and what differs."""


class NotOffered(Exception):
    """This engine cannot do what the property asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A workflow with what it needs to come to its end.

    `answers` are what its waits are told, by wait name; `services` makes the object for `services(T)`, once for all
    the lives of one run, as the outside world is; `others` are workflows that it starts.
    """

    workflow: Workflow[Any, Any]
    args: tuple[Any, ...] = ()
    answers: Mapping[str, object] = field(default_factory=dict)
    services: Callable[[], object] = object
    others: tuple[Workflow[Any, Any], ...] = ()


class _Clock:
    def __init__(self) -> None:
        self.passed = timedelta(0)

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + self.passed

    def monotonic_ns(self) -> int:
        return self.passed // timedelta(microseconds=1) * 1_000

    def trusted(self) -> bool:
        return True


class _Ledger:
    """What really ran, kept outside the journal."""

    def __init__(self) -> None:
        self.started: Counter[str] = Counter()

    def step_started(self, _run_id: str, step_key: str) -> None:
        self.started[step_key] += 1

    def step_committed(self, run_id: str, step_key: str) -> None:
        pass


class _World:
    """One journal that outlives the engines that run on it."""

    def __init__(self, subject: Subject, records: list[Record] | None = None) -> None:
        self.subject = subject
        self.records = list(records or [])
        self.clock = _Clock()
        self.services = subject.services()
        self.ledger = _Ledger()  # of the life that runs, or of the last one
        self.appends = 0

    @contextlib.asynccontextmanager
    async def life(self, *, crash_at: int | None = None, keep: bool = False) -> AsyncIterator[Engine]:
        """A process: a new engine on the kept rows, cut at its `crash_at`-th append, before or after it was kept."""
        store = MemoryStore(self.clock, records=self.records, crash_at=crash_at, keep_at_crash=keep)
        self.ledger = _Ledger()
        engine = Engine(store, self.clock, services=self.services, observer=self.ledger)
        engine.register(self.subject.workflow, *self.subject.others)
        try:
            yield engine
        finally:
            await engine.close()
            self.records, self.appends = store.records, store.appends

    async def until(self, engine: Engine, reached: Callable[[], bool]) -> None:
        """Turn the loop and let time pass, faster the longer nothing happens."""
        leap, quiet, seen = timedelta(seconds=1), 0, -1
        store: Any = engine._store  # noqa: SLF001 - the rows tell whether anything moves
        for _ in range(PASSES_MAX):
            if reached():
                return
            quiet = quiet + 1 if len(store.records) == seen else 0
            seen = len(store.records)
            leap = timedelta(seconds=2 ** (quiet // PASSES_PER_LEAP))
            self.clock.passed += min(leap, timedelta(days=1))
            engine.clock_changed()
            await asyncio.sleep(0)
        raise Broken(f"{self.subject.workflow.name} has not ended after {PASSES_MAX} passes of the loop")

    async def finish(self, engine: Engine, run_id: str) -> tuple[str, object]:
        """How the run ended: its value, or what stopped it."""
        ended = asyncio.ensure_future(engine.result(run_id))
        await self.until(engine, ended.done)
        try:
            return "value", ended.result()
        except RunStopped as err:
            return type(err).__name__, str(err)

    async def whole_life(self, *, crash_at: int | None = None, keep: bool = False) -> tuple[str, object] | None:
        """Resume, start, answer, end; None where the crash came first."""
        async with self.life(crash_at=crash_at, keep=keep) as engine:
            try:
                await engine.resume()
                run_id = await engine.start(self.subject.workflow, *self.subject.args, key=RUN_KEY)
                for wait, payload in self.subject.answers.items():
                    await engine.answer(run_id, wait, payload, by="conformance")
                return await self.finish(engine, run_id)
            except SimulatedCrash:
                return None

    def outcomes(self) -> dict[tuple[str, str], tuple[str, object]]:
        """By run and key: which outcome was recorded, and its value without the time."""
        found: dict[tuple[str, str], tuple[str, object]] = {}
        for record in self.records:
            if record.kind in _OUTCOMES:
                plain = {name: value for name, value in decode(record.payload).items() if name != "at"}
                found[record.run_id, record.key] = (record.kind, plain)
        return found

    def extras(self) -> Counter[tuple[str, str, str, str]]:
        """Rows that steps added with `emit`: queued messages and the like."""
        kinds = set(Kind)
        return Counter((r.run_id, r.kind, r.key, r.name) for r in self.records if r.kind not in kinds)

    def begun_in_doubt(self) -> set[str]:
        """AT_MOST_ONCE steps that the journal has seen begin and not end."""
        begun = {record.key for record in self.records if record.kind == Kind.STEP_STARTED}
        return begun - {record.key for record in self.records if record.kind in _OUTCOMES}


_OUTCOMES = frozenset({Kind.STEP_DONE, Kind.WAIT_ANSWERED, Kind.WAIT_EXPIRED, Kind.SETTLE_DONE})


@dataclass(frozen=True, slots=True)
class _Crash:
    """One cut run on its way back."""

    at: int
    keep: bool
    before: list[Record]
    started: Counter[str]  # in the life that was cut
    world: _World
    end: tuple[str, object]

    def __str__(self) -> str:
        return f"crash at append {self.at}, {'kept but not acknowledged' if self.keep else 'not kept'}"


async def _undisturbed(subject: Subject) -> tuple[_World, tuple[str, object]]:
    world = _World(subject)
    end = await world.whole_life()
    assert end is not None
    return world, end


async def _crashes(subject: Subject, appends: int) -> AsyncIterator[_Crash]:
    """Every crash: at each append, before and after it was kept; each already recovered."""
    for keep in (False, True):
        for at in range(1, appends + 1):
            world = _World(subject)
            end = await world.whole_life(crash_at=at, keep=keep)
            before, started = list(world.records), world.ledger.started
            if end is None or at == appends:
                recovered = await world.whole_life()
                assert recovered is not None
                yield _Crash(at, keep, before, started, world, recovered)


def _same_end(crash: _Crash, expected: tuple[str, object]) -> bool:
    """True for the undisturbed end, and for a doubt that is one."""
    doubtful = crash.end[0] == InDoubt.__name__ and bool(crash.world.begun_in_doubt())
    return crash.end == expected or doubtful


def _done(records: list[Record]) -> set[tuple[str, str]]:
    return {(record.run_id, record.key) for record in records if record.kind == Kind.STEP_DONE}


async def prefix_continuation(subject: Subject) -> None:
    """After a crash the run goes on from what was recorded: none of it changes or runs again, the end is the same."""
    whole, expected = await _undisturbed(subject)
    async for crash in _crashes(subject, whole.appends):
        if crash.world.records[: len(crash.before)] != crash.before:
            raise Broken(f"{crash}: recorded rows changed")
        again = {key for _, key in _done(crash.before)} & set(crash.world.ledger.started)
        if again:
            raise Broken(f"{crash}: recorded steps ran again: {sorted(again)}")
        if not _same_end(crash, expected):
            raise Broken(f"{crash}: ended with {crash.end}, undisturbed with {expected}")


async def effects_exactly_once(subject: Subject) -> None:
    """Each step is recorded once, its emitted rows are there once, and AT_MOST_ONCE bodies begin once at most."""
    whole, _ = await _undisturbed(subject)
    async for crash in _crashes(subject, whole.appends):
        if crash.end[0] == InDoubt.__name__:
            held = crash.world.begun_in_doubt()
            twice = {key for key in held if crash.started[key] + crash.world.ledger.started[key] > 1}
            if twice:
                raise Broken(f"{crash}: AT_MOST_ONCE bodies began twice: {sorted(twice)}")
            continue
        recorded = Counter((r.run_id, r.key) for r in crash.world.records if r.kind == Kind.STEP_DONE)
        twice = {key for (_, key), count in recorded.items() if count > 1}
        if twice:
            raise Broken(f"{crash}: recorded twice: {sorted(twice)}")
        if crash.world.extras() != whole.extras():
            raise Broken(f"{crash}: emitted {crash.world.extras()}, undisturbed {whole.extras()}")


async def checkpoint_validity(subject: Subject) -> None:
    """Whatever a crash leaves is a state that the undisturbed run went through, readable and with the same values."""
    whole, _ = await _undisturbed(subject)
    known = whole.outcomes()
    async for crash in _crashes(subject, whole.appends):
        left = _World(subject, crash.before)
        for place, outcome in left.outcomes().items():
            if known.get(place) != outcome:
                raise Broken(f"{crash}: left {outcome} at {place}, undisturbed it is {known.get(place)}")
        async with left.life() as engine:
            for view in await engine.runs():
                await engine.steps(view.run_id)


async def consume_once(subject: Subject) -> None:
    """Of many starts by one key one run comes; of many answers to one wait one counts; many resumes resume once."""
    _, expected = await _undisturbed(subject)
    world = _World(subject)
    async with world.life() as engine:
        starts = (engine.start(subject.workflow, *subject.args, key=RUN_KEY) for _ in range(CROWD))
        run_ids = set(await asyncio.gather(*starts))
        if len(run_ids) != 1:
            raise Broken(f"{CROWD} starts with one key made {len(run_ids)} runs")
    async with world.life() as engine:
        await asyncio.gather(*(engine.resume() for _ in range(CROWD)))
        (run_id,) = run_ids
        for wait, payload in subject.answers.items():
            told = await asyncio.gather(
                *(engine.answer(run_id, wait, payload, by=f"person {number}") for number in range(CROWD))
            )
            if told.count(True) != 1:
                raise Broken(f"{told.count(True)} of {CROWD} answers to wait {wait!r} were told that they count")
        end = await world.finish(engine, run_id)
        if end != expected:
            raise Broken(f"a crowd ended with {end}, one caller with {expected}")
    recorded = Counter((r.run_id, r.key) for r in world.records if r.kind == Kind.STEP_DONE)
    twice = {key for (_, key), count in recorded.items() if count > 1}
    if twice:
        raise Broken(f"recorded twice: {sorted(twice)}")


async def recovery_determinism(subject: Subject) -> None:
    """Two recoveries from the same crash come to the same end with the same outcomes."""
    whole, _ = await _undisturbed(subject)
    async for crash in _crashes(subject, whole.appends):
        twin = _World(subject, crash.before)
        end = await twin.whole_life()
        if end != crash.end and InDoubt.__name__ not in (end or ("",))[0]:
            raise Broken(f"{crash}: one recovery ended with {crash.end}, another with {end}")
        if twin.outcomes() != crash.world.outcomes():
            differing = twin.outcomes().keys() | crash.world.outcomes().keys()
            raise Broken(f"{crash}: two recoveries recorded different outcomes among {sorted(differing)}")


async def fork_determinism(subject: Subject) -> None:
    """A fork that overrides a step with its own value ends as the original did, and runs nothing before it again."""
    world = _World(subject)
    expected = await world.whole_life()
    steps = [r for r in world.records if r.kind == Kind.STEP_DONE and r.run_id == world.records[0].run_id]
    for step in steps:
        twin = _World(subject, world.records)
        async with twin.life() as engine:
            fork: Callable[..., Awaitable[str]] | None = getattr(engine, "fork", None)
            if fork is None:
                raise NotOffered("this engine has no fork()")
            value = decode(step.payload).get("value")
            run_id = await fork(step.run_id, at=step.key, override={step.key: value})
            for wait, payload in subject.answers.items():
                await engine.answer(run_id, wait, payload, by="conformance")
            end = await twin.finish(engine, run_id)
            before = {one.key for one in steps if one.seq <= step.seq}
            if end != expected:
                raise Broken(f"fork at {step.key}: ended with {end}, the original with {expected}")
            if again := before & set(twin.ledger.started):
                raise Broken(f"fork at {step.key}: ran again {sorted(again)}")


PROPERTIES: dict[str, Callable[[Subject], Awaitable[None]]] = {
    check.__name__: check
    for check in (
        prefix_continuation,
        effects_exactly_once,
        fork_determinism,
        checkpoint_validity,
        consume_once,
        recovery_determinism,
    )
}
"""By name, in the order of the paper."""
