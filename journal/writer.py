"""The synchronous half of the store: rows into `journal.log`, one flush per group, and from there into DuckDB.

Owns the log and the database, the numbering, the row chain, `journal.mark`, the checkpoint policy and the index
of open runs.  A group is acknowledged when it is in the log; its rows wait in memory and are inserted together,
before the next read or checkpoint.  Everything here runs on the one writer thread of `store.DuckStore`.  Sizes in
bytes, times in UTC.
"""

import dataclasses
import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import duckdb

from drivers.errors import Fatal, Transient
from journal.commit_log import frame_of
from journal.database import Database
from journal.engine.codec import encode
from journal.engine.ports import Entry, OpenRun, Record
from journal.files import Ballast, free_bytes, fsync_folder
from journal.mark import MarkValue
from journal.opening import MAX_KNOWN_BLOBS, suspect
from journal.reader import RETAINED, Chain, Reader, Row, SessionLost, Verification, microseconds, packed
from journal.recovery import as_stored
from journal.rescue import Booted
from journal.retention import Draft, complete
from journal.run_index import RunIndex
from journal.units import Counters, Limits, Unit, is_alarm

__all__ = ("Counters", "Limits", "Unit", "Writer", "is_alarm")

MAX_INLINE_BYTES = 1024  # a larger payload goes to `blob`, once per content

T = TypeVar("T")


class Writer:
    """The open journal file.  One thread at a time."""

    def __init__(self, booted: Booted, *, key: bytes, boot_id: str, limits: Limits | None = None) -> None:
        """Take over from the boot ladder and make the epoch durable.  Raises Transient when the disk refuses."""
        self.epoch = booted.epoch
        self.counters = Counters()
        self._booted = booted
        self._folder = booted.folder
        self._mark = booted.mark
        self._log = booted.commit_log
        stored = booted.state.tail
        self._database = Database(
            booted.folder, booted.connection, booted.file_fd, 0 if stored is None else stored.seq, self.counters
        )
        self._chain = Chain(key)
        self.boot_id = boot_id
        self.limits = limits or Limits()
        self._ballast = Ballast(booted.folder, self.limits.ballast_bytes)
        self._seq = booted.last_seq  # the last number given, also to entries whose commit failed
        tail = booted.tail
        self._committed_seq = 0 if tail is None else tail.seq
        self._folded_seq = -1  # committed at the last checkpoint; not known yet
        self._waiting: list[Row] = []  # in the log, not yet in the database
        self._waiting_blobs: dict[str, bytes] = {}
        same_epoch = tail is not None and tail.epoch == booted.epoch
        self._head = tail.chain if tail is not None and same_epoch else self._chain.start(booted.epoch)
        self._runs = RunIndex(booted.state.open_runs)
        self._known_blobs = OrderedDict.fromkeys(booted.state.blob_hashes)
        self._held = False  # no checkpoint: somebody copies the database file
        self._since_entries = 0
        self._since_bytes = 0
        for group in booted.waiting:
            rows = [as_stored(row) for row in group.rows]
            self._await_database(rows, group.blobs)
            entries = [(row[0], Entry(kind=row[4], run_id=row[5], key=row[6], name=row[7])) for row in rows]
            self._note_committed(entries, group.blobs, group.end - group.begin)
        try:
            self._mark.write(MarkValue(self.epoch, self._seq, self._head))
            self._mark.flush()
            self._database.keep_pages()
            fsync_folder(self._folder)
            self._ballast.hold()
        except OSError as err:
            raise Transient(f"{self._folder}: the journal cannot write: {err}") from err

    # -- writing

    def commit(self, units: Sequence[Unit]) -> None:
        """One frame for all units; afterwards they are on the disk and the mark stands at the last one.

        Raises Transient when it could not be written (nothing of it is kept) and Fatal when DuckDB gave up or the
        disk failed in the flush or behind it.
        """
        head = self._head
        rows: list[Row] = []
        entries: list[tuple[int, Entry]] = []
        frame: list[tuple[bytes, bytes]] = []
        blobs: dict[str, bytes] = {}
        for unit in units:
            unit.first_seq = self._seq + 1
            for entry in unit.entries:
                self._seq += 1
                row, canonical = self._row(entry, unit.wall, head, blobs)
                head = row[-1]
                rows.append(row)
                entries.append((self._seq, entry))
                frame.append((canonical, head))
        try:
            self._make_durable(rows, blobs, frame_of(self._committed_seq, frame, blobs))
        except (duckdb.Error, OSError) as err:
            self.counters.failed_commits += 1
            raise Transient(f"the journal could not commit: {err}") from err
        self._head = head
        self._committed_seq = self._seq
        try:
            self._mark.write(MarkValue(self.epoch, self._seq, head))
        except OSError as err:
            raise Fatal(f"{self._folder}: the disk failed after a commit: {err}") from err
        self._note_committed(entries, blobs, sum(unit.size_bytes for unit in units))
        self.counters.commits += 1
        self.counters.entries += len(rows)

    def _make_durable(self, rows: list[Row], blobs: dict[str, bytes], frame: bytes) -> None:
        """Into the log; what is larger than the log straight into the database.  Raises duckdb.Error, OSError."""
        if not self._log.fits(frame):
            self._drain()
            self._log.rewind()
        if self._log.fits(frame):
            self._log.append(frame)
            self._await_database(rows, blobs)
        else:
            self._database.store(rows, blobs)

    def _await_database(self, rows: list[Row], blobs: dict[str, bytes]) -> None:
        self._waiting += rows
        self._waiting_blobs |= blobs

    def _drain(self) -> None:
        """Bring what waits into the database, in one transaction.  Raises duckdb.Error, Fatal."""
        if not self._waiting:
            return
        self._database.store(self._waiting, self._waiting_blobs)
        self._waiting, self._waiting_blobs = [], {}

    def release_ballast(self) -> bool:
        """Give up the reserve so that alarms still commit on a full disk; False if there was none."""
        released = self._ballast.release()
        self.counters.ballast_releases += released
        return released

    def checkpoint_due(self, *, idle: bool) -> bool:
        """True when the log is long enough, or the writer is idle and the log is worth it."""
        if self._held:
            return False
        if idle:
            return self._since_entries >= self.limits.idle_entries
        return (
            self._since_entries >= self.limits.checkpoint_entries or self._since_bytes >= self.limits.checkpoint_bytes
        )

    def checkpoint(self) -> bool:
        """Fold the log into the database file; False where the disk has no room, is read-only, or the file is copied.

        Raises Fatal.
        """
        if self._held:
            self.counters.checkpoints_skipped += 1
            return False
        try:
            # A failed CHECKPOINT kills the session; on a disk that stays as it is, the daemon with it.
            if not self._mark.rewrite() or not self._room_to_checkpoint():
                self.counters.checkpoints_skipped += 1
                self._since_entries = self._since_bytes = 0
                return False
            self._ballast.hold()
            self._database.checkpoint()
        except duckdb.FatalException as err:  # every commit is in the log still
            self.counters.checkpoints_skipped += 1
            self._since_entries = self._since_bytes = 0
            self._database.revive(err)
            return False
        except (duckdb.Error, OSError) as err:
            raise Fatal(f"{self._folder}: the journal could not checkpoint: {err}") from err
        self._folded_seq = self._committed_seq
        self._since_entries = self._since_bytes = 0
        try:
            self._mark.flush()
            self._database.keep_pages()
            fsync_folder(self._folder)
        except OSError:  # the disk has just turned read-only; the next commit is refused, or in the log
            self.counters.checkpoints_skipped += 1
            return False
        except duckdb.Error as err:
            raise Fatal(f"{self._folder}: the journal's database failed behind a checkpoint: {err}") from err
        self._log.rewind()
        self.counters.checkpoints += 1
        return True

    def _room_to_checkpoint(self) -> bool:
        """What waits is in the database and the disk has room for more: a CHECKPOINT that fails kills the session."""
        if free_bytes(self._folder) < 4 * self._since_bytes + (1 << 20):
            return False
        try:
            self._drain()
        except duckdb.FatalException:
            raise
        except duckdb.Error:
            return False
        return True

    def hold(self) -> tuple[int, duckdb.DuckDBPyConnection, int]:
        """Bring everything into the database file and leave it unchanged until `release`.

        Returns the last number in it, a session to read in and a descriptor of the file.  Raises Transient where
        the disk has no room for a checkpoint or somebody copies already.
        """
        if self._held:
            raise Transient("the journal is being copied already")
        if self._folded_seq != self._committed_seq and not self.checkpoint():
            raise Transient(f"{self._folder}: no checkpoint of the journal: the disk is full or read-only")
        self._held = True
        return self._committed_seq, self._database.connection.cursor(), self._database.file_fd

    def release(self) -> None:
        """Let checkpoints go on."""
        self._held = False

    def swap(self, draft: Draft, wall: datetime) -> int:
        """Bring the rows behind the draft and the tombstone into it, and put it in the place of the database.

        Returns the size of the file.

        Raises Transient while nothing has changed, Fatal once the session is gone: the boot finds one or the other.
        """
        entry = Entry(kind=RETAINED, payload=encode({"gaps": [dataclasses.astuple(gap) for gap in draft.gaps]}))
        blobs: dict[str, bytes] = {}
        self._seq += 1
        try:
            self._drain()
            row, _ = self._row(entry, wall, self._head, blobs)
            complete(self._database.connection, draft, row, blobs)
            self._database.checkpoint()
        except duckdb.FatalException as err:
            raise Fatal(f"the journal's database gave up in retention: {err}") from err
        except duckdb.Error as err:
            self._database.roll_back()
            raise Transient(f"{self._folder}: retention could not finish: {err}") from err
        self._take_over(draft.path, row[-1])
        return os.fstat(self._database.file_fd).st_size

    def _take_over(self, path: Path, head: bytes) -> None:
        try:
            state = self._database.take_over(path)
            self._committed_seq, self._head = self._seq, head
            self._log.rewind()
            self._known_blobs = OrderedDict.fromkeys(state.blob_hashes)
            self._mark.write(MarkValue(self.epoch, self._seq, head))
            self._mark.flush()
            self._database.keep_pages()
            fsync_folder(self._folder)
        except (duckdb.Error, OSError) as err:
            raise Fatal(f"{self._folder}: the journal could not change over to what retention left: {err}") from err
        self._folded_seq = self._committed_seq
        self._since_entries = self._since_bytes = 0

    def finish(self) -> None:
        """A last checkpoint, so that the next start finds no log.  Raises Fatal."""
        if self._folded_seq != self._committed_seq:
            self.checkpoint()

    def suspect(self) -> None:
        """Have the next boot look closely."""
        suspect(self._folder)

    def close(self) -> None:
        """Let go of database, mark and lock, as they are."""
        self._database.close()
        self._booted.close()

    # -- reading

    @property
    def reader(self) -> Reader:
        """The tables, with every committed row in them.  Raises Transient where there is no memory for those."""
        try:
            self._drain()
        except duckdb.Error:  # a full or read-only disk: people still want to know what stands
            try:
                return self._database.preview(self._waiting, self._waiting_blobs)
            except duckdb.Error as err:
                raise Transient(f"the journal could not be read: {err}") from err
        return self._database.reader

    def surely(self, read: Callable[[], T]) -> T:
        """What the function returns; once more where DuckDB gives up on the session under it."""
        try:
            return read()
        except SessionLost as err:
            self._database.revive(err)
            return read()

    def history(self, run_id: str) -> list[Record]:
        """Every entry of one run, in sequence order."""
        first, last = self._runs.span(run_id)
        records = self.reader.history(run_id, first, self._seq if last is None else last)
        self._runs.was_read(run_id, records)
        return records

    def histories(self, run_ids: Sequence[str]) -> dict[str, list[Record]]:
        """Every entry of each of these runs, in sequence order, in one read."""
        first = min((self._runs.span(one)[0] for one in run_ids), default=0)
        return self.reader.histories(run_ids, first)

    def find_run(self, key: str) -> str | None:
        """The run that was started with this key; the rows are read only where there was one that has ended."""
        found = self._runs.open_run(key)
        if found is not None or not self._runs.perhaps(key, self._run_keys):
            return found
        return self.reader.find_run(key)

    def _run_keys(self) -> Iterable[str]:
        return self.reader.run_keys()

    def open_runs(self) -> list[OpenRun]:
        """Runs that have not ended, in the order of their start."""
        return self._runs.open_runs()

    @property
    def last_seq(self) -> int:
        """The last number given; read by the store before its thread starts."""
        return self._seq

    @property
    def head(self) -> MarkValue | None:
        """The last acknowledged row: what to publish as an anchor of the chain."""
        return self._mark.value

    def verify(self, after: MarkValue | None, limit: int) -> tuple[Verification, MarkValue | None]:
        """Recompute the chain of at most `limit` rows behind `after`; the last good row, or None at the end."""
        found, last = self.reader.verify(self._chain, self.reader.gaps(), after, limit)
        if found.broken_seq is None and found.rows == limit:
            return found, last
        if found.broken_seq is None and last is not None and last.epoch == self.epoch and last.chain != self._head:
            reason = "rows behind it were removed"
            return Verification(rows=found.rows, broken_seq=last.seq + 1, reason=reason), None
        return found, None

    # -- helpers

    def _row(self, entry: Entry, wall: datetime, head: bytes, blobs: dict[str, bytes]) -> tuple[Row, bytes]:
        """The row with its link, and what the link is over."""
        payload: bytes = entry.payload
        blob_hash = None
        if len(payload) > MAX_INLINE_BYTES:
            blob_hash = hashlib.sha256(payload).hexdigest()
            if blob_hash not in self._known_blobs:
                blobs[blob_hash] = payload
            payload = b""
        text = (self.boot_id, entry.kind, entry.run_id, entry.key, entry.name, entry.arg_hash)
        canonical = packed((self._seq, self.epoch, microseconds(wall), *text, payload, blob_hash))
        link = self._chain.link(head, canonical)
        return (self._seq, self.epoch, wall, *text, payload, blob_hash, link), canonical

    def _note_committed(self, entries: Iterable[tuple[int, Entry]], blobs: dict[str, bytes], size_bytes: int) -> None:
        for seq, entry in entries:
            self._since_entries += 1
            if entry.run_id:
                self._runs.note(entry, seq)
        for blob_hash in blobs:
            self._known_blobs[blob_hash] = None
        while len(self._known_blobs) > MAX_KNOWN_BLOBS:
            self._known_blobs.popitem(last=False)
        self._since_bytes += size_bytes
