"""The engine's clock in the daemon: the box's own, and who else agrees with its wall time.

A wall clock that has stepped by more than a minute is trusted again once two of these agree with it: the time daemon
(its last synchronisation stands in a file's time), the hardware clock, and the servers of the plant that send a time
of their own, which count as one.  Called by the engine whenever it looks at a stepped clock.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from drivers.base import Clock, Sample
from journal.engine import ClockSources

__all__ = ("PlantClock",)

AGREES = timedelta(seconds=60)  # the engine takes a larger move for a step
SYNCHRONISED_FOR = timedelta(seconds=2_048 + 60)  # systemd-timesyncd asks its server at least this often
KNOWN_FOR_NS = 600 * 1_000_000_000  # beyond it the monotonic clock has drifted from what was read, or nobody looks

_SYNCHRONISED = Path("/run/systemd/timesync/synchronized")
_HARDWARE_CLOCK = Path("/sys/class/rtc/rtc0/since_epoch")


class PlantClock(ClockSources):
    """A `Clock` with sources.  `hear` takes what pollers deliver."""

    def __init__(
        self, clock: Clock, *, synchronised: Path = _SYNCHRONISED, hardware_clock: Path = _HARDWARE_CLOCK
    ) -> None:
        self._clock = clock
        self._synchronised = synchronised
        self._hardware_clock = hardware_clock
        self._told: datetime | None = None  # when the time daemon last synchronised
        self._hardware: tuple[datetime, int] | None = None  # a time and the monotonic clock when it was read
        self._heard: tuple[datetime, int] | None = None  # as above, of a server of the plant

    def now(self) -> datetime:
        """Wall time, aware, UTC."""
        return self._clock.now()

    def monotonic_ns(self) -> int:
        """Nanoseconds that never go back within one boot."""
        return self._clock.monotonic_ns()

    def trusted(self) -> bool:
        """True when wall time is synchronised."""
        return self._clock.trusted()

    def hear(self, samples: Sequence[Sample]) -> None:
        """Note the time of a server of the plant, where one came along."""
        newest = samples[-1] if samples else None
        if newest is not None and newest.server_time is not None and not newest.historical:
            self._heard = (newest.server_time, newest.monotonic_ns)

    async def refresh(self) -> None:
        """Look at the time daemon's file and at the hardware clock; now and then, beside the loop."""
        self._told, self._hardware = await asyncio.to_thread(self._read)

    def agreeing(self) -> int:
        """How many sources agree with wall time: 0 to 3."""
        told = self._told is not None and -AGREES <= self.now() - self._told <= SYNCHRONISED_FOR
        return sum((told, self._agrees(self._hardware), self._agrees(self._heard)))

    def _agrees(self, read: tuple[datetime, int] | None) -> bool:
        if read is None:
            return False
        since_ns = self.monotonic_ns() - read[1]
        return (
            since_ns <= KNOWN_FOR_NS and abs(read[0] + timedelta(microseconds=since_ns / 1000) - self.now()) <= AGREES
        )

    def _read(self) -> tuple[datetime | None, tuple[datetime, int] | None]:
        told, hardware = None, None
        with contextlib.suppress(OSError):  # no time daemon, or it has not synchronised since the boot
            told = datetime.fromtimestamp(self._synchronised.stat().st_mtime, UTC)
        with contextlib.suppress(OSError, ValueError, OverflowError):  # none, or it has lost its battery and its mind
            since_epoch_s = int(self._hardware_clock.read_text(encoding="ascii"))
            hardware = datetime.fromtimestamp(since_epoch_s, UTC), self.monotonic_ns()
        return told, hardware
