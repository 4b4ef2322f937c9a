"""At boot: the rows of `journal.log` that the database does not have yet.

Called by `rescue` once the database is open; `writer` takes the rows over as those that wait for the database.
"""

import dataclasses

from journal.commit_log import CommitLog, Group
from journal.opening import Act, State, copy_aside

__all__ = ("recover",)


def recover(log: CommitLog, state: State, acts: list[Act]) -> list[Group]:
    """Groups with rows behind the database's newest, only those rows, in order.

    Adds to `acts` where something was wrong; what was there is copied aside first.  Raises OSError.
    """
    groups = log.read()
    stored_seq = 0 if state.tail is None else state.tail.seq
    newer = [group for group in groups if group.rows[-1][0] > stored_seq]
    if newer and newer[0].after_seq > stored_seq:  # an older database, for example the snapshot, has come back
        detail = f"it follows row {newer[0].after_seq}, the database ends with row {stored_seq}"
        acts.append(Act("log_set_aside", detail, copy_aside(log.path)))
        log.cut(0)
        return []
    known = set(state.blob_hashes)
    return [
        dataclasses.replace(
            group,
            rows=tuple(row for row in group.rows if row[0] > stored_seq),
            blobs={name: data for name, data in group.blobs.items() if name not in known},
        )
        for group in newer
    ]
