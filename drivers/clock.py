"""The real clock: wall time is an input like any other, durations come from a clock that never goes back."""

import time
from datetime import UTC, datetime
from pathlib import Path

__all__ = ("SystemClock",)

# systemd-timesyncd touches this file at each successful synchronisation; chrony users have it through a drop-in.
_SYNCHRONISED = Path("/run/systemd/timesync/synchronized")


TRUST_LOOK_NS = 10**9  # whether the clock is trusted is asked for each batch of samples, and a look costs a system call


class SystemClock:
    """Wall time of the operating system and CLOCK_BOOTTIME."""

    def __init__(self) -> None:
        self._trusted = False
        self._look_due_ns = 0

    def now(self) -> datetime:
        """Wall time, aware, UTC."""
        return datetime.now(UTC)

    def monotonic_ns(self) -> int:
        """Nanoseconds since boot, counting suspends."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def trusted(self) -> bool:
        """True once the time daemon has reported a synchronisation since boot; known within a second."""
        now_ns = self.monotonic_ns()
        if now_ns >= self._look_due_ns:
            self._trusted, self._look_due_ns = _SYNCHRONISED.exists(), now_ns + TRUST_LOOK_NS
        return self._trusted
