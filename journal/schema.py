"""The shape of `blackstart.duckdb`: two append-only tables, views for all else, and the named read-only queries.

No key, no index, no UPDATE, and DDL only at creation: that is the well-trodden path through DuckDB's log replay.
`event` has one row per entry; a payload above 1 KiB stands once in `blob` under its SHA-256 and the row names it.
Read by `writer` (tables), `store` (queries) and by people with SQL on a copy (views).
"""

import hashlib

__all__ = (
    "CREATE",
    "ENDED_KINDS",
    "QUERIES",
    "RECORD_COLUMNS",
    "REOPENING_KINDS",
    "SCHEMA_VERSION",
    "VIEWS",
    "VIEWS_HASH",
)

SCHEMA_VERSION = 1

ENDED_KINDS = ("run.done", "run.failed", "run.cancelled")
"""A run whose newest `run.` row is one of these is over; every other run is open and goes on at boot."""

REOPENING_KINDS = ("run.retried", "run.rewound")
"""A run that was over is open again with one of these."""

RECORD_COLUMNS = (
    "seq, epoch, epoch_us(wall) AS wall_us, boot, kind, run_id, key, name, arg_hash, payload, blob_hash, chain"
)

CREATE = (
    """CREATE TABLE event(
        seq BIGINT, epoch INTEGER, wall TIMESTAMPTZ, boot VARCHAR, kind VARCHAR, run_id VARCHAR, key VARCHAR,
        name VARCHAR, arg_hash VARCHAR, payload BLOB, blob_hash VARCHAR, chain BLOB)""",
    "CREATE TABLE blob(hash VARCHAR, data BLOB)",
    "CREATE TABLE meta(name VARCHAR, value VARCHAR)",
    "INSERT INTO meta VALUES ('schema_version', '1')",  # SCHEMA_VERSION
)
"""The tables: run once, in one transaction, followed by a CHECKPOINT."""

VIEWS = (
    """CREATE OR REPLACE VIEW runs AS
        SELECT run_id, any_value(name) FILTER (kind = 'run.started') AS workflow,
               any_value(key) FILTER (kind = 'run.started') AS key,
               CASE WHEN max(seq) FILTER (kind = 'run.nondeterministic') > coalesce(max(seq) FILTER
                        (kind IN ('run.retried', 'run.rewound', 'run.forked', 'run.cancelled')), 0)
                    THEN 'NONDETERMINISTIC'
                    ELSE CASE arg_max(kind, seq) FILTER
                        (kind LIKE 'run.%' AND kind <> 'run.cancelling' OR kind = 'step.in_doubt')
                    WHEN 'run.done' THEN 'DONE' WHEN 'run.failed' THEN 'FAILED' WHEN 'run.cancelled' THEN 'CANCELLED'
                    WHEN 'run.paused' THEN 'PAUSED' WHEN 'run.quarantined' THEN 'QUARANTINED'
                    WHEN 'step.in_doubt' THEN 'IN_DOUBT' WHEN 'run.queued' THEN 'QUEUED'
                    ELSE CASE arg_max(CASE kind WHEN 'timer.set' THEN name ELSE kind END, seq)
                        FILTER (kind <> 'wait.answered' OR contains(key, '#'))
                    WHEN 'wait.opened' THEN 'WAITING' WHEN 'child.started' THEN 'WAITING'
                    WHEN 'sleep' THEN 'SLEEPING' ELSE 'RUNNING' END END END AS state,
               min(seq) AS first_seq, max(seq) AS last_seq, min(wall) AS started, max(wall) AS changed,
               count(*) FILTER (kind = 'step.done') AS steps_done
        FROM event WHERE run_id <> '' GROUP BY run_id HAVING bool_or(kind = 'run.started')""",
    """CREATE OR REPLACE VIEW steps AS
        SELECT run_id, key, arg_max(name, seq) AS name, substr(arg_max(kind, seq), 6) AS state,
               arg_max(arg_hash, seq) AS arg_hash, count(*) FILTER (kind = 'step.failed') AS failures,
               min(seq) AS first_seq, max(seq) AS last_seq, max(wall) AS changed
        FROM event WHERE kind LIKE 'step.%' GROUP BY run_id, key""",
    """CREATE OR REPLACE VIEW branches AS
        SELECT run_id, regexp_replace(key, '/[^/]*$', '') AS branch, arg_max(name, last_seq) AS last_step,
               arg_max(state, last_seq) AS last_state, count(*) FILTER (state = 'done') AS steps_done,
               sum(failures)::BIGINT AS failures, min(first_seq) AS first_seq, max(last_seq) AS last_seq,
               max(changed) AS changed
        FROM steps WHERE contains(key, '/') GROUP BY run_id, branch""",
    """CREATE OR REPLACE VIEW waits AS
        SELECT run_id, key, arg_max(name, seq) AS name, substr(arg_max(kind, seq), 6) AS state,
               min(seq) AS first_seq, max(seq) AS last_seq, min(wall) AS opened, max(wall) AS changed
        FROM event WHERE kind LIKE 'wait.%' GROUP BY run_id, key""",
    """CREATE OR REPLACE VIEW timers AS
        SELECT run_id, key, max(seq) AS last_seq, max(wall) AS changed
        FROM event WHERE kind IN ('timer.set', 'step.done') GROUP BY run_id, key
        HAVING bool_or(kind = 'timer.set') AND NOT bool_or(kind = 'step.done')""",
    "CREATE OR REPLACE VIEW in_doubt AS SELECT * FROM steps WHERE state = 'in_doubt'",
    """CREATE OR REPLACE VIEW outbox AS
        SELECT key AS message_id, any_value(name) FILTER (kind = 'outbox.queued') AS topic,
               CASE WHEN count(*) FILTER (kind = 'outbox.sent') > 0 THEN 'sent'
                    WHEN count(*) FILTER (kind = 'outbox.refused') > 0 THEN 'refused' ELSE 'pending' END AS state,
               min(seq) AS first_seq, max(seq) AS last_seq, min(wall) AS queued, max(wall) AS changed
        FROM event WHERE kind LIKE 'outbox.%' GROUP BY key""",
    """CREATE OR REPLACE VIEW alarms AS
        SELECT key AS alarm_id, arg_max(name, seq) AS name, arg_max(kind, seq) AS kind, count(*) AS entries,
               min(seq) AS first_seq, max(seq) AS last_seq, min(wall) AS raised, max(wall) AS changed
        FROM event WHERE kind = 'alarm' OR kind LIKE 'alarm.%' GROUP BY key""",
)
"""Stable for people with SQL on a copy: columns are added, never renamed or taken away.  Made anew when they differ."""

VIEWS_HASH = hashlib.sha256("".join(VIEWS).encode()).hexdigest()[:16]

QUERIES = {
    "runs": """SELECT run_id, workflow, key, state, first_seq, last_seq, steps_done,
        epoch_us(started) AS started_us, epoch_us(changed) AS changed_us
        FROM runs ORDER BY last_seq DESC LIMIT $limit""",
    "steps": """SELECT run_id, key, name, state, arg_hash, failures, first_seq, last_seq,
        epoch_us(changed) AS changed_us
        FROM steps WHERE run_id = $run_id ORDER BY first_seq LIMIT $limit""",
    "branches": """SELECT run_id, branch, last_step, last_state, steps_done, failures, first_seq, last_seq,
        epoch_us(changed) AS changed_us
        FROM branches WHERE run_id = $run_id ORDER BY first_seq LIMIT $limit""",
    "waits": """SELECT run_id, key, name, state, first_seq, last_seq,
        epoch_us(opened) AS opened_us, epoch_us(changed) AS changed_us
        FROM waits ORDER BY last_seq DESC LIMIT $limit""",
    "timers": """SELECT run_id, key, last_seq, epoch_us(changed) AS changed_us
        FROM timers ORDER BY last_seq DESC LIMIT $limit""",
    "in_doubt": """SELECT run_id, key, name, last_seq, epoch_us(changed) AS changed_us
        FROM in_doubt ORDER BY last_seq DESC LIMIT $limit""",
    "outbox": """SELECT message_id, topic, state, first_seq, last_seq,
        epoch_us(queued) AS queued_us, epoch_us(changed) AS changed_us
        FROM outbox ORDER BY last_seq DESC LIMIT $limit""",
    # The latest entry of each alarm with its payload: what stands now.
    "alarms": """SELECT a.alarm_id, a.name, a.kind, a.entries, a.first_seq, a.last_seq,
        epoch_us(a.raised) AS raised_us, epoch_us(a.changed) AS changed_us, e.payload, e.blob_hash
        FROM alarms a JOIN event e ON e.seq = a.last_seq ORDER BY a.last_seq DESC LIMIT $limit""",
    "events": """SELECT seq, epoch, epoch_us(wall) AS wall_us, boot, kind, run_id, key, name, arg_hash,
        payload, blob_hash
        FROM event WHERE starts_with(kind, $kind) ORDER BY seq DESC LIMIT $limit""",
}
"""Name to SQL.  Columns ending in `_us` leave the store as aware times without the ending (fetching TIMESTAMPTZ
would need pytz).  `$limit` is always given; `$run_id` and `$kind` (a prefix of the kind) where they are named."""
