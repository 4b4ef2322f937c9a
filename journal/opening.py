"""The rungs of the boot ladder: open the database as it is, else with less and less of what lies there.

`climb` tries to open; on each refusal one rung acts and it tries again: cut the log before a corrupt entry, write
a block back that a checkpoint tore, copy a good header page over the bad one, set the log aside, go back to the
last snapshot, start anew.  Whatever a rung changes is copied or renamed to `….rescued-<n>` first, if there is
room.  Blocking; called by `rescue` at boot and by `writer` when a session gave up.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import duckdb

from drivers.errors import Misconfigured, Transient
from journal.damage import HEADERS_BYTES, damaged_header, overwrite
from journal.engine.ports import OpenRun
from journal.files import copy_file, free_bytes, fsync_folder
from journal.mark import MarkValue
from journal.pages import block_mend, kept_pages
from journal.schema import CREATE, ENDED_KINDS, SCHEMA_VERSION, VIEWS, VIEWS_HASH

__all__ = (
    "CONFIG",
    "DATABASE_NAME",
    "MAX_KNOWN_BLOBS",
    "SNAPSHOT_NAME",
    "WAL_NAME",
    "Act",
    "State",
    "climb",
    "copy_aside",
    "create",
    "read_state",
    "remove_old_rescues",
    "reopen",
    "suspect",
)

DATABASE_NAME = "blackstart.duckdb"
WAL_NAME = f"{DATABASE_NAME}.wal"
SNAPSHOT_NAME = "snapshot.duckdb"
SUSPECT_NAME = "journal.suspect"  # there while the database is to be read through before it is trusted
OPENING_NAME = "journal.opening"  # there while the database is being opened

MAX_MENDS = 8  # of log and blocks in one boot; what has more damage is set aside
MAX_RESCUES_KEPT = 8  # older copies are removed: a card that keeps failing must not fill itself
MAX_KNOWN_BLOBS = 16_384  # about 2 MB of memory; beyond it a payload may be stored twice, which harms nobody
FREE_FOR_CHECKPOINT_BYTES = 16 << 20
CHILD_TIMEOUT_S = 300.0  # the log at its bound is read in seconds, a suspect database of gigabytes in minutes

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

_READ_THROUGH = "SELECT bit_xor(hash(t)) FROM {} t"
_CORRUPT_BLOCK = re.compile(r"in block at location (\d+)")
_CORRUPT_ENTRY = re.compile(r"entry at byte position (\d+)")

CHILD = """
import json, os, sys
import duckdb
try:
    connection = duckdb.connect(sys.argv[1], config=json.loads(sys.argv[2]))
    for statement in sys.argv[3:]:
        connection.execute(statement).fetchall()
except duckdb.Error:
    os._exit(1)
os._exit(0)  # without the checkpoint of a tidy close: nothing has changed
"""
"""What could abort, in a process of its own.  A refusal is no danger: the parent meets it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the daemon needs to know of the rows, read once."""

    tail: MarkValue | None  # the newest row: epoch, sequence number, chain
    open_runs: tuple[OpenRun, ...]
    blob_hashes: tuple[str, ...]  # oldest first


@dataclass(frozen=True, slots=True)
class Act:
    """What one rung did, before the new epoch is known."""

    rung: str
    detail: str
    set_aside: tuple[str, ...] = ()


class _Killed(Exception):
    """Opening the database killed the process that did it."""


def climb(folder: Path, acts: list[Act]) -> tuple[duckdb.DuckDBPyConnection, State]:
    """Open, rung after rung; adds to `acts` what each one did.

    Where the last opening never came to its end, a child process opens first each time, so that an abort inside
    DuckDB is a refusal like any other and no crash loop.

    Raises Misconfigured where the schema is of another version, Transient where not even a new journal can be
    opened, OSError as the disk fails.
    """
    opening = folder / OPENING_NAME
    child_first = opening.exists()
    opening.touch(mode=0o600)  # no flush: it is to outlive this process, not the machine
    rungs = iter((_copy_header, _set_log_aside, _go_back_to_snapshot, _start_anew))
    mends = 0
    if not _holds_bytes(folder / DATABASE_NAME) and (act := _go_back_to_snapshot(folder, "there is no database")):
        acts.append(act)
    while True:
        try:
            if child_first:
                _open_in_child(folder)
            opened = _connect(folder)
        except (duckdb.Error, _Killed) as err:
            reason = str(err).partition("\n")[0][:400]
        else:
            opening.unlink()
            (folder / SUSPECT_NAME).unlink(missing_ok=True)
            return opened
        act = (_cut_log(folder, reason) or _copy_block(folder, reason)) if mends < MAX_MENDS else None
        mends += act is not None
        act = act or next((act for rung in rungs if (act := rung(folder, reason)) is not None), None)
        if act is None:
            raise Transient(f"{folder}: not even a new journal can be opened: {reason}")
        acts.append(act)


def reopen(folder: Path) -> tuple[duckdb.DuckDBPyConnection, State]:
    """Open without climbing: what is damaged is left to the next boot.  Raises duckdb.Error, OSError."""
    opening = folder / OPENING_NAME
    opening.touch(mode=0o600)
    opened = _connect(folder)
    opening.unlink()
    return opened


def suspect(folder: Path) -> None:
    """Have the next opening read the whole database before it trusts it: a session gave up, perhaps on a bad block."""
    with contextlib.suppress(OSError):  # on a dead disk there is nothing left to mark
        (folder / SUSPECT_NAME).touch(mode=0o600)
        fsync_folder(folder)


def copy_aside(path: Path, *, size_bytes: int | None = None, suffix: str = "") -> tuple[str, ...]:
    """Copy a file, or its beginning, to a `.rescued-<n>` beside it; the copy's name, none where there is no room."""
    folder = path.parent
    target = folder / f"{path.name}{suffix}.rescued-{_next_number(folder)}"
    try:
        copy_file(path, target, size_bytes)
    except OSError:  # to come up is worth more than to keep what was damaged
        target.unlink(missing_ok=True)
        return ()
    return (target.name,)


def remove_old_rescues(folder: Path) -> None:
    """Keep the newest copies only.  Raises OSError."""
    numbers = _rescue_numbers(folder)
    for path, number in numbers.items():
        if number <= max(numbers.values()) - MAX_RESCUES_KEPT:
            path.unlink()


# -- rungs: each returns what it did, or None where it does not apply


def _cut_log(folder: Path, reason: str) -> Act | None:
    match = _CORRUPT_ENTRY.search(reason)
    wal = folder / WAL_NAME
    if match is None or not wal.exists():
        return None
    keep_bytes = int(match[1]) - 16  # the position is that of the payload, behind its size and checksum
    if not 0 < keep_bytes < wal.stat().st_size:
        return None
    copy = copy_aside(wal)
    cut_bytes = wal.stat().st_size - keep_bytes
    with wal.open("r+b") as file:
        file.truncate(keep_bytes)
        os.fsync(file.fileno())
    return Act("wal_cut", f"cut {cut_bytes} bytes from a corrupt entry on: {reason}", copy)


def _copy_block(folder: Path, reason: str) -> Act | None:
    match = _CORRUPT_BLOCK.search(reason)
    database = folder / DATABASE_NAME
    mend = block_mend(_beginning(database), kept_pages(folder), int(match[1])) if match is not None else None
    if mend is None:
        return None
    overwrite(database, mend)
    return Act("block_copied", f"wrote the kept block at {mend.offset} back: {reason}")


def _copy_header(folder: Path, reason: str) -> Act | None:
    database = folder / DATABASE_NAME
    if not database.exists():
        return None
    mend = damaged_header(_beginning(database), kept_pages(folder).get(0, b""))
    if mend is None:
        return None
    copy = copy_aside(database, size_bytes=HEADERS_BYTES, suffix=".headers")
    suspect(folder)  # it may be the header of an older checkpoint, whose blocks need not be there any more
    overwrite(database, mend)
    return Act("header_copied", f"wrote a good header page over the one at {mend.offset}: {reason}", copy)


def _set_log_aside(folder: Path, reason: str) -> Act | None:
    moved = _set_aside(folder, [WAL_NAME])
    return Act("wal_set_aside", reason, moved) if moved else None


def _go_back_to_snapshot(folder: Path, reason: str) -> Act | None:
    snapshot = folder / SNAPSHOT_NAME
    if not snapshot.exists():
        return None
    suspect(folder)
    moved = _set_aside(folder, [DATABASE_NAME, WAL_NAME])
    draft = folder / f"{DATABASE_NAME}.new"
    copy_file(snapshot, draft)
    draft.rename(folder / DATABASE_NAME)
    fsync_folder(folder)
    return Act("snapshot_restored", reason, moved)


def _start_anew(folder: Path, reason: str) -> Act | None:
    moved = _set_aside(folder, [DATABASE_NAME, WAL_NAME])
    return Act("database_set_aside", reason, moved) if moved else None


# -- opening


def _open_in_child(folder: Path) -> None:
    """Raises _Killed where that costs the child its life; a refusal is left to the parent."""
    statements = ["SELECT max(seq) FROM event"] if (folder / DATABASE_NAME).exists() else []
    if (folder / SUSPECT_NAME).exists():
        statements = [_READ_THROUGH.format(table) for table in ("event", "blob")]
    command = [sys.executable, "-I", "-c", CHILD, str(folder / DATABASE_NAME), json.dumps(CONFIG), *statements]
    try:
        done = subprocess.run(command, check=False, capture_output=True, timeout=CHILD_TIMEOUT_S)  # noqa: S603 - ours
    except subprocess.TimeoutExpired as err:
        raise _Killed(f"opening it did not end within {CHILD_TIMEOUT_S:g} s") from err
    if done.returncode not in (0, 1):
        raise _Killed(f"opening it killed a process: exit status {done.returncode}")


def _connect(folder: Path) -> tuple[duckdb.DuckDBPyConnection, State]:
    connection = duckdb.connect(folder / DATABASE_NAME, config=CONFIG)
    try:
        if connection.execute("SELECT count(*) FROM duckdb_tables()").fetchall() == [(0,)]:
            create(connection)
            fsync_folder(folder)
        _check_version(folder, connection)
        _renew_views(folder, connection)
        if (folder / SUSPECT_NAME).exists():
            _read_through(folder, connection)
        state = read_state(connection)
        _let_go(connection)
    except BaseException:
        with contextlib.suppress(duckdb.Error):
            connection.close()
        raise
    else:
        return connection, state


def _let_go(connection: duckdb.DuckDBPyConnection) -> None:
    """Of the blocks of a large journal, which only the boot reads: up to 128 MB.  Raises duckdb.Error."""
    with contextlib.suppress(duckdb.OutOfMemoryException):  # some are in use: then they stay
        connection.execute("SET memory_limit = '8MB'")
    connection.execute(f"SET memory_limit = '{CONFIG['memory_limit']}'")


def create(connection: duckdb.DuckDBPyConnection) -> None:
    """Tables and views of an empty database, in one transaction, and all of it in the file.  Raises duckdb.Error."""
    connection.execute("BEGIN")
    for statement in CREATE:
        connection.execute(statement)
    _make_views(connection)
    connection.execute("COMMIT")
    connection.execute("CHECKPOINT")


def _make_views(connection: duckdb.DuckDBPyConnection) -> None:
    for statement in VIEWS:
        connection.execute(statement)
    connection.execute("INSERT INTO meta VALUES ('views', ?)", [VIEWS_HASH])


def _renew_views(folder: Path, connection: duckdb.DuckDBPyConnection) -> None:
    """Make the views anew where another release made them; on a full disk they stay as they are."""
    rows = connection.execute("SELECT value FROM meta WHERE name = 'views' ORDER BY rowid DESC LIMIT 1").fetchall()
    if rows == [(VIEWS_HASH,)] or free_bytes(folder) < FREE_FOR_CHECKPOINT_BYTES:
        return
    connection.execute("BEGIN")
    _make_views(connection)
    connection.execute("COMMIT")
    connection.execute("CHECKPOINT")
    fsync_folder(folder)


def _read_through(folder: Path, connection: duckdb.DuckDBPyConnection) -> None:
    """Read every block, because DuckDB checks a block only when it is asked for it."""
    for table in ("event", "blob"):
        connection.execute(_READ_THROUGH.format(table)).fetchall()
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


def read_state(connection: duckdb.DuckDBPyConnection) -> State:
    """One look at the newest row, the open runs and the newest payloads.  Raises duckdb.Error."""
    tail = connection.execute("SELECT epoch, seq, chain FROM event ORDER BY seq DESC LIMIT 1").fetchone()
    runs = connection.execute(
        "SELECT run_id, any_value(name) FILTER (kind = 'run.started'), min(seq), max(seq), "
        "any_value(key) FILTER (kind = 'run.started') FROM event WHERE run_id IN "
        "(SELECT run_id FROM event WHERE starts_with(kind, 'run.') GROUP BY run_id "
        "HAVING bool_or(kind = 'run.started') AND NOT list_contains(?, arg_max(kind, seq))) "
        "GROUP BY run_id ORDER BY min(seq)",
        [ENDED_KINDS],
    ).fetchall()
    hashes = connection.execute("SELECT hash FROM blob ORDER BY rowid DESC LIMIT ?", [MAX_KNOWN_BLOBS]).fetchall()
    return State(
        tail=None if tail is None else MarkValue(*tail),
        open_runs=tuple(
            OpenRun(run_id=run_id, workflow=workflow, first_seq=first, last_seq=last, key=key)
            for run_id, workflow, first, last, key in runs
        ),
        blob_hashes=tuple(row[0] for row in reversed(hashes)),
    )


# -- files


def _beginning(path: Path) -> bytes:
    """The header pages in a file; nothing where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(HEADERS_BYTES)
    except OSError:
        return b""


def _holds_bytes(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _set_aside(folder: Path, names: Iterable[str]) -> tuple[str, ...]:
    """Rename those files that are there; their new names."""
    number = _next_number(folder)
    moved = []
    for path in [folder / name for name in names]:
        if path.exists():
            target = path.with_name(f"{path.name}.rescued-{number}")
            path.rename(target)
            moved.append(target.name)
    fsync_folder(folder)
    return tuple(moved)


def _rescue_numbers(folder: Path) -> dict[Path, int]:
    found = ((path, re.search(r"\.rescued-(\d+)$", path.name)) for path in folder.glob("*.rescued-*"))
    return {path: int(match[1]) for path, match in found if match is not None}


def _next_number(folder: Path) -> int:
    return max(_rescue_numbers(folder).values(), default=0) + 1
