"""The fault graph as the gateway opens it: seeded, completed from the journal, made anew when damaged."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from drivers.clock import SystemClock
from gateway.memory import GRAPH_NAME, edge_rows, known_causes, open_graph
from journal import Journal
from journal.engine import Entry, encode
from journal.fault_graph import Episode, FaultGraph


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    journal = await Journal.open(tmp_path, SystemClock())
    yield journal
    await journal.close()


def entry(number: int) -> Entry:
    episode = Episode(
        episode_id=f"r1-{number}",
        asset_id="T1",
        model="TR-40-132",
        indicators=("dga.D2",),
        suspected_code="D2",
        final_code="D2",
        outcome="confirmed",
        basis="internal_inspection",
        observed_at=datetime(2026, 3, number + 1, tzinfo=UTC),
    )
    return Entry(kind="graph.episode", key=episode.episode_id, name=episode.outcome, payload=encode(episode))


async def reopened(tmp_path: Path, journal: Journal) -> tuple[str, list[dict[str, Any]]]:
    def look(graph: FaultGraph) -> tuple[str, list[dict[str, Any]]]:
        try:
            return graph.digest(), edge_rows(graph, 5)
        finally:
            graph.close()

    return await asyncio.to_thread(look, await open_graph(tmp_path, journal))


async def test_it_comes_seeded(tmp_path: Path, journal: Journal) -> None:
    _, rows = await reopened(tmp_path, journal)
    assert len(rows) == 5
    assert {row["confirmed"] for row in rows} == {0}
    assert {"etype", "src", "dst", "strength", "source"} <= set(rows[0])


async def test_it_learns_what_the_journal_holds_and_shows_it_first(tmp_path: Path, journal: Journal) -> None:
    await journal.store.append([entry(1)])
    digest, rows = await reopened(tmp_path, journal)
    assert rows[0]["confirmed"] == 1
    assert await reopened(tmp_path, journal) == (digest, rows)


@pytest.mark.parametrize("damage", [b"", b"no database at all" * 1000])
async def test_a_damaged_graph_is_made_anew_from_the_journal(tmp_path: Path, journal: Journal, damage: bytes) -> None:
    await journal.store.append([entry(1), entry(2)])
    digest, _ = await reopened(tmp_path, journal)
    (tmp_path / GRAPH_NAME).write_bytes(damage)
    assert (await reopened(tmp_path, journal))[0] == digest


def test_a_verdict_may_name_any_failure_mode_of_the_seed() -> None:
    assert "winding_turn_insulation_breakdown" in known_causes()
