"""The synchronous half of the store: rows into `blackstart.duckdb`, one transaction per group.

Owns the connection, the numbering, the row chain, `journal.mark`, the checkpoint policy and the index of open
runs.  Everything here runs on the one writer thread of `store.DuckStore`.  Sizes in bytes, times in UTC.
"""

import contextlib
import dataclasses
import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import duckdb

from drivers.errors import Fatal, Transient
from journal.engine.codec import encode
from journal.engine.ports import Entry, OpenRun, Record
from journal.files import Ballast, free_bytes, fsync_folder, size_bytes
from journal.insert import Inserter
from journal.mark import MarkValue
from journal.opening import DATABASE_NAME, MAX_KNOWN_BLOBS, WAL_NAME, reopen, suspect
from journal.pages import MAX_BLOCKS, keep_pages
from journal.reader import RETAINED, Chain, Reader, Row, SessionLost, Verification, microseconds
from journal.rescue import Booted
from journal.retention import Draft, complete
from journal.run_index import RunIndex
from journal.units import Counters, Limits, Unit, is_alarm

__all__ = ("Counters", "Limits", "Unit", "Writer", "is_alarm")

MAX_INLINE_BYTES = 1024  # a larger payload goes to `blob`, once per content
MAX_REVIVALS = 3  # in a row; then the process starts afresh and the boot ladder looks closely

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
        self._use(booted.connection)
        self._chain = Chain(key)
        self.boot_id = boot_id
        self.limits = limits or Limits()
        self._ballast = Ballast(booted.folder, self.limits.ballast_bytes)
        self._seq = booted.last_seq  # the last number given, also to entries whose commit failed
        tail = booted.state.tail
        self._committed_seq = 0 if tail is None else tail.seq
        same_epoch = tail is not None and tail.epoch == booted.epoch
        self._head = tail.chain if tail is not None and same_epoch else self._chain.start(booted.epoch)
        self._runs = RunIndex(booted.state.open_runs)
        self._known_blobs = OrderedDict.fromkeys(booted.state.blob_hashes)
        self._held = False  # no checkpoint: somebody copies the database file
        self._revivals = 0  # since the last commit or checkpoint that succeeded
        self._since_entries = 0
        self._since_bytes = 0
        try:
            self._mark.write(MarkValue(self.epoch, self._seq, self._head))
            self._mark.flush()
            self._keep_pages()
            fsync_folder(self._folder)
            self._ballast.hold()
        except OSError as err:
            raise Transient(f"{self._folder}: the journal cannot write: {err}") from err

    def _use(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        # There is nothing to optimise in an INSERT: a fifth of a commit's CPU. Reads have a session of their own.
        self.reader = Reader(connection.cursor())
        self._connection.execute("PRAGMA disable_optimizer")
        self._inserter = Inserter()
        self._folder_stale = True  # the next commit may create the log file

    # -- writing

    def commit(self, units: Sequence[Unit]) -> None:
        """One transaction for all units; afterwards they are on the disk and the mark stands at the last one.

        Raises Transient when the transaction failed (nothing of it is kept) and Fatal when DuckDB gave up or the
        disk failed behind the commit.
        """
        head = self._head
        rows: list[Row] = []
        blobs: dict[str, bytes] = {}
        for unit in units:
            unit.first_seq = self._seq + 1
            for entry in unit.entries:
                self._seq += 1
                row, head = self._row(entry, unit.wall, head, blobs)
                rows.append(row)
        try:
            self._insert_surely(rows, list(blobs.items()))
        except duckdb.Error as err:
            self.counters.failed_commits += 1
            raise Transient(f"the journal could not commit: {err}") from err
        self._head = head
        self._committed_seq = self._seq
        try:
            if self._folder_stale:
                fsync_folder(self._folder)
                self._folder_stale = False
            self._mark.write(MarkValue(self.epoch, self._seq, head))
        except OSError as err:
            raise Fatal(f"{self._folder}: the disk failed after a commit: {err}") from err
        self._note_committed(units, rows, blobs)

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
            if not self._mark.rewrite() or free_bytes(self._folder) < 4 * self._since_bytes + (1 << 20):
                self.counters.checkpoints_skipped += 1
                self._since_entries = self._since_bytes = 0
                return False
            self._ballast.hold()
            self._connection.execute("CHECKPOINT")
        except duckdb.FatalException as err:  # every commit is in the log still
            self.counters.checkpoints_skipped += 1
            self._since_entries = self._since_bytes = 0
            self.revive(err)
            return False
        except (duckdb.Error, OSError) as err:
            raise Fatal(f"{self._folder}: the journal could not checkpoint: {err}") from err
        self._folder_stale = True
        self._since_entries = self._since_bytes = self._revivals = 0
        try:
            self._mark.flush()
            self._keep_pages()
            fsync_folder(self._folder)
        except OSError:  # the disk has just turned read-only; the next commit flushes the folder, or is refused
            self.counters.checkpoints_skipped += 1
            return False
        self.counters.checkpoints += 1
        return True

    def revive(self, reason: Exception) -> int:
        """After DuckDB gave up on the session: close it, open it anew, compare; the newest number in the file.

        Raises Fatal after too many tries, or where acknowledged rows are missing: the boot ladder reports those.
        """
        self._revivals += 1
        if self._revivals > MAX_REVIVALS:
            raise Fatal(f"the journal's database gave up {self._revivals} times: {reason}") from reason
        self.counters.revivals += 1
        self.reader.close()
        with contextlib.suppress(duckdb.Error):
            self._connection.close()
        try:
            connection, state = reopen(self._folder)
        except (OSError, duckdb.Error) as err:
            raise Fatal(f"the journal's database gave up ({reason}) and cannot be opened: {err}") from err
        self._booted = dataclasses.replace(self._booted, connection=connection)
        self._use(connection)
        found_seq = 0 if state.tail is None else state.tail.seq
        if found_seq < self._committed_seq:
            raise Fatal(f"the journal's database gave up ({reason}) and lost rows behind {found_seq}: boot reports it")
        return found_seq

    def hold(self) -> tuple[int, duckdb.DuckDBPyConnection, int]:
        """Bring everything into the database file and leave it unchanged until `release`.

        Returns the last number in it, a session to read in and a descriptor of the file.  Raises Transient where
        the disk has no room for a checkpoint or somebody copies already.
        """
        if self._held:
            raise Transient("the journal is being copied already")
        # The log may also hold what an unclean end, or a checkpoint that was left out, has left there.
        if size_bytes(self._folder / WAL_NAME) and not self.checkpoint():
            raise Transient(f"{self._folder}: no checkpoint of the journal: the disk is full or read-only")
        self._held = True
        return self._committed_seq, self._connection.cursor(), self._booted.file_fd

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
            row, head = self._row(entry, wall, self._head, blobs)
            complete(self._connection, draft, row, blobs)
            self._connection.execute("CHECKPOINT")
        except duckdb.FatalException as err:
            raise Fatal(f"the journal's database gave up in retention: {err}") from err
        except duckdb.Error as err:
            self._roll_back()
            raise Transient(f"{self._folder}: retention could not finish: {err}") from err
        self._take_over(draft.path, head)
        return os.fstat(self._booted.file_fd).st_size

    def _take_over(self, path: Path, head: bytes) -> None:
        self.reader.close()
        try:
            self._connection.close()  # the log is gone with the checkpoint: none may meet another database
            with path.open("rb") as file:
                os.fsync(file.fileno())
            path.rename(self._folder / DATABASE_NAME)
            fsync_folder(self._folder)
            connection, state = reopen(self._folder)
            self._swap_descriptor()
            self._booted = dataclasses.replace(self._booted, connection=connection)
            self._use(connection)
            self._committed_seq, self._head = self._seq, head
            self._known_blobs = OrderedDict.fromkeys(state.blob_hashes)
            self._mark.write(MarkValue(self.epoch, self._seq, head))
            self._mark.flush()
            self._keep_pages()
            fsync_folder(self._folder)
        except (duckdb.Error, OSError) as err:
            raise Fatal(f"{self._folder}: the journal could not change over to what retention left: {err}") from err
        self._since_entries = self._since_bytes = 0

    def _swap_descriptor(self) -> None:
        fd = os.open(self._folder / DATABASE_NAME, os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(fd, self._booted.file_fd, inheritable=False)
        os.close(fd)

    def finish(self) -> None:
        """A last checkpoint, so that the next start finds no log.  Raises Fatal."""
        if self._since_entries:
            self.checkpoint()

    def suspect(self) -> None:
        """Have the next boot look closely."""
        suspect(self._folder)

    def close(self) -> None:
        """Let go of database, mark and lock, as they are."""
        self.reader.close()
        self._booted.close()

    # -- reading

    def surely(self, read: Callable[[], T]) -> T:
        """What the function returns; once more where DuckDB gives up on the session under it."""
        try:
            return read()
        except SessionLost as err:
            self.revive(err)
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
        if found is not None or not self._runs.perhaps(key, self.reader.run_keys):
            return found
        return self.reader.find_run(key)

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
        payload: bytes = entry.payload
        blob_hash = None
        if len(payload) > MAX_INLINE_BYTES:
            blob_hash = hashlib.sha256(payload).hexdigest()
            if blob_hash not in self._known_blobs:
                blobs[blob_hash] = payload
            payload = b""
        text = (self.boot_id, entry.kind, entry.run_id, entry.key, entry.name, entry.arg_hash)
        canonical = (self._seq, self.epoch, microseconds(wall), *text, payload, blob_hash)
        link = self._chain.link(head, canonical)
        return (self._seq, self.epoch, wall, *text, payload, blob_hash, link), link

    def _insert(self, rows: Sequence[Row], blobs: Sequence[Row]) -> None:
        self._inserter.insert(self._connection, rows, blobs)

    def _insert_surely(self, rows: Sequence[Row], blobs: Sequence[Row]) -> None:
        """One transaction; where DuckDB gives up on the session, look what came of it and write what is missing.

        Raises duckdb.Error when the transaction failed, Fatal after MAX_REVIVALS.
        """
        while True:
            try:
                self._insert(rows, blobs)
            except duckdb.FatalException as err:
                if self.revive(err) >= rows[-1][0]:  # it had been committed
                    return
            except duckdb.Error as err:
                if (self._newest_seq() if self._roll_back() else self.revive(err)) < rows[-1][0]:
                    raise
                return  # it had been committed, and the answer was lost
            else:
                self._revivals = 0
                return

    def _newest_seq(self) -> int:
        rows = self._connection.execute("SELECT coalesce(max(seq), 0) FROM event").fetchall()
        return int(rows[0][0])

    def _roll_back(self) -> bool:
        """End a failed transaction; False where the session is beyond that."""
        try:
            self._connection.execute("ROLLBACK")
        except duckdb.TransactionException:  # the failed statement has ended the transaction itself
            return True
        except duckdb.Error:
            return False
        return True

    def _keep_pages(self) -> None:
        """A second copy of what the next checkpoint will write in place."""
        rows = self._connection.execute("SELECT block_id FROM pragma_metadata_info()").fetchall()
        keep_pages(self._folder, self._booted.file_fd, [block for (block,) in rows[:MAX_BLOCKS]])

    def _note_committed(self, units: Sequence[Unit], rows: Sequence[Row], blobs: dict[str, bytes]) -> None:
        for unit in units:
            for seq, entry in enumerate(unit.entries, unit.first_seq):
                if entry.run_id:
                    self._runs.note(entry, seq)
        for blob_hash in blobs:
            self._known_blobs[blob_hash] = None
        while len(self._known_blobs) > MAX_KNOWN_BLOBS:
            self._known_blobs.popitem(last=False)
        self._since_entries += len(rows)
        self._since_bytes += sum(unit.size_bytes for unit in units)
        self.counters.commits += 1
        self.counters.entries += len(rows)
