"""The gate between a run's outcomes and its body: one outcome at a time, in the order of the journal.

Live and in replay the same: the next outcome is released only when every task of the run waits in the engine or on
another task of the run, so that a body meets its outcomes in one order, which is the recorded one.  While recorded
outcomes are left, nothing new begins; what was asked and has no recorded outcome begins when they are used up.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from journal.engine.history import History, Outcome
from journal.engine.identity import RunInfo, Scope
from journal.engine.timers import Timer

__all__ = ("Gate", "Op", "Ticket")

# Passes of the loop without a move of any task of the run before it counts as settled.  A wake-up may travel through
# futures that are no task (gather, shield, wait_for, TaskGroup): each costs one pass, and bodies nest two or three.
SETTLE_PASSES = 8


@dataclass(slots=True, eq=False)
class Op:
    """One thing that a body asked for: a step, a wait, a timer, a settling of branches."""

    key: str
    name: str
    arg_hash: str
    begin: Callable[["Op"], None]  # starts it, live
    apply: Callable[[Outcome], None]  # hands the outcome to the body
    interrupt: Callable[[], object] | None = None  # stops what it is doing, live
    on_abandon: Callable[["Op"], None] | None = None
    accepts: Callable[[Outcome], bool] | None = None  # in a revised run: whether a recorded outcome still holds
    abandoned: bool = False  # the task that asked was cancelled, or left
    is_step: bool = False  # it runs code of the workflow's author
    resting: bool = False  # nothing of it is in memory but its place: an open wait, a set timer, a child
    timer: Timer | None = None  # its deadline, live


@dataclass(slots=True, eq=False)
class Ticket:
    """A place in the order of release, taken with the call of append."""

    op: Op
    outcome: Outcome | None = None


class Gate:
    """One run's gate; also what its scopes report their moves to (`identity.Host`)."""

    def __init__(
        self,
        owner: object,
        history: History,
        *,
        cancel: "Op",
        mismatch: Callable[[str], None],
        repeats: Callable[[str], None],
        quiet: Callable[[], None],
        suspect: Callable[[list[str]], bool],
    ) -> None:
        self.info = RunInfo(history.run_id, history.workflow, history.key)
        self.owner = owner
        self.activity = 0
        self.branched = False
        self.scopes: set[Scope] = set()
        self.now: datetime = history.started["at"]  # wall time of the last outcome that the body has seen
        self.live = False
        self.dry = False  # only to see whether the record fits: stop at its end
        self.caught_up = asyncio.Event()
        self._history = history
        self._cancel = cancel  # what a recorded cancellation is handed to; the body never asks for it
        self._mismatch = mismatch
        self._repeats = repeats  # a revised run would do an AT_MOST_ONCE step again
        self._suspect = suspect  # told of the steps that are to begin as replay ends; True where they must not
        self._on_quiet = quiet  # live, settled, and all that the body waits for rests
        self._loop = asyncio.get_running_loop()
        self._asked: dict[str, Op] = {}
        self._known: set[str] = {cancel.key}  # every key asked so far, until live
        self._events = deque((seq, key, outcome) for key, (seq, outcome) in history.events.items())
        # Of a revised run: what counts when its key is asked.
        self._kept: dict[str, tuple[int, Outcome]] = dict(history.events) if history.revised else {}
        self._tickets: deque[Ticket] = deque()
        self._ticking = False
        self._stopped = False
        self._seen = 0
        self._quiet = 0

    def ask(self, op: Op) -> None:
        """Take in what the body asks.  Reports a mismatch and raises CancelledError where the record differs."""
        if self._stopped:
            raise asyncio.CancelledError
        recorded = self._history.asked.get(op.key)
        if recorded is None or (recorded.name, recorded.arg_hash) == (op.name, op.arg_hash):
            pass
        elif self._history.revised and op.key not in self._history.once:
            self._supersede(op.key)
        elif self._history.revised:
            self._repeats(op.key)
            raise asyncio.CancelledError
        else:
            self._mismatch(
                f"at row {recorded.seq} {op.key!r} was recorded as {recorded.name!r} with arguments "
                f"{recorded.arg_hash or '-'}; the code now asks for {op.name!r} with arguments {op.arg_hash or '-'}"
            )
            raise asyncio.CancelledError
        self._asked[op.key] = op
        if not self.live:
            self._known.add(op.key)
        if self.live and op.key not in self._kept:
            op.begin(op)
        else:
            self.poke()

    def abandon(self, op: Op) -> None:
        """The body no longer waits for it."""
        if op.abandoned:
            return
        op.abandoned = True
        self._asked.pop(op.key, None)
        if op.interrupt is not None:
            op.interrupt()
        if op.on_abandon is not None:
            op.on_abandon(op)
        self.poke()

    def rest(self, op: Op) -> None:
        """Only the journal works on it from here on."""
        op.resting = True
        self.poke()

    def deadlines(self) -> dict[str, Timer]:
        """Of what the body waits for."""
        return {key: op.timer for key, op in self._asked.items() if op.timer is not None}

    def ticket(self, op: Op) -> Ticket:
        """Take the next place in the order; the caller appends at once, without a suspension in between."""
        ticket = Ticket(op)
        self._tickets.append(ticket)
        return ticket

    def ready(self, ticket: Ticket, outcome: Outcome) -> None:
        """The outcome is durable: release it when its turn has come."""
        ticket.outcome = outcome
        self.poke()

    def stop(self) -> None:
        """Release nothing more."""
        self._stopped = True
        self.caught_up.set()

    def left_over(self) -> str:
        """What was recorded and is not asked for, now that the body is at its end; empty if there is nothing."""
        for key, recorded in self._history.asked.items():
            if not self.live and key not in self._known and not self._history.revised:
                return f"row {recorded.seq} records {key!r}, but the code ended without asking for it"
        return ""

    def poke(self) -> None:
        """Something may be ready for release: look once the run has settled."""
        waits = self.live and not self._releasable() and not self._rests()
        if not waits and not self._ticking and not self._stopped:
            self._ticking = True
            self._seen, self._quiet = self.activity, 0
            self._loop.call_soon(self._tick)

    def _tick(self) -> None:
        if self._stopped:
            return
        self._quiet = self._quiet + 1 if self.activity == self._seen else 0
        self._seen = self.activity
        settled = self._quiet >= (SETTLE_PASSES if self.branched else 1)
        if settled and all(scope.blocked() for scope in self.scopes):
            self._ticking = False
            if not self.live:
                self._replay()
            elif not self._advance() and self._rests():
                self._on_quiet()
        else:
            self._loop.call_soon(self._tick)

    def _rests(self) -> bool:
        return self.live and not self._tickets and bool(self._asked) and all(op.resting for op in self._asked.values())

    def _releasable(self) -> bool:
        return bool(self._tickets and self._tickets[0].outcome is not None) or self._next_kept() is not None

    def _next_kept(self) -> Op | None:
        """Of a revised run: what is asked and has the oldest recorded outcome."""
        asked = [op for op in (self._cancel, *self._asked.values()) if op.key in self._kept] if self._kept else ()
        return min(asked, key=lambda op: self._kept[op.key][0], default=None)

    def _release_kept(self) -> bool:
        while (op := self._next_kept()) is not None:
            _, outcome = self._kept.pop(op.key)
            if op.accepts is None or op.accepts(outcome):
                self._release(op, outcome)
                return True
            self._supersede(op.key)
            if self.live:
                op.begin(op)
        return False

    def _supersede(self, key: str) -> None:
        self._kept.pop(key, None)
        self._history.forget(key)

    def _advance(self) -> bool:
        if self._release_kept():
            return True
        while self._tickets and (outcome := self._tickets[0].outcome) is not None:
            op = self._tickets.popleft().op
            if not op.abandoned:
                self._release(op, outcome)
                return True
        return False

    def _replay(self) -> None:
        if self._history.revised:
            if not self._release_kept():
                self._go_live()
            return
        events = self._events
        while events:
            seq, key, outcome = events[0]
            if key not in self._known:
                self._report_unasked(key, seq)
                return
            events.popleft()
            op = self._cancel if key == self._cancel.key else self._asked.get(key)
            if op is not None:  # else its task was cancelled, as it was then
                self._release(op, outcome)
                return
        for key, recorded in self._history.asked.items():
            if key not in self._known:  # begun, without an outcome
                self._report_unasked(key, recorded.seq)
                return
        self._go_live()

    def _report_unasked(self, key: str, seq: int) -> None:
        asks = ", ".join(repr(waiting) for waiting in self._asked) or "nothing"
        self._mismatch(f"row {seq} records {key!r} next; the code now asks for {asks} instead")

    def at_end(self) -> bool:
        """True where the record holds nothing beyond this point of the body."""
        unreached = self._events or self._kept or any(key not in self._known for key in self._history.asked)
        return self.live or not unreached

    def _go_live(self) -> None:
        if self.dry:
            self.caught_up.set()
            return
        self.live = True
        self._known.clear()
        self.caught_up.set()
        steps = [key for key, op in self._asked.items() if op.is_step]
        if steps and self._history.last_seq and self._suspect(steps):
            return
        for op in list(self._asked.values()):
            if not op.abandoned:
                op.begin(op)
        self.poke()

    def _release(self, op: Op, outcome: Outcome) -> None:
        self._asked.pop(op.key, None)
        self.now = max(self.now, outcome.plain["at"])
        op.apply(outcome)
        self.poke()
