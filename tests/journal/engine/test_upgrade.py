"""New code under open runs: what goes on, what is held and listed, and how a change is guarded."""

from typing import Any

import pytest

from journal.engine import (
    Kind,
    Nondeterministic,
    checkpoint,
    patched,
    services,
    wait_for,
    workflow,
)


@checkpoint()
async def note(what: str) -> str:
    services(object).__dict__.setdefault("noted", []).append(what)
    return what


@workflow("audit")
async def old() -> list[str]:
    return [await note("one"), await wait_for("go", str), await note("two")]


@workflow("audit")
async def longer() -> list[str]:
    """What comes later may change freely."""
    return [await note("one"), await wait_for("go", str), await note("two"), await note("three")]


@workflow("audit")
async def wrong() -> list[str]:
    return [await note("zero"), await wait_for("go", str)]


@workflow("audit")
async def guarded() -> list[str]:
    first = await note("zero") if patched("begin at zero") else await note("one")
    answer = await wait_for("go", str)
    return [first, answer, await note("three" if patched("end at three") else "two")]


@workflow("audit", version=2)
async def second() -> list[str]:
    return [await note("second"), await wait_for("go", str)]


@workflow("audit", version=2, pinned=True)
async def pinned() -> list[str]:
    return [await note("one"), await wait_for("go", str)]


async def waiting(world: Any, *workflows: Any) -> str:
    async with world.life(*workflows) as engine:
        run_id: str = await engine.start(workflows[0], key="k")
        await world.pump(lambda: engine._residents.parked_count == 1)
    world.noted.clear()
    return run_id


async def test_a_change_behind_the_record_goes_on(world: Any) -> None:
    run_id = await waiting(world, old)
    async with world.life(longer) as engine:
        assert await engine.check() == []
        assert await engine.resume() == [run_id]
        await engine.answer(run_id, "go", "yes", by="me")
        assert await world.finish(run_id) == ["one", "yes", "two", "three"]


async def test_what_does_not_fit_is_listed_and_held_without_a_row(world: Any) -> None:
    run_id = await waiting(world, old)
    rows = len(world.store.records)
    async with world.life(wrong) as engine:
        (found,) = await engine.check()
        assert (found.run_id, found.workflow) == (run_id, "audit")
        assert "'note#1' was recorded" in found.reason
        assert await engine.resume() == []
        with pytest.raises(Nondeterministic, match="note#1"):
            await engine.result(run_id)
        assert not await engine.answer(run_id, "go", "yes", by="me")
        assert (await engine.run(run_id)).state.goes_on
    assert (len(world.store.records), world.noted) == (rows, [])
    async with world.life(old) as engine:  # the upgrade is taken back
        assert await engine.resume() == [run_id]
        await engine.answer(run_id, "go", "yes", by="me")
        assert await world.finish(run_id) == ["one", "yes", "two"]


async def test_a_guarded_change_takes_each_run_its_own_way(world: Any) -> None:
    run_id = await waiting(world, old)
    async with world.life(guarded) as engine:
        assert await engine.check() == []
        await engine.resume()
        new = await engine.start(guarded, key="new")
        for one in (run_id, new):
            await world.pump(lambda: engine._residents.parked_count > 0)
            await engine.answer(one, "go", "yes", by="me")
        assert await world.finish(run_id) == ["one", "yes", "three"]
        assert await world.finish(new) == ["zero", "yes", "three"]
    assert sorted(world.keys(Kind.CODE_PATCHED)) == [
        "~patch/begin at zero",
        "~patch/end at three",
        "~patch/end at three",
    ]


async def test_versions_keep_to_their_own_code(world: Any) -> None:
    run_id = await waiting(world, old)
    async with world.life(old, second) as engine:
        assert await engine.resume() == [run_id]
        new = await engine.start(second, key="new")
        for one in (run_id, new):
            await engine.answer(one, "go", "yes", by="me")
        assert await world.finish(run_id) == ["one", "yes", "two"]
        assert await world.finish(new) == ["second", "yes"]


async def test_a_pinned_version_takes_over_no_other(world: Any) -> None:
    run_id = await waiting(world, old)
    async with world.life(pinned) as engine:
        assert await engine.resume() == []
        (found,) = await engine.check()
        assert (found.run_id, found.reason) == (run_id, "no version of its workflow that may take it is registered")
    with pytest.raises(ValueError, match="two workflows are named 'audit', version 1"):
        engine.register(old, longer)
