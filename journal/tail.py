"""After an unclean end: does what came out of the write-ahead log follow from the row chain?

DuckDB's own checksum is blind to some damage (a zeroed sector of equal words); the HMAC from row to row is not.
A row of the log that does not follow is damage, and goes with all rows behind it, so that what stays is what was
acknowledged, in order.  Called by `rescue` once the database is open.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import duckdb

from journal.opening import WAL_NAME, Act, State, copy_aside, read_state
from journal.reader import Chain, Reader, Row

__all__ = ("check_tail",)

MIN_ROW_BYTES = 128  # what a row takes at least in the log: thirteen columns and a chain link
CONTROL_ROWS = 8  # from before the log: where these do not follow either, the key is another one
MAX_TAIL_ROWS = 8_192  # four times the entries after which the writer checkpoints; a tenth of a second


def check_tail(
    folder: Path, connection: duckdb.DuckDBPyConnection, state: State, chain: Chain, log: bytes
) -> tuple[list[Act], State]:
    """What was wrong with the newest rows, and what the daemon needs to know of those that stay."""
    if state.tail is None:
        return [], state
    with contextlib.closing(Reader(connection.cursor())) as reader:
        count = min(len(log) // MIN_ROW_BYTES + CONTROL_ROWS, MAX_TAIL_ROWS)
        rows, faults = reader.check_last(chain, state.tail.seq, count)
    if not faults:
        return [], state
    first = min(faults)
    seq = rows[first][0]
    # All of them: the key is another one.  Not in the log: changed in the database itself, where rows stay for
    # whoever looks into it.
    if len(faults) >= len(rows) - 1 or not _in_log(rows[max(first - 1, 0) : first + 2], log):
        return [Act("chain_broken", f"row {seq}: {faults[first]}; run verify")], state
    copy = copy_aside(folder / WAL_NAME)
    _drop(connection, seq, [rows[at][10] for at in faults if rows[at][10] is not None])
    detail = f"row {seq} was damaged in the log ({faults[first]}): dropped from there on"
    return [Act("rows_dropped", detail, copy)], read_state(connection)


def _in_log(rows: Sequence[Row], log: bytes) -> bool:
    return any(row[11] in log for row in rows)


def _drop(connection: duckdb.DuckDBPyConnection, from_seq: int, blob_hashes: Sequence[str]) -> None:
    connection.execute("BEGIN")
    connection.execute("DELETE FROM event WHERE seq >= ?", [from_seq])
    for blob_hash in blob_hashes:  # a damaged payload must not be taken for one that is kept already
        connection.execute("DELETE FROM blob WHERE hash = ?", [blob_hash])
    connection.execute("COMMIT")
