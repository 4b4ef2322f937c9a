"""All deadlines of the engine on one heap with one wake-up of the loop; nothing polls.

Within one process life a timer counts the clock's monotonic nanoseconds.  One that is restored after a restart is
due at its wall time if the clock is trusted then; otherwise what remained when it was set counts from the restart:
late, never early.  When trust comes back later, the wall time counts again.
"""

import asyncio
import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from journal.engine.ports import Clock

__all__ = ("Timer", "Timers", "due_wall")

COMPACT_FROM = 256  # timers on the heap before cancelled ones are looked for
NAP_S_MAX = 60.0  # a suspended box or a wall clock that became trusted is noticed within a minute
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


def due_wall(clock: Clock, remaining_s: float) -> datetime | None:
    """The wall time to store with a timer; None when the clock is not trusted."""
    return clock.now() + timedelta(seconds=remaining_s) if clock.trusted() else None


class Timers:
    """The heap.  `check` is called by the loop, and by whoever knows that the clock was moved."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[Timer] = []
        self._walls = 0  # timers on the heap that carry a wall time
        self._count = 0
        self._handle: asyncio.TimerHandle | None = None
        self._compact_at = COMPACT_FROM

    def after(self, remaining_s: float, callback: Callable[[], None], *, wall: datetime | None = None) -> Timer:
        """Call back in `remaining_s` seconds; `wall` is the stored wall time of a restored timer."""
        if wall is not None and self._clock.trusted():
            remaining_s = (wall - self._clock.now()).total_seconds()
        return self._push(self._clock.monotonic_ns() + int(remaining_s * _NS_PER_S), wall, callback)

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
        if not self._walls or not self._clock.trusted():
            return
        now, now_ns = self._clock.now(), self._clock.monotonic_ns()
        for timer in self._heap:
            if timer.due_wall is not None:
                timer.due_ns = now_ns + int((timer.due_wall - now).total_seconds() * _NS_PER_S)
        heapq.heapify(self._heap)

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._heap:
            wait_s = (self._heap[0].due_ns - self._clock.monotonic_ns()) / _NS_PER_S
            self._handle = asyncio.get_running_loop().call_later(max(0.0, min(wait_s, NAP_S_MAX)), self.check)
