"""Opens the fault graph: seeded from the knowledge base, completed from the journal's consolidation events."""

import asyncio
import logging
from pathlib import Path

from journal import Journal
from journal.engine import decode
from journal.fault_graph import Episode, FaultGraph, open_or_rebuild
from models import knowledge_base

__all__ = ("GRAPH_NAME", "edge_rows", "known_causes", "open_graph")

log = logging.getLogger(__name__)

GRAPH_NAME = "graph.duckdb"


def known_causes() -> frozenset[str]:
    """Failure modes that a verdict may name."""
    return frozenset(mode.name for mode in knowledge_base.load().failure_modes())


async def open_graph(state_dir: Path, journal: Journal) -> FaultGraph:
    """The graph as the journal's episodes make it; a damaged or foreign file is set aside and rebuilt."""
    records = await journal.store.latest("graph.episode")
    episodes = [(decode(record.payload, Episode), record.seq) for record in sorted(records, key=lambda r: r.seq)]
    seed = await asyncio.to_thread(lambda: knowledge_base.load().seed())
    graph, note = await asyncio.to_thread(open_or_rebuild, state_dir / GRAPH_NAME, seed, episodes)
    if note:
        log.warning("%s", note)
    return graph


def edge_rows(graph: FaultGraph, limit: int) -> list[dict[str, object]]:
    """Edges as JSON values, learned ones first."""
    edges = sorted(graph.edges(limit=10_000), key=lambda edge: (-edge.confirmed, -edge.suspected, edge.key))
    return [edge.model_dump(mode="json", exclude={"tx_to", "valid_to"}) for edge in edges[:limit]]
