"""Keeps the journal within its limits: retention once a day, and sooner where the disk runs low.

Works beside the alarm path: the rows that stay are copied while the writer goes on committing, and the change-over
is put off while anything waits for a commit, unless the disk is low.  What was done is a row of kind
`journal.retention`, and stands in `blackstart status` and in the metrics.  Sizes in bytes, times in seconds.
"""

import asyncio
import contextlib
import logging
from datetime import datetime, timedelta
from typing import Any

from drivers.base import Clock
from drivers.errors import Transient
from gateway.config import JournalConfig
from journal import Journal, Retained, RetentionPolicy
from journal.engine import Entry, encode

__all__ = ("Housekeeping",)

log = logging.getLogger(__name__)

LOOK_S = 60.0  # between looks at clock and disk
FIRST_S = 600.0  # behind the start: also a box that is switched off every night gets its turn
EVERY_S = 86_400.0
AGAIN_S = 3_600.0  # after a refusal of the disk
LOW_EVERY_S = 3_600.0  # where the disk stays low: each time a quarter of the journal may go
LOW_KEEPS = 0.75
LOW_FLOOR_BYTES = 64_000_000  # a journal below that is not what fills the disk


class Housekeeping:
    """Retention of one gateway's journal."""

    def __init__(self, journal: Journal, config: JournalConfig, clock: Clock) -> None:
        self._journal = journal
        self._config = config
        self._clock = clock
        self._due_ns = clock.monotonic_ns() + int(FIRST_S * 1e9)
        self._low_due_ns = 0
        self._ended: datetime | None = None
        self._reason = ""
        self._failure = ""
        self.runs = self.failures = self.rows_dropped = self.bytes_freed = 0

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Retain what is due; where the disk refuses, say so and try again later."""
        now_ns = self._clock.monotonic_ns()
        size_bytes, free_bytes = await self._sizes()
        low = free_bytes < self._config.disk_low_bytes
        if low and now_ns >= self._low_due_ns and size_bytes > LOW_FLOOR_BYTES:
            self._low_due_ns = now_ns + int(LOW_EVERY_S * 1e9)
            most = max(LOW_FLOOR_BYTES, int(size_bytes * LOW_KEEPS))
            await self._retain(f"{free_bytes} bytes are free", min(most, self._config.max_bytes))
        elif now_ns >= self._due_ns and not self._journal.store.queued_entries:
            self._due_ns = now_ns + int(EVERY_S * 1e9)
            await self._retain("daily", self._config.max_bytes)

    async def status(self) -> dict[str, Any]:
        """For `blackstart status`."""
        size_bytes, free_bytes = await self._sizes()
        return {
            "bytes": size_bytes,
            "disk_free_bytes": free_bytes,
            "disk_low": free_bytes < self._config.disk_low_bytes,
            "snapshot_age_s": await asyncio.to_thread(self._journal.upkeep.snapshot_age_s),
            "retention": {
                "ended": self._ended,
                "reason": self._reason,
                "rows_dropped": self.rows_dropped,
                "bytes_freed": self.bytes_freed,
                "failure": self._failure,
            },
        }

    async def metrics(self) -> dict[str, float]:
        """Figures of the journal; names that end in _total only ever grow while the daemon runs."""
        size_bytes, free_bytes = await self._sizes()
        snapshot_age_s = await asyncio.to_thread(self._journal.upkeep.snapshot_age_s)
        store = self._journal.store
        return {
            "bytes": size_bytes,
            "commits_total": store.counters.commits,
            "disk_free_bytes": free_bytes,
            "disk_low": float(free_bytes < self._config.disk_low_bytes),
            "entries_total": store.counters.entries,
            "failed_commits_total": store.counters.failed_commits,
            "last_seq": store.last_seq,
            "queued_entries": store.queued_entries,
            "retention_bytes_freed_total": self.bytes_freed,
            "retention_failures_total": self.failures,
            "retention_rows_dropped_total": self.rows_dropped,
            "retention_runs_total": self.runs,
            "snapshots_failed_total": self._journal.upkeep.snapshots_failed,
        } | ({} if snapshot_age_s is None else {"snapshot_age_s": snapshot_age_s})

    async def _sizes(self) -> tuple[int, int]:
        with contextlib.suppress(OSError):
            return await asyncio.to_thread(self._journal.upkeep.sizes_bytes)
        return 0, 0  # a disk that cannot even be asked is low

    async def _retain(self, reason: str, max_bytes: int) -> None:
        config = self._config
        policy = RetentionPolicy(
            max_age=timedelta(days=config.max_age_days),
            failed_max_age=timedelta(days=config.failed_max_age_days),
            max_rows=config.max_rows,
            max_bytes=max_bytes,
        )
        try:
            retained = await self._journal.retain(policy, export_to=config.export_dir)
            self._ended, self._reason, self._failure = self._clock.now(), reason, ""
            self.runs += 1
            if retained.rows_dropped:
                await self._note(retained, reason)
        except Transient as err:
            self.failures += 1
            self._due_ns = min(self._due_ns, self._clock.monotonic_ns() + int(AGAIN_S * 1e9))
            self._failure = str(err)
            log.warning("retention (%s): %s", reason, err)

    async def _note(self, retained: Retained, reason: str) -> None:
        freed_bytes = retained.bytes_before - retained.bytes_after
        self.rows_dropped += retained.rows_dropped
        self.bytes_freed += freed_bytes
        log.info("retention (%s): %d rows dropped, %d bytes freed", reason, retained.rows_dropped, freed_bytes)
        plain = {
            "reason": reason,
            "rows_dropped": retained.rows_dropped,
            "bytes_before": retained.bytes_before,
            "bytes_after": retained.bytes_after,
        }
        await self._journal.store.append([Entry(kind="journal.retention", name=reason[:64], payload=encode(plain))])
