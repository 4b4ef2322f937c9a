"""Runs that are started by the clock: at an interval or by cron, each fire once.

A fire is a `schedule.fired` row and a run whose key is the schedule and the due time, so that a crash between the two
fires nothing twice.  What fell into a time without the engine is caught up within `catch_up`, the rest is left out.
Without a trusted clock an interval counts from the start of the engine, and cron waits for trust.
"""

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from journal.engine.codec import decode, encode
from journal.engine.cron import Cron
from journal.engine.declare import Workflow
from journal.engine.history import History, RunState
from journal.engine.ports import Entry, Kind
from journal.engine.residence import Residents
from journal.engine.run import Core
from journal.engine.timers import Timer

__all__ = ("Schedule", "Schedules")

CAUGHT_UP_MAX = 1000  # fires of one schedule at one start
TRUST_LOOK_S = 60.0
SCHEDULES_MAX = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Start `workflow` with `args` at each whole multiple of `every` since 1970, or as `cron` says (UTC).

    `overlap`: where the run of the fire before still goes on, leave this one out (`skip`), start it beside
    (`allow`), or cancel that one first (`cancel`).  Raises ValueError where the parts do not go together.
    """

    name: str
    workflow: Workflow[Any, Any]
    args: tuple[object, ...] = ()
    every: timedelta | None = None
    cron: str = ""
    catch_up: timedelta = timedelta(0)
    overlap: Literal["skip", "allow", "cancel"] = "skip"

    def __post_init__(self) -> None:
        if (self.every is None) is (not self.cron):
            raise ValueError(f"schedule {self.name}: either every or cron")
        if self.every is not None and self.every < timedelta(seconds=1):
            raise ValueError(f"schedule {self.name}: every {self.every} is less than a second")
        if self.cron and Cron.parse(self.cron).after(_EPOCH) is None:
            raise ValueError(f"schedule {self.name}: cron {self.cron!r} names no time")

    def after(self, moment: datetime) -> datetime:
        """The next due time behind this one."""
        if self.every is not None:
            return _EPOCH + ((moment - _EPOCH) // self.every + 1) * self.every
        found = Cron.parse(self.cron).after(moment)
        assert found is not None, "checked at the start"
        return found


class Schedules:
    """All schedules of one engine."""

    def __init__(
        self,
        core: Core,
        residents: Residents,
        start: Callable[..., Awaitable[str]],
        cancel: Callable[..., Awaitable[bool]],
    ) -> None:
        self._core = core
        self._residents = residents
        self._start = start
        self._cancel = cancel
        self._timers: dict[str, Timer] = {}
        self._last_runs: dict[str, str] = {}
        self._lock = asyncio.Lock()

    async def add(self, *schedules: Schedule) -> None:
        """Begin; what is due since the last fire and within `catch_up` is started now."""
        rows = await self._core.store.latest(Kind.SCHEDULE_FIRED, limit=SCHEDULES_MAX)
        last = {row.key: decode(row.payload) for row in rows}
        for schedule in schedules:
            if schedule.name in self._timers:
                raise ValueError(f"two schedules are named {schedule.name!r}")
            await schedule.workflow.read_source()
            fired = last.get(schedule.name)
            self._last_runs[schedule.name] = "" if fired is None else fired["run"]
            if self._core.timers.trusted():
                await self._go_on(schedule, self._core.clock.now() if fired is None else fired["due"])
            else:
                self._arm(schedule, None)

    async def _go_on(self, schedule: Schedule, last_due: datetime) -> None:
        now = self._core.clock.now()
        due = schedule.after(max(last_due, now - schedule.catch_up - timedelta(microseconds=1)))
        for _ in range(CAUGHT_UP_MAX):
            if due > now:
                break
            await self._fire(schedule, due)
            due = schedule.after(due)
        self._arm(schedule, max(due, schedule.after(now)) if due <= now else due)

    def _arm(self, schedule: Schedule, due: datetime | None) -> None:
        """Wait for the due time; without a trusted clock for an interval, or for trust."""
        if due is not None:
            wait_s = (due - self._core.clock.now()).total_seconds()
        else:
            wait_s = TRUST_LOOK_S if schedule.every is None else schedule.every.total_seconds()
        come = functools.partial(self._come, schedule, due)
        self._timers[schedule.name] = self._core.timers.after(wait_s, come, wall=due)

    def _come(self, schedule: Schedule, due: datetime | None) -> None:
        self._residents.spawn(self._turn(schedule, due), f"schedule {schedule.name}")

    async def _turn(self, schedule: Schedule, due: datetime | None) -> None:
        try:
            if due is not None:
                await self._fire(schedule, due)
            elif schedule.every is not None:
                await self._fire(schedule, self._core.clock.now())
        finally:
            if not self._core.timers.trusted():
                self._arm(schedule, None)
            else:
                self._arm(schedule, schedule.after(max(due or self._core.clock.now(), self._core.clock.now())))

    async def _fire(self, schedule: Schedule, due: datetime) -> None:
        async with self._lock:
            before = self._last_runs[schedule.name]
            goes_on = bool(before) and schedule.overlap != "allow" and await self._goes_on(before)
            if goes_on and schedule.overlap == "cancel":
                await self._cancel(before, by=f"schedule {schedule.name}", reason="the next one is due")
            run_id = before
            if not goes_on or schedule.overlap == "cancel":
                key = f"schedule/{schedule.name}/{due.isoformat()}"
                run_id = await self._start(schedule.workflow, *schedule.args, key=key)
            else:
                _log.warning("schedule %s leaves out %s: run %s goes on", schedule.name, due, before)
            plain = {"due": due, "run": run_id, "skipped": run_id == before, "at": self._core.clock.now()}
            row = Entry(kind=Kind.SCHEDULE_FIRED, key=schedule.name, name=schedule.name, payload=encode(plain))
            await self._core.store.append([row])
            self._last_runs[schedule.name] = run_id

    async def _goes_on(self, run_id: str) -> bool:
        history = History.of(run_id, await self._core.store.history(run_id))
        return bool(history.started) and history.state in (RunState.RUNNING, RunState.QUEUED)
