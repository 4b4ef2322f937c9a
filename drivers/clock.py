"""The real clock: wall time is an input like any other, durations come from a clock that never goes back."""

import time
from datetime import UTC, datetime
from pathlib import Path

__all__ = ("SystemClock",)

# systemd-timesyncd touches this file at each successful synchronisation; chrony users have it through a drop-in.
_SYNCHRONISED = Path("/run/systemd/timesync/synchronized")


class SystemClock:
    """Wall time of the operating system and CLOCK_BOOTTIME."""

    def now(self) -> datetime:
        """Wall time, aware, UTC."""
        return datetime.now(UTC)

    def monotonic_ns(self) -> int:
        """Nanoseconds since boot, counting suspends."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def trusted(self) -> bool:
        """True once the time daemon has reported a synchronisation since boot."""
        return _SYNCHRONISED.exists()
