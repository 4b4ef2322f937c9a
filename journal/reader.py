"""Reads of `blackstart.duckdb`: records, named queries, and the row chain recomputed.

Runs on the writer thread, in a session of its own, so that a read sees every commit before it.  Used by `writer`
and, through it, by `store`.
"""

import contextlib
import hashlib
import hmac
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import msgpack

from drivers.errors import BadInput, Fatal, Refused, Transient
from journal.engine.codec import decode
from journal.engine.ports import Record
from journal.mark import MarkValue
from journal.schema import QUERIES, RECORD_COLUMNS

__all__ = (
    "RETAINED",
    "Chain",
    "Gap",
    "Reader",
    "Row",
    "SessionLost",
    "Verification",
    "microseconds",
    "packed",
    "wall_time",
)

RETAINED = "journal.retained"  # the tombstone: which rows follow rows that retention took out

MAX_QUERY_ROWS = 10_000
MAX_HASHES_PER_STATEMENT = 256

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What `verify` found; `broken_seq` is the first row that was changed, removed or put in."""

    rows: int
    broken_seq: int | None = None
    reason: str = ""


class Chain:
    """HMAC-SHA256 from row to row, begun anew with each epoch."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def start(self, epoch: int) -> bytes:
        """What the first row of an epoch follows."""
        return hmac.digest(self._key, b"epoch %d" % epoch, "sha256")

    def link(self, previous: bytes, row: bytes) -> bytes:
        """Over the link of the row before and this row as `packed` gives it."""
        return hmac.digest(self._key, previous + row, "sha256")


@dataclass(frozen=True, slots=True)
class Gap:
    """Where retention took rows out: what the row behind the gap follows, in the chain and in the table."""

    seq: int  # the row behind the gap
    before_seq: int  # the row before it that stayed, 0 where there is none
    epoch: int  # of the last row taken out
    chain: bytes  # of the last row taken out


class SessionLost(Fatal):
    """DuckDB gave up on the session; what is in the file may well be sound."""


class Reader:
    """Questions to the open database.  Raises Transient or Fatal as DuckDB fails, Refused where a payload is lost."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def close(self) -> None:
        """Let go of the session; the database closes with its last one."""
        with contextlib.suppress(duckdb.Error):
            self._connection.close()

    def history(self, run_id: str, first_seq: int, last_seq: int) -> list[Record]:
        """Every entry of one run within these numbers, in sequence order."""
        return self._records("run_id = ? AND seq BETWEEN ? AND ?", [run_id, first_seq, last_seq])

    def histories(self, run_ids: Sequence[str], first_seq: int) -> dict[str, list[Record]]:
        """Every entry of these runs from this number on, in sequence order, by run."""
        found: dict[str, list[Record]] = {}
        for record in self._records("seq >= ? AND run_id IN (SELECT unnest(?))", [first_seq, list(run_ids)]):
            found.setdefault(record.run_id, []).append(record)
        return found

    def find_run(self, key: str) -> str | None:
        """The run that was started with this key, if any."""
        sql = "SELECT run_id FROM event WHERE kind = 'run.started' AND key = ? ORDER BY seq LIMIT 1"
        rows = self._fetch(sql, [key])
        return rows[0][0] if rows else None

    def run_keys(self) -> Iterator[str]:
        """The key of every run that was ever started and is still in the rows."""
        return (key for (key,) in self._fetch("SELECT key FROM event WHERE kind = 'run.started'", []))

    def pending_outbox(self, from_seq: int, limit: int) -> list[Record]:
        """Queued messages that were neither sent nor refused, in sequence order."""
        condition = (
            "kind = 'outbox.queued' AND seq >= ? AND key NOT IN "
            "(SELECT key FROM event WHERE kind IN ('outbox.sent', 'outbox.refused'))"
        )
        return self._records(condition, [from_seq], limit)

    def latest(self, kind: str, limit: int, depth: int) -> list[Record]:
        """The newest `depth` entries of each key of one kind, in sequence order; of more than `limit` the newest."""
        condition = (
            "seq IN (SELECT seq FROM event WHERE kind = ? "
            "QUALIFY row_number() OVER (PARTITION BY key ORDER BY seq DESC) <= ? ORDER BY seq DESC LIMIT ?)"
        )
        return self._records(condition, [kind, depth, limit], limit)

    def newest(self, count: int) -> list[Record]:
        """About the newest `count` entries, in sequence order: fewer where numbers are missing."""
        return self._records("seq > (SELECT max(seq) FROM event) - ?", [count])

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
                result["payload"] = _payload(blob_hash, payloads)
        return results

    def verify(
        self, chain: Chain, gaps: dict[int, Gap], after: MarkValue | None, limit: int
    ) -> tuple[Verification, MarkValue | None]:
        """Recompute the chain of at most `limit` rows behind `after`; also the last row that is good."""
        rows = self._rows_where("seq > ?", [0 if after is None else after.seq], limit)
        blobs = self._blobs(row[10] for row in rows if row[10] is not None)
        for count, row in enumerate(rows):
            if fault := _fault(chain, gaps, after, row, blobs):
                return Verification(rows=count, broken_seq=row[0], reason=fault), after
            after = MarkValue(row[1], row[0], row[11])
        return Verification(rows=len(rows)), after

    def gaps(self) -> dict[int, Gap]:
        """What retention took out, by the number of the row behind each gap."""
        newest = self._records("kind = ? AND seq = (SELECT max(seq) FROM event WHERE kind = ?)", [RETAINED, RETAINED])
        return {gap[0]: Gap(*gap) for record in newest for gap in decode(record.payload)["gaps"]}

    def missing_anchor(self, anchors: Sequence[MarkValue]) -> int | None:
        """The first published head that is not in the table as it was, save those that retention took out."""
        gaps = self.gaps().values()
        rows = self._fetch(
            "SELECT seq, epoch, chain FROM event WHERE list_contains(?, seq)", [[a.seq for a in anchors]]
        )
        found = {seq: MarkValue(epoch, seq, link) for seq, epoch, link in rows}
        for anchor in sorted(anchors):
            dropped = any(gap.before_seq < anchor.seq < gap.seq for gap in gaps)
            if found.get(anchor.seq) != anchor and not (dropped and anchor.seq not in found):
                return anchor.seq
        return None

    def check_last(self, chain: Chain, last_seq: int, count: int) -> tuple[list[Row], dict[int, str]]:
        """About `count` rows before and with this number, and what is wrong with some of them, by their place.

        Each is compared with the stored link of the row before it, so that one changed row is one fault or two.
        The first row is not judged unless it is the first of all.
        """
        rows = self._rows_where("seq > ?", [last_seq - count - 1])
        gaps, blobs = self.gaps(), self._blobs(row[10] for row in rows if row[10] is not None)
        befores = [None, *(MarkValue(row[1], row[0], row[11]) for row in rows)]
        first = 0 if last_seq <= count else 1
        judged = zip(range(first, len(rows)), befores[first:], rows[first:], strict=False)
        return rows, {at: fault for at, before, row in judged if (fault := _fault(chain, gaps, before, row, blobs))}

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
            raise SessionLost(f"the journal's database gave up: {err}") from err
        except duckdb.Error as err:
            raise Transient(f"the journal could not be read: {err}") from err


def _fault(chain: Chain, gaps: dict[int, Gap], before: MarkValue | None, row: Row, blobs: dict[str, bytes]) -> str:
    """What is wrong with a row that stands behind `before`; empty if nothing is."""
    seq, epoch, blob_hash, link = row[0], row[1], row[10], row[11]
    previous = before.chain if before is not None and before.epoch == epoch else chain.start(epoch)
    gap = gaps.get(seq)
    if gap is not None and gap.before_seq == (0 if before is None else before.seq):
        previous = gap.chain if gap.epoch == epoch else chain.start(epoch)
    if blob_hash is not None and hashlib.sha256(blobs.get(blob_hash, b"")).hexdigest() != blob_hash:
        return "its payload in `blob` was changed"
    if not hmac.compare_digest(chain.link(previous, packed(row[:11])), link):
        return "it does not follow from the row before"
    return ""


def packed(row: Row) -> bytes:
    """A row's columns in table order without the link, the wall time in microseconds, as MessagePack."""
    content: bytes = msgpack.packb(row)
    return content


def microseconds(time: datetime) -> int:
    """Since 1970, UTC."""
    return (time - _EPOCH) // _MICROSECOND


def wall_time(time_us: int) -> datetime:
    """From microseconds since 1970."""
    return _EPOCH + time_us * _MICROSECOND


def _record(row: Row, blobs: dict[str, bytes]) -> Record:
    seq, epoch, wall_us, _boot, kind, run_id, key, name, arg_hash, payload, blob_hash, _chain = row
    return Record(
        seq=seq,
        epoch=epoch,
        wall=wall_time(wall_us),
        kind=kind,
        run_id=run_id,
        key=key,
        name=name,
        arg_hash=arg_hash,
        payload=payload if blob_hash is None else _payload(blob_hash, blobs),
    )


def _payload(blob_hash: str, blobs: dict[str, bytes]) -> bytes:
    if blob_hash not in blobs:
        raise Refused(f"the journal has lost the payload {blob_hash}: run verify")
    return blobs[blob_hash]


def _aware(name: str, value: Any) -> tuple[str, Any]:
    """`…_us` columns become aware times."""
    return (name[:-3], wall_time(value)) if name.endswith("_us") else (name, value)
