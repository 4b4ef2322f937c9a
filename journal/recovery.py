"""At boot: which rows of `journal.log` the database does not have yet, and do they follow from what it has?

Called by `rescue` once the database is open; `writer` takes the rows over as those that wait for the database.
"""

from journal.commit_log import CommitLog, Group
from journal.mark import MarkValue
from journal.opening import Act, State, copy_aside
from journal.reader import Chain, Row, packed

__all__ = ("recover",)


def recover(log: CommitLog, state: State, chain: Chain | None, acts: list[Act]) -> list[Group]:
    """Groups with rows behind the database's newest, only those rows, in order.

    Without the row chain's key the rows are believed as they are.  Adds to `acts` where something was wrong; what
    was there is copied aside first.  Raises OSError.
    """
    groups, torn = log.read()
    if torn:
        acts.append(Act("log_torn", "the log's last entry is not whole", copy_aside(log.path)))
    at = state.tail or MarkValue(0, 0, b"")
    known = set(state.blob_hashes)
    found: list[Group] = []
    for group in groups:
        rows = tuple(row for row in group.rows if (row[1], row[0]) > (at.epoch, at.seq))
        if rows and chain is not None and (seq := _broken(chain, at, rows)) is not None:
            copy = copy_aside(log.path)
            acts.append(Act("log_cut", f"row {seq} of the log does not follow from the row before it", copy))
            log.cut(group.begin)
            break
        if rows:
            blobs = {name: data for name, data in group.blobs.items() if name not in known}
            found.append(Group(rows=rows, blobs=blobs, begin=group.begin, end=group.end))
            at = MarkValue(rows[-1][1], rows[-1][0], rows[-1][-1])
    return found


def _broken(chain: Chain, at: MarkValue, rows: tuple[Row, ...]) -> int | None:
    """The first row whose link is not that of the rows before it."""
    for row in rows:
        previous = at.chain if at.epoch == row[1] else chain.start(row[1])
        if chain.link(previous, packed(row[:-1])) != row[-1]:
            return int(row[0])
        at = MarkValue(row[1], row[0], row[-1])
    return None
