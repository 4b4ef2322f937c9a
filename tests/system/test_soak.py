"""A day of polls with faults in between: nothing may grow, neither tasks nor sockets nor memory.

Time is accelerated by short periods: a Modbus poll each 10 ms stands for one each second, so that a day of 86,400
polls takes a quarter of an hour.  The day runs with `make kill`, a minute of faults with every run.
"""

import asyncio
import gc
import json
import logging
import statistics
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from drivers import modbus as modbus_module
from drivers.base import Quality, Sample
from drivers.clock import SystemClock
from drivers.modbus import ModbusDevice, ModbusLinkConfig, ModbusSource
from drivers.opcua import OpcuaLinkConfig, OpcuaPoint, OpcuaSource
from gateway import poller as poller_module
from gateway.poller import Poller
from gateway.supervisor import Backoff
from gateway.watchdog import Heartbeats

ROOT = Path(__file__).parents[2]
MODBUS_PERIOD_S, OPCUA_PERIOD_S = 0.01, 0.1
DAY_POLLS = 86_400
ROUNDS_IN_A_MINUTE = 4
RECOVERY_S = 30.0
FAULT_S = 0.4  # forty polls: every point goes STALE and its link is given up
SCENARIO = """\
seed = 5
time_factor = 36000
tick_s = 3600
[ambient]
mean = 15.0
[[transformers]]
id = "T1"
healthy = { h2 = 20, ch4 = 10, c2h6 = 10, c2h4 = 5, c2h2 = 0 }
[[breakers]]
id = "Q1"
[[devices]]
name = "gas"
asset = "T1"
template = "vaisala-opt100"
[[devices]]
name = "sf6"
asset = "Q1"
template = "vaisala-dpt145"
cycle_s = 3600
""" + "".join(
    f'[[events]]\nid = "{kind}-{asset}"\nkind = "{kind}"\nasset = "{asset}"\ntrigger = "command"\n'
    for kind in ("link_freeze", "link_thaw", "sentinel_nan", "swap_words", "wire_ok")
    for asset in ("T1", "Q1")
)
TRIGGERED = (("link_freeze", "link_thaw"), ("sentinel_nan", "wire_ok"), ("swap_words", "wire_ok"))


@dataclass(slots=True)
class Weight:
    """What the process holds while all is well."""

    tasks: int
    files: int
    objects: int
    rss_mb: float
    peer_files: int


@dataclass(slots=True)
class Plant:
    """A simulator in a process of its own and the pollers before it."""

    process: asyncio.subprocess.Process
    pollers: list[Poller]
    good: set[str] = field(default_factory=set)

    def deliver(self, samples: Sequence[Sample]) -> None:
        for sample in samples:
            (self.good.add if sample.quality is Quality.GOOD else self.good.discard)(sample.point_id)

    async def command(self, cmd: str, **arguments: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"cmd": cmd, **arguments}).encode() + b"\n")
        await self.process.stdin.drain()

    async def whole(self) -> None:
        """Return when every point is GOOD."""
        points = {point.id for poller in self.pollers for point in poller.source.points}
        async with asyncio.timeout(RECOVERY_S):
            while self.good != points:  # noqa: ASYNC110 - the pollers, which fill it, know no events
                await asyncio.sleep(MODBUS_PERIOD_S)

    async def round(self) -> None:
        """Every fault once, one after the other."""
        for name in ("gas", "sf6", "opcua"):
            await self._fault(("device_down", {"device": name}), ("device_up", {"device": name}))
        for begin, end in TRIGGERED:
            for asset in ("T1", "Q1"):
                await self._fault(("trigger", {"id": f"{begin}-{asset}"}), ("trigger", {"id": f"{end}-{asset}"}))

    async def _fault(self, begin: tuple[str, dict[str, str]], end: tuple[str, dict[str, str]]) -> None:
        await self.command(begin[0], **begin[1])
        await asyncio.sleep(FAULT_S)
        await self.command(end[0], **end[1])
        await self.whole()

    def weigh(self) -> Weight:
        gc.collect()
        rss_kb = next(int(s.split()[1]) for s in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in s)
        return Weight(
            tasks=len(asyncio.all_tasks()),
            files=_open_files("self"),
            objects=len(gc.get_objects()),
            rss_mb=rss_kb / 1024,
            peer_files=_open_files(self.process.pid),
        )


def _open_files(pid: int | str) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _sources(ready: dict[str, Any]) -> list[tuple[ModbusSource | OpcuaSource, float]]:
    clock = SystemClock()
    found: list[tuple[ModbusSource | OpcuaSource, float]] = []
    for item in ready["devices"]:
        device = ModbusDevice(name=item["name"], asset=item["asset"], template=item["template"])
        config = ModbusLinkConfig(
            name=item["name"], host=item["host"], port=item["port"], timeout_s=0.2, devices=(device,)
        )
        found.append((ModbusSource(config, clock), MODBUS_PERIOD_S))
    points = tuple(
        OpcuaPoint(node=f"s={p['node']}", asset=p["asset"], indicator=p["indicator"], unit=p["unit"])
        for p in ready["opcua"]["points"]
    )
    opcua = OpcuaLinkConfig(
        name="opcua",
        url=ready["opcua"]["url"],
        namespace_uri=ready["opcua"]["namespace_uri"],
        security="none",
        poll_period_s=OPCUA_PERIOD_S,
        timeout_s=2.0,
        points=points,
    )
    return [*found, (OpcuaSource(opcua, clock), OPCUA_PERIOD_S)]


@pytest.fixture
def start_plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Any]]:
    # Six connects in an accelerated minute are six in 0.6 s.
    monkeypatch.setattr(poller_module, "CONNECTS_PER_MINUTE_MAX", 600)
    monkeypatch.setattr(modbus_module, "DIALS_PER_MINUTE_MAX", 600)

    @asynccontextmanager
    async def start() -> AsyncIterator[Plant]:
        (tmp_path / "soak.toml").write_text(SCENARIO)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hil_sim", "run", "--scenario", str(tmp_path / "soak.toml")),
            *("--ready-file", str(tmp_path / "ready.json")),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
        )
        tasks: list[asyncio.Task[None]] = []
        try:
            async with asyncio.timeout(RECOVERY_S):
                while not (tmp_path / "ready.json").exists():  # noqa: ASYNC110 - a file has no events
                    await asyncio.sleep(MODBUS_PERIOD_S)
            plant = Plant(process, [])
            clock = SystemClock()
            for source, period_s in _sources(json.loads((tmp_path / "ready.json").read_text())):
                backoff = Backoff(first_s=0.02, most_s=0.3)
                beats = Heartbeats(clock)
                plant.pollers.append(Poller(source, period_s, plant.deliver, clock, beats, backoff=backoff))
            tasks += [asyncio.create_task(poller.run()) for poller in plant.pollers]
            await plant.whole()
            yield plant
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            process.terminate()
            await process.wait()

    logging.disable(logging.CRITICAL)  # pytest keeps every record, and with it frames: a growth that is not ours
    yield start
    logging.disable(logging.NOTSET)


async def _soak(plant: Plant, more: Callable[[Sequence[Weight]], bool]) -> list[Weight]:
    await plant.round()  # what is made once, at the first fault, is no growth
    weights = [plant.weigh()]
    while more(weights):
        await plant.round()
        weights.append(plant.weigh())
    return weights


def _check(weights: Sequence[Weight], *, object_growth: int, rss_growth_mb: float) -> None:
    third = max(1, len(weights) // 3)
    first, last = weights[:third], weights[-third:]

    def growth(what: str) -> float:
        return statistics.median(getattr(w, what) for w in last) - statistics.median(getattr(w, what) for w in first)

    told = f"begin {weights[0]}\nend   {weights[-1]} after {len(weights)} rounds of every fault"
    sys.stdout.write(f"\n{told}\n")  # shown with -s: the figures are the point of a soak
    assert growth("tasks") <= 1, told
    assert growth("files") <= 1, told
    assert growth("peer_files") <= 1, told
    assert growth("objects") <= object_growth, told
    assert growth("rss_mb") <= rss_growth_mb, told


StartPlant = Callable[[], Any]


@pytest.mark.timeout(150)
@pytest.mark.slow
async def test_a_minute_of_faults_leaves_nothing_behind(start_plant: StartPlant) -> None:
    async with start_plant() as plant:
        weights = await _soak(plant, lambda weights: len(weights) < ROUNDS_IN_A_MINUTE)
        assert all(poller.stats.connects >= 2 * ROUNDS_IN_A_MINUTE for poller in plant.pollers)
    _check(weights, object_growth=1_000, rss_growth_mb=8)


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_a_day_of_polls_and_faults_leaves_nothing_behind(start_plant: StartPlant) -> None:
    async with start_plant() as plant:
        modbus = plant.pollers[0].stats
        weights = await _soak(plant, lambda _: modbus.polls + modbus.skipped_ticks < DAY_POLLS)
    _check(weights, object_growth=2_000, rss_growth_mb=16)
