"""What keeps the journal usable for years: daily snapshot, export, retention and verification.

Each holds the writer's checkpoints, so that the database file stays as it is, and works beside the writer, which
goes on committing to the log.  One at a time.  Used through `Journal`.
"""

import asyncio
import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import duckdb

from drivers.base import Clock
from drivers.errors import Transient
from journal.files import COPY_CHUNK_BYTES, free_bytes, fsync_folder, size_bytes
from journal.mark import MarkValue
from journal.opening import DATABASE_NAME, SNAPSHOT_NAME, WAL_NAME
from journal.reader import Verification
from journal.retention import RetentionPolicy, abandon, copy, export_of
from journal.store import DuckStore
from journal.writer import Writer

__all__ = ("Retained", "Upkeep")

SNAPSHOT_AGE = timedelta(days=1)
FIRST_CHECK_S = 300.0  # behind the start: also a box that never runs for an hour gets its snapshot
CHECK_S = 3_600.0  # between looks whether a snapshot is due
SPARE_BYTES = 32 << 20  # left free beside a snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Retained:
    """What retention did."""

    rows_dropped: int
    bytes_before: int
    bytes_after: int


class Upkeep:
    """Long work on one journal.  Methods belong to its event loop."""

    def __init__(self, store: DuckStore, folder: Path, clock: Clock) -> None:
        self._store = store
        self._folder = folder
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self._session: duckdb.DuckDBPyConnection | None = None  # that reads beside the writer
        self.snapshots_failed = 0  # due ones that the disk had no room for; tried again at the next look

    def start(self) -> None:
        """Make a snapshot whenever the last one is a day old."""
        self._task = asyncio.create_task(self._snapshot_daily(), name="journal-upkeep")

    async def close(self) -> None:
        """Break off an export or retention, let a snapshot end, and stop."""
        self._stop.set()
        if self._session is not None:
            self._session.interrupt()
        if self._task is not None:
            await self._task
        async with self._one_at_a_time:
            pass

    async def snapshot(self) -> Path:
        """Copy the database, atomically; the boot ladder goes back to it where nothing else is left.

        Raises Transient where there is no room.
        """
        async with self._one_at_a_time:
            _, session, fd = await self._store.on_writer(Writer.hold)
            try:
                session.close()
                return await asyncio.to_thread(_write_snapshot, self._folder, fd)
            except OSError as err:
                raise Transient(f"{self._folder}: no snapshot could be written: {err}") from err
            finally:
                await self._store.on_writer(Writer.release)

    async def export(self, folder: Path) -> tuple[Path, ...]:
        """Every row and payload as Parquet files in `folder`.  Raises Transient."""
        async with self._one_at_a_time:
            _, session, _ = await self._store.on_writer(Writer.hold)
            self._session = session
            try:
                return await asyncio.to_thread(export_of, session, folder)
            finally:
                self._session = None
                session.close()
                await self._store.on_writer(Writer.release)

    async def retain(self, policy: RetentionPolicy, *, export_to: Path | None = None) -> Retained:
        """Drop what is too much, so that the file shrinks; with `export_to` it is kept there as Parquet.

        Raises Transient where the disk refuses: then nothing has changed.
        """
        async with self._one_at_a_time:
            now = self._clock.now() if self._clock.trusted() else None
            last_seq, session, fd = await self._store.on_writer(Writer.hold)
            before = os.fstat(fd).st_size
            self._session = session
            try:
                draft = await asyncio.to_thread(copy, session, self._folder, last_seq, policy, now, export_to)
                if draft is None:
                    return Retained(rows_dropped=0, bytes_before=before, bytes_after=before)
                try:
                    wall = self._clock.now()
                    after = await self._store.on_writer(lambda writer: writer.swap(draft, wall))
                except Transient:
                    await asyncio.to_thread(abandon, session, self._folder)
                    raise
                return Retained(rows_dropped=draft.rows_dropped, bytes_before=before, bytes_after=after)
            finally:
                self._session = None
                with contextlib.suppress(Transient):
                    await self._store.on_writer(Writer.release)

    async def verify(self, anchors: Sequence[MarkValue] = ()) -> Verification:
        """As `DuckStore.verify`, and not while rows are being taken out."""
        async with self._one_at_a_time:
            return await self._store.verify(anchors)

    def snapshot_age_s(self) -> float | None:
        """By the wall clock, so it may be below zero; None where there is no snapshot."""
        try:
            made_s = (self._folder / SNAPSHOT_NAME).stat().st_mtime
        except OSError:
            return None
        return self._clock.now().timestamp() - made_s

    def sizes_bytes(self) -> tuple[int, int]:
        """Of the database with its log, and what is free on its disk.  Raises OSError."""
        return sum(size_bytes(self._folder / name) for name in (DATABASE_NAME, WAL_NAME)), free_bytes(self._folder)

    # -- helpers

    async def _snapshot_daily(self) -> None:
        wait_s = FIRST_CHECK_S
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), wait_s)
            wait_s = CHECK_S
            if not self._stop.is_set() and await asyncio.to_thread(self._snapshot_due):
                try:
                    await self.snapshot()
                except Transient:
                    self.snapshots_failed += 1

    def _snapshot_due(self) -> bool:
        age_s = self.snapshot_age_s()
        return age_s is None or not 0 <= age_s < SNAPSHOT_AGE.total_seconds()


def _write_snapshot(folder: Path, database_fd: int) -> Path:
    size_bytes = os.fstat(database_fd).st_size
    if free_bytes(folder) < size_bytes + SPARE_BYTES:
        raise Transient(f"{folder}: no room for a snapshot of {size_bytes} bytes")
    target = folder / SNAPSHOT_NAME
    draft = folder / f"{SNAPSHOT_NAME}.new"
    try:
        with draft.open("wb") as file:
            for offset in range(0, size_bytes, COPY_CHUNK_BYTES):
                file.write(os.pread(database_fd, COPY_CHUNK_BYTES, offset))
            file.flush()
            os.fsync(file.fileno())
        draft.rename(target)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    fsync_folder(folder)
    assert target.stat().st_size == size_bytes
    assert (folder / DATABASE_NAME).exists()
    return target
