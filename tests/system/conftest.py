"""The whole product as processes: a simulated substation with a broker, the daemon, a SCADA that listens."""

import asyncio
import json
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from drivers.base import Message
from drivers.errors import Transient
from gateway.control import ask
from gateway.demo_setup import Daemon, config_text, ledger_lines
from gateway.simulator import Simulator, simulator
from gateway.subscriber import Subscriber

ROOT = Path(__file__).parents[2]
GATEWAY_ID = "gw-demo"  # as `config_text` names it
WAIT_S = 40.0  # the longest wait for a state, on a box so loaded that a process starts in ten seconds
LOOK_S = 0.05
ANOMALY_MODEL = re.compile(r"\[\[anomaly_model\]\]\nasset = .*\nfile = .*\n")  # fitting one takes longer than a test


class Door:
    """A TCP proxy that remembers what its clients say, and that can be shut."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._links: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.is_open = True
        self.said: list[bytearray] = []  # one per connection, client to server
        self.first_said_ns: int | None = None
        self.host, self.port = "127.0.0.1", 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._admit, self.host, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Cut every connection and refuse new ones."""
        self.is_open = False
        for writer in self._links.values():
            writer.transport.abort()
        await asyncio.gather(*self._links, return_exceptions=True)

    def open(self) -> None:
        self.is_open = True

    async def close(self) -> None:
        await self.shut()
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.current_task()
        assert link is not None
        self._links[link] = writer
        try:
            if self.is_open:
                await self._carry(reader, writer)
        except OSError:
            pass  # the other side is away, and so are we
        finally:
            del self._links[link]
            writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        self.said.append(bytearray())
        ways = [
            asyncio.ensure_future(self._pump(reader, far_writer, self.said[-1])),
            asyncio.ensure_future(self._pump(far_reader, writer, None)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            far_writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: bytearray | None) -> None:
        while data := await reader.read(65_536):
            if record is not None:
                self.first_said_ns = self.first_said_ns or time.monotonic_ns()
                record += data
            writer.write(data)
            await writer.drain()


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
        self.scada = self._new_scada()
        self._listening: asyncio.Task[None] | None = None

    def _new_scada(self) -> Subscriber:
        return Subscriber(self.ready["mqtt"]["host"], self.ready["mqtt"]["port"], GATEWAY_ID)

    async def listen(self) -> None:
        """A SCADA of no memory listens from now on; returns when it would hear the next message."""
        await self.deafen()
        self.scada = self._new_scada()
        self._listening = asyncio.create_task(self.scada.run(), name="scada")
        own = Message(message_id="probe", topic=f"blackstart/{GATEWAY_ID}/status", payload=b'{"online": null}')
        async with asyncio.timeout(WAIT_S):
            while None not in self.scada.statuses:
                await asyncio.sleep(LOOK_S)
                with suppress(Transient):
                    await self.scada._sink.send(own)

    async def deafen(self) -> None:
        """SCADA hears nothing any more."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)

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

    async def told(self, *, online: bool) -> None:
        """Wait until SCADA is told that the gateway is there, or not."""

        async def said() -> bool:
            return [status for status in self.scada.statuses if status is not None][-1:] == [online]

        try:
            await _poll(said)
        except TimeoutError:
            pytest.fail(f"SCADA was not told that online is {online}: {self.scada.statuses}\n{self.log_tail()}")

    async def until(self, look: Callable[[], Awaitable[bool]], told: Callable[[], str] = str) -> None:
        """Return when `look` says so; fail with the daemon's log when it ended or the time is over."""

        async def seen() -> bool:
            self.daemon.check()
            try:
                return await look()
            except Transient:
                return False  # not up yet

        try:
            await _poll(seen)
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

    @property
    def pid(self) -> int:
        assert self.daemon._process is not None
        return self.daemon._process.pid

    async def ensure_daemon(self) -> None:
        """Start the daemon where a test before this one has ended it."""
        process = self.daemon._process
        if process is None or process.returncode is not None:
            await self.daemon.start()

    async def kill_daemon(self) -> None:
        self.daemon.check()  # or it would be said to be killed where it has crashed
        self.daemon.kill()
        await self.daemon.wait()

    def ledger_lines(self) -> list[tuple[str, str, str]]:
        return ledger_lines(self.ledger)

    def log_tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else "no log"


async def _poll(look: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not await look():  # noqa: ASYNC110 - what is looked at is in another process
            await asyncio.sleep(LOOK_S)


StartSite = Callable[..., AbstractAsyncContextManager[Site]]


@pytest.fixture(scope="session")
def start_site(tmp_path_factory: pytest.TempPathFactory) -> StartSite:
    """`async with start_site(scenario) as site`: simulator, broker and listening SCADA; the daemon is not started.

    `change` edits the ready line before the configuration is made of it (doors stand before devices that way),
    `configure` edits the configuration.
    """

    @asynccontextmanager
    async def start(
        scenario: str,
        *,
        change: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]] | None = None,
        configure: Callable[[str], str] = str,
        core: bool = False,
    ) -> AsyncIterator[Site]:
        folder = tmp_path_factory.mktemp("site")
        async with simulator("run", "--scenario", scenario, "--broker") as sim:
            ready = await sim.event("ready")
            reached = await change(ready) if change else ready
            text = config_text(reached, folder / "state", folder / "none.onnx", core=core)
            site = Site(sim, ready, folder, configure(ANOMALY_MODEL.sub("", text)))
            try:
                await site.listen()
                yield site
            finally:
                await site.daemon.stop()
                await site.deafen()

    return start


@pytest.fixture
async def door() -> AsyncIterator[Callable[[str, int], Awaitable[Door]]]:
    """Puts a recording proxy before a socket."""
    doors: list[Door] = []

    async def put(host: str, port: int) -> Door:
        doors.append(Door(host, port))
        await doors[-1].start()
        return doors[-1]

    yield put
    for one in doors:
        await one.close()


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Shows a figure on the terminal, also where the test passes."""

    def show(figure: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n  {figure}\n")

    return show


@pytest.fixture(scope="session")
def quick() -> Callable[[str], str]:
    """Turns the demo's configuration into one that polls five times as often and clears after three measurements.

    Its devices may take longer to answer: on a loaded box a late answer is no lost link.
    """

    def configure(text: str) -> str:
        text = text.replace("poll_period_s = 0.5", "poll_period_s = 0.1").replace("timeout_s = 0.2", "timeout_s = 2.0")
        return text + "[alarm]\nclear_after_cycles = 3\n"

    return configure


@pytest.fixture(scope="session")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """A shipped scenario with a gas analysis every 0.3 real seconds, as a file."""

    def make(name: str) -> str:
        text = (ROOT / "hil_sim" / "scenarios" / f"{name}.toml").read_text()
        path = tmp_path_factory.mktemp("scenario") / f"{name}.toml"
        path.write_text(text.replace('template = "vaisala-opt100"', 'template = "vaisala-opt100"\ncycle_s = 1080'))
        return str(path)

    return make


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
