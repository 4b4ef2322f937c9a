"""`blackstart runs …` against a real engine on a real journal, through the control socket."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from drivers.clock import SystemClock
from drivers.errors import BadInput
from gateway import cli_print
from gateway.cli_runs import runs_app
from gateway.control import SOCKET_NAME, serve
from gateway.run_views import RunViews
from journal import Journal
from journal.engine import Engine, RunFailed, checkpoint, services, settle, wait_for, workflow

pytestmark = pytest.mark.may_block  # the daemon serves its socket from the start; here within a test
PASSES_MAX = 1000


@checkpoint()
async def look(name: str) -> str:
    if name in services(set):
        raise ValueError(f"[{name}] is away")
    return name


@workflow("inspect")
async def inspect(names: list[str]) -> str:
    found = await settle([look.submit(name, label=name) for name in names], min_successful=len(names))
    return ",".join(str(one.value) for one in found)


@workflow("ask")
async def ask() -> str:
    return await wait_for("go", str)


@pytest.fixture
async def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Engine]:
    journal = await Journal.open(tmp_path, SystemClock())
    engine = Engine(journal.store, SystemClock(), services={"b"})
    engine.register(inspect, ask)
    config = SimpleNamespace(gateway=SimpleNamespace(state_dir=tmp_path))
    monkeypatch.setattr(cli_print, "load", lambda _: config)
    desk: Any = SimpleNamespace(engine=engine)
    serving = asyncio.create_task(serve(tmp_path, RunViews(journal, desk).handlers()))
    for _ in range(PASSES_MAX):
        if (tmp_path / SOCKET_NAME).exists():
            break
        await asyncio.sleep(0)
    assert not serving.done(), serving.exception()
    yield engine
    serving.cancel()
    await asyncio.wait([serving])
    await engine.close()
    await journal.close()


@pytest.fixture
def command(engine: Engine) -> Callable[..., Any]:
    async def run(*arguments: str, code: int = 0) -> str:
        result = await asyncio.to_thread(CliRunner().invoke, runs_app, [*arguments], env={"COLUMNS": "200"})
        assert result.exit_code == code, result.output
        if isinstance(result.exception, BadInput):
            return str(result.exception)
        return result.output

    assert engine is not None
    return run


async def test_a_failed_run_is_shown_retried_and_compared(engine: Engine, command: Callable[..., Any]) -> None:
    run_id = await engine.start(inspect, ["a", "b"], key="k")
    with pytest.raises(RunFailed):
        await engine.result(run_id)
    shown = await command("show", run_id)
    assert "inspect FAILED" in shown
    assert "ValueError: [b] is away" in shown
    assert "look#1 DONE 0." in shown
    fork = (await command("fork", run_id, "a/look#1", "--override", '{"a/look#1": "A"}', "--by", "me")).split()[1]
    with pytest.raises(RunFailed):
        await engine.result(fork)
    services_now = engine._core.services
    assert isinstance(services_now, set)
    services_now.clear()
    assert "goes on" in await command("retry", run_id, "--by", "me")
    assert await engine.result(run_id) == "a,b"
    assert "(taken back 1 times)" in await command("show", run_id)
    rows = json.loads(await command("diff", run_id, fork, "--json"))
    assert [row["key"] for row in rows] == ["b/look#1", "settle#1"][: len(rows)]
    assert "run.retried" in await command("tail", run_id)
    assert "goes on from" in await command("rewind", run_id, "settle#1", "--by", "me")
    assert await engine.result(run_id) == "a,b"


async def test_a_waiting_run_is_cancelled_and_wrong_orders_are_refused(
    engine: Engine, command: Callable[..., Any]
) -> None:
    run_id = await engine.start(ask, key="k")
    assert "goes on: cancel or rewind it" in await command("retry", run_id, "--by", "me", code=1)
    assert "holds no outcome of 'x#1'" in await command("rewind", run_id, "x#1", "--by", "me", code=1)
    assert json.loads(await command("check", "--json")) == []
    assert "cleans up and ends" in await command("cancel", run_id, "--by", "me", "--reason", "drill")
    assert "run.cancelled" in await command("tail", run_id)
    assert "by me; drill" in await command("tree", run_id)
    assert "no run 'r1-none'" in await command("show", "r1-none", code=1)
    assert "no JSON" in await command("fork", run_id, "x#1", "--override", "{", "--by", "me", code=1)
