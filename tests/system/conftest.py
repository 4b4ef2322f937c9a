"""The whole product as processes: a simulated substation with a broker, the daemon, a SCADA that listens."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from drivers.errors import Transient
from gateway.control import ask
from gateway.demo_setup import Daemon, config_text, ledger_lines
from gateway.simulator import Simulator, simulator
from gateway.subscriber import Subscriber

ROOT = Path(__file__).parents[2]
GATEWAY_ID = "gw-demo"  # as `config_text` names it
WAIT_S = 60.0  # the longest wait for a state: generous, because a loaded box starts a process in many seconds
LOOK_S = 0.05
ANOMALY_MODEL = re.compile(r'\[\[anomaly_model\]\]\nasset = .*\nfile = .*\n')  # fitting one takes longer than a test


class Site:
    """A simulated substation and one gateway before it; what the tests do to both."""

    def __init__(self, sim: Simulator, ready: Mapping[str, Any], folder: Path, config: str) -> None:
        self.sim = sim
        self.ready = ready
        self.folder = folder
        self.state_dir = folder / "state"
        self.config = folder / "blackstart.toml"
        self.config.write_text(config)
        self.ledger = folder / "ledger.tsv"
        self.log = folder / "daemon.log"
        self.daemon = Daemon(self.config, self.ledger, self.log)
        self.scada = Subscriber(ready["mqtt"]["host"], ready["mqtt"]["port"], GATEWAY_ID)

    async def ask(self, cmd: str, **arguments: object) -> Any:
        """One question at the control socket; Transient where no daemon answers yet."""
        return await asyncio.to_thread(ask, self.state_dir, cmd, **arguments)

    async def when(self, cmd: str, wanted: Callable[[Any], object], **arguments: object) -> Any:
        """The first answer that satisfies `wanted`."""
        answer: Any = None

        async def look() -> bool:
            nonlocal answer
            answer = await self.ask(cmd, **arguments)
            return bool(wanted(answer))

        await self.until(look, lambda: f"last answer to {cmd}: {json.dumps(answer)[:1500]}")
        return answer

    async def until(self, look: Callable[[], Awaitable[bool]], told: Callable[[], str] = str) -> None:
        """Return when `look` says so; fail with the daemon's log when it ended or the time is over."""
        try:
            async with asyncio.timeout(WAIT_S):
                while True:
                    self.daemon.check()
                    try:
                        if await look():
                            return
                    except Transient:
                        pass  # not up yet
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            pytest.fail(f"not reached within {WAIT_S:.0f} s; {told()}\n{self.log_tail()}")

    async def status_when(self, wanted: Callable[[Any], object]) -> Any:
        return await self.when("status", wanted)

    async def all_good(self) -> Any:
        """Wait until every point is GOOD."""
        return await self.status_when(lambda s: s["points_by_quality"] == {"GOOD": s["points_total"]})

    async def heard(self, wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """The first alarm at SCADA that satisfies `wanted`."""
        try:
            return await self.scada.until(lambda alarm: bool(wanted(alarm)), WAIT_S)
        except TimeoutError:
            pytest.fail(f"SCADA did not hear of it; it holds {list(self.scada.alarms.values())}\n{self.log_tail()}")

    async def kill_daemon(self) -> None:
        self.daemon.kill()
        await self.daemon.wait()

    def ledger_lines(self) -> list[tuple[str, str, str]]:
        return ledger_lines(self.ledger)

    def log_tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else "no log"


StartSite = Callable[..., AbstractAsyncContextManager[Site]]


@pytest.fixture(scope="session")
def start_site(tmp_path_factory: pytest.TempPathFactory) -> StartSite:
    """`async with start_site(scenario) as site`: simulator, broker and listening SCADA; the daemon is not started.

    `change` edits the ready line before the configuration is made of it, `configure` edits the configuration.
    """

    @asynccontextmanager
    async def start(
        scenario: str,
        *,
        change: Callable[[dict[str, Any]], dict[str, Any]] = lambda ready: ready,
        configure: Callable[[str], str] = str,
        core: bool = False,
    ) -> AsyncIterator[Site]:
        folder = tmp_path_factory.mktemp("site")
        async with simulator("run", "--scenario", scenario, "--broker") as sim:
            ready = await sim.event("ready")
            text = config_text(change(ready), folder / "state", folder / "none.onnx", core=core)
            site = Site(sim, ready, folder, configure(ANOMALY_MODEL.sub("", text)))
            listening = asyncio.create_task(site.scada.run(), name="scada")
            try:
                yield site
            finally:
                await site.daemon.stop()
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)

    return start


@pytest.fixture(scope="session")
def quick() -> Callable[[str], str]:
    """Turns the demo's configuration into one that polls five times as often and clears after three measurements."""

    def configure(text: str) -> str:
        return text.replace("poll_period_s = 0.5", "poll_period_s = 0.1") + "[alarm]\nclear_after_cycles = 3\n"

    return configure


@pytest.fixture(scope="session")
def blackstart() -> Callable[..., Awaitable[tuple[int, str, str]]]:
    """Runs one command of the command line to its end: exit code, standard output, standard error."""

    async def run(*arguments: str, timeout_s: float = WAIT_S) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "gateway",
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"NO_COLOR": "1"},
        )
        try:
            output, complaints = await asyncio.wait_for(process.communicate(), timeout_s)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        assert process.returncode is not None
        return process.returncode, output.decode(), complaints.decode()

    return run
