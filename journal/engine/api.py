"""What workflow authors call in bodies and steps: settling, waits, time and chance, rows of their own.

Everything here finds its run from where it is called, so that bodies carry no context argument.
"""

import asyncio
import contextlib
import functools
import random as _random
import uuid as _uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar, overload

from journal.engine.codec import adapter, convert, encode, value_hash
from journal.engine.declare import Branch, check_label, run_of
from journal.engine.errors import (
    OutsideRun,
    SettleFailed,
    UnlabelledBranch,
    WaitExpired,
)
from journal.engine.history import Outcome
from journal.engine.identity import RunInfo, Scope, StepFrame, Tracked, here, scope_of
from journal.engine.ports import Entry, Kind
from journal.engine.replay import Op
from journal.engine.run import Run
from journal.engine.waits import Wait

__all__ = (
    "Settled",
    "current_run",
    "emit",
    "emit_entry",
    "idempotency_key",
    "now",
    "patched",
    "random",
    "services",
    "settle",
    "sleep",
    "timeout",
    "uuid",
    "wait_first",
    "wait_for",
)

EMITTED_MAX = 1000  # rows of one step; more belong in a batch of their own
_NAMESPACE = _uuid.UUID("6f0f4f0c-52f5-5d0e-9d5c-6d1f3c3f6a10")  # of ids made by bodies; any fixed value would do
_NO_DEFAULT: Any = object()

R = TypeVar("R")
T = TypeVar("T")
D = TypeVar("D")
B = TypeVar("B", bound="Branch[Any] | asyncio.Task[Any]")


@dataclass(frozen=True, slots=True)
class Settled(Generic[R]):
    """How one branch ended: with a value, or with what it raised."""

    label: str
    value: R | None
    error: BaseException | None

    @property
    def ok(self) -> bool:
        """True where there is a value."""
        return self.error is None


async def settle(
    branches: Sequence[Branch[R] | asyncio.Task[R]], *, min_successful: int = 1, tolerated_failures: int | None = None
) -> list[Settled[R]]:
    """Wait for all branches; how each ended, in the order given, journalled.

    Raises SettleFailed with fewer than `min_successful` values or more than `tolerated_failures` errors.
    """
    scope = scope_of("settle")
    key_paths = [_path(branch) for branch in branches]
    tasks = [_task(branch) for branch in branches]
    if tasks:
        await asyncio.wait(tasks)
    settled = [_settled(task, path) for task, path in zip(tasks, key_paths, strict=True)]
    await _journal_settling(scope, "settle", key_paths, settled, None)
    errors = tuple(one.error for one in settled if one.error is not None)
    successful = len(settled) - len(errors)
    if successful < min_successful or (tolerated_failures is not None and len(errors) > tolerated_failures):
        first = f"; the first: {errors[0]}" if errors else ""
        raise SettleFailed(f"{successful} of {len(settled)} branches succeeded, {min_successful} wanted{first}", errors)
    return settled


async def wait_first(branches: Sequence[B]) -> B:
    """The branch that ends first (of several at once the first given), journalled.  The others go on."""
    scope = scope_of("wait_first")
    paths = [_path(branch) for branch in branches]
    tasks = [_task(branch) for branch in branches]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    winner = next(index for index, task in enumerate(tasks) if task in done)
    await _journal_settling(scope, "wait_first", paths, [_settled(tasks[winner], paths[winner])], paths[winner])
    return branches[winner]


@overload
async def wait_for(
    name: str,
    model: type[T],
    *,
    timeout: timedelta | None = None,  # noqa: ASYNC109 - journalled: asyncio.timeout would forget it in a crash
    question: str = "",
) -> T: ...  # pragma: no cover
@overload
async def wait_for(
    name: str,
    model: type[T],
    *,
    timeout: timedelta | None = None,  # noqa: ASYNC109 - journalled: asyncio.timeout would forget it in a crash
    default: D,
    question: str = "",
) -> T | D: ...  # pragma: no cover
async def wait_for(
    name: str,
    model: Any,
    *,
    timeout: timedelta | None = None,  # noqa: ASYNC109 - journalled: asyncio.timeout would forget it in a crash
    default: Any = _NO_DEFAULT,
    question: str = "",
) -> Any:
    """Wait, for days if need be, until `Engine.answer` gives a `model`; the first answer wins, early ones are kept.

    At the deadline: `default` if there is one, else WaitExpired.
    """
    scope = scope_of(f"wait_for({name!r})")
    check_label(name)
    run = run_of(scope)
    defaulted = default is not _NO_DEFAULT
    if defaulted:
        encode(default)  # refuse now what the deadline could not record
    wait = Wait(
        name=name,
        type_name=getattr(model, "__name__", str(model)),
        shape=adapter(model),
        question=question,
        timeout=timeout,
        fallback={"value": default if defaulted else None, "defaulted": defaulted},
    )
    outcome = await run.perform(
        scope, name, value_hash(["wait", name]), functools.partial(run.waits.begin, wait), on_abandon=run.waits.leave
    )
    if outcome.kind is Kind.WAIT_ANSWERED:
        return convert(outcome.plain["value"], wait.shape)
    if not outcome.plain["defaulted"]:
        raise WaitExpired(f"nobody answered {name!r} within {timeout}")
    return None if default is None else convert(outcome.plain["value"], adapter(type(default)))


async def sleep(duration: timedelta) -> None:
    """Sleep, across restarts if need be."""
    scope = scope_of("sleep")
    run = run_of(scope)
    seconds = duration.total_seconds()
    timer = _DurableTimer(run, seconds)
    await run.perform(scope, "sleep", value_hash(["sleep", seconds]), timer.begin, on_abandon=timer.leave)


@contextlib.asynccontextmanager
async def timeout(duration: timedelta) -> AsyncIterator[None]:
    """Cancel the block at a durable deadline and raise TimeoutError after it."""
    scope = scope_of("timeout")
    run = run_of(scope)
    seconds = duration.total_seconds()
    timer = _DurableTimer(run, seconds)
    async with asyncio.timeout(None) as inner:
        loop = asyncio.get_running_loop()
        op = Op(
            scope.next_key("timeout"),
            "timeout",
            value_hash(["timeout", seconds]),
            timer.begin,
            lambda _: None if inner.expired() else inner.reschedule(loop.time()),
            on_abandon=timer.leave,
        )
        run.gate.ask(op)
        try:
            yield
        finally:
            run.gate.abandon(op)


def now() -> datetime:
    """Wall time, aware UTC.  In a body: that of the last outcome the run has seen, the same in every replay."""
    place = here()
    if isinstance(place, StepFrame):
        return place.clock.now()
    return run_of(scope_of("now")).gate.now


def patched(change: str) -> bool:
    """In a body: True where this run goes by the changed code, False where its record is older than the change.

    Guard a change of a body with it while runs of the old code are open: `if patched("ask twice"): ... else: ...`.
    The answer is recorded, and the same at each call of the run.
    """
    check_label(change)
    return run_of(scope_of("patched")).patched(change)


def random() -> float:
    """A number in [0, 1), the same in every replay: from the run's id and the place in its body."""
    return _random.Random(_seed("random")).random()  # noqa: S311 - replayable chance, no secret


def uuid() -> _uuid.UUID:
    """An id, the same in every replay: from the run's id and the place in its body."""
    return _uuid.uuid5(_NAMESPACE, _seed("uuid"))


def emit(kind: str, payload: object, *, key: str = "", name: str = "") -> None:
    """In a step: a row that commits together with the step's outcome, or not at all.

    Raises OutsideRun elsewhere, ValueError for a kind that is the engine's own, CodecError for the payload.
    """
    emit_entry(Entry(kind=kind, key=key, name=name, payload=encode(payload)))


def emit_entry(entry: Entry) -> None:
    """As `emit`, with a row that another part has made; it gets this run's id."""
    frame = _frame("emit")
    if entry.kind in set(Kind):
        raise ValueError(f"kind {str(entry.kind)!r} is the engine's own")
    if len(frame.emitted) >= EMITTED_MAX:
        raise ValueError(f"step {frame.step_key!r} emits more than {EMITTED_MAX} rows")
    frame.emitted.append(replace(entry, run_id=frame.info.run_id))


def services(kind: type[T]) -> T:
    """In a step: the object that was handed to Engine(services=...).  Raises TypeError where it is another."""
    found = _frame("services").services
    if not isinstance(found, kind):
        raise TypeError(f"the engine's services are a {type(found).__name__}, not a {kind.__name__}")
    return found


def current_run() -> RunInfo:
    """Which run this is; in a body or a step.  Raises OutsideRun elsewhere."""
    place = here()
    return place.info if isinstance(place, StepFrame) else scope_of("current_run").host.info


def idempotency_key() -> str:
    """In a step: run and step, the same at each attempt, for the outside to drop repetitions by."""
    frame = _frame("idempotency_key")
    return f"{frame.info.run_id}/{frame.step_key}"


class _DurableTimer:
    """`sleep` and `timeout`: set once in the journal, over with a step.done."""

    def __init__(self, run: Run, remaining_s: float) -> None:
        self._run = run
        self._remaining_s = remaining_s

    def begin(self, op: Op) -> None:
        """Set it, live; one that the journal holds goes on."""
        run, remaining_s = self._run, self._remaining_s
        known = run.history.timers.get(op.key)
        plan = run.core.timers.plan(remaining_s) if known is None else known
        op.timer = run.deadline(op.key, plan, lambda: self._commit(op, Kind.STEP_DONE, {"value": None}))
        if known is None:
            self._commit(op, Kind.TIMER_SET, plan)
        else:
            run.gate.rest(op)

    def leave(self, op: Op) -> None:
        """The body no longer waits."""
        if op.timer is not None:
            op.timer.cancel()

    def _commit(self, op: Op, kind: Kind, plain: dict[str, Any]) -> None:
        run = self._run
        entry = run.entry(kind, plain, key=op.key, name=op.name, arg_hash=op.arg_hash)
        work = self._set(op, entry) if kind is Kind.TIMER_SET else run.commit(op, [entry])
        run.spawn(work, None, f"{run.info.run_id}/{op.key}.{kind}")

    async def _set(self, op: Op, entry: Entry) -> None:
        await self._run.append([entry])
        self._run.gate.rest(op)


async def _journal_settling(
    scope: Scope, name: str, paths: list[str], settled: Sequence[Settled[Any]], winner: str | None
) -> None:
    run = run_of(scope)
    rows = [
        {"label": one.label, "ok": one.ok, "error": None if one.error is None else type(one.error).__name__}
        for one in settled
    ]
    plain = {"branches": rows, "paths": paths, "winner": winner}

    def holds(outcome: Outcome) -> bool:
        return {name: outcome.plain[name] for name in plain} == plain

    def begin(op: Op) -> None:
        entry = run.entry(Kind.SETTLE_DONE, plain, key=op.key, name=op.name, arg_hash=op.arg_hash)
        run.spawn(run.commit(op, [entry]), None, f"{run.info.run_id}/{op.key}")

    outcome = await run.perform(scope, name, value_hash([name, paths]), begin, accepts=holds)
    if not holds(outcome):
        run.mismatch(f"{name} was recorded as {outcome.plain}; the branches now give {plain}")
        raise asyncio.CancelledError


def _settled(task: "asyncio.Task[R]", path: str) -> Settled[R]:
    if task.cancelled():
        return Settled(path, None, asyncio.CancelledError("the branch was cancelled"))
    error = task.exception()
    return Settled(path, None, error) if error is not None else Settled(path, task.result(), None)


def _task(branch: "Branch[R] | asyncio.Task[R]") -> "asyncio.Task[R]":
    return branch.task if isinstance(branch, Branch) else branch


def _path(branch: "Branch[Any] | asyncio.Task[Any]") -> str:
    coro = _task(branch).get_coro()
    if not isinstance(coro, Tracked):
        raise UnlabelledBranch(f"{branch!r} is no branch of this run: create it in the body or with .submit()")
    return coro.scope.path


def _frame(what: str) -> StepFrame:
    frame = here()
    if not isinstance(frame, StepFrame):
        raise OutsideRun(f"{what} works inside a step only")
    return frame


def _seed(name: str) -> str:
    scope = scope_of(name)
    return f"{scope.host.info.run_id}/{scope.next_key(name)}"
