"""Durable queues: runs that were started and wait for their turn.

A queued run is a `run.started` row that names its queue; its turn is a `run.dequeued` row, durable before its body
runs.  A place counts while the run is in memory: one that waits for a person or for time gives it back, and may
exceed the limit for a moment when it comes back.  The order is by priority (higher first), then by enqueueing.
The rate counts the turns of this process life.
"""

import bisect
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from journal.engine.codec import encode
from journal.engine.history import History, RunState
from journal.engine.ports import Entry, Kind
from journal.engine.residence import Residents
from journal.engine.run import Core
from journal.engine.timers import Timer

__all__ = ("Queue", "Queues")


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """Limits that runs share.  Raises ValueError for limits below 1.

    `rate` is so many turns per so much time; `per_partition` the concurrency of runs with one partition name; a run
    that has not had its turn within `ttl` is cancelled.
    """

    name: str
    concurrency: int
    per_partition: int | None = None
    rate: tuple[int, timedelta] | None = None
    ttl: timedelta | None = None

    def __post_init__(self) -> None:
        if min(self.concurrency, self.per_partition or 1, self.rate[0] if self.rate else 1) < 1:
            raise ValueError(f"queue {self.name}: its limits must be 1 or more")


@dataclass(slots=True, order=True)
class _Item:
    rank: tuple[float, int]  # urgent ones first, then the older
    history: History = field(compare=False)
    partition: str = field(compare=False)
    deadline: Timer | None = field(compare=False, default=None)


@dataclass(slots=True)
class _Line:
    queue: Queue
    items: list[_Item] = field(default_factory=list)
    running: dict[str, str] = field(default_factory=dict)  # run id: partition
    turns_ns: deque[int] = field(default_factory=deque)
    alarm: Timer | None = None


class Queues:
    """All queues of one engine."""

    def __init__(self, core: Core, residents: Residents, expire: Callable[[str], Any]) -> None:
        self._core = core
        self._residents = residents
        self._expire = expire
        self._lines: dict[str, _Line] = {}

    def register(self, queue: Queue) -> None:
        """Name a queue.  Raises ValueError where another has its name."""
        if self._lines.setdefault(queue.name, _Line(queue)).queue != queue:
            raise ValueError(f"two queues are named {queue.name!r}")

    def ticket(self, queue: Queue, priority: float, partition: str) -> dict[str, Any]:
        """What the `run.started` row tells about its queue."""
        ttl_s = None if queue.ttl is None else queue.ttl.total_seconds()
        return {
            "name": queue.name,
            "priority": priority,
            "partition": partition,
            "ttl": None if ttl_s is None else self._core.timers.plan(ttl_s),
        }

    def add(self, history: History) -> bool:
        """Put a queued run in its line; False where nobody registered the queue."""
        ticket = history.started["queue"]
        line = self._lines.get(ticket["name"])
        if line is None:
            return False
        item = _Item((-ticket["priority"], history.first_seq), history, ticket["partition"])
        if ticket["ttl"] is not None:
            item.deadline = self._core.timers.restore(ticket["ttl"], lambda: self._overdue(line, item))
        bisect.insort(line.items, item)
        self._residents.expect(history.run_id)
        self._serve(line)
        return True

    def remove(self, run_id: str) -> None:
        """It is cancelled while it waits."""
        for line in self._lines.values():
            for item in [one for one in line.items if one.history.run_id == run_id]:
                _take(line, item)
        self._residents.unexpect(run_id)

    def entered(self, history: History) -> None:
        """A run of a queue is in memory."""
        ticket = history.started.get("queue")
        line = self._lines.get(ticket["name"]) if ticket else None
        if ticket and line:
            line.running[history.run_id] = ticket["partition"]

    def left(self, run_id: str) -> None:
        """A run is no longer in memory: somebody else has a turn."""
        for line in self._lines.values():
            if line.running.pop(run_id, None) is not None:
                self._serve(line)

    def _serve(self, line: _Line) -> None:
        while (item := self._next(line)) is not None:
            _take(line, item)
            line.running[item.history.run_id] = item.partition
            line.turns_ns.append(self._core.clock.monotonic_ns())
            self._residents.spawn(self._turn(line, item.history), f"{item.history.run_id}.dequeue")

    def _next(self, line: _Line) -> _Item | None:
        if not line.items or len(line.running) >= line.queue.concurrency or not self._may_by_rate(line):
            return None
        most = line.queue.per_partition
        busy = Counter(line.running.values())
        return next((item for item in line.items if most is None or busy[item.partition] < most), None)

    def _may_by_rate(self, line: _Line) -> bool:
        if line.queue.rate is None:
            line.turns_ns.clear()
            return True
        count, per = line.queue.rate
        now_ns, per_ns = self._core.clock.monotonic_ns(), int(per.total_seconds() * 1e9)
        while line.turns_ns and now_ns - line.turns_ns[0] >= per_ns:
            line.turns_ns.popleft()
        if len(line.turns_ns) < count:
            return True
        if line.alarm is None or line.alarm.callback is None:
            wait_s = (line.turns_ns[0] + per_ns - now_ns) / 1e9
            line.alarm = self._core.timers.after(wait_s, lambda: self._again(line))
        return False

    def _again(self, line: _Line) -> None:
        line.alarm = None
        self._serve(line)

    def _overdue(self, line: _Line, item: _Item) -> None:
        if item in line.items:
            self.remove(item.history.run_id)
            self._residents.spawn(self._expire(item.history.run_id), f"{item.history.run_id}.expire")

    async def _turn(self, line: _Line, history: History) -> None:
        payload = encode({"at": self._core.clock.now()})
        row = Entry(
            kind=Kind.RUN_DEQUEUED, run_id=history.run_id, key=history.key, name=history.workflow, payload=payload
        )
        run = None
        try:
            await self._core.store.append([row])
            history.state = RunState.RUNNING
            run = self._residents.launch(history)
        finally:
            if run is None:
                line.running.pop(history.run_id, None)
                self._residents.unexpect(history.run_id)


def _take(line: _Line, item: _Item) -> None:
    line.items.remove(item)
    if item.deadline is not None:
        item.deadline.cancel()
