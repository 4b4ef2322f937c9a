"""From a verdict to the fault graph: a durable workflow, idempotent per episode and rule version."""

import asyncio

from gateway.desk import Desk
from journal.engine import Effect, checkpoint, emit, services, workflow
from journal.fault_graph import EdgeChange, Episode

__all__ = ("consolidate",)


@checkpoint(retries=2)
async def keep_episode(episode: Episode) -> str:
    """Write the consolidation event that the graph can be rebuilt from; retention never drops it."""
    emit("graph.episode", episode, key=episode.episode_id, name=episode.outcome)
    return episode.episode_id


@checkpoint(effect=Effect.IDEMPOTENT, retries=2)
async def apply_to_graph(episode: Episode) -> tuple[EdgeChange, ...]:
    """Change the counts of the edges concerned; a second call with the same episode changes nothing."""
    desk = services(Desk)
    seq = await desk.episode_seq(episode.episode_id)
    return await asyncio.to_thread(desk.graph.consolidate, episode, seq)


@workflow("consolidate", version=1)
async def consolidate(episode: Episode) -> tuple[EdgeChange, ...]:
    """Keep the episode, then let it change the graph."""
    await keep_episode(episode)
    return await apply_to_graph(episode)
