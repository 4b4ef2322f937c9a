"""The shapes of the fault graph: what goes in, what comes out, and the tables between.  Used by `fault_graph`.

Nodes are named in snake_case (failure modes, mechanisms, effects, actions), as `LN.DO` (point indicators), as
`dga.<code>` (fault types of IEC 60599) or as `model:<nameplate model>`.  Evidence is counted in hundredths of
a confirmed episode, so that sums are exact and do not depend on their order.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import duckdb
from pydantic import AwareDatetime, Field

from drivers.base import Frozen, Name

__all__ = (
    "CODE_PREFIX",
    "DDL",
    "EVIDENCED_BY",
    "MODEL_PREFIX",
    "OBSERVED_IN",
    "Edge",
    "EdgeChange",
    "Episode",
    "EvidencePath",
    "Ranked",
    "SeedEdge",
    "SeedNode",
    "code_node",
    "edges_where",
    "insert",
    "model_node",
    "row_of",
    "rows_of",
    "seed_edges",
    "seed_identity",
)

MAX_INDICATORS = 64  # an incident attaches a bounded number of findings; more indicators than that are noise
MODEL_PREFIX = "model:"
CODE_PREFIX = "dga."
EVIDENCED_BY = "EVIDENCED_BY"  # failure mode → indicator
OBSERVED_IN = "OBSERVED_IN"  # failure mode, fault code or indicator → asset model

Label = Annotated[str, Field(min_length=1, max_length=96)]
"""A node's name, or a code of a finding."""

DDL = """
CREATE TABLE IF NOT EXISTS node (name VARCHAR NOT NULL, ntype VARCHAR NOT NULL, src_kind VARCHAR NOT NULL,
    tx_from BIGINT NOT NULL);
CREATE TABLE IF NOT EXISTS edge (etype VARCHAR NOT NULL, src VARCHAR NOT NULL, dst VARCHAR NOT NULL,
    strength DOUBLE NOT NULL, confirmed INTEGER NOT NULL, suspected INTEGER NOT NULL, background INTEGER NOT NULL,
    weight_for BIGINT NOT NULL, weight_against BIGINT NOT NULL, src_kind VARCHAR NOT NULL, source VARCHAR NOT NULL,
    valid_from TIMESTAMP, valid_to TIMESTAMP, tx_from BIGINT NOT NULL, tx_to BIGINT);
CREATE TABLE IF NOT EXISTS exemplar (mode VARCHAR NOT NULL, model VARCHAR NOT NULL, episode_id VARCHAR NOT NULL,
    body VARCHAR NOT NULL, tx_from BIGINT NOT NULL);
CREATE TABLE IF NOT EXISTS replay_log (tx BIGINT NOT NULL, episode_id VARCHAR NOT NULL, rule_version INTEGER NOT NULL);
"""
"""No key and no index: they cost write amplification, and one lock already guards uniqueness.

An edge row is never changed but for `tx_to`, which closes it when a later row supersedes it: the graph as it was
believed at sequence `s` is `tx_from <= s AND (tx_to IS NULL OR tx_to > s)`.  Seed rows have `tx_from` 0.
`valid_from`/`valid_to` (UTC) say when the relation held in the plant; null is unbounded.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedNode:
    """A node of curated knowledge."""

    name: str
    ntype: str  # FailureMode, Indicator, FailureMechanism, Effect, Action


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedEdge:
    """An edge of curated knowledge; `strength` in [0, 1] weighs like a few inspected cases."""

    etype: str
    src: str
    dst: str
    strength: float
    source: str  # where the relation is described, or "engineering judgement"


class Episode(Frozen):
    """One closed investigation: what was seen, what was believed, what people found.

    `suspected_code` and `final_code` are fault types of IEC 60599, or empty where none applies (SF6).
    """

    episode_id: str = Field(min_length=1, description="the investigation's run id")
    asset_id: Name
    model: Name | None
    indicators: tuple[Label, ...] = Field(max_length=MAX_INDICATORS, description="LN.DO or dga.<code>")
    suspected_code: str = ""
    final_code: str = ""
    final_cause: Name | None = Field(default=None, description="failure mode; None where nobody named one")
    outcome: str = Field(pattern="^(confirmed|rejected|no_fault_found)$")
    basis: str = Field(pattern="^(internal_inspection|electrical_test|lab_analysis|operator_judgement)$")
    observed_at: AwareDatetime
    rule_version: int = Field(default=1, ge=1, description="rules of consolidation; a new version counts anew")


class Edge(Frozen):
    """One version of one edge.  The three counts are episodes, the two weights hundredths of a confirmed one."""

    etype: str
    src: str
    dst: str
    strength: float
    confirmed: int = 0
    suspected: int = 0
    background: int = 0
    weight_for: int = 0
    weight_against: int = 0
    src_kind: str = "episode"
    source: str = ""
    valid_from: AwareDatetime | None = None
    valid_to: AwareDatetime | None = None
    tx_from: int = 0
    tx_to: int | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """What identifies the edge through all its versions."""
        return self.etype, self.src, self.dst


COLUMNS = tuple(Edge.model_fields)


class EdgeChange(Frozen):
    """What consolidation did to one edge; `before` is None for an edge that was learned just now."""

    before: Edge | None
    after: Edge


class EvidencePath(Frozen):
    """Why a cause was ranked: an edge from what was seen (or from the asset's model) to the cause."""

    nodes: tuple[str, ...]
    confirmed: int
    suspected: int
    background: int
    source: str


class Ranked(Frozen):
    """A failure mode with its share among all that the graph offers, in [0, 1]."""

    cause: str
    score: float
    paths: tuple[EvidencePath, ...]


def code_node(code: str) -> str:
    """The indicator node of a fault type: D2 becomes dga.D2."""
    return CODE_PREFIX + code


def model_node(model: str) -> str:
    """The node of an asset model; prefixed so that no nameplate can pose as a failure mode."""
    return MODEL_PREFIX + model


def seed_identity(nodes: Sequence[SeedNode], edges: Sequence[SeedEdge]) -> str:
    """Names a seed by its content; the replay log begins with it."""
    rows = sorted(repr(item) for item in (*nodes, *edges))
    return "seed:" + hashlib.sha256("\n".join(rows).encode()).hexdigest()


def seed_edges(edges: Sequence[SeedEdge]) -> list[Edge]:
    """The seed as edges, in the order in which ranking reads them."""
    return [
        Edge(etype=e.etype, src=e.src, dst=e.dst, strength=e.strength, source=e.source, src_kind="seed")
        for e in sorted(edges, key=lambda e: (e.etype, e.dst, e.src))
    ]


def rows_of(db: duckdb.DuckDBPyConnection, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    """Run one statement and fetch all of its rows."""
    return db.execute(sql, list(values)).fetchall()


def edges_where(db: duckdb.DuckDBPyConnection, where: str, values: Sequence[object]) -> list[Edge]:
    """Edge versions that match; `where` is SQL written in this folder, `values` its parameters."""
    found = rows_of(db, f"SELECT {', '.join(COLUMNS)} FROM edge WHERE {where}", values)  # noqa: S608
    # the rows were checked when they were written: validating thousands again would cost more than the query
    return [Edge.model_construct(None, **dict(zip(COLUMNS, map(_aware, row), strict=True))) for row in found]


def row_of(edge: Edge) -> tuple[object, ...]:
    """The edge as its table holds it."""
    return tuple(_naive(getattr(edge, column)) for column in COLUMNS)


def insert(db: duckdb.DuckDBPyConnection, table: str, rows: Sequence[tuple[object, ...]]) -> None:
    """One multi-row INSERT: `executemany` costs ten times as much."""
    if rows:
        marks = ", ".join([f"({', '.join('?' * len(rows[0]))})"] * len(rows))
        db.execute(f"INSERT INTO {table} VALUES {marks}", [value for row in rows for value in row])  # noqa: S608


def _naive(value: object) -> object:
    """The tables hold UTC without a zone: DuckDB's zoned type would follow the session's zone."""
    return value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) else value


def _aware(value: Any) -> Any:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value
