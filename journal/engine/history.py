"""The rows of one run -> what its replay needs: outcomes in recorded order, and what was asked under each key.

Also the two views of a run that people see.  Rows of kinds that the engine does not know are steps' own, skipped.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from journal.engine.codec import decode
from journal.engine.ports import Kind, Record

__all__ = (
    "CANCEL_KEY",
    "REVISIONS",
    "Asked",
    "History",
    "Outcome",
    "RunState",
    "RunView",
    "StepState",
    "StepView",
)


class RunState(StrEnum):
    """Where a run stands."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    WAITING = "WAITING"  # in views alone: runs, and its newest row asked for an answer or started a child
    SLEEPING = "SLEEPING"  # in views alone: runs, and its newest row began a sleep
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    PAUSED = "PAUSED"  # held: a step ran out of retries
    IN_DOUBT = "IN_DOUBT"  # held: an effect may or may not have happened
    QUARANTINED = "QUARANTINED"  # held: the process died three times while its step was in flight
    NONDETERMINISTIC = "NONDETERMINISTIC"  # held: the code changed under it

    @property
    def goes_on(self) -> bool:
        """True where the run is neither over nor held."""
        return self in (RunState.QUEUED, RunState.RUNNING, RunState.WAITING, RunState.SLEEPING)

    @property
    def held(self) -> bool:
        """True where the run waits for a person and does not go on by itself."""
        return self in (RunState.PAUSED, RunState.IN_DOUBT, RunState.QUARANTINED, RunState.NONDETERMINISTIC)


class StepState(StrEnum):
    """Where a step, wait or timer stands, as far as the journal knows."""

    STARTED = "STARTED"  # AT_MOST_ONCE, outcome not yet known
    RETRYING = "RETRYING"
    WAITING = "WAITING"
    SLEEPING = "SLEEPING"
    DONE = "DONE"
    EXPIRED = "EXPIRED"
    FAILED = "FAILED"
    IN_DOUBT = "IN_DOUBT"
    VOIDED = "VOIDED"  # a retry or rewind has taken its outcome back, and it was not reached again


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """One run, for people."""

    run_id: str
    workflow: str
    key: str
    state: RunState
    error: str
    first_seq: int
    last_seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepView:
    """One step, wait or timer of a run, for people."""

    key: str
    name: str
    state: StepState
    attempts: int
    error: str
    seq: int
    voided: int = 0  # how often its outcome was taken back
    first_wall: datetime | None = None  # of its first row; a PURE step writes none before its outcome
    wall: datetime | None = None  # of its last row
    took_s: float | None = None  # its last attempt, or how long it waited; None while that is open


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one operation of a run came to: the row's kind and its decoded payload."""

    kind: Kind
    plain: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked under a key when it was recorded."""

    name: str
    arg_hash: str
    seq: int


_STATES = {
    Kind.RUN_DONE: RunState.DONE,
    Kind.RUN_FAILED: RunState.FAILED,
    Kind.RUN_CANCELLED: RunState.CANCELLED,
    Kind.RUN_PAUSED: RunState.PAUSED,
    Kind.RUN_QUARANTINED: RunState.QUARANTINED,
    Kind.RUN_NONDETERMINISTIC: RunState.NONDETERMINISTIC,
    Kind.STEP_IN_DOUBT: RunState.IN_DOUBT,
}
_STEP_STATES = {
    Kind.STEP_STARTED: StepState.STARTED,
    Kind.STEP_DONE: StepState.DONE,
    Kind.STEP_IN_DOUBT: StepState.IN_DOUBT,
    Kind.WAIT_OPENED: StepState.WAITING,
    Kind.WAIT_ANSWERED: StepState.DONE,
    Kind.WAIT_EXPIRED: StepState.EXPIRED,
    Kind.TIMER_SET: StepState.SLEEPING,
    Kind.CHILD_STARTED: StepState.WAITING,
    Kind.SETTLE_DONE: StepState.DONE,
}


REVISIONS = (Kind.RUN_RETRIED, Kind.RUN_REWOUND, Kind.RUN_FORKED)
CANCEL_KEY = "~cancel"  # the place of a cancellation among the outcomes; '~' is in no step key by itself


@dataclass(slots=True)
class History:
    """One run's rows, folded.  `events` are the outcomes that replay releases, in recorded order."""

    run_id: str
    workflow: str = ""
    key: str = ""
    first_seq: int = 0
    last_seq: int = 0
    state: RunState = RunState.RUNNING
    started: dict[str, Any] = field(default_factory=dict)
    ending: dict[str, Any] = field(default_factory=dict)
    events: dict[str, tuple[int, Outcome]] = field(default_factory=dict)
    asked: dict[str, Asked] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)  # AT_MOST_ONCE steps that have a start and no outcome
    attempts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # failed, and not the last
    opened: dict[str, dict[str, Any]] = field(default_factory=dict)
    timers: dict[str, dict[str, Any]] = field(default_factory=dict)
    children: dict[str, str] = field(default_factory=dict)  # by step key: run id
    early: dict[str, dict[str, Any]] = field(default_factory=dict)  # by wait name: answers that no wait has taken
    decided: set[str] = field(default_factory=set)  # wait keys
    once: set[str] = field(default_factory=set)  # AT_MOST_ONCE steps that have begun
    patches: set[str] = field(default_factory=set)  # changes of code that the run has gone by
    voided: set[str] = field(default_factory=set)  # taken back by a revision, and not done again
    newest: tuple[Kind, str] | None = None  # kind and name of the last row, but for answers that came early
    revised: bool = False  # outcomes count by key and arguments, no longer by their place
    steps: dict[str, StepView] = field(default_factory=dict)

    @classmethod
    def of(cls, run_id: str, records: Iterable[Record]) -> "History":
        """Fold the rows, which are in sequence order."""
        history = cls(run_id)
        for record in records:
            if record.kind in _KINDS:
                kind = Kind(record.kind)
                history._take(kind, record, decode(record.payload))
                if kind is not Kind.WAIT_ANSWERED or "#" in record.key:
                    history.newest = (kind, record.name)
                history.last_seq = record.seq
        return history

    def view(self) -> RunView:
        """The run, for people."""
        error = self.ending.get("error") or {}
        return RunView(
            run_id=self.run_id,
            workflow=self.workflow,
            key=self.key,
            state=self._shown(),
            error=_error_text(error),
            first_seq=self.first_seq,
            last_seq=self.last_seq,
        )

    def _shown(self) -> RunState:
        """As the SQL view `runs` has it: by the rows alone, and a step at work has none."""
        kind, name = self.newest or (Kind.RUN_STARTED, "")
        if self.state is not RunState.RUNNING:
            return self.state
        if kind in (Kind.WAIT_OPENED, Kind.CHILD_STARTED):
            return RunState.WAITING
        return RunState.SLEEPING if (kind, name) == (Kind.TIMER_SET, "sleep") else RunState.RUNNING

    def _take(self, kind: Kind, record: Record, plain: dict[str, Any]) -> None:
        if kind.startswith("run.") or kind is Kind.STEP_IN_DOUBT:
            self._take_state(kind, record, plain)
        if kind.startswith("run."):
            return
        if kind is Kind.CODE_PATCHED:
            self.patches.add(plain["change"])
            return
        known = self.asked.get(record.key)
        if self.revised and record.arg_hash and known is not None and known.arg_hash != record.arg_hash:
            self.forget(record.key)
        self.voided.discard(record.key)
        if kind is Kind.WAIT_ANSWERED and record.key not in self.opened:
            self.early[record.key] = plain
            return
        if kind not in (Kind.WAIT_ANSWERED, Kind.WAIT_EXPIRED):
            self.asked.setdefault(record.key, Asked(record.name, record.arg_hash, record.seq))
        self._take_operation(kind, record, plain)
        self._show(kind, record, plain)

    def _take_state(self, kind: Kind, record: Record, plain: dict[str, Any]) -> None:
        if kind is Kind.RUN_STARTED:
            self.workflow, self.key, self.first_seq, self.started = record.name, record.key, record.seq, plain
            self.state = RunState.QUEUED if plain.get("queue") else RunState.RUNNING
        elif kind in (Kind.RUN_QUEUED, Kind.RUN_DEQUEUED):
            self.state = RunState.QUEUED if kind is Kind.RUN_QUEUED else RunState.RUNNING
        elif kind is Kind.RUN_CANCELLING:
            self.events[CANCEL_KEY] = (record.seq, Outcome(kind, plain))
        elif kind in REVISIONS:
            self._revise(plain)
        elif self.state is not RunState.NONDETERMINISTIC or kind is Kind.RUN_CANCELLED:
            self.state, self.ending = _STATES[kind], plain

    def _take_operation(self, kind: Kind, record: Record, plain: dict[str, Any]) -> None:
        key = record.key
        outcome = Outcome(kind, plain)
        match kind:
            case Kind.STEP_STARTED:
                self.begun.add(key)
                self.once.add(key)
            case Kind.TIMER_SET:
                self.timers[key] = plain
            case Kind.CHILD_STARTED:
                self.children[key] = plain["child"]
            case Kind.WAIT_OPENED:
                self.opened[key] = plain
                self.early.pop(
                    record.name, None
                )  # taken, and then answered in the same commit; or refused for its form
            case Kind.STEP_FAILED if not plain["final"]:
                self.attempts.setdefault(key, []).append(plain)
            case Kind.STEP_DONE | Kind.STEP_FAILED | Kind.SETTLE_DONE:
                self.begun.discard(key)
                self._take_outcome(record, outcome)
            case Kind.WAIT_ANSWERED | Kind.WAIT_EXPIRED:
                self.decided.add(key)
                self._take_outcome(record, outcome)

    def _take_outcome(self, record: Record, outcome: Outcome) -> None:
        self.events.pop(record.key, None)  # what a revision has superseded; events stay in recorded order
        self.events[record.key] = (record.seq, outcome)

    def forget(self, key: str) -> None:
        """What was recorded under the key no longer counts."""
        self.events.pop(key, None)
        self.asked.pop(key, None)
        self.children.pop(key, None)
        for by_key in (self.attempts, self.opened, self.timers):
            by_key.pop(key, None)
        for keys in (self.begun, self.once, self.decided):
            keys.discard(key)

    def _revise(self, plain: dict[str, Any]) -> None:
        self.revised = True
        self.state, self.ending = RunState.RUNNING, {}
        for key in [*plain.get("voided", ()), CANCEL_KEY]:
            self.forget(key)
            self.voided.add(key)
            view = self.steps.get(key)
            if view is not None:
                self.steps[key] = replace(view, state=StepState.VOIDED, voided=view.voided + 1)

    def _show(self, kind: Kind, record: Record, plain: dict[str, Any]) -> None:
        failed = StepState.FAILED if plain.get("final") else StepState.RETRYING
        state = _STEP_STATES.get(kind, failed)
        before = self.steps.get(record.key)
        attempts = before.attempts if before is not None else 0
        self.steps[record.key] = StepView(
            key=record.key,
            name=record.name,
            state=state,
            attempts=plain.get("attempt", attempts + (kind is Kind.STEP_DONE)),
            error=_error_text(plain.get("error") or {}),
            seq=record.seq,
            voided=before.voided if before is not None else 0,
            first_wall=before.first_wall if before is not None else record.wall,
            wall=record.wall,
            took_s=_took_s(before, record, plain) if state in _SETTLED else None,
        )


_SETTLED = (StepState.DONE, StepState.FAILED, StepState.EXPIRED)


def _took_s(before: StepView | None, record: Record, plain: dict[str, Any]) -> float | None:
    if "took_s" in plain:
        return float(plain["took_s"])
    if before is None or before.first_wall is None:
        return None
    return (record.wall - before.first_wall).total_seconds()


def _error_text(error: dict[str, Any]) -> str:
    return f"{error['type']}: {error['message']}" if error else ""


_KINDS = frozenset(Kind)
