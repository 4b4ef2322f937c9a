"""The synchronous half of the store: rows into `blackstart.duckdb`, one transaction per group.

Owns the connection, the numbering, the row chain, `journal.mark`, the checkpoint policy and the index of open
runs.  Everything here runs on the one writer thread of `store.DuckStore`.  Sizes in bytes, times in UTC.
"""

import functools
import hashlib
import itertools
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb

from drivers.errors import Fatal, Transient
from journal.engine.ports import Entry, OpenRun, Record
from journal.files import Ballast, free_bytes, fsync_folder
from journal.mark import MarkValue
from journal.reader import Chain, Reader, Row, Verification, microseconds
from journal.rescue import MAX_KNOWN_BLOBS, Booted, suspect
from journal.schema import ENDED_KINDS, REOPENING_KINDS

__all__ = ("Counters", "Limits", "Unit", "Writer", "is_alarm")

MAX_INLINE_BYTES = 1024  # a larger payload goes to `blob`, once per content
MAX_ROWS_PER_STATEMENT = 256  # bounds DuckDB's memory for one INSERT
MIN_ROWS_FOR_LISTS = 8  # from here on one list per column costs less CPU than one placeholder per value (measured)

_COLUMN_TYPES = (
    "BIGINT INTEGER TIMESTAMPTZ VARCHAR VARCHAR VARCHAR VARCHAR VARCHAR VARCHAR BLOB VARCHAR BLOB".split()  # noqa: SIM905
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When the writer checkpoints.  The defaults keep replay after a cut near a second on a Raspberry Pi."""

    checkpoint_entries: int = 2_000
    checkpoint_bytes: int = 4 << 20
    idle_s: float = 30.0
    idle_entries: int = 64  # fewer are not worth the blocks that a checkpoint rewrites
    ballast_bytes: int = 16 << 20


@dataclass(slots=True)
class Counters:
    """What the writer has done since it started."""

    commits: int = 0
    entries: int = 0
    checkpoints: int = 0
    checkpoints_skipped: int = 0  # the disk had no room for one
    failed_commits: int = 0
    ballast_releases: int = 0


@dataclass(slots=True)
class Unit:
    """The entries of one append(): committed together or not at all."""

    entries: Sequence[Entry]
    wall: datetime
    size_bytes: int
    first_seq: int = 0


def is_alarm(entry: Entry) -> bool:
    """True for kinds that must reach the disk even when it is full."""
    return entry.kind == "alarm" or entry.kind.startswith("alarm.")


class Writer:
    """The open journal file.  One thread at a time."""

    def __init__(self, booted: Booted, *, key: bytes, boot_id: str, limits: Limits | None = None) -> None:
        """Take over from the boot ladder and make the epoch durable.  Raises Transient when the disk refuses."""
        self.epoch = booted.epoch
        self.counters = Counters()
        self._booted = booted
        self._folder = booted.folder
        self._connection = booted.connection
        self._mark = booted.mark
        # There is nothing to optimise in an INSERT: a fifth of a commit's CPU. Reads have a session of their own.
        self.reader = Reader(booted.connection.cursor())
        self._connection.execute("PRAGMA disable_optimizer")
        self._chain = Chain(key)
        self.boot_id = boot_id
        self.limits = limits or Limits()
        self._ballast = Ballast(booted.folder, self.limits.ballast_bytes)
        self._seq = booted.last_seq  # the last number given, also to entries whose commit failed
        tail = booted.state.tail
        same_epoch = tail is not None and tail.epoch == booted.epoch
        self._head = tail.chain if tail is not None and same_epoch else self._chain.start(booted.epoch)
        self._open_runs = {run.run_id: run for run in booted.state.open_runs}
        self._known_blobs = OrderedDict.fromkeys(booted.state.blob_hashes)
        self._statements: dict[str, duckdb.Statement] = {}
        self._folder_stale = True  # the next commit may create the log file
        self._since_entries = 0
        self._since_bytes = 0
        try:
            self._mark.write(MarkValue(self.epoch, self._seq, self._head))
            self._mark.flush()
            self._ballast.hold()
        except OSError as err:
            raise Transient(f"{self._folder}: the journal cannot write: {err}") from err

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
            self._insert(rows, list(blobs.items()))
        except duckdb.FatalException as err:
            raise Fatal(f"the journal's database gave up: {err}") from err
        except duckdb.Error as err:
            self.counters.failed_commits += 1
            self._roll_back()
            raise Transient(f"the journal could not commit: {err}") from err
        self._head = head
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
        if idle:
            return self._since_entries >= self.limits.idle_entries
        return (
            self._since_entries >= self.limits.checkpoint_entries or self._since_bytes >= self.limits.checkpoint_bytes
        )

    def checkpoint(self) -> bool:
        """Fold the log into the database file; False where the disk has no room for it.  Raises Fatal."""
        try:
            self._ballast.hold()
            if free_bytes(self._folder) < 4 * self._since_bytes + (1 << 20):  # a failed CHECKPOINT kills the session
                self.counters.checkpoints_skipped += 1
                self._since_entries = self._since_bytes = 0
                return False
            self._connection.execute("CHECKPOINT")
            self._mark.flush()
            fsync_folder(self._folder)
        except (duckdb.Error, OSError) as err:
            raise Fatal(f"{self._folder}: the journal could not checkpoint: {err}") from err
        self._folder_stale = True
        self._since_entries = self._since_bytes = 0
        self.counters.checkpoints += 1
        return True

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

    def history(self, run_id: str) -> list[Record]:
        """Every entry of one run, in sequence order."""
        run = self._open_runs.get(run_id)
        first, last = (run.first_seq, run.last_seq) if run is not None else (0, self._seq)
        return self.reader.history(run_id, first, last)

    def histories(self, run_ids: Sequence[str]) -> dict[str, list[Record]]:
        """Every entry of each of these runs, in sequence order, in one read."""
        first = min((run.first_seq if (run := self._open_runs.get(one)) else 0 for one in run_ids), default=0)
        return self.reader.histories(run_ids, first)

    def open_runs(self) -> list[OpenRun]:
        """Runs that have not ended, in the order of their start."""
        return sorted(self._open_runs.values(), key=lambda run: run.first_seq)

    @property
    def last_seq(self) -> int:
        """The last number given; read by the store before its thread starts."""
        return self._seq

    def verify(self, after: MarkValue | None, limit: int) -> tuple[Verification, MarkValue | None]:
        """Recompute the chain of at most `limit` rows behind `after`; the last good row, or None at the end."""
        found, last = self.reader.verify(self._chain, after, limit)
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
        chunks = [("event", chunk) for chunk in _chunks(rows)] + [("blob", chunk) for chunk in _chunks(blobs)]
        if len(chunks) == 1:  # a single statement is a transaction of its own, a fifth cheaper
            self._insert_chunk(*chunks[0])
            return
        self._connection.execute("BEGIN")
        for table, chunk in chunks:
            self._insert_chunk(table, chunk)
        self._connection.execute("COMMIT")

    def _insert_chunk(self, table: str, rows: Sequence[Row]) -> None:
        """One INSERT: a placeholder per value for a few rows, a list per column for many."""
        few = len(rows) < MIN_ROWS_FOR_LISTS
        sql = _insert_sql(table, len(rows) if few else 0)
        statement = self._statements.get(sql)
        if statement is None:  # parsed once: a tenth of the CPU of a commit; at most 2 * MIN_ROWS_FOR_LISTS texts
            (statement,) = self._connection.extract_statements(sql)
            self._statements[sql] = statement
        values = list(itertools.chain.from_iterable(rows)) if few else [list(c) for c in zip(*rows, strict=True)]
        self._connection.execute(statement, values)

    def _roll_back(self) -> None:
        try:
            self._connection.execute("ROLLBACK")
        except duckdb.TransactionException:  # the failed statement has ended the transaction itself
            pass
        except duckdb.Error as err:
            raise Fatal(f"the journal's database gave up: {err}") from err

    def _note_committed(self, units: Sequence[Unit], rows: Sequence[Row], blobs: dict[str, bytes]) -> None:
        for unit in units:
            for seq, entry in enumerate(unit.entries, unit.first_seq):
                if entry.run_id:
                    self._note_run(entry, seq)
        for blob_hash in blobs:
            self._known_blobs[blob_hash] = None
        while len(self._known_blobs) > MAX_KNOWN_BLOBS:
            self._known_blobs.popitem(last=False)
        self._since_entries += len(rows)
        self._since_bytes += sum(unit.size_bytes for unit in units)
        self.counters.commits += 1
        self.counters.entries += len(rows)

    def _note_run(self, entry: Entry, seq: int) -> None:
        run = self._open_runs.get(entry.run_id)
        if entry.kind in ENDED_KINDS:
            self._open_runs.pop(entry.run_id, None)
        elif run is not None:
            self._open_runs[entry.run_id] = OpenRun(
                run_id=run.run_id, workflow=run.workflow, first_seq=run.first_seq, last_seq=seq
            )
        elif entry.kind == "run.started" or entry.kind in REOPENING_KINDS:
            first_seq = (
                seq if entry.kind == "run.started" else 0
            )  # where it began is not in memory: read from the first
            self._open_runs[entry.run_id] = OpenRun(
                run_id=entry.run_id, workflow=entry.name, first_seq=first_seq, last_seq=seq
            )


def _chunks(rows: Sequence[Row]) -> list[Sequence[Row]]:
    return [rows[at : at + MAX_ROWS_PER_STATEMENT] for at in range(0, len(rows), MAX_ROWS_PER_STATEMENT)]


@functools.lru_cache(maxsize=2 * MIN_ROWS_FOR_LISTS)
def _insert_sql(table: str, few_rows: int) -> str:
    """Text for so many rows with a placeholder per value, or for 0 with a list per column."""
    types = _COLUMN_TYPES if table == "event" else ("VARCHAR", "BLOB")
    if few_rows:
        values = ",".join(["(" + ",".join("?" * len(types)) + ")"] * few_rows)
        return f"INSERT INTO {table} VALUES {values}"  # noqa: S608 - the table is a constant of this module
    return f"INSERT INTO {table} SELECT " + ",".join(f"unnest(?::{column_type}[])" for column_type in types)
