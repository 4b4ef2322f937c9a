"""The same keys on each Python, whatever way asyncio makes its tasks there: compared with the committed list.

`make pythons` runs these tests on every interpreter that it finds.  A changed list means that journals of the
release before do not replay: only a new major version may do that.  Written anew by `python tests/journal/engine/
write_golden.py`.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from journal.engine import Workflow, checkpoint, decode, settle, wait_first, workflow

KEYS = Path(__file__).with_name("keys.json")


@checkpoint()
async def step(name: str) -> str:
    await asyncio.sleep(0)
    return name


async def pair(name: str) -> list[str]:
    return [await step(f"{name}1"), *await asyncio.gather(step(f"{name}2"), step(f"{name}3"))]


@workflow("in place")
async def in_place() -> list[Any]:
    """asyncio.wait_for makes a task until 3.11 and awaits in place since 3.12."""
    return [
        await step("a"),
        await asyncio.wait_for(step("b"), 3600),
        await asyncio.wait_for(step("c"), None),
        *await asyncio.wait_for(pair("d"), 3600),
        *await asyncio.wait_for(asyncio.gather(step("e"), pair("f")), 3600),
        await step("g"),
    ]


@workflow("beside")
async def beside() -> list[Any]:
    async with asyncio.TaskGroup() as group:
        first = group.create_task(asyncio.wait_for(pair("a"), 3600))
        group.create_task(step("b"))
    gathered = await asyncio.gather(
        asyncio.wait_for(step("c"), 3600), asyncio.wait_for(pair("d"), 3600), pair("e"), return_exceptions=True
    )
    async with asyncio.timeout(3600):
        gathered.append(await step("f"))
    return [first.result(), gathered]


@workflow("shielded")
async def shielded() -> list[Any]:
    tasks = [asyncio.create_task(pair(name)) for name in "ab"]
    done = [await one for one in asyncio.as_completed(tasks)]
    kept = await asyncio.wait_for(asyncio.shield(asyncio.create_task(pair("c"))), 3600)
    branches = [step.submit("d", label="d"), step.submit("e")]
    first = await wait_first(branches)
    return [done, kept, await first, *[one.value for one in await settle(branches)]]


WORKFLOWS: Sequence[Workflow[Any, Any]] = (in_place, beside, shielded)


async def keys_of(world: Any, wf: Workflow[Any, Any]) -> list[list[str]]:
    """Kind, key and a recorded value of each row, in no order: branches of one moment may end in any."""
    async with world.life(wf) as engine:
        await world.finish(await engine.start(wf, key=wf.name))
    rows = [one for one in world.store.records if not one.kind.startswith(("run.", "engine."))]
    return sorted([row.kind, row.key, row.arg_hash, str(decode(row.payload).get("value", ""))] for row in rows)


@pytest.mark.parametrize("wf", WORKFLOWS, ids=lambda wf: wf.name)
async def test_keys_are_those_of_every_python(make_world: Callable[[], Any], wf: Workflow[Any, Any]) -> None:
    assert await keys_of(make_world(), wf) == json.loads(KEYS.read_text())[wf.name]
