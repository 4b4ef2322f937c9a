"""The synchronous half of the store: rows into `blackstart.duckdb`, one transaction per group.

Owns the connection, the numbering, the row chain, `journal.mark`, the checkpoint policy and the index of open
runs.  Everything here runs on the one writer thread of `store.DuckStore`.  Sizes in bytes, times in UTC.
"""

import hashlib
import hmac
import itertools
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import msgpack

from drivers.errors import BadInput, Fatal, Transient
from journal.engine.ports import Entry, OpenRun, Record
from journal.files import Ballast, free_bytes, fsync_folder
from journal.mark import MarkValue
from journal.rescue import MAX_KNOWN_BLOBS, Booted
from journal.schema import ENDED_KINDS, QUERIES, RECORD_COLUMNS

__all__ = ("Counters", "Limits", "Unit", "Verification", "Writer", "is_alarm")

MAX_INLINE_BYTES = 1024  # a larger payload goes to `blob`, once per content
MAX_ROWS_PER_STATEMENT = 256  # bounds DuckDB's memory for one INSERT
MIN_ROWS_FOR_LISTS = 8  # from here on one list per column costs less CPU than one placeholder per value (measured)
MAX_QUERY_ROWS = 10_000
MAX_HASHES_PER_STATEMENT = 256

_COLUMN_TYPES = (
    "BIGINT INTEGER TIMESTAMPTZ VARCHAR VARCHAR VARCHAR VARCHAR VARCHAR VARCHAR BLOB VARCHAR BLOB".split()  # noqa: SIM905
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Row = tuple[Any, ...]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What `verify` found; `broken_seq` is the first row that was changed, removed or put in."""

    rows: int
    broken_seq: int | None = None
    reason: str = ""


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
        self._key = key
        self._boot_id = boot_id
        self.limits = limits or Limits()
        self._ballast = Ballast(booted.folder, self.limits.ballast_bytes)
        self._seq = booted.last_seq  # the last number given, also to entries whose commit failed
        tail = booted.state.tail
        same_epoch = tail is not None and tail.epoch == booted.epoch
        self._chain = tail.chain if tail is not None and same_epoch else self._chain_start(booted.epoch)
        self._open_runs = {run.run_id: run for run in booted.state.open_runs}
        self._known_blobs = OrderedDict.fromkeys(booted.state.blob_hashes)
        self._folder_stale = True  # the next commit may create the log file
        self._since_entries = 0
        self._since_bytes = 0
        try:
            self._mark.write(MarkValue(self.epoch, self._seq, self._chain))
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
        chain = self._chain
        rows: list[Row] = []
        blobs: dict[str, bytes] = {}
        for unit in units:
            unit.first_seq = self._seq + 1
            for entry in unit.entries:
                self._seq += 1
                row, chain = self._row(entry, unit.wall, chain, blobs)
                rows.append(row)
        try:
            self._insert(rows, list(blobs.items()))
        except duckdb.FatalException as err:
            raise Fatal(f"the journal's database gave up: {err}") from err
        except duckdb.Error as err:
            self.counters.failed_commits += 1
            self._roll_back()
            raise Transient(f"the journal could not commit: {err}") from err
        self._chain = chain
        try:
            if self._folder_stale:
                fsync_folder(self._folder)
                self._folder_stale = False
            self._mark.write(MarkValue(self.epoch, self._seq, chain))
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

    def close(self, *, clean: bool) -> None:
        """Checkpoint unless the session is broken, then let go of database, mark and lock."""
        try:
            if clean and self._since_entries:
                self.checkpoint()
        finally:
            self._booted.close()

    # -- reading

    def history(self, run_id: str) -> list[Record]:
        """Every entry of one run, in sequence order."""
        run = self._open_runs.get(run_id)
        first, last = (run.first_seq, run.last_seq) if run is not None else (0, self._seq)
        return self._records("run_id = ? AND seq BETWEEN ? AND ?", [run_id, first, last])

    def open_runs(self) -> list[OpenRun]:
        """Runs that have not ended, in the order of their start."""
        return sorted(self._open_runs.values(), key=lambda run: run.first_seq)

    def find_run(self, key: str) -> str | None:
        """The run that was started with this key, if any."""
        sql = "SELECT run_id FROM event WHERE kind = 'run.started' AND key = ? ORDER BY seq LIMIT 1"
        rows = self._fetch(sql, [key])
        return rows[0][0] if rows else None

    def pending_outbox(self, from_seq: int, limit: int) -> list[Record]:
        """Queued messages that were neither sent nor refused, in sequence order."""
        condition = (
            "kind = 'outbox.queued' AND seq >= ? AND key NOT IN "
            "(SELECT key FROM event WHERE kind IN ('outbox.sent', 'outbox.refused'))"
        )
        return self._records(condition, [from_seq], limit)

    def query(self, name: str, limit: int, arguments: dict[str, str]) -> list[dict[str, Any]]:
        """A named query of `schema.QUERIES`.  Raises BadInput for an unknown name or missing argument."""
        if name not in QUERIES:
            raise BadInput(f"no query is called {name!r}; there are {', '.join(QUERIES)}")
        sql = QUERIES[name]
        wanted: dict[str, Any] = {word: arguments[word] for word in arguments if f"${word}" in sql}
        missing = {word for word in ("run_id",) if f"${word}" in sql} - wanted.keys()
        if missing:
            raise BadInput(f"the query {name!r} needs {', '.join(missing)}")
        if "$kind" in sql:
            wanted.setdefault("kind", "")
        wanted["limit"] = max(0, min(limit, MAX_QUERY_ROWS))
        rows = self._fetch(sql, wanted)
        names = [column[0] for column in self._connection.description or ()]
        results = [dict(map(_aware, names, row)) for row in rows]
        payloads = self._blobs(row["blob_hash"] for row in results if row.get("blob_hash"))
        for result in results:
            blob_hash = result.pop("blob_hash", None)
            if blob_hash is not None:
                result["payload"] = payloads[blob_hash]
        return results

    def verify(self, after: MarkValue | None, limit: int) -> tuple[Verification, MarkValue | None]:
        """Recompute the chain of at most `limit` rows behind `after`; the last good row, or None at the end."""
        rows = self._rows_where("seq > ?", [0 if after is None else after.seq], limit)
        blobs = self._blobs(row[10] for row in rows if row[10] is not None)
        for count, row in enumerate(rows):
            seq, epoch, blob_hash, chain = row[0], row[1], row[10], row[11]
            previous = after.chain if after is not None and after.epoch == epoch else self._chain_start(epoch)
            if blob_hash is not None and hashlib.sha256(blobs.get(blob_hash, b"")).hexdigest() != blob_hash:
                return Verification(rows=count, broken_seq=seq, reason="its payload in `blob` was changed"), None
            if not hmac.compare_digest(self._link(previous, row[:11]), chain):
                return Verification(rows=count, broken_seq=seq, reason="it does not follow from the row before"), None
            after = MarkValue(epoch, seq, chain)
        done = len(rows) < limit
        if done and after is not None and after.chain != self._chain and after.epoch == self.epoch:
            reason = "rows behind it were removed"
            return Verification(rows=len(rows), broken_seq=after.seq + 1, reason=reason), None
        return Verification(rows=len(rows)), None if done else after

    # -- helpers

    def _row(self, entry: Entry, wall: datetime, chain: bytes, blobs: dict[str, bytes]) -> tuple[Row, bytes]:
        payload: bytes = entry.payload
        blob_hash = None
        if len(payload) > MAX_INLINE_BYTES:
            blob_hash = hashlib.sha256(payload).hexdigest()
            if blob_hash not in self._known_blobs:
                blobs[blob_hash] = payload
            payload = b""
        text = (self._boot_id, entry.kind, entry.run_id, entry.key, entry.name, entry.arg_hash)
        wall_us = (wall - _EPOCH) // _MICROSECOND
        link = self._link(chain, (self._seq, self.epoch, wall_us, *text, payload, blob_hash))
        return (self._seq, self.epoch, wall, *text, payload, blob_hash, link), link

    def _link(self, previous: bytes, canonical: Row) -> bytes:
        """HMAC-SHA256 over the row before and this row's columns in table order, as MessagePack."""
        return hmac.digest(self._key, previous + msgpack.packb(canonical), "sha256")

    def _chain_start(self, epoch: int) -> bytes:
        return hmac.digest(self._key, b"epoch %d" % epoch, "sha256")

    def _insert(self, rows: Sequence[Row], blobs: Sequence[Row]) -> None:
        statements = [("event", chunk) for chunk in _chunks(rows)] + [("blob", chunk) for chunk in _chunks(blobs)]
        if len(statements) == 1:  # a single statement is a transaction of its own, a fifth cheaper
            self._connection.execute(*_insert_statement(*statements[0]))
            return
        self._connection.execute("BEGIN")
        for table, chunk in statements:
            self._connection.execute(*_insert_statement(table, chunk))
        self._connection.execute("COMMIT")

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
        elif entry.kind == "run.started":
            self._open_runs[entry.run_id] = OpenRun(
                run_id=entry.run_id, workflow=entry.name, first_seq=seq, last_seq=seq
            )

    def _rows_where(self, condition: str, arguments: list[Any], limit: int | None = None) -> list[Row]:
        """Whole rows in sequence order; `condition` is always a constant of this module."""
        sql = f"SELECT {RECORD_COLUMNS} FROM event WHERE {condition} ORDER BY seq LIMIT ?"  # noqa: S608
        return self._fetch(sql, [*arguments, limit])

    def _records(self, condition: str, arguments: list[Any], limit: int | None = None) -> list[Record]:
        rows = self._rows_where(condition, arguments, limit)
        blobs = self._blobs(row[10] for row in rows if row[10] is not None)
        return [_record(row, blobs) for row in rows]

    def _blobs(self, hashes: Iterable[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        wanted = iter(dict.fromkeys(hashes))
        while chunk := list(itertools.islice(wanted, MAX_HASHES_PER_STATEMENT)):
            found.update(self._fetch("SELECT hash, data FROM blob WHERE list_contains(?, hash)", [chunk]))
        return found

    def _fetch(self, sql: str, arguments: list[Any] | dict[str, Any]) -> list[Row]:
        try:
            return self._connection.execute(sql, arguments).fetchall()
        except duckdb.FatalException as err:
            raise Fatal(f"the journal's database gave up: {err}") from err
        except duckdb.Error as err:
            raise Transient(f"the journal could not be read: {err}") from err


def _chunks(rows: Sequence[Row]) -> list[Sequence[Row]]:
    return [rows[at : at + MAX_ROWS_PER_STATEMENT] for at in range(0, len(rows), MAX_ROWS_PER_STATEMENT)]


def _insert_statement(table: str, rows: Sequence[Row]) -> tuple[str, list[Any]]:
    """One INSERT for all rows: a placeholder per value for a few, a list per column for many."""
    width = len(rows[0])
    if len(rows) < MIN_ROWS_FOR_LISTS:
        values = ",".join(["(" + ",".join("?" * width) + ")"] * len(rows))
        return f"INSERT INTO {table} VALUES {values}", list(itertools.chain.from_iterable(rows))  # noqa: S608
    types = _COLUMN_TYPES if table == "event" else ("VARCHAR", "BLOB")
    lists = ",".join(f"unnest(?::{column_type}[])" for column_type in types)
    return f"INSERT INTO {table} SELECT {lists}", [list(column) for column in zip(*rows, strict=True)]


def _record(row: Row, blobs: dict[str, bytes]) -> Record:
    seq, epoch, wall_us, _boot, kind, run_id, key, name, arg_hash, payload, blob_hash, _chain = row
    return Record(
        seq=seq,
        epoch=epoch,
        wall=_time(wall_us),
        kind=kind,
        run_id=run_id,
        key=key,
        name=name,
        arg_hash=arg_hash,
        payload=payload if blob_hash is None else blobs[blob_hash],
    )


def _aware(name: str, value: Any) -> tuple[str, Any]:
    """`…_us` columns become aware times."""
    return (name[:-3], _time(value)) if name.endswith("_us") else (name, value)


def _time(time_us: int) -> datetime:
    return _EPOCH + time_us * _MICROSECOND
