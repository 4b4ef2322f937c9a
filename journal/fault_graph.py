"""The fault graph: engineering knowledge and confirmed faults in, ranked causes with their evidence out.

A DuckDB instance of its own (`graph.duckdb`), never the truth: every change is an episode in the journal, and
`rebuild` makes the same graph, row for row, from the same episodes.  All calls block for a few milliseconds (a commit
is one disk flush) and may come from several threads: callers on the event loop use `asyncio.to_thread`.  Read by
investigations, written by consolidation.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from threading import Lock

import duckdb

from drivers.errors import BadInput, Fatal, Transient
from journal.graph_rules import Tally, code_log_odds, rank_edges, shown, tallies
from journal.graph_schema import (
    DDL,
    EVIDENCED_BY,
    OBSERVED_IN,
    Edge,
    EdgeChange,
    Episode,
    EvidencePath,
    Ranked,
    SeedEdge,
    SeedNode,
    code_node,
    edges_where,
    insert,
    model_node,
    row_of,
    rows_of,
    seed_edges,
    seed_identity,
)

__all__ = (
    "Edge",
    "EdgeChange",
    "Episode",
    "EvidencePath",
    "FaultGraph",
    "Ranked",
    "SeedEdge",
    "SeedNode",
    "open_or_rebuild",
)

MAX_EXEMPLARS = 5  # verbatim episodes per (failure mode, model): statistics never replace the raw evidence
MAX_RANK_INDICATORS = 64  # an investigation asks with a handful; the bound keeps the query flat
MAX_EDGES = 10_000  # rows that one display may ask for
# Set when connecting: the WAL is replayed before any SET could run.  16 KiB blocks write least; one thread is enough.
CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "threads": 1,
    "async_threads": 1,
    "memory_limit": "64MB",
    "default_block_size": "16384",
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
NOW = "tx_to IS NULL AND valid_to IS NULL"
TABLES = ("node", "edge", "exemplar", "replay_log")
Key = tuple[str, str, str]
Seed = tuple[Sequence[SeedNode], Sequence[SeedEdge]]


class FaultGraph:
    """The graph's only door.

    Raises BadInput for what it is handed, Transient where another process holds the file, Fatal where it is damaged.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._lock = Lock()

    @classmethod
    def open(cls, path: Path) -> "FaultGraph":
        """Open the file, or create it with empty tables."""
        try:
            connection = duckdb.connect(str(path), config=CONFIG)
        except duckdb.Error as err:
            locked = isinstance(err, duckdb.IOException) and "Could not set lock" in str(err)
            raise (Transient if locked else Fatal)(f"{path}: {err}") from err
        graph = cls(connection)
        try:
            with graph._use(write=True):
                connection.execute(DDL)
        except Fatal:
            connection.close()
            raise
        return graph

    def close(self) -> None:
        """Checkpoint and let go of the file; the graph is unusable afterwards."""
        with self._lock:
            self._connection.close()

    def seed(self, nodes: Sequence[SeedNode], edges: Sequence[SeedEdge]) -> None:
        """Put the curated knowledge in, once; the same seed again does nothing.

        Raises BadInput where the graph was seeded from other knowledge, or learned before it was seeded: then
        `open_or_rebuild` starts anew.
        """
        identity = seed_identity(nodes, edges)
        with self._use(write=True) as db:
            log = rows_of(db, "SELECT episode_id FROM replay_log ORDER BY tx LIMIT 1")
            if log == [(identity,)]:
                kept = rows_of(db, "SELECT etype, src, dst, strength, source FROM edge WHERE tx_from = 0")
                # DuckDB's checksum is blind to an even number of equal words that a torn sector turned to zero (met)
                if sorted(kept) != sorted((e.etype, e.src, e.dst, e.strength, e.source) for e in edges):
                    raise Fatal("the fault graph's seed rows are not those of the seed")
                return
            if log:
                raise BadInput("the fault graph was not made from this seed; rebuild it")
            insert(db, "node", [(node.name, node.ntype, "seed", 0) for node in sorted(nodes, key=lambda n: n.name)])
            insert(db, "edge", [row_of(edge) for edge in seed_edges(edges)])
            insert(db, "replay_log", [(0, identity, 0)])

    def consolidate(self, episode: Episode, seq: int) -> tuple[EdgeChange, ...]:
        """Count one closed investigation; safe to repeat.

        `seq` (≥ 1) is the journal's sequence number of the verdict and becomes the transaction time, raised above
        the last one where verdicts arrive out of order.  An (episode_id, rule_version) that was counted before
        changes nothing and returns the same changes again.  `graph_rules` says what counts how much.  A `final_cause`
        that the graph knows as something other than a failure mode counts as not named: a history must always replay.
        """
        if seq < 1:
            raise BadInput(f"transaction time starts at 1, not {seq}")
        with self._use(write=True) as db:
            return self._consolidate(db, episode, seq)

    def rank(self, indicators: Sequence[str], model: str | None, limit: int = 5) -> tuple[Ranked, ...]:
        """Failure modes that show these indicators, most likely first, with the edges that say so.

        Scores are shares in [0, 1] among all modes that the graph offers, also those beyond `limit`.
        """
        if len(indicators) > MAX_RANK_INDICATORS:
            raise BadInput(f"at most {MAX_RANK_INDICATORS} indicators can be ranked at once")
        with self._use() as db:
            return _rank(db, indicators, model, limit)

    def log_odds(self, code: str, model: str | None) -> float:
        """By how much this model's history moves a fault code's hypothesis: natural log, within ±1.0."""
        if model is None:
            return 0.0
        with self._use() as db:
            where = f"etype = ? AND src = ? AND dst = ? AND {NOW}"
            edges = edges_where(db, where, [OBSERVED_IN, code_node(code), model_node(model)])
        return code_log_odds(edges[0] if edges else None)

    def edges(self, limit: int = 100, *, as_of: int | None = None) -> tuple[Edge, ...]:
        """Edges believed now, or at sequence number `as_of`; those with most evidence first."""
        when = NOW if as_of is None else "tx_from <= $1 AND (tx_to IS NULL OR tx_to > $1)"
        order = "ORDER BY weight_for + weight_against DESC, strength DESC, etype, src, dst LIMIT"
        with self._use() as db:
            found = edges_where(db, f"{when} {order} {min(limit, MAX_EDGES):d}", [] if as_of is None else [as_of])
        return tuple(found)

    def exemplars(self, mode: str, model: str | None) -> tuple[Episode, ...]:
        """Verbatim episodes that confirmed `mode` on `model`, oldest first, at most five."""
        with self._use() as db:
            sql = "SELECT body FROM exemplar WHERE mode = ? AND model = ? ORDER BY tx_from"
            return tuple(Episode.model_validate_json(body) for (body,) in rows_of(db, sql, [mode, model or ""]))

    def replayed(self) -> tuple[tuple[str, int], ...]:
        """(episode_id, rule_version) of everything counted, in the order in which it was counted."""
        with self._use() as db:
            return tuple(rows_of(db, "SELECT episode_id, rule_version FROM replay_log WHERE tx > 0 ORDER BY tx"))

    def check(self) -> None:
        """Read every block once, so that damage shows now and not in the middle of an investigation: raises Fatal."""
        with self._use() as db:
            for table in TABLES:
                rows_of(db, f"SELECT bit_xor(hash(t)) FROM {table} AS t")  # noqa: S608 - a constant

    def rebuild(self, episodes: Iterable[tuple[Episode, int]]) -> None:
        """Forget all that was learned and count the episodes, given with their `seq`, again; the seed stays.

        One transaction: a cut leaves the old graph.
        """
        with self._use(write=True) as db:
            for table in ("node", "edge", "exemplar"):
                db.execute(f"DELETE FROM {table} WHERE tx_from > 0")  # noqa: S608 - the three names above
            db.execute("DELETE FROM replay_log WHERE tx > 0")
            db.execute("UPDATE edge SET tx_to = NULL WHERE tx_to IS NOT NULL")
            for episode, seq in episodes:
                self._consolidate(db, episode, seq)

    def digest(self) -> str:
        """SHA-256 over every row of every table, history included: equal digests are equal graphs."""
        total = hashlib.sha256()
        with self._use() as db:
            for table in TABLES:
                for row in rows_of(db, f"SELECT * FROM {table} ORDER BY ALL"):  # noqa: S608 - a constant
                    total.update(json.dumps(row, default=str).encode())
        return total.hexdigest()

    def _consolidate(self, db: duckdb.DuckDBPyConnection, episode: Episode, seq: int) -> tuple[EdgeChange, ...]:
        same = "max(CASE WHEN episode_id = ? AND rule_version = ? THEN tx END)"
        sql = f"SELECT {same}, coalesce(max(tx), 0) FROM replay_log"  # noqa: S608 - written above
        done, last = rows_of(db, sql, [episode.episode_id, episode.rule_version])[0]
        if done is not None:
            return _changes(db, done)
        tx = max(seq, last + 1)

        if _is_no_mode(db, episode.final_cause):
            episode = episode.model_copy(update={"final_cause": None})

        def first_cause(code: str) -> str | None:
            ranked = _rank(db, shown(episode, code), episode.model, 1)
            return ranked[0].cause if ranked else None

        items = tallies(episode, first_cause)
        _add_nodes(db, items, tx)
        changes = _supersede(db, items, episode, tx)
        _keep_exemplar(db, episode, items, tx)
        insert(db, "replay_log", [(tx, episode.episode_id, episode.rule_version)])
        return changes

    @contextmanager
    def _use(self, *, write: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        """The connection, for one caller at a time; a write is one transaction, undone by any error."""
        with self._lock:
            try:
                if not write:
                    yield self._connection
                    return
                self._connection.begin()
                try:
                    yield self._connection
                except BaseException:
                    self._connection.rollback()
                    raise
                self._connection.commit()
            except duckdb.Error as err:
                raise Fatal(f"fault graph: {err}") from err


def open_or_rebuild(path: Path, seed: Seed, episodes: Sequence[tuple[Episode, int]]) -> tuple[FaultGraph, str]:
    """The graph that `seed` and `episodes` (with their `seq`, in journal order) make, and what had to be done.

    An intact file is only completed.  A damaged one is set aside as `<name>.damaged` (the latest is kept) and one
    made from another seed or history is made anew; where the disk refuses even that, the graph lives in memory.  The
    second result says so, empty where all was well.  Raises Transient where another process holds the file.
    """
    try:
        graph = FaultGraph.open(path)
    except Fatal as err:
        return _anew(path, seed, episodes, f"set aside a damaged fault graph: {err}")
    try:
        graph.check()
        graph.seed(*seed)
        if _continues(graph.replayed(), episodes):
            for episode, seq in episodes:
                graph.consolidate(episode, seq)
            return graph, ""
        graph.rebuild(episodes)
    except BadInput:
        note = "made the fault graph anew: its seed has changed"
    except Fatal as err:
        note = f"set aside a damaged fault graph: {err}"
    else:
        return graph, "rebuilt the fault graph: it did not agree with the journal"
    graph.close()
    return _anew(path, seed, episodes, note)


def _anew(path: Path, seed: Seed, episodes: Sequence[tuple[Episode, int]], note: str) -> tuple[FaultGraph, str]:
    try:
        _set_aside(path)
        return _made(path, seed, episodes), note
    except (Fatal, OSError) as err:
        in_memory = f"{note}; it is held in memory, because the file cannot be made: {err}"
        return _made(Path(":memory:"), seed, episodes), in_memory


def _made(path: Path, seed: Seed, episodes: Sequence[tuple[Episode, int]]) -> FaultGraph:
    graph = FaultGraph.open(path)
    try:
        graph.seed(*seed)
        graph.rebuild(episodes)
    except Fatal:
        graph.close()
        raise
    return graph


def _continues(log: Sequence[tuple[str, int]], episodes: Sequence[tuple[Episode, int]]) -> bool:
    """True where one is the beginning of the other: the graph may lack the last episodes, or be a step ahead."""
    wanted = [(episode.episode_id, episode.rule_version) for episode, _ in episodes]
    shared = min(len(log), len(wanted))
    return list(log[:shared]) == wanted[:shared]


def _set_aside(path: Path) -> None:
    for name in (path.name, path.name + ".wal"):
        file = path.with_name(name)
        if file.exists():
            file.replace(file.with_name(name + ".damaged"))


def _rank(
    db: duckdb.DuckDBPyConnection, indicators: Sequence[str], model: str | None, limit: int
) -> tuple[Ranked, ...]:
    names = sorted(set(indicators))
    if not names:
        return ()
    # plain predicates on purpose: a join with a list of parameters costs twice as much as the scan
    marks = ", ".join("?" * len(names))
    evidence = edges_where(db, f"etype = ? AND dst IN ({marks}) AND {NOW}", [EVIDENCED_BY, *names])
    history: list[Edge] = []
    if model is not None and evidence:
        history = edges_where(db, f"etype = ? AND dst = ? AND {NOW}", [OBSERVED_IN, model_node(model)])
    return rank_edges(names, evidence, history, limit)


def _is_no_mode(db: duckdb.DuckDBPyConnection, cause: str | None) -> bool:
    """Indicators have a dot in their name, failure modes never."""
    if cause is None or "." in cause:
        return cause is not None
    return bool(rows_of(db, "SELECT 1 FROM node WHERE name = ? AND ntype <> 'FailureMode' LIMIT 1", [cause]))


def _add_nodes(db: duckdb.DuckDBPyConnection, items: Sequence[Tally], tx: int) -> None:
    """Nodes that the episode is the first to name."""
    wanted: dict[str, str] = {}
    for item in items:
        evidence = item.etype == EVIDENCED_BY
        is_mode = evidence or "." not in item.src
        wanted.setdefault(item.src, "FailureMode" if is_mode else "Indicator")
        wanted.setdefault(item.dst, "Indicator" if evidence else "AssetModel")
    marks = ", ".join("?" * len(wanted)) or "NULL"
    found = rows_of(db, f"SELECT name FROM node WHERE name IN ({marks})", list(wanted))  # noqa: S608 - question marks
    known = {name for (name,) in found}
    insert(db, "node", [(name, wanted[name], "episode", tx) for name in sorted(wanted) if name not in known])


def _supersede(
    db: duckdb.DuckDBPyConnection, items: Sequence[Tally], episode: Episode, tx: int
) -> tuple[EdgeChange, ...]:
    """Close the current version of each edge that is counted on and insert the next."""
    current = _current(db, [item.key for item in items])
    if current:
        marks = ", ".join(["(?, ?, ?)"] * len(current))
        keys = [part for key in current for part in key]
        sql = f"UPDATE edge SET tx_to = ? WHERE tx_to IS NULL AND (etype, src, dst) IN (VALUES {marks})"  # noqa: S608
        db.execute(sql, [tx, *keys])
    changes = []
    for item in items:
        old = current.get(item.key)
        new = _counted(old, item, episode, tx)
        changes.append(EdgeChange(before=old and old.model_copy(update={"tx_to": tx}), after=new))
    insert(db, "edge", [row_of(change.after) for change in changes])
    return tuple(changes)


def _counted(old: Edge | None, item: Tally, episode: Episode, tx: int) -> Edge:
    """The next version of an edge; one that was never seen before starts at strength 0."""
    edge = old or Edge(
        etype=item.etype,
        src=item.src,
        dst=item.dst,
        strength=0.0,
        source=episode.basis,
        valid_from=episode.observed_at.astimezone(UTC),
    )
    counts = ("confirmed", "suspected", "background", "weight_for", "weight_against")
    added = {name: getattr(edge, name) + getattr(item, name) for name in counts}
    return edge.model_copy(update={**added, "tx_from": tx, "tx_to": None})


def _current(db: duckdb.DuckDBPyConnection, keys: Sequence[Key]) -> dict[Key, Edge]:
    if not keys:
        return {}
    marks = ", ".join(["(?, ?, ?)"] * len(keys))
    where = f"tx_to IS NULL AND (etype, src, dst) IN (VALUES {marks})"
    return {edge.key: edge for edge in edges_where(db, where, [part for key in keys for part in key])}


def _keep_exemplar(db: duckdb.DuckDBPyConnection, episode: Episode, items: Sequence[Tally], tx: int) -> None:
    """The first episodes that confirmed a cause are kept word for word."""
    cause, model = episode.final_cause, episode.model or ""
    if cause is None or not any(item.src == cause and item.confirmed for item in items):
        return
    (kept,) = rows_of(db, "SELECT count(*) FROM exemplar WHERE mode = ? AND model = ?", [cause, model])[0]
    if kept < MAX_EXEMPLARS:
        insert(db, "exemplar", [(cause, model, episode.episode_id, episode.model_dump_json(), tx)])


def _changes(db: duckdb.DuckDBPyConnection, tx: int) -> tuple[EdgeChange, ...]:
    """What the transaction at `tx` did, read from the history, so that a repeated call can say it again."""
    before = {edge.key: edge for edge in edges_where(db, "tx_to = ?", [tx])}
    after = edges_where(db, "tx_from = ? ORDER BY etype, src, dst", [tx])
    return tuple(EdgeChange(before=before.get(edge.key), after=edge) for edge in after)
