"""From a verdict to the fault graph: once per episode, and told apart by what it rests on."""

from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.consolidation import consolidate
from journal.engine import Kind
from journal.fault_graph import Episode

CAUSE = "winding_turn_insulation_breakdown"


def episode(**changes: Any) -> Episode:
    fields: dict[str, Any] = {
        "episode_id": "r1-1",
        "asset_id": "T1",
        "model": "TR-40-132",
        "indicators": ("dga.D2",),
        "suspected_code": "D2",
        "final_code": "D2",
        "final_cause": None,
        "outcome": "confirmed",
        "basis": "internal_inspection",
        "observed_at": datetime(2026, 3, 2, tzinfo=UTC),
    }
    return Episode(**fields | changes)


def counts(world: Any) -> tuple[int, int, int]:
    edges = world.graph.edges(limit=10_000)
    return (
        sum(edge.confirmed for edge in edges),
        sum(edge.suspected for edge in edges),
        sum(edge.background for edge in edges),
    )


async def teach(world: Any, one: Episode) -> Any:
    async with world.life() as engine:
        run_id = await engine.start(consolidate, one, key=f"consolidate/{one.episode_id}")
        return await engine.result(run_id)


@pytest.mark.parametrize(
    ("basis", "confirms"),
    [
        ("internal_inspection", True),
        ("electrical_test", True),
        ("lab_analysis", False),
        ("operator_judgement", False),
    ],
)
async def test_only_an_inspection_or_a_test_confirms(world: Any, basis: str, confirms: bool) -> None:
    changes = await teach(world, episode(basis=basis))
    confirmed, suspected, _ = counts(world)
    assert changes
    assert (confirmed > 0, suspected > 0) == (confirms, True)


async def test_nothing_found_counts_against(world: Any) -> None:
    await teach(world, episode(outcome="no_fault_found", final_code="N"))
    confirmed, _, background = counts(world)
    assert confirmed == 0
    assert background > 0


async def test_the_same_episode_teaches_once(world: Any) -> None:
    first = await teach(world, episode())
    digest = world.graph.digest()
    assert await teach(world, episode()) == first
    assert world.graph.digest() == digest
    assert len(await world.kinds("graph.episode")) == 1


async def test_the_episode_is_in_the_journal_before_the_graph_changes(world: Any) -> None:
    await teach(world, episode())
    (kept,) = await world.kinds("graph.episode")
    done = [record.name for record in await world.kinds(Kind.STEP_DONE)]
    assert done == ["keep_episode", "apply_to_graph"]
    assert kept.seq < (await world.kinds(Kind.STEP_DONE))[1].seq


async def test_the_graph_of_a_new_life_is_the_same(world: Any) -> None:
    for number in range(3):
        await teach(world, episode(episode_id=f"r1-{number}"))
    digest = world.graph.digest()
    async with world.life():
        assert world.graph.digest() == digest
