"""One run in memory: its body's task, its gate, its open waits, and how it ends.

Made by `Engine` from the run's rows, at start and at boot by the same road.  Everything it appends goes through
`commit` (an outcome that the body will see) or `append` (what it will not see).  An error of the store stops the run
in memory and leaves it open in the journal: the next `resume` goes on from what was kept.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from journal.engine.codec import decode, encode
from journal.engine.errors import (
    CodecError,
    EngineClosed,
    EngineError,
    InDoubt,
    Nondeterministic,
    RunCancelled,
    RunFailed,
    RunPaused,
    RunQuarantined,
    SettleFailed,
    StepFailed,
    WouldRepeat,
)
from journal.engine.history import CANCEL_KEY, History, Outcome
from journal.engine.identity import Scope, StepFrame, spawn
from journal.engine.ports import Clock, Entry, Kind, StepObserver, Store
from journal.engine.replay import Gate, Op
from journal.engine.timers import Timer, Timers
from journal.engine.waits import Waits

__all__ = ("Core", "Ending", "Parked", "Run")

STOP_S_MAX = 5.0  # a body or step that has not left after cancellation is named in the log and left behind
DEATHS_MAX = 3  # one may be the power, two bad luck
_ADVICE = (
    "Bring back the code that made the record, or give the changed workflow a new name so that only new runs use it; "
    "a body must take time, chance and waiting from the engine alone"
)

_OVER = (Kind.RUN_DONE, Kind.RUN_FAILED, Kind.RUN_CANCELLED)

_log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class Core:
    """What all runs of one engine share."""

    store: Store
    clock: Clock
    timers: Timers
    services: object
    observer: StepObserver
    not_started: tuple[type[BaseException], ...]
    cleanup_s: float  # what a cancelled run has to clean up
    park_above_s: float  # a run that waits for longer leaves memory
    ended: Callable[["Run"], None]
    deaths_since: Callable[[int], int] = lambda _: 0  # process deaths behind a row, within this boot
    children: object = None  # `children.Children`, once there is one


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run stops."""

    kind: Kind | None  # None: the run stays open in the journal
    plain: dict[str, Any] = field(default_factory=dict)
    error: BaseException | None = None  # for whoever waits for the result


class Parked(EngineError):
    """The run has left memory and goes on by itself; nobody outside the engine sees this."""


class Run:
    """See the module."""

    def __init__(
        self,
        core: Core,
        history: History,
        program: Callable[[], Coroutine[Any, Any, Any]],
        deadlines: dict[str, Timer] | None = None,
    ) -> None:
        self.core = core
        self.history = history
        self._cancelled = Op(CANCEL_KEY, "cancel", "", lambda _: None, self._tell_body)
        self.gate = Gate(
            self,
            history,
            cancel=self._cancelled,
            mismatch=self._report_mismatch,
            repeats=self._report_repeat,
            quiet=self._park,
            suspect=self._quarantine,
        )
        self.over = False  # its end is durable
        self._cancelling: dict[str, Any] | None = None  # who and why, once the body was told
        self._cleanup: Timer | None = None
        self._repeats: list[str] = []
        self._patches: dict[str, bool] = {}
        self.pins = 0  # who is about to hand it something: it stays in memory
        self.parked: dict[str, Timer] | None = None  # its deadlines, once it leaves memory to wait
        self._deadlines = deadlines or {}
        self.info = self.gate.info
        self.waits = Waits(self)
        self.ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._program = program
        self._main: asyncio.Task[Any] | None = None
        self._background: set[asyncio.Task[Any]] = set()
        self._ending: Ending | None = None
        self._doubt: InDoubt | None = None
        self._closer: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Run the body: through what is recorded, then live."""
        self._main = spawn(self._program(), Scope(self.gate, ""), self.info.run_id)
        self._main.add_done_callback(self._body_ended)
        self.gate.poke()

    async def perform(
        self, scope: Scope, name: str, arg_hash: str, begin: Callable[[Op], None], **more: Any
    ) -> Outcome:
        """Ask for one operation in the body's place and wait for its outcome."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        op = Op(scope.next_key(name), name, arg_hash, begin, future.set_result, **more)
        self.gate.ask(op)
        try:
            return await future
        finally:
            if future.cancelled() or not future.done():
                self.gate.abandon(op)

    def entry(self, kind: Kind, plain: dict[str, Any], *, key: str, name: str, arg_hash: str = "") -> Entry:
        """One row of this run, stamped with the wall time.  Raises CodecError."""
        payload = encode(plain | {"at": self.core.clock.now()})
        return Entry(kind=kind, run_id=self.info.run_id, key=key, name=name, arg_hash=arg_hash, payload=payload)

    async def append(self, entries: Sequence[Entry]) -> None:
        """Commit rows that the body does not see."""
        await self.core.store.append(entries)

    async def commit(
        self,
        op: Op,
        entries: Sequence[Entry],
        *,
        outcome: Outcome | None = None,
        on_durable: Callable[[str, str], None] | None = None,
    ) -> None:
        """Commit the outcome of `op` (by default the first row's), then release it in its turn."""
        ticket = self.gate.ticket(op)
        await self.core.store.append(entries)
        if on_durable is not None:
            on_durable(self.info.run_id, op.key)
        self.gate.ready(ticket, outcome or Outcome(Kind(entries[0].kind), decode(entries[0].payload)))

    def deadline(self, key: str, plan: Mapping[str, Any], callback: Callable[[], None]) -> Timer:
        """A timer of an operation; one that stood while the run was parked goes on."""
        stood = self._deadlines.pop(key, None)
        if stood is not None:
            return self.core.timers.again(stood, callback)
        return self.core.timers.restore(plan, callback)

    def spawn(
        self, coro: Coroutine[Any, Any, T], place: StepFrame | None, name: str, *, guard: bool = True
    ) -> "asyncio.Task[T]":
        """A task of the engine for this run; with `guard` its error (the store's, or a bug) stops the run."""
        task = spawn(coro, place, name)
        self._background.add(task)
        task.add_done_callback(self._guarded_ended if guard else self._unguarded_ended)
        return task

    async def doubt(self, op: Op, error: dict[str, str]) -> None:
        """Record that nobody knows whether the step had its effect, and hold the run."""
        told = _data(error["type"], f"step {op.key}: {error['message']}")
        entry = self.entry(Kind.STEP_IN_DOUBT, {"error": told}, key=op.key, name=op.name, arg_hash=op.arg_hash)
        await self.append([entry])
        self._doubt = InDoubt(self.info.run_id, told["type"], told["message"])
        self._stop(Ending(None, error=self._doubt))

    async def cancel(self, by: str, reason: str) -> bool:
        """Tell the body, durably and in its place among the outcomes; False where it was told or has ended."""
        if self._ending is not None or self._cancelling is not None or self._cancelled.resting:
            return False
        self._cancelled.resting = True
        plain = {"by": by, "reason": reason}
        await self.commit(
            self._cancelled, [self.entry(Kind.RUN_CANCELLING, plain, key=self.info.key, name=self.info.workflow)]
        )
        return True

    def mismatch(self, message: str) -> None:
        """The code asks for something else than was recorded: hold the run."""
        self._report_mismatch(message)

    def close(self) -> "asyncio.Task[None] | None":
        """Stop in memory, stay open in the journal; returns what to wait for."""
        self._stop(Ending(None, error=EngineClosed(f"run {self.info.run_id} is open; the engine was closed")))
        if self._ending is not None and self._ending.kind is None:
            for task in self._background:
                task.cancel()
        return self._closer

    def _tell_body(self, outcome: Outcome) -> None:
        assert self._main is not None
        self._cancelling = outcome.plain
        self._main.cancel()
        self._cleanup = self.core.timers.after(
            self.core.cleanup_s,
            lambda: self._stop(self._was_cancelled(f"clean-up did not end within {self.core.cleanup_s:g} s")),
        )

    def _was_cancelled(self, trouble: str = "") -> Ending:
        assert self._cancelling is not None
        by, reason = self._cancelling["by"], self._cancelling["reason"]
        message = "; ".join(part for part in (f"by {by or 'nobody named'}", reason, trouble) if part)
        error = RunCancelled(self.info.run_id, "Cancelled", message)
        return Ending(Kind.RUN_CANCELLED, {"error": _data("Cancelled", message)}, error)

    def _quarantine(self, keys: list[str]) -> bool:
        """The run is about to begin again what was in flight when it was last seen: not after so many deaths."""
        deaths = self.core.deaths_since(self.history.last_seq)
        if deaths < DEATHS_MAX:
            return False
        message = (
            f"the process died {deaths} times within one boot while {', '.join(keys)} ran: find out why, then retry"
        )
        _log.error("run %s is quarantined: %s", self.info.run_id, message)
        error = RunQuarantined(self.info.run_id, "Quarantined", message)
        self._stop(Ending(Kind.RUN_QUARANTINED, {"error": _data("Quarantined", message)}, error))
        return True

    def _report_repeat(self, key: str) -> None:
        """A revised run asks for an AT_MOST_ONCE step with other arguments: hold it, with the list of these."""
        if not self._repeats:
            asyncio.get_running_loop().call_soon(self._hold_repeats)
        self._repeats.append(key)

    def _hold_repeats(self) -> None:
        message = str(WouldRepeat(tuple(self._repeats)))
        error = RunPaused(self.info.run_id, "WouldRepeat", message)
        self._stop(Ending(Kind.RUN_PAUSED, {"error": _data("WouldRepeat", message)}, error))

    def _report_mismatch(self, message: str) -> None:
        text = f"{self.info.workflow}: {message}. {_ADVICE}"
        _log.error("run %s is nondeterministic: %s", self.info.run_id, text)
        error = Nondeterministic(self.info.run_id, "Nondeterministic", text)
        self._stop(Ending(Kind.RUN_NONDETERMINISTIC, {"error": _data("Nondeterministic", text)}, error))

    @property
    def leaving(self) -> bool:
        """True once it stops, for whatever reason."""
        return self._ending is not None

    @property
    def leaves_for_now(self) -> bool:
        """True where it stops, but is not over."""
        return self._ending is not None and self._ending.kind not in _OVER

    def patched(self, change: str) -> bool:
        """Whether this run goes by the changed code; see `api.patched`."""
        known = self._patches.get(change)
        if known is None:
            recorded = change in self.history.patches
            known = self._patches[change] = recorded or self.gate.at_end()
            if known and not recorded and not self.gate.dry:
                row = self.entry(Kind.CODE_PATCHED, {"change": change}, key=f"~patch/{change}", name="patched")
                self.spawn(self.append([row]), None, f"{self.info.run_id}.patched")
        return known

    def unpin(self) -> None:
        """It may leave memory again."""
        self.pins -= 1
        self.gate.poke()

    async def gone(self) -> None:
        """Wait until it has left memory, once it is leaving."""
        if self._closer is not None:
            await asyncio.wait({self._closer})
            await asyncio.sleep(0)  # its callbacks

    def _park(self) -> None:
        deadlines = self.gate.deadlines()
        near = any(self.core.timers.remaining_s(timer) < self.core.park_above_s for timer in deadlines.values())
        if not (self.pins or self._background or self._ending or self._cancelling or near):
            self.parked = deadlines
            self._stop(Ending(None, error=Parked(self.info.run_id)))

    def _unguarded_ended(self, task: "asyncio.Task[Any]") -> None:
        self._background.discard(task)
        self.gate.poke()

    def _guarded_ended(self, task: "asyncio.Task[Any]") -> None:
        self._unguarded_ended(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("run %s stops until the next resume", self.info.run_id, exc_info=error)
            self._stop(Ending(None, error=error))

    def _body_ended(self, main: "asyncio.Task[Any]") -> None:
        cancelled = main.cancelled()
        error = None if cancelled else main.exception()
        if self._ending is not None:
            return
        unasked = self.gate.left_over()
        if unasked:
            self._report_mismatch(unasked)
        elif self._cancelling is not None:
            self._stop(self._was_cancelled("" if error is None else f"clean-up failed: {error!r}"))
        elif cancelled:
            # By whoever takes the loop down without close(): no end of the run, it goes on at the next resume.
            self._stop(Ending(None, error=EngineClosed(f"run {self.info.run_id} is open; its task was cancelled")))
        elif error is not None:
            self._stop(self._failed(error))
        else:
            self._stop(self._done(main.result()))

    def _done(self, value: object) -> Ending:
        try:
            encode({"value": value})
        except CodecError as err:
            return self._failed(err)
        return Ending(Kind.RUN_DONE, {"value": value})

    def _failed(self, error: BaseException) -> Ending:
        paused = any(isinstance(leaf, StepFailed) and leaf.exhausted for leaf in _leaves(error))
        kind, stopped = (Kind.RUN_PAUSED, RunPaused) if paused else (Kind.RUN_FAILED, RunFailed)
        name, message = type(error).__name__, str(error)
        _log.warning("run %s of %s: %s", self.info.run_id, self.info.workflow, kind, exc_info=error)
        return Ending(kind, {"error": _data(name, message)}, stopped(self.info.run_id, name, message))

    def _stop(self, ending: Ending) -> None:
        if self._ending is None:
            self._ending = ending
            self.gate.stop()
            self._closer = spawn(self._end(ending), None, f"{self.info.run_id}.end")
            self._closer.add_done_callback(self._resolve)

    async def _end(self, ending: Ending) -> None:
        self.waits.close()
        if self._cleanup is not None:
            self._cleanup.cancel()
        await asyncio.sleep(0)  # a task that was just made starts, so that its cancellation reaches its body
        await _cancel([scope.task for scope in self.gate.scopes if scope.task is not None])
        if ending.kind is None:
            await _cancel(list(self._background))
        else:
            await _leave(list(self._background))  # interrupted steps record what they must
        if ending.kind is None or (self._doubt is not None and ending.kind is not Kind.RUN_NONDETERMINISTIC):
            return
        entry = self.entry(ending.kind, ending.plain, key=self.info.key, name=self.info.workflow)
        await self.append([entry])
        self.over = ending.kind in _OVER
        if ending.kind is Kind.RUN_DONE and not self.ended.done():
            self.ended.set_result(decode(entry.payload)["value"])

    def _resolve(self, closer: "asyncio.Task[None]") -> None:
        assert self._ending is not None
        self.core.ended(self)
        failed = None if closer.cancelled() else closer.exception()
        if not self.ended.done():
            self.ended.set_exception(
                failed or self._doubt or self._ending.error or EngineClosed(f"run {self.info.run_id} was cut off")
            )
            self.ended.exception()  # nobody has to ask for it


def _data(name: str, message: str) -> dict[str, str]:
    return {"type": name, "message": message}


def _leaves(error: BaseException) -> list[BaseException]:
    inner: Sequence[BaseException] = ()
    if isinstance(error, BaseExceptionGroup):
        inner = error.exceptions
    elif isinstance(error, SettleFailed):
        inner = error.errors
    return [leaf for one in inner for leaf in _leaves(one)] if inner else [error]


async def _cancel(tasks: Sequence["asyncio.Task[Any]"]) -> None:
    for task in tasks:
        task.cancel()
    await _leave(tasks)


async def _leave(tasks: Sequence["asyncio.Task[Any]"]) -> None:
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=STOP_S_MAX)
        for task in late:
            _log.error("task %s did not leave within %s s", task.get_name(), STOP_S_MAX)
