"""What workflow authors write with: the decorators, the waits, and the sources of time and chance for bodies.

Everything here finds its run from where it is called, so that bodies carry no context argument.
"""

import asyncio
import contextlib
import functools
import inspect
import random as _random
import typing
import uuid as _uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Generic, ParamSpec, TypeVar, overload

from pydantic import TypeAdapter

from journal.engine.codec import adapter, arguments_hash, convert, encode, value_hash
from journal.engine.errors import (
    CodecError,
    OutsideRun,
    SettleFailed,
    StepFailed,
    Unencodable,
    UnlabelledBranch,
    WaitExpired,
)
from journal.engine.history import Outcome
from journal.engine.identity import RunInfo, Scope, StepFrame, Tracked, here, scope_of
from journal.engine.ports import Entry, Kind
from journal.engine.replay import Op
from journal.engine.run import Run
from journal.engine.steps import Effect, StepSpec, begin_step, left_while_begun
from journal.engine.timers import Timer, due_wall
from journal.engine.waits import Wait

__all__ = (
    "Branch",
    "Checkpoint",
    "Settled",
    "Workflow",
    "checkpoint",
    "current_run",
    "emit",
    "emit_entry",
    "idempotency_key",
    "now",
    "random",
    "services",
    "settle",
    "sleep",
    "timeout",
    "uuid",
    "wait_first",
    "wait_for",
    "workflow",
)

EMITTED_MAX = 1000  # rows of one step; more belong in a batch of their own
LABEL_CHARS_MAX = 64  # a label is part of every key under it
_NAMESPACE = _uuid.UUID("6f0f4f0c-52f5-5d0e-9d5c-6d1f3c3f6a10")  # of ids made by bodies; any fixed value would do
_NO_DEFAULT: Any = object()

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
D = TypeVar("D")
AnyTask = "Branch[Any] | asyncio.Task[Any]"


class Branch(Generic[R]):
    """A step under way beside others.  Await it, or hand it to `settle`, `wait_first`, or `.task` to asyncio."""

    def __init__(self, task: "asyncio.Task[R]", path: str) -> None:
        self.task = task
        self.path = path  # of its scope, the front of its step key
        task.add_done_callback(_retrieve)

    @property
    def label(self) -> str:
        """Its name within its parent."""
        return self.path.rpartition("/")[2]

    def __await__(self) -> Generator[Any, Any, R]:
        return self.task.__await__()

    def done(self) -> bool:
        """True once it has a value or an error."""
        return self.task.done()

    def cancel(self) -> bool:
        """Cancel it; a step that is cancelled records nothing, except AT_MOST_ONCE, which becomes in doubt."""
        return self.task.cancel()


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


class Checkpoint(Generic[P, R]):
    """A step: call and await it in a body, or `.submit()` it as a branch."""

    def __init__(self, fn: Callable[P, Coroutine[Any, Any, R]], spec: StepSpec) -> None:
        if "return" not in fn.__annotations__:
            raise TypeError(f"step {spec.name}: annotate what it returns; stored values are read back as that type")
        functools.update_wrapper(self, fn)
        self.body = fn  # the bare function, for tests
        self.spec = spec
        self.signature = inspect.signature(fn)

    @functools.cached_property
    def shape(self) -> TypeAdapter[R]:
        """What reads a stored value back."""
        return adapter(typing.get_type_hints(self.body, include_extras=True)["return"])

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """The step as a coroutine; it runs in the task that called it, or as the whole of a new task."""
        own: list[object] = []
        coro = self._run(here(), own, args, kwargs)
        own.append(coro)
        return coro

    def submit(self, *args: Any, label: str | None = None, **kwargs: Any) -> Branch[R]:
        """Start the step as a branch of its own, named `label` or `t<n>`."""
        scope = scope_of(f"{self.spec.name}.submit")
        if label is not None:
            _check_label(label)
        child = scope.child(label)
        coro = Tracked(self._run(child, [], args, kwargs), child)
        return Branch(asyncio.get_running_loop().create_task(coro), child.path)

    async def _run(self, called: object, own: list[object], args: Any, kwargs: Any) -> R:
        name = self.spec.name
        scope = scope_of(f"step {name!r}")
        if called is not scope and not (own and scope.coro is own[0]):
            own.clear()
            raise UnlabelledBranch(
                f"step {name!r} was called in {_place(called)} and is awaited in {_place(scope)}: call it in the task "
                "that awaits it, or start it as a branch with .submit() or asyncio.create_task"
            )
        own.clear()  # it held this very coroutine
        run = _run_of(scope)
        try:
            arg_hash = arguments_hash(self.signature, args, kwargs)
        except Unencodable as err:
            raise Unencodable(f"an argument of step {name!r}: {err}") from err
        body = functools.partial(self.body, *args, **kwargs)
        outcome = await run.perform(
            scope,
            name,
            arg_hash,
            functools.partial(begin_step, run, self.spec, self.shape, body),
            on_abandon=functools.partial(left_while_begun, run),
        )
        return self._value(run, outcome)

    def _value(self, run: Run, outcome: Outcome) -> R:
        if outcome.kind is Kind.STEP_FAILED:
            error = outcome.plain["error"]
            raise StepFailed(self.spec.name, error["type"], error["message"], exhausted=outcome.plain["exhausted"])
        try:
            return typing.cast("R", convert(outcome.plain["value"], self.shape))
        except CodecError as err:
            run.mismatch(f"the recorded value of step {self.spec.name!r} does not fit its return type: {err}")
            raise asyncio.CancelledError from err


def checkpoint(
    *, effect: Effect = Effect.PURE, retries: int = 0, timeout_s: float | None = None, name: str | None = None
) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Checkpoint[P, R]]:
    """Make an async function a step: its outcome is kept, and a finished one is never run again.

    A failing body is tried `retries` times more with growing pauses that survive a restart; `timeout_s` bounds each
    attempt.  What a step raises reaches the body as StepFailed; a run that it ends is paused if there were retries.
    """

    def decorate(fn: Callable[P, Coroutine[Any, Any, R]]) -> Checkpoint[P, R]:
        spec = StepSpec(name=name or fn.__name__, effect=effect, retries=retries, timeout_s=timeout_s)
        return Checkpoint(fn, spec)

    return decorate


class Workflow(Generic[P, R]):
    """A durable function: started by `Engine.start`, resumed by `Engine.resume`."""

    def __init__(self, name: str, version: int, fn: Callable[P, Coroutine[Any, Any, R]]) -> None:
        self.name = name
        self.version = version
        self.body = fn
        self.signature = inspect.signature(fn)
        if any(p.kind is inspect.Parameter.KEYWORD_ONLY for p in self.signature.parameters.values()):
            raise TypeError(f"workflow {name}: arguments are positional; {self.signature} has keyword-only ones")

    @functools.cached_property
    def result(self) -> TypeAdapter[R]:
        """What reads the stored result back."""
        return adapter(self._hints.get("return", Any))

    def read_arguments(self, plain: Sequence[object]) -> list[Any]:
        """Stored arguments as the annotated types.  Raises Undecodable where they do not fit."""
        parameters = list(self.signature.parameters.values())
        last = parameters[-1] if parameters else None
        read = []
        for index, value in enumerate(plain):
            parameter = parameters[index] if index < len(parameters) else last
            assert parameter is not None
            read.append(convert(value, adapter(self._hints.get(parameter.name, Any))))
        return read

    @functools.cached_property
    def _hints(self) -> dict[str, Any]:
        return typing.get_type_hints(self.body, include_extras=True)


def workflow(name: str, *, version: int = 1) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Workflow[P, R]]:
    """Make an async function a workflow.  Its body does nothing but steps, the engine's waits, and plain logic."""
    return lambda fn: Workflow(name, version, fn)


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


async def wait_first(branches: Sequence[Branch[R] | asyncio.Task[R]]) -> Branch[R] | asyncio.Task[R]:
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
    name: str, model: type[T], *, timeout: timedelta | None = None, question: str = ""
) -> T: ...  # pragma: no cover
@overload
async def wait_for(
    name: str, model: type[T], *, timeout: timedelta | None = None, default: D, question: str = ""
) -> T | D: ...  # pragma: no cover
async def wait_for(
    name: str,
    model: Any,
    *,
    timeout: timedelta | None = None,
    default: Any = _NO_DEFAULT,
    question: str = "",
) -> Any:
    """Wait, for days if need be, until `Engine.answer` gives a `model`; the first answer wins, early ones are kept.

    At the deadline: `default` if there is one, else WaitExpired.
    """
    scope = scope_of(f"wait_for({name!r})")
    _check_label(name)
    run = _run_of(scope)
    defaulted = default is not _NO_DEFAULT
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
    run = _run_of(scope)
    seconds = duration.total_seconds()
    timer = _DurableTimer(run, seconds)
    await run.perform(scope, "sleep", value_hash(["sleep", seconds]), timer.begin, on_abandon=timer.leave)


@contextlib.asynccontextmanager
async def timeout(duration: timedelta) -> AsyncIterator[None]:
    """Cancel the block at a durable deadline and raise TimeoutError after it."""
    scope = scope_of("timeout")
    run = _run_of(scope)
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
    return _run_of(scope_of("now")).gate.now


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
        raise ValueError(f"kind {entry.kind!r} is the engine's own")
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
        self._timer: Timer | None = None

    def begin(self, op: Op) -> None:
        """Set it, live; one that the journal holds goes on."""
        run, remaining_s = self._run, self._remaining_s
        known = run.history.timers.get(op.key)
        wall = None if known is None else known["due_wall"]
        self._timer = run.core.timers.after(
            remaining_s, lambda: self._commit(op, Kind.STEP_DONE, {"value": None}), wall=wall
        )
        if known is None:
            plain = {"remaining_s": remaining_s, "due_wall": due_wall(run.core.clock, remaining_s)}
            self._commit(op, Kind.TIMER_SET, plain)

    def leave(self, _: Op) -> None:
        """The body no longer waits."""
        if self._timer is not None:
            self._timer.cancel()

    def _commit(self, op: Op, kind: Kind, plain: dict[str, Any]) -> None:
        run = self._run
        entry = run.entry(kind, plain, key=op.key, name=op.name, arg_hash=op.arg_hash)
        work: Coroutine[Any, Any, None] = run.append([entry]) if kind is Kind.TIMER_SET else run.commit(op, [entry])
        run.spawn(work, None, f"{run.info.run_id}/{op.key}.{kind}")


async def _journal_settling(
    scope: Scope, name: str, paths: list[str], settled: Sequence[Settled[Any]], winner: str | None
) -> None:
    run = _run_of(scope)
    rows = [
        {"label": one.label, "ok": one.ok, "error": None if one.error is None else type(one.error).__name__}
        for one in settled
    ]
    plain = {"branches": rows, "winner": winner}

    def begin(op: Op) -> None:
        entry = run.entry(Kind.SETTLE_DONE, plain, key=op.key, name=op.name, arg_hash=op.arg_hash)
        run.spawn(run.commit(op, [entry]), None, f"{run.info.run_id}/{op.key}")

    outcome = await run.perform(scope, name, value_hash([name, paths]), begin)
    recorded = {"branches": outcome.plain["branches"], "winner": outcome.plain["winner"]}
    if recorded != plain:
        run.mismatch(f"{name} was recorded as {recorded}; the branches now give {plain}")
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


def _retrieve(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled():
        task.exception()  # a branch that nobody awaits is no programming error


def _run_of(scope: Scope) -> Run:
    run = scope.host.owner
    assert isinstance(run, Run)
    return run


def _frame(what: str) -> StepFrame:
    frame = here()
    if not isinstance(frame, StepFrame):
        raise OutsideRun(f"{what} works inside a step only")
    return frame


def _seed(name: str) -> str:
    scope = scope_of(name)
    return f"{scope.host.info.run_id}/{scope.next_key(name)}"


def _place(scope: object) -> str:
    return f"branch {scope.path!r}" if isinstance(scope, Scope) and scope.path else "the body's own task"


def _check_label(label: str) -> None:
    if not 0 < len(label) <= LABEL_CHARS_MAX or set(label) & set("/#~"):
        raise ValueError(f"label {label!r}: 1 to {LABEL_CHARS_MAX} characters without '/', '#', '~'")
    if label[0] == "t" and label[1:].isdecimal():
        raise ValueError(f"label {label!r}: t<n> names unlabelled branches")
