"""At boot: the rows of `journal.log` that the database does not have yet.

Called by `rescue` once the database is open; `writer` takes the rows over as those that wait for the database.
`offline` reads them beside a database that it may not change.
"""

import dataclasses
from collections.abc import Iterable, Sequence

from journal.commit_log import CommitLog, Group
from journal.opening import Act, State, copy_aside
from journal.reader import Row, wall_time

__all__ = ("as_stored", "newer", "recover")


def recover(log: CommitLog, state: State, acts: list[Act]) -> list[Group]:
    """Groups with rows behind the database's newest, only those rows, in order.

    Adds to `acts` where something was wrong; what was there is copied aside first.  Raises OSError.
    """
    stored_seq = 0 if state.tail is None else state.tail.seq
    found = newer(log.read(), stored_seq, state.blob_hashes)
    if found and found[0].after_seq > stored_seq:  # an older database, for example the snapshot, has come back
        detail = f"it follows row {found[0].after_seq}, the database ends with row {stored_seq}"
        acts.append(Act("log_set_aside", detail, copy_aside(log.path)))
        log.cut(0)
        return []
    return found


def newer(groups: Sequence[Group], stored_seq: int, blob_hashes: Iterable[str]) -> list[Group]:
    """What of these groups is behind that row, without the payloads that the database has."""
    known = set(blob_hashes)
    return [
        dataclasses.replace(
            group,
            rows=tuple(row for row in group.rows if row[0] > stored_seq),
            blobs={name: data for name, data in group.blobs.items() if name not in known},
        )
        for group in groups
        if group.rows[-1][0] > stored_seq
    ]


def as_stored(row: Row) -> Row:
    """A row of the log as the table has it, with an aware wall time."""
    return (*row[:2], wall_time(row[2]), *row[3:])
