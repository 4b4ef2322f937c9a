"""Boot ladder: from whatever lies in the state folder to an open database, never a crash loop.

Lock; walk the frames of DuckDB's write-ahead log, copy it aside if it is not clean and mend a flipped length; open
rung by rung (`opening`); recompute the row chain of what came out of that log (`tail`); take what the database lacks
from `journal.log` (`recovery`); at last compare with `journal.mark`.  Every rung that had to act leaves a
`RescueNote` and raises the epoch, so that no (epoch, sequence) pair and no id is ever given twice.  Blocking; called
once by `Journal.open` in a thread.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb

from drivers.errors import Misconfigured, Transient
from journal.commit_log import LOG_NAME, CommitLog, Group
from journal.damage import leftover_bytes, mended_length, overwrite
from journal.files import fsync_folder
from journal.mark import Mark, MarkValue
from journal.opening import CONFIG, DATABASE_NAME, WAL_NAME, Act, State, climb, copy_aside, remove_old_rescues
from journal.reader import Chain
from journal.recovery import recover
from journal.tail import check_tail

__all__ = ("CONFIG", "DATABASE_NAME", "MARK_NAME", "Booted", "RescueNote", "boot", "lock_folder")

LOCK_NAME = "journal.lock"
MARK_NAME = "journal.mark"


@dataclass(frozen=True, slots=True, kw_only=True)
class RescueNote:
    """One thing that the boot ladder had to do.  The gateway turns it into an alarm.

    Rungs, in their order: wal_copied, wal_length_mended, wal_cut, block_copied, header_copied, wal_set_aside,
    snapshot_restored, database_set_aside, rows_dropped, chain_broken, log_set_aside, numbers_lost, mark_lost.
    """

    rung: str
    detail: str
    epoch: int  # the epoch that begins with this rescue
    set_aside: tuple[str, ...] = ()  # file names in the state folder
    lost_from: int | None = None  # acknowledged sequence numbers that are gone, both ends included
    lost_to: int | None = None  # at least up to here: the mark may be older than the last acknowledgement


@dataclass(frozen=True, slots=True, kw_only=True)
class Booted:
    """An open journal and where numbering resumes."""

    folder: Path
    connection: duckdb.DuckDBPyConnection
    mark: Mark
    commit_log: CommitLog
    waiting: tuple[Group, ...]  # durable in the log, not yet in the database
    lock_fd: int
    file_fd: int  # the database, for reading: to open and close it again would drop DuckDB's lock on it
    state: State  # of the database
    tail: MarkValue | None  # the newest row, in the log or the database
    epoch: int
    key: bytes  # of the row chain; empty where none was asked for
    last_seq: int  # at or above every number ever acknowledged, as far as is known
    notes: tuple[RescueNote, ...]

    def close(self) -> None:
        """Let go of database, mark and lock.  A session that gave up cannot be closed tidily; boot will look."""
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, self.lock_fd)
            stack.callback(os.close, self.file_fd)
            stack.callback(self.mark.close)
            stack.callback(self.commit_log.close)
            stack.enter_context(contextlib.suppress(duckdb.Error))
            self.connection.close()


def boot(folder: Path, load_key: Callable[[], bytes] | None = None) -> Booted:
    """Climb the ladder; without the row chain's key rows out of the log are believed as they are.

    Raises Misconfigured where another process holds the journal, the folder may not be written or the schema is
    of another version; Transient where the file system itself fails (the caller goes on polling and tries again).
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock_fd = lock_folder(folder)
    except PermissionError as err:
        raise Misconfigured(f"{folder}: the journal cannot be written: {err.strerror}") from err
    except OSError as err:
        raise Transient(f"{folder}: the journal's folder fails: {err}") from err
    try:
        return _boot_locked(folder, lock_fd, load_key)
    except OSError as err:
        os.close(lock_fd)
        raise Transient(f"{folder}: the journal cannot be opened: {err}") from err
    except BaseException:
        os.close(lock_fd)
        raise


def lock_folder(folder: Path) -> int:
    """The descriptor that keeps other daemons out.  Raises Misconfigured where one is in, OSError."""
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


def _boot_locked(folder: Path, lock_fd: int, load_key: Callable[[], bytes] | None) -> Booted:
    key = b"" if load_key is None else load_key()
    try:
        _refuse_foreign_lock(folder / DATABASE_NAME)
        with contextlib.ExitStack() as stack:
            mark = Mark(folder / MARK_NAME)
            stack.callback(mark.close)
            commit_log = CommitLog(folder / LOG_NAME)
            stack.callback(commit_log.close)
            booted = _boot_opened(folder, lock_fd, mark, commit_log, key)
            stack.pop_all()
            return booted
    except PermissionError as err:
        raise Misconfigured(f"{folder}: the journal cannot be written: {err}") from err


def _boot_opened(folder: Path, lock_fd: int, mark: Mark, commit_log: CommitLog, key: bytes) -> Booted:
    acts: list[Act] = []
    log = _look_at_log(folder, acts)
    connection, state = climb(folder, acts)
    if key and log:
        checked, state = check_tail(folder, connection, state, Chain(key), log)
        acts += checked
    waiting = recover(commit_log, state, acts)
    newest = waiting[-1].rows[-1] if waiting else None
    tail = state.tail if newest is None else MarkValue(newest[1], newest[0], newest[-1])
    at = tail or MarkValue(0, 0, b"")
    known = mark.value or MarkValue(0, 0, b"")
    lost = (at.seq + 1, known.seq) if known.seq > at.seq else (None, None)
    if lost[0] is not None:
        detail = f"sequence numbers lost from {lost[0]} up to the mark {lost[1]}"
        acts.append(Act("numbers_lost", detail, copy_aside(commit_log.path)))
    if at.seq and mark.value is None:
        acts.append(Act("mark_lost", "journal.mark is missing or damaged: a loss at the end would not be noticed"))
    epoch = max(at.epoch, known.epoch, 1) + (1 if acts else 0)
    notes = tuple(
        RescueNote(
            rung=act.rung, detail=act.detail, set_aside=act.set_aside, epoch=epoch, lost_from=lost[0], lost_to=lost[1]
        )
        for act in acts
    )
    if notes:
        remove_old_rescues(folder)
        fsync_folder(folder)
    return Booted(
        folder=folder,
        connection=connection,
        mark=mark,
        commit_log=commit_log,
        waiting=tuple(waiting),
        lock_fd=lock_fd,
        file_fd=os.open(folder / DATABASE_NAME, os.O_RDONLY | os.O_CLOEXEC),
        state=state,
        tail=tail,
        epoch=epoch,
        key=key,
        last_seq=max(at.seq, known.seq),
        notes=notes,
    )


def _look_at_log(folder: Path, acts: list[Act]) -> bytes:
    """The log as it will be opened; a damaged length in it is mended, for DuckDB would end there without a word."""
    wal = folder / WAL_NAME
    if not wal.exists():
        return b""
    content = wal.read_bytes()
    leftover = leftover_bytes(content)
    if leftover:
        acts.append(Act("wal_copied", f"{leftover} bytes at the log's end are no whole entry", copy_aside(wal)))
        mend = mended_length(content)
        if mend is not None:
            overwrite(wal, mend)
            acts.append(Act("wal_length_mended", f"mended one flipped bit in the length at byte {mend.offset}"))
            return wal.read_bytes()
    return content
