"""All deadlines of the engine on one heap with one wake-up of the loop; nothing polls.

Within one process life a timer counts the clock's monotonic nanoseconds.  One that is restored after a restart is
due at its wall time if the clock is trusted then, and at the latest when the awake time (which `lives` counts on over
restarts, and which never runs ahead of real time) has come to it: late, never early, never lost.  When trust comes
back later, the wall time counts again.  A wall clock that steps by more than a minute while it is trusted, or that
comes up before a time that was trusted, is not trusted again until two sources agree or a person confirms it.
"""

import asyncio
import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from journal.engine.ports import Clock, ClockSources

__all__ = ("STEP_S_MAX", "Timer", "Timers")

COMPACT_FROM = 256  # timers on the heap before cancelled ones are looked for
NAP_S_MAX = 60.0  # a suspended box or a wall clock that became trusted is noticed within a minute
STEP_S_MAX = 60.0  # a wall clock that moves by more against the monotonic one was set, by whomever
SOURCES_MIN = 2
_NS_PER_S = 1_000_000_000


@dataclass(slots=True, order=True)
class Timer:
    """One deadline; cancelling is lazy, the heap drops it when it comes up."""

    due_ns: int
    number: int
    due_wall: datetime | None = field(compare=False)  # set only where the wall clock may decide: after a restart
    callback: Callable[[], None] | None = field(compare=False)

    def cancel(self) -> None:
        """Never call back."""
        self.callback = None


class Timers:
    """The heap.  `check` is called by the loop, and by whoever knows that the clock was moved."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[Timer] = []
        self._walls = 0  # timers on the heap that carry a wall time
        self._count = 0
        self._handle: asyncio.TimerHandle | None = None
        self._compact_at = COMPACT_FROM
        self._awake_from_s = 0.0  # awake time when the monotonic clock stood at `_awake_from_ns`
        self._awake_from_ns = clock.monotonic_ns()
        self._origin: datetime | None = None  # wall time when the monotonic clock stood at 0, as last seen under trust
        self._floor: datetime | None = None  # a wall time that was trusted in the life before
        self.counts_on = False  # `lives` keeps the awake time over restarts
        self.distrusted = False
        self.on_step: Callable[[], None] = lambda: None

    def after(self, remaining_s: float, callback: Callable[[], None], *, wall: datetime | None = None) -> Timer:
        """Call back in `remaining_s` seconds, or at the time `wall` where that is trusted and sooner."""
        if wall is not None and self.trusted():
            remaining_s = min(remaining_s, (wall - self._clock.now()).total_seconds())
        return self._push(self._clock.monotonic_ns() + int(remaining_s * _NS_PER_S), wall, callback)

    def plan(self, remaining_s: float) -> dict[str, Any]:
        """What a row tells about a deadline, so that a later life can `restore` it."""
        wall = self._clock.now() + timedelta(seconds=remaining_s) if self.trusted() else None
        plan = {"remaining_s": remaining_s, "due_wall": wall}
        return plan | ({"due_awake_s": self.awake_s() + remaining_s} if self.counts_on else {})

    def restore(self, plan: Mapping[str, Any], callback: Callable[[], None]) -> Timer:
        """A deadline that an earlier life has set."""
        remaining_s = plan["remaining_s"]
        if self.counts_on and "due_awake_s" in plan:
            remaining_s = min(remaining_s, plan["due_awake_s"] - self.awake_s())
        return self.after(remaining_s, callback, wall=plan["due_wall"])

    def awake_s(self) -> float:
        """Seconds for which the engine is known to have been there, over all its lives."""
        return self._awake_from_s + (self._clock.monotonic_ns() - self._awake_from_ns) / _NS_PER_S

    def take_over(self, awake_s: float, floor: datetime | None, *, distrusted: bool) -> None:
        """Count on from the life before; its last trusted wall time is a floor for this one's."""
        self._awake_from_s, self._awake_from_ns = awake_s, self._clock.monotonic_ns()
        self._floor, self.distrusted = floor, distrusted

    def trusted(self) -> bool:
        """True while the wall clock may decide."""
        if not self._clock.trusted():
            self._origin = None  # when trust comes back, the clock may have been set
            return False
        now = self._clock.now()
        origin = now - timedelta(microseconds=self._clock.monotonic_ns() / 1000)
        allowed = timedelta(seconds=STEP_S_MAX)
        stepped = self._origin is not None and abs(origin - self._origin) > allowed
        stepped |= self._floor is not None and now < self._floor - allowed
        self._origin, self._floor = origin, None
        if stepped and not self.distrusted:
            self.distrusted = True
            self.on_step()
        if self.distrusted and isinstance(self._clock, ClockSources) and self._clock.agreeing() >= SOURCES_MIN:
            self.distrusted = False
        return not self.distrusted

    def trusted_wall(self) -> datetime | None:
        """Wall time, where it is trusted."""
        return self._clock.now() if self.trusted() else None

    def confirm(self) -> None:
        """A person says that the wall clock is right."""
        self.distrusted = False
        self.check()

    def again(self, timer: Timer, callback: Callable[[], None]) -> Timer:
        """A timer at the very deadline of another, which is cancelled."""
        timer.cancel()
        return self._push(timer.due_ns, timer.due_wall, callback)

    def remaining_s(self, timer: Timer) -> float:
        """Seconds until it is due."""
        return (timer.due_ns - self._clock.monotonic_ns()) / _NS_PER_S

    def check(self) -> None:
        """Call back whatever is due, then sleep until the next."""
        self._bring_walls_forward()
        try:
            while self._heap and (self._heap[0].callback is None or self._heap[0].due_ns <= self._clock.monotonic_ns()):
                timer = heapq.heappop(self._heap)
                self._walls -= timer.due_wall is not None
                if timer.callback is not None:
                    timer.callback()
        finally:
            self._arm()  # one bad callback must not stop the others' time

    def close(self) -> None:
        """Forget everything."""
        self._heap.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _push(self, due_ns: int, wall: datetime | None, callback: Callable[[], None]) -> Timer:
        if len(self._heap) >= self._compact_at:  # a cancelled timer may be due in weeks
            self._heap = [timer for timer in self._heap if timer.callback is not None]
            heapq.heapify(self._heap)
            self._walls = sum(timer.due_wall is not None for timer in self._heap)
            self._compact_at = max(COMPACT_FROM, 2 * len(self._heap))
        self._count += 1
        timer = Timer(due_ns, self._count, wall, callback)
        heapq.heappush(self._heap, timer)
        self._walls += wall is not None
        if self._heap[0] is timer:
            self._arm()
        return timer

    def _bring_walls_forward(self) -> None:
        if not self.trusted() or not self._walls:
            return
        now, now_ns = self._clock.now(), self._clock.monotonic_ns()
        for timer in self._heap:
            if timer.due_wall is not None:
                due_ns = now_ns + int((timer.due_wall - now).total_seconds() * _NS_PER_S)
                timer.due_ns = min(timer.due_ns, due_ns)
        heapq.heapify(self._heap)

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._heap:
            wait_s = (self._heap[0].due_ns - self._clock.monotonic_ns()) / _NS_PER_S
            self._handle = asyncio.get_running_loop().call_later(max(0.0, min(wait_s, NAP_S_MAX)), self.check)
