"""Boot ladder: from whatever lies in the state folder to an open database, never a crash loop.

Lock, walk the write-ahead log's frames and copy it aside if it is not clean, open, on refusal set the log aside,
then the database, then start anew; at last compare with `journal.mark`.  Every rung that had to act leaves a
`RescueNote` and raises the epoch, so that no (epoch, sequence) pair and no id is ever given twice.  Blocking;
called once by `Journal.open` in a thread.
"""

import contextlib
import fcntl
import os
import re
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path

import duckdb

from drivers.errors import Misconfigured, Transient
from journal.engine.ports import OpenRun
from journal.files import free_bytes, fsync_folder
from journal.mark import Mark, MarkValue
from journal.schema import CREATE, ENDED_KINDS, SCHEMA_VERSION

__all__ = ("CONFIG", "DATABASE_NAME", "Booted", "RescueNote", "State", "boot", "suspect", "wal_leftover_bytes")

DATABASE_NAME = "blackstart.duckdb"
LOCK_NAME = "journal.lock"
MARK_NAME = "journal.mark"
SUSPECT_NAME = "journal.suspect"  # there while the database is to be read through before it is trusted

MAX_RESCUES_KEPT = 8  # older copies are removed: a card that keeps failing must not fill itself
MAX_KNOWN_BLOBS = 16_384  # about 2 MB of memory; beyond it a payload may be stored twice, which harms nobody
FREE_FOR_CHECKPOINT_BYTES = 16 << 20
MAX_FRAME_BYTES = 64 << 20  # a frame of the log that claims more is damaged
VERSION_RECORD_BYTES = range(8, 160)  # where the log's unframed first record may end

# Given to connect() because log replay runs before any SET could.  The writer alone decides on checkpoints.
CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "threads": "1",
    "async_threads": "1",
    "memory_limit": "128MB",
    "default_block_size": "16384",
    "checkpoint_threshold": "1TB",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RescueNote:
    """One thing that the boot ladder had to do.  The gateway turns it into an alarm."""

    rung: str  # wal_copied | wal_set_aside | database_set_aside | numbers_lost | mark_lost
    detail: str
    epoch: int  # the epoch that begins with this rescue
    set_aside: tuple[str, ...] = ()  # file names in the state folder
    lost_from: int | None = None  # acknowledged sequence numbers that are gone, both ends included
    lost_to: int | None = None  # at least up to here: the mark may be older than the last acknowledgement


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the daemon needs to know of the rows, read once."""

    tail: MarkValue | None  # the newest row: epoch, sequence number, chain
    open_runs: tuple[OpenRun, ...]
    blob_hashes: tuple[str, ...]  # oldest first


@dataclass(frozen=True, slots=True, kw_only=True)
class Booted:
    """An open journal and where numbering resumes."""

    folder: Path
    connection: duckdb.DuckDBPyConnection
    mark: Mark
    lock_fd: int
    state: State
    epoch: int
    last_seq: int  # at or above every number ever acknowledged, as far as is known
    notes: tuple[RescueNote, ...]

    def close(self) -> None:
        """Let go of database, mark and lock.  A session that gave up cannot be closed tidily; boot will look."""
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, self.lock_fd)
            stack.callback(self.mark.close)
            stack.enter_context(contextlib.suppress(duckdb.Error))
            self.connection.close()


@dataclass(frozen=True, slots=True)
class _Act:
    """What one rung did, before the new epoch is known."""

    rung: str
    detail: str
    set_aside: tuple[str, ...] = ()


def boot(folder: Path) -> Booted:
    """Climb the ladder.

    Raises Misconfigured where another process holds the journal, the folder may not be written or the schema is
    of another version; Transient where the file system itself fails (the caller goes on polling and tries again).
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock_fd = _lock(folder)
    except PermissionError as err:
        raise Misconfigured(f"{folder}: the journal cannot be written: {err.strerror}") from err
    except OSError as err:
        raise Transient(f"{folder}: the journal's folder fails: {err}") from err
    try:
        return _boot_locked(folder, lock_fd)
    except OSError as err:
        os.close(lock_fd)
        raise Transient(f"{folder}: the journal cannot be opened: {err}") from err
    except BaseException:
        os.close(lock_fd)
        raise


def suspect(folder: Path) -> None:
    """Have the next boot read the whole database before it trusts it: a session gave up, perhaps on a bad block."""
    with contextlib.suppress(OSError):  # on a dead disk there is nothing left to mark
        (folder / SUSPECT_NAME).touch(mode=0o600)
        fsync_folder(folder)


def wal_leftover_bytes(content: bytes) -> int:
    """Bytes behind the last whole frame `[u64 size][u64 checksum][payload]` of a write-ahead log; 0 is clean.

    The first record is not framed; its end is the offset from which most frames can be walked.
    """
    best_frames, best_end = -1, 0
    for start in VERSION_RECORD_BYTES:
        if content[start - 2 : start] != b"\xff\xff":  # every record ends with the serialiser's end-of-object field
            continue
        offset, frames = start, 0
        while offset + 16 <= len(content):
            (size,) = struct.unpack_from("<Q", content, offset)
            end = offset + 16 + size
            whole = 0 < size <= MAX_FRAME_BYTES and end <= len(content)
            if not whole or content[offset + 16 : offset + 18] != b"\x64\x00":  # field 100 opens each payload
                break
            offset, frames = end, frames + 1
        if frames > best_frames:
            best_frames, best_end = frames, offset
    return len(content) - best_end


def _lock(folder: Path) -> int:
    path = folder / LOCK_NAME
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as err:
        os.close(fd)
        raise Misconfigured(f"{path}: another blackstart daemon runs on this folder; stop it first") from err
    return fd


def _refuse_foreign_lock(database: Path) -> None:
    """A DuckDB shell that has the file open must not look like a damaged file."""
    if not database.exists():
        return
    with database.open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the lock DuckDB takes; closing the file drops ours
        except (BlockingIOError, PermissionError) as err:
            raise Misconfigured(f"{database}: another program has the database open; close it") from err


def _boot_locked(folder: Path, lock_fd: int) -> Booted:
    database = folder / DATABASE_NAME
    try:
        _refuse_foreign_lock(database)
        mark = Mark(folder / MARK_NAME)
    except PermissionError as err:
        raise Misconfigured(f"{folder}: the journal cannot be written: {err}") from err
    acts: list[_Act] = []
    wal = folder / f"{DATABASE_NAME}.wal"
    if wal.exists() and (leftover := wal_leftover_bytes(wal.read_bytes())):
        copy = folder / f"{wal.name}.rescued-{_next_number(folder)}"
        shutil.copyfile(wal, copy)
        acts.append(_Act("wal_copied", f"{leftover} bytes at the log's end are no whole entry", (copy.name,)))
    connection, state = _open(folder, acts)
    (folder / SUSPECT_NAME).unlink(missing_ok=True)
    at = state.tail or MarkValue(0, 0, b"")
    known = mark.value or MarkValue(0, 0, b"")
    lost = (at.seq + 1, known.seq) if known.seq > at.seq else (None, None)
    if lost[0] is not None:
        acts.append(_Act("numbers_lost", f"sequence numbers lost from {lost[0]} up to the mark {lost[1]}"))
    if state.tail is not None and mark.value is None:
        acts.append(_Act("mark_lost", "journal.mark is missing or damaged: a loss at the end would not be noticed"))
    epoch = max(at.epoch, known.epoch, 1) + (1 if acts else 0)
    notes = tuple(
        RescueNote(
            rung=act.rung, detail=act.detail, set_aside=act.set_aside, epoch=epoch, lost_from=lost[0], lost_to=lost[1]
        )
        for act in acts
    )
    if notes:
        _remove_old_rescues(folder)
        fsync_folder(folder)
    return Booted(
        folder=folder,
        connection=connection,
        mark=mark,
        lock_fd=lock_fd,
        state=state,
        epoch=epoch,
        last_seq=max(at.seq, known.seq),
        notes=notes,
    )


def _open(folder: Path, acts: list[_Act]) -> tuple[duckdb.DuckDBPyConnection, State]:
    """Open as it is, else without the log, else from nothing."""
    reason = ""
    for rung, pattern in (("", ""), ("wal_set_aside", ".wal"), ("database_set_aside", "")):
        if rung:
            moved = _set_aside(folder, DATABASE_NAME + pattern)
            if not moved:
                continue
            acts.append(_Act(rung, reason, moved))
        try:
            return _connect(folder)
        except duckdb.Error as err:
            reason = str(err).partition("\n")[0][:400]
    raise Transient(f"{folder}: not even a new journal can be opened: {reason}")


def _connect(folder: Path) -> tuple[duckdb.DuckDBPyConnection, State]:
    connection = duckdb.connect(folder / DATABASE_NAME, config=CONFIG)
    try:
        if connection.execute("SELECT count(*) FROM duckdb_tables()").fetchall() == [(0,)]:
            _create(folder, connection)
        _check_version(folder, connection)
        if (folder / SUSPECT_NAME).exists():
            _read_through(folder, connection)
        return connection, _read_state(connection)
    except BaseException:
        with contextlib.suppress(duckdb.Error):
            connection.close()
        raise


def _create(folder: Path, connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("BEGIN")
    for statement in CREATE:
        connection.execute(statement)
    connection.execute("COMMIT")
    connection.execute("CHECKPOINT")
    fsync_folder(folder)


def _read_through(folder: Path, connection: duckdb.DuckDBPyConnection) -> None:
    """Read every block, because DuckDB checks a block only when it is asked for it."""
    for table in ("event", "blob"):
        connection.execute(f"SELECT bit_xor(hash(t)) FROM {table} t").fetchall()  # noqa: S608 - two constants
    needed_bytes = 2 * (folder / DATABASE_NAME).stat().st_size + FREE_FOR_CHECKPOINT_BYTES
    if free_bytes(folder) > needed_bytes:  # on a full disk it would fail, and a sound database look damaged
        connection.execute("FORCE CHECKPOINT")


def _check_version(folder: Path, connection: duckdb.DuckDBPyConnection) -> None:
    rows = connection.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchall()
    if rows != [(str(SCHEMA_VERSION),)]:
        raise Misconfigured(
            f"{folder / DATABASE_NAME}: schema version {rows}, this program reads {SCHEMA_VERSION}; "
            "install the version that wrote it"
        )


def _read_state(connection: duckdb.DuckDBPyConnection) -> State:
    tail = connection.execute("SELECT epoch, seq, chain FROM event ORDER BY seq DESC LIMIT 1").fetchone()
    runs = connection.execute(
        "SELECT run_id, any_value(name) FILTER (kind = 'run.started'), min(seq), max(seq) FROM event WHERE run_id IN "
        "(SELECT run_id FROM event WHERE starts_with(kind, 'run.') GROUP BY run_id "
        "HAVING bool_or(kind = 'run.started') AND NOT list_contains(?, arg_max(kind, seq))) "
        "GROUP BY run_id ORDER BY min(seq)",
        [ENDED_KINDS],
    ).fetchall()
    hashes = connection.execute("SELECT hash FROM blob ORDER BY rowid DESC LIMIT ?", [MAX_KNOWN_BLOBS]).fetchall()
    return State(
        tail=None if tail is None else MarkValue(*tail),
        open_runs=tuple(
            OpenRun(run_id=run_id, workflow=workflow, first_seq=first, last_seq=last)
            for run_id, workflow, first, last in runs
        ),
        blob_hashes=tuple(row[0] for row in reversed(hashes)),
    )


def _set_aside(folder: Path, prefix: str) -> tuple[str, ...]:
    """Rename every live file of that name or beginning; their new names."""
    number = _next_number(folder)
    moved = []
    for path in sorted(folder.glob(f"{prefix}*")):
        if path.is_file() and ".rescued-" not in path.name:
            target = path.with_name(f"{path.name}.rescued-{number}")
            path.rename(target)
            moved.append(target.name)
    fsync_folder(folder)
    return tuple(moved)


def _rescue_numbers(folder: Path) -> dict[Path, int]:
    found = ((path, re.search(r"\.rescued-(\d+)$", path.name)) for path in folder.glob(f"{DATABASE_NAME}*"))
    return {path: int(match[1]) for path, match in found if match is not None}


def _next_number(folder: Path) -> int:
    return max(_rescue_numbers(folder).values(), default=0) + 1


def _remove_old_rescues(folder: Path) -> None:
    numbers = _rescue_numbers(folder)
    for path, number in numbers.items():
        if number <= max(numbers.values()) - MAX_RESCUES_KEPT:
            path.unlink()
