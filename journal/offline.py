"""The journal's files while no daemon holds them: verified and exported as they are, mended by request.

`verify_files` and `export_files` open the database for reading only: the log is replayed in memory and nothing on
the disk changes, so that damage stays for `rescue_files`, which climbs the boot ladder.  Blocking, but for
`rescue_files`; called by the command line.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb

from drivers.base import Clock
from drivers.errors import BadInput, Misconfigured, Transient
from journal.commit_log import LOG_NAME, read_log
from journal.journal import KEY_NAME, RESCUED_BY_HAND, Journal
from journal.mark import MarkValue, read_mark
from journal.opening import CONFIG, DATABASE_NAME
from journal.reader import Chain, Reader, Verification
from journal.recovery import as_stored, newer
from journal.rescue import MARK_NAME, RescueNote, lock_folder
from journal.retention import export_of, quoted

__all__ = ("export_files", "rescue_files", "verify_files")

ROWS_AT_ONCE = 20_000  # verified between two reads: some 20 MB


def verify_files(
    folder: Path, *, key_file: Path | None = None, anchors: Sequence[MarkValue] = ()
) -> tuple[Verification, MarkValue | None]:
    """Recompute the row chain from the first row to the last, and compare its end with the mark and the anchors.

    Also gives the last good row, as an anchor for next time.

    Raises BadInput where a daemon holds the journal, there is none, or its key is not there; Transient where it
    cannot be opened as it is.
    """
    key = _key(folder, key_file).read_bytes()
    with _reading(folder) as session:
        reader, chain = Reader(session), Chain(key)
        found, last = _recomputed(reader, chain)
        mark, last_seq = read_mark(folder / MARK_NAME), 0 if last is None else last.seq
        if found.broken_seq is not None:
            return found, last
        if mark is not None and mark.seq > last_seq:
            reason = f"rows up to {mark.seq} were acknowledged and are not there"
            return Verification(rows=found.rows, broken_seq=last_seq + 1, reason=reason), last
        missing = reader.missing_anchor(anchors)
        reason = "" if missing is None else "it is not the row that was published"
        return Verification(rows=found.rows, broken_seq=missing, reason=reason), last


def export_files(folder: Path, target: Path) -> tuple[Path, ...]:
    """Every row and payload as Parquet in `target`.  Raises as `verify_files` does."""
    with _reading(folder) as session:
        return export_of(session, target)


async def rescue_files(folder: Path, clock: Clock, *, key_file: Path | None = None) -> tuple[RescueNote, ...]:
    """Climb the boot ladder now instead of at the daemon's next start; what each rung did.

    The notes stand in the journal, and the daemon raises its alarms for them when it starts.  Raises BadInput
    where a daemon holds the journal, there is none, or its key is not there; Transient where the disk fails.
    """
    key = _key(folder, key_file)
    try:
        os.close(lock_folder(folder))
        journal = await Journal.open(folder, clock, boot_note=RESCUED_BY_HAND, key_file=key)
    except Misconfigured as err:
        raise BadInput(str(err)) from err
    try:
        return journal.rescue_notes
    finally:
        await journal.close()
        _hand_over(folder)


def _recomputed(reader: Reader, chain: Chain) -> tuple[Verification, MarkValue | None]:
    """Up to the first break, and the last row that is good."""
    gaps, rows = reader.gaps(), 0
    last: MarkValue | None = None
    while True:
        found, last = reader.verify(chain, gaps, last, ROWS_AT_ONCE)
        rows += found.rows
        if found.broken_seq is not None or found.rows < ROWS_AT_ONCE:
            return Verification(rows=rows, broken_seq=found.broken_seq, reason=found.reason), last


@contextlib.contextmanager
def _reading(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A session on the database as it is; no daemon starts meanwhile."""
    if not (folder / DATABASE_NAME).exists():
        raise BadInput(f"{folder / DATABASE_NAME}: there is no journal")
    with contextlib.ExitStack() as stack:
        try:
            stack.callback(os.close, lock_folder(folder))
            _hand_over(folder)
            session = stack.enter_context(duckdb.connect(config=CONFIG))
            _attach(session, folder)
        except Misconfigured as err:
            raise BadInput(str(err)) from err
        except (duckdb.Error, OSError) as err:
            reason = str(err).partition("\n")[0]
            raise Transient(f"{folder}: the journal cannot be opened as it is: {reason}; see `journal rescue`") from err
        yield session


def _attach(session: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """The tables as the next start will have them: the database, and behind it what only the log has yet."""
    session.execute(f"ATTACH {quoted(folder / DATABASE_NAME)} AS stored (READ_ONLY)")
    (stored_seq,) = session.execute("SELECT coalesce(max(seq), 0) FROM stored.event").fetchall()[0]
    hashes = [name for (name,) in session.execute("SELECT hash FROM stored.blob").fetchall()]
    groups = newer(read_log(folder / LOG_NAME), stored_seq, hashes)
    for table in ("event", "blob"):
        session.execute(f"CREATE TABLE newer_{table} AS SELECT * FROM stored.{table} LIMIT 0")  # noqa: S608
        session.execute(f"CREATE VIEW {table} AS FROM stored.{table} UNION ALL FROM newer_{table}")
    for group in groups if groups and groups[0].after_seq <= stored_seq else []:
        for row in map(as_stored, group.rows):
            session.execute(f"INSERT INTO newer_event VALUES ({','.join('?' * len(row))})", list(row))  # noqa: S608
        for blob in group.blobs.items():
            session.execute("INSERT INTO newer_blob VALUES (?, ?)", list(blob))


def _key(folder: Path, key_file: Path | None) -> Path:
    """The key of the row chain; never made here, for with a new one every row would look changed."""
    path = key_file or folder / KEY_NAME
    if not path.is_file():
        raise BadInput(f"{path}: the journal's key is not there; name it with --key")
    return path


def _hand_over(folder: Path) -> None:
    """Give what root has made to the folder's owner, as whom the daemon runs."""
    owner = folder.stat()
    if os.geteuid() == 0:
        for path in folder.iterdir():
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
