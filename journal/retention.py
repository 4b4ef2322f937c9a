"""Retention: which rows go, and what stays copied into a new database file.

Work in two parts: `copy` reads in a session of its own while the writer goes on committing; `writer.swap` then
brings the rows behind it and the tombstone over and renames.  The tombstone, an entry of kind `journal.retained`,
says which rows follow rows that are gone, so that the row chain can still be recomputed.  Called by `upkeep`.

Never dropped: the newest row, open runs, `graph.episode`, messages that wait to be sent, and of every kind outside
the engine the newest entry of each key (what stands now).  The key of a run is remembered as long as the run.
"""

import contextlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb

from drivers.errors import Transient
from journal.files import fsync_folder
from journal.opening import CONFIG, DATABASE_NAME, create
from journal.reader import Gap, Reader, Row
from journal.schema import ENDED_KINDS

__all__ = ("Draft", "RetentionPolicy", "abandon", "complete", "copy", "export_of", "quoted")

DRAFT_NAME = "retained.duckdb"
FAILED_KEPT_LONGER = 4  # times `max_age`: what went wrong is what people come back to
MAX_KEYS = 10_000  # of one kind whose newest entry stays; as many as `DuckStore.latest` hands out

_EPISODE = "graph.episode"
_ENGINE_KINDS = r"^(run|step|wait|timer|settle|child|code|outbox|journal)\."

_PLAN = (
    f"""CREATE OR REPLACE TEMP TABLE span AS
        SELECT run_id, max(seq) AS unit, max(wall) AS changed, bool_or(kind = 'run.failed') AS failed
        FROM event WHERE run_id <> '' GROUP BY run_id
        HAVING list_contains({list(ENDED_KINDS)}, arg_max(kind, seq) FILTER (starts_with(kind, 'run.')))""",  # noqa: S608 - constants
    f"""CREATE OR REPLACE TEMP TABLE stays AS
        SELECT seq FROM (
            SELECT kind, max(seq) AS seq FROM event
            WHERE key <> '' AND NOT regexp_matches(kind, '{_ENGINE_KINDS}') GROUP BY kind, key)
        QUALIFY row_number() OVER (PARTITION BY kind ORDER BY seq DESC) <= {MAX_KEYS}
        UNION ALL
        SELECT seq FROM event WHERE kind = 'outbox.queued' AND key NOT IN
            (SELECT key FROM event WHERE kind IN ('outbox.sent', 'outbox.refused'))""",  # noqa: S608
    # A run goes as a whole, any other row by itself: a unit, named by its last number.
    f"""CREATE OR REPLACE TEMP TABLE droppable AS
        SELECT e.seq, coalesce(s.unit, e.seq) AS unit, coalesce(s.changed, e.wall) AS changed,
               coalesce(s.failed, false) AS failed
        FROM event e LEFT JOIN span s ON s.run_id = e.run_id
        WHERE (e.run_id = '' OR s.unit IS NOT NULL) AND e.kind <> '{_EPISODE}' AND e.seq < $last_seq
          AND e.seq NOT IN (SELECT seq FROM stays)""",  # noqa: S608
    """CREATE OR REPLACE TEMP TABLE doomed AS
        SELECT seq FROM droppable
        WHERE changed < CASE WHEN failed THEN $failed_before::TIMESTAMPTZ ELSE $before::TIMESTAMPTZ END
           OR unit IN (SELECT unit FROM (
                SELECT unit, sum(count(*)) OVER (ORDER BY bool_or(failed), unit) - count(*) AS gone_before
                FROM droppable GROUP BY unit) WHERE gone_before < $excess)""",
    # Without its outcome a queued message that stays would be sent again.
    """DELETE FROM doomed WHERE seq IN (
        SELECT o.seq FROM event o JOIN event q ON q.key = o.key AND q.kind = 'outbox.queued'
        WHERE o.kind IN ('outbox.sent', 'outbox.refused') AND q.seq NOT IN (SELECT seq FROM doomed))""",
)

_GAPS = """
    WITH marked AS (
        SELECT seq, epoch, chain, seq IN (SELECT seq FROM doomed) AS gone FROM event WHERE seq <= $last_seq),
    lagged AS (
        SELECT seq, gone, lag(epoch) OVER w AS epoch, lag(chain) OVER w AS chain, lag(gone) OVER w AS gone_before,
               max(CASE WHEN NOT gone THEN seq END)
                   OVER (ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before_seq
        FROM marked WINDOW w AS (ORDER BY seq))
    SELECT seq, coalesce(before_seq, 0), epoch, chain FROM lagged WHERE NOT gone AND gone_before"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPolicy:
    """What is too much; None is no bound.  Age counts from a run's last entry, and only while the clock is trusted."""

    max_age: timedelta | None = None
    failed_max_age: timedelta | None = None  # of failed runs; by default four times `max_age`
    max_rows: int | None = None  # failed runs go last
    max_bytes: int | None = None  # of the database file


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A new database file with what stays up to `last_seq`."""

    path: Path
    last_seq: int
    rows_dropped: int
    gaps: tuple[Gap, ...]


def copy(
    session: duckdb.DuckDBPyConnection,
    folder: Path,
    last_seq: int,
    policy: RetentionPolicy,
    now: datetime | None,
    export_to: Path | None,
) -> Draft | None:
    """Copy what stays; None where nothing is to go.  Blocking; `now` is None while the clock is not trusted.

    Raises Transient where the disk or DuckDB fails; then nothing has changed.
    """
    draft = folder / DRAFT_NAME
    _forget(draft)
    try:
        rows_dropped = _plan(session, folder, last_seq, policy, now)
        if not rows_dropped:
            return None
        if export_to is not None:
            _export(session, export_to, "WHERE seq IN (SELECT seq FROM doomed)")
        with duckdb.connect(draft, config=CONFIG) as fresh:  # in an instance of its own: views name no database
            create(fresh)
        session.execute(f"ATTACH {quoted(draft)} AS fresh")
        session.execute(
            "INSERT INTO fresh.event SELECT * FROM event WHERE seq <= ? AND seq NOT IN (SELECT seq FROM doomed)",
            [last_seq],
        )
        session.execute("INSERT INTO fresh.blob SELECT * FROM blob WHERE hash IN (SELECT blob_hash FROM fresh.event)")
        return Draft(path=draft, last_seq=last_seq, rows_dropped=rows_dropped, gaps=_gaps(session, last_seq))
    except (duckdb.Error, OSError) as err:
        abandon(session, folder)
        raise Transient(f"{folder}: retention could not copy the journal: {err}") from err


def complete(session: duckdb.DuckDBPyConnection, draft: Draft, tombstone: Row, blobs: dict[str, bytes]) -> None:
    """Bring the rows behind the draft, the tombstone and its payload over.  Raises duckdb.Error."""
    session.execute("BEGIN")
    session.execute("INSERT INTO fresh.event SELECT * FROM event WHERE seq > ?", [draft.last_seq])
    session.execute(
        "INSERT INTO fresh.blob SELECT * FROM blob WHERE hash IN "
        "(SELECT blob_hash FROM fresh.event WHERE seq > ?) AND hash NOT IN (SELECT hash FROM fresh.blob)",
        [draft.last_seq],
    )
    session.execute(f"INSERT INTO fresh.event VALUES ({','.join('?' * len(tombstone))})", list(tombstone))  # noqa: S608
    for row in blobs.items():
        session.execute("INSERT INTO fresh.blob VALUES (?, ?)", list(row))
    session.execute("COMMIT")
    session.execute("CHECKPOINT fresh")
    session.execute("DETACH fresh")


def abandon(session: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Forget a draft that did not come to its end."""
    with contextlib.suppress(duckdb.Error):
        session.execute("DETACH DATABASE IF EXISTS fresh")
    _forget(folder / DRAFT_NAME)


def export_of(session: duckdb.DuckDBPyConnection, folder: Path) -> tuple[Path, ...]:
    """Everything as Parquet in `folder`; the files.  Raises Transient."""
    try:
        return _export(session, folder, "")
    except (duckdb.Error, OSError) as err:
        raise Transient(f"{folder}: the journal could not be exported: {err}") from err


def _export(session: duckdb.DuckDBPyConnection, folder: Path, condition: str) -> tuple[Path, ...]:
    """Rows that match and their payloads as `event.<from>-<to>.parquet` and `blob.…`, durable.  Raises as it fails."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    bounds = session.execute(f"SELECT min(seq), max(seq) FROM event {condition}").fetchall()[0]  # noqa: S608 - ours
    queries = {
        "event": f"SELECT * FROM event {condition} ORDER BY seq",  # noqa: S608
        "blob": f"SELECT * FROM blob WHERE hash IN (SELECT blob_hash FROM event {condition})",  # noqa: S608
    }
    files = []
    for table, query in queries.items():
        path = folder / f"{table}.{bounds[0] or 0:012d}-{bounds[1] or 0:012d}.parquet"
        draft = path.with_suffix(".new")
        session.execute(f"COPY ({query}) TO {quoted(draft)} (FORMAT parquet, COMPRESSION zstd)")
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.rename(path)
        files.append(path)
    fsync_folder(folder)
    return tuple(files)


def quoted(path: Path) -> str:
    """As a literal of SQL, for statements that take no parameter there."""
    return "'" + str(path).replace("'", "''") + "'"


def _plan(
    session: duckdb.DuckDBPyConnection, folder: Path, last_seq: int, policy: RetentionPolicy, now: datetime | None
) -> int:
    """Fill the temporary table `doomed`; how many rows are in it."""
    (rows,) = session.execute("SELECT count(*) FROM event").fetchall()[0]
    bounds = [rows]
    if policy.max_rows is not None:
        bounds.append(policy.max_rows)
    if policy.max_bytes is not None:
        size_bytes = (folder / DATABASE_NAME).stat().st_size
        bounds.append(rows * policy.max_bytes // max(size_bytes, 1))
    before = failed_before = datetime(1970, 1, 1, tzinfo=UTC)
    if now is not None and policy.max_age is not None:
        before = now - policy.max_age
        failed_before = now - (policy.failed_max_age or policy.max_age * FAILED_KEPT_LONGER)
    arguments = {
        "last_seq": last_seq,
        "before": before,
        "failed_before": failed_before,
        "excess": rows - min(bounds),
    }
    for statement in _PLAN:
        session.execute(statement, {name: value for name, value in arguments.items() if f"${name}" in statement})
    return int(session.execute("SELECT count(*) FROM doomed").fetchall()[0][0])


def _gaps(session: duckdb.DuckDBPyConnection, last_seq: int) -> tuple[Gap, ...]:
    """The new gaps, and the older ones whose rows stay: where both meet, the older one knows the link."""
    older = Reader(session).gaps()
    gaps = {gap[0]: Gap(*gap) for gap in session.execute(_GAPS, {"last_seq": last_seq}).fetchall()}
    gone = set()
    if older:
        gone = {seq for (seq,) in session.execute("SELECT seq FROM doomed").fetchall()} & older.keys()
    for seq, gap in older.items():
        if seq not in gone:
            before_seq = gaps[seq].before_seq if seq in gaps else gap.before_seq
            gaps[seq] = Gap(seq, before_seq, gap.epoch, gap.chain)
    return tuple(gaps[seq] for seq in sorted(gaps))


def _forget(draft: Path) -> None:
    for path in (draft, draft.with_name(f"{draft.name}.wal")):
        path.unlink(missing_ok=True)
