"""What the engine needs from outside: a store that keeps entries and a clock.  Both can be simulated.

An entry is one immutable row.  The engine writes the kinds in `Kind`; steps may add entries of other kinds
with `emit`, and those commit together with the step's outcome.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol, runtime_checkable

__all__ = ("Clock", "ClockSources", "Entry", "Kind", "OpenRun", "Record", "StepObserver", "Store")


class Kind(StrEnum):
    """What the engine writes.  `payload` is `codec.encode` of a dict, `at` = aware UTC.

    `run_id` is set in every row but `engine.life`.  `error` is always `{type, message}`.  A run is open until
    `run.done`, `run.failed` or `run.cancelled`, and again from `run.retried` or `run.rewound` on; an open run whose
    last state row is `run.paused`, `run.quarantined`, `run.nondeterministic` or `step.in_doubt` is held for a person.
    `key` is the step key except where said otherwise; `name` is the last part of that key without its number.
    """

    RUN_STARTED = "run.started"  # key = idempotency key, name = workflow, {args: [...], version, code, queue, at}
    RUN_QUEUED = "run.queued"  # as above, {at}: in the same commit as a start that names a queue
    RUN_DEQUEUED = "run.dequeued"  # key = idempotency key, name = workflow, {at}: its queue has let it go on
    RUN_DONE = "run.done"  # key = idempotency key, name = workflow, {value, at}
    RUN_FAILED = "run.failed"  # key = idempotency key, name = workflow, {error, at}
    RUN_PAUSED = "run.paused"  # key = idempotency key, name = workflow, {error, at}: a step ran out of retries
    RUN_QUARANTINED = "run.quarantined"  # as above: its step was in flight at each of three process deaths
    RUN_NONDETERMINISTIC = "run.nondeterministic"  # as above: the code no longer asks what was recorded
    RUN_CANCELLING = "run.cancelling"  # as above, {by, reason, at}: the body is told at this place in the order
    RUN_CANCELLED = "run.cancelled"  # as above, {error, at}
    RUN_RETRIED = "run.retried"  # as above, {voided: [step keys], by, at}: their outcomes no longer count
    RUN_REWOUND = "run.rewound"  # as above, {voided, to, by, at}
    RUN_FORKED = "run.forked"  # as above, {of, step, overrides: [step keys], by, at}; behind the rows it took over
    STEP_STARTED = "step.started"  # AT_MOST_ONCE only, durable before the body: arg_hash, {at}
    STEP_DONE = "step.done"  # arg_hash, {value, took_s, at}; also the end of `sleep` and of an expired `timeout`
    STEP_FAILED = "step.failed"  # arg_hash, {error, attempt, final, exhausted, at}; not final: {remaining_s, due_*}
    STEP_IN_DOUBT = "step.in_doubt"  # arg_hash, {error, at}: an AT_MOST_ONCE body may or may not have had its effect
    WAIT_OPENED = "wait.opened"  # arg_hash, {question, type, schema, remaining_s|None, due_*, early, at}
    WAIT_ANSWERED = "wait.answered"  # {value, by, at}; one that came early: key = bare name, repeated at wait.opened
    WAIT_EXPIRED = "wait.expired"  # {value, defaulted, at}
    TIMER_SET = "timer.set"  # sleep, timeout: arg_hash, {remaining_s, due_*, at}; over at the key's step.done
    CHILD_STARTED = "child.started"  # name = workflow: arg_hash, {child: its run id, at}; over at the key's step.done
    # name settle or wait_first: arg_hash, {branches: [{label, ok, error}], paths of all, winner, at}
    SETTLE_DONE = "settle.done"
    CODE_PATCHED = "code.patched"  # {change, at}: the run has gone by the changed code
    SCHEDULE_FIRED = "schedule.fired"  # of no run: key = schedule, {due, run: its id, skipped, at}
    # Of no run: {state, boot, died, first_seq, awake_s, monotonic_ns, wall|None, distrusted, at}; key = one life
    ENGINE_LIFE = "engine.life"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row to append.  `payload` is already encoded by `codec`; `name` and `key` are plain text."""

    kind: str  # for example run.started, step.done, wait.answered, alarm, outbox.queued
    run_id: str = ""  # empty outside a run
    key: str = ""  # step key within the run, alarm id, message id …
    name: str = ""  # step or workflow name, topic …
    arg_hash: str = ""
    payload: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(Entry):
    """An entry that the store has accepted."""

    seq: int
    epoch: int
    wall: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRun:
    """What memory holds for a run that has not ended."""

    run_id: str
    workflow: str
    first_seq: int
    last_seq: int
    key: str = ""  # its idempotency key


class Store(Protocol):
    """An append-only log.  All methods may be called from one event loop."""

    @property
    def epoch(self) -> int:
        """Raised by one at each rescue; part of every id."""
        ...

    async def append(self, entries: Sequence[Entry]) -> list[int]:
        """Commit the entries as one unit and return their sequence numbers once they are durable.

        Numbers follow the order of the calls: the place is taken before the first suspension.

        Raises drivers-independent OSError or a store error of its own when the commit failed; then none is kept.
        """
        ...

    async def history(self, run_id: str) -> list[Record]:
        """Every entry of one run, in sequence order."""
        ...

    async def histories(self, run_ids: Sequence[str]) -> dict[str, list[Record]]:
        """Every entry of each of these runs, in sequence order, in one read; unknown runs are left out."""
        ...

    async def latest(self, kind: str, *, limit: int) -> list[Record]:
        """The newest entry of each key of one kind, in sequence order; of more than `limit` keys the newest."""
        ...

    async def open_runs(self) -> list[OpenRun]:
        """Runs that were started and have not ended, in the order of their start."""
        ...

    async def find_run(self, key: str) -> str | None:
        """The run that was started with this idempotency key, if any."""
        ...


class Clock(Protocol):
    """The engine's only source of time."""

    def now(self) -> datetime:
        """Wall time, aware, UTC."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds that never go back within one boot."""
        ...

    def trusted(self) -> bool:
        """True when wall time is synchronised."""
        ...


@runtime_checkable
class ClockSources(Protocol):
    """What a clock may also tell; where it does, two agreeing sources make a stepped clock trusted again."""

    def agreeing(self) -> int:
        """How many independent sources of time agree with wall time."""
        ...


class StepObserver(Protocol):
    """Looks on as steps run; for an execution ledger outside the journal, metrics and the demo."""

    def step_started(self, run_id: str, step_key: str) -> None:
        """Called right before a body runs, at each attempt."""
        ...

    def step_committed(self, run_id: str, step_key: str) -> None:
        """Called once the outcome is durable, before the workflow sees it."""
        ...
