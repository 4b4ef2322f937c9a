"""An agent whose context grows with each call leaves a record that grows with the calls, not with their square."""

from typing import Any

from journal.engine import checkpoint, workflow

CALLS = 100
REPLY_CHARS = 400


@checkpoint()
async def call_model(context: list[str]) -> str:
    return f"{len(context):03}{reply(len(context))}"


def reply(seed: int) -> str:
    """Text that compresses badly and is the same in every process."""
    return "".join(chr(33 + (seed * 7919 + position * position * 31) % 90) for position in range(REPLY_CHARS))


@workflow("agent")
async def agent(calls: int) -> int:
    context: list[str] = []
    for _ in range(calls):
        context.append(await call_model(context))
    return sum(map(len, context))


async def recorded_bytes(world: Any, calls: int) -> int:
    async with world.life(agent) as engine:
        assert await world.finish(await engine.start(agent, calls)) == calls * (REPLY_CHARS + 3)
    return sum(len(record.payload) + len(record.arg_hash) + len(record.key) for record in world.store.records)


async def test_a_growing_context_is_not_kept_again_with_each_call(make_world: Any) -> None:
    half, whole = [await recorded_bytes(make_world(), calls) for calls in (CALLS // 2, CALLS)]
    assert whole < 2.1 * half
    assert whole < 1.5 * CALLS * REPLY_CHARS
