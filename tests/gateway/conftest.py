"""Shared by the gateway's tests: a clock that moves when told, a loop whose time jumps, samples and findings."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from drivers.base import Point, Quality, Sample
from gateway.alarms import Alarm, AlarmBook, Judgement
from gateway.consolidation import consolidate
from gateway.desk import Desk
from gateway.incidents import Incident
from gateway.investigation import INVESTIGATIONS, investigate
from journal.engine import Engine, Entry, MemoryStore, Record, StepState, decode, encode
from journal.fault_graph import Episode, FaultGraph, open_or_rebuild
from models import knowledge_base
from models.asset import Asset, AssetKind, Nameplate
from models.core import Core, CoreConfig
from models.features import window_of
from models.findings import EvidenceSample, Family, Finding, Severity, Verdict

T = TypeVar("T")
START = datetime(2026, 3, 1, tzinfo=UTC)
UPDATE_INTERVAL_S = 3600.0
GAS_NAMES = ("H2", "CH4", "C2H6", "C2H4", "C2H2")

# H2, CH4, C2H6, C2H4, C2H2 in µL/L.  D2, D1: IEC TC10 database, inspected cases.
GASES = {
    "healthy": (20.0, 8.0, 5.0, 4.0, 0.5),
    "quiet": (6.0, 1.0, 1.0, 1.0, 0.0),  # below what the monitor resolves
    "D2": (210.0, 43.0, 12.0, 102.0, 187.0),
    "D1": (78.0, 20.0, 11.0, 13.0, 28.0),
}


class FakeClock:
    """Stands still until `advance`."""

    def __init__(self) -> None:
        self.wall = START
        self.elapsed_ns = 1_000_000_000

    def now(self) -> datetime:
        return self.wall

    def monotonic_ns(self) -> int:
        return self.elapsed_ns

    def trusted(self) -> bool:
        return True

    def advance(self, by_s: float) -> None:
        self.wall += timedelta(seconds=by_s)
        self.elapsed_ns += int(by_s * 1e9)


class JumpingLoop(asyncio.SelectorEventLoop):
    """Time jumps to the next timer: an hour passes in no time."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        select = self._selector.select

        def jump(timeout: float | None) -> Any:
            assert timeout is not None, "everything waits, and for no timer"
            self._now_s += timeout
            return select(0)

        self._selector.select = jump  # type: ignore[method-assign]

    def time(self) -> float:
        return self._now_s


class LoopClock:
    """The jumping loop's time as a Clock."""

    def now(self) -> datetime:
        return START + timedelta(seconds=asyncio.get_running_loop().time())

    def monotonic_ns(self) -> int:
        return int(asyncio.get_running_loop().time() * 1e9)

    def trusted(self) -> bool:
        return True


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def loop_clock() -> LoopClock:
    return LoopClock()


@pytest.fixture
def in_jumping_time() -> Callable[[Coroutine[Any, Any, T]], T]:
    """`in_jumping_time(main())` runs a coroutine on a loop whose time jumps."""

    def run(main: Coroutine[Any, Any, T]) -> T:
        with asyncio.Runner(loop_factory=JumpingLoop) as runner:
            return runner.run(main)

    return run


@pytest.fixture
def t1() -> Asset:
    nameplate = Nameplate(model="TR-40-132", age_years=22, breathing="sealed", tap_changer_communicates=False)
    return Asset(id="T1", kind=AssetKind.POWER_TRANSFORMER, bay="B1", criticality=5, nameplate=nameplate)


@pytest.fixture
def q1() -> Asset:
    nameplate = Nameplate(model="BR-145", sf6_alarm_bara=5.4, sf6_lockout_bara=5.0)
    return Asset(id="Q1", kind=AssetKind.BREAKER, bay="B1", criticality=3, nameplate=nameplate)


@pytest.fixture
def gases() -> Mapping[str, tuple[float, ...]]:
    return GASES


@pytest.fixture
def gas_points() -> tuple[Point, ...]:
    """The five gases of T1 and the chamber temperature that marks each device cycle."""
    names = [*(f"SIML.{gas}ppm" for gas in GAS_NAMES), "SIML.ChmTmp"]
    return tuple(
        Point(id=f"T1/{name}", unit="uL/L", group="T1/dga", update_interval_s=UPDATE_INTERVAL_S) for name in names
    )


def _sample(clock: Any, point_id: str, value: Any, quality: Quality = Quality.GOOD, **more: Any) -> Sample:
    return Sample(
        point_id=point_id,
        value=value,
        quality=quality,
        received_time=clock.now(),
        monotonic_ns=clock.monotonic_ns(),
        clock_trusted=True,
        **more,
    )


@pytest.fixture
def sample(clock: FakeClock) -> Callable[..., Sample]:
    """`sample("T1/SIML.H2ppm", 33.0)` at the clock's time."""
    return partial(_sample, clock)


class GasMonitor:
    """What polls of a gas monitor bring; `measure` begins a device cycle."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._chamber_degc = 40.0
        self._values: Sequence[Any] = GASES["healthy"]

    def measure(self, values: Sequence[Any]) -> list[Sample]:
        """One analysis, an hour after the one before."""
        self._clock.advance(UPDATE_INTERVAL_S)
        self._values = values
        self._chamber_degc += 0.01
        return self.poll()

    def poll(self, quality: Quality = Quality.GOOD, **more: Any) -> list[Sample]:
        """Read what the device shows; nothing in it is new."""
        names = [f"SIML.{gas}ppm" for gas in GAS_NAMES]
        values = [*zip(names, self._values, strict=True), ("SIML.ChmTmp", self._chamber_degc)]
        return [_sample(self._clock, f"T1/{name}", value, quality, **more) for name, value in values]

    def stale(self) -> list[Sample]:
        names = [*(f"SIML.{gas}ppm" for gas in GAS_NAMES), "SIML.ChmTmp"]
        return [_sample(self._clock, f"T1/{name}", None, Quality.STALE) for name in names]


@pytest.fixture
def monitor(clock: FakeClock) -> GasMonitor:
    return GasMonitor(clock)


@pytest.fixture
def make_finding() -> Callable[..., Finding]:
    """A finding of T1's gases; `hour` makes it another measurement, keywords change any field."""

    def make(hour: int = 0, kind: str = "D2", **changes: Any) -> Finding:
        time = START + timedelta(hours=hour)
        evidence = tuple(
            EvidenceSample(
                point_id=f"T1/SIML.{gas}ppm",
                value=value,
                quality=Quality.GOOD,
                time=time - timedelta(hours=4 - cycle),
                cycle=cycle + 1,
            )
            for cycle in range(5)
            for gas, value in zip(GAS_NAMES, GASES.get(kind, GASES["D2"]), strict=True)
        )
        fields: dict[str, Any] = {
            "id": f"finding-{hour}-{kind}",
            "asset_id": "T1",
            "indicator": "SIML.CmbuGas",
            "method": "dga_consensus",
            "code": kind,
            "family": Family.DISCHARGE,
            "severity": Severity.CRITICAL,
            "confidence": 0.9,
            "first_time": time,
            "last_time": time,
            "evidence": evidence,
        }
        finding = Finding(**fields | changes)
        assert not finding.evidence or len(window_of(finding.evidence))
        return finding

    return make


@pytest.fixture
def sf6_finding() -> Finding:
    return Finding(
        id="finding-sf6",
        asset_id="Q1",
        indicator="SIMG.Pres20",
        method="sf6_nameplate_limits",
        code="GasLow",
        family=Family.LOSS_OF_GAS,
        severity=Severity.WARNING,
        confidence=1.0,
        first_time=START,
        last_time=START,
        evidence=(EvidenceSample(point_id="Q1/SIMG.Pres20", value=5.3, quality=Quality.GOOD, time=START, cycle=1),),
    )


@pytest.fixture
def eventually() -> Callable[..., Coroutine[Any, Any, None]]:
    """`await eventually(lambda: x)`: turn the loop until it holds; fails after a bound that a loaded machine meets."""

    async def wait(holds: Callable[[], bool], within_s: float = 20.0) -> None:
        async with asyncio.timeout(within_s):
            while not holds():  # noqa: ASYNC110 - what is waited for lies in threads and sockets that set no event
                await asyncio.sleep(0.01)

    return wait


class StepCounter:
    """What really ran, kept outside the journal."""

    def __init__(self) -> None:
        self.started: list[tuple[str, str]] = []

    def step_started(self, run_id: str, step_key: str) -> None:
        self.started.append((run_id, step_key))

    def step_committed(self, _run_id: str, _step_key: str) -> None:
        pass


class InvestigationWorld:
    """One log that outlives its engines; the fault graph and the alarm book are rebuilt in each life."""

    def __init__(self, clock: FakeClock, assets: Sequence[Asset], graph: FaultGraph) -> None:
        self.clock = clock
        self.assets = assets
        self.graph = graph
        self.store: Any = MemoryStore(clock)
        self.counter = StepCounter()
        self.closed: list[str] = []
        self.desk: Any = None

    def alarm_of(self, finding: Finding, definition: str) -> tuple[Alarm, list[Entry]]:
        """A raised alarm, and what the reflex path would have committed for it."""
        book = self._book()
        judgement = Judgement(asset_id=finding.asset_id, definition=definition, finding=finding, value="")
        revision = book.judge(judgement)
        assert revision is not None
        alarm = revision.alarm
        return alarm, [Entry(kind="alarm", key=alarm.alarm_id, name=definition, payload=encode(alarm))]

    def incident_of(self, finding: Finding, alarm: Alarm, *related: Finding) -> tuple[Incident, Entry]:
        asset = next(one for one in self.assets if one.id == finding.asset_id)
        incident = Incident(
            id=f"incident-{finding.id}",
            asset_id=finding.asset_id,
            family=finding.family,
            severity=finding.severity,
            alarm_id=alarm.alarm_id,
            opened_time=self.clock.now(),
            finding=finding,
            nameplate=asset.nameplate,
            related=related,
        )
        return incident, Entry(kind="incident.opened", key=incident.id, payload=encode(incident))

    async def open(self, finding: Finding, *, definition: str = "DgaFault") -> Incident:
        """Raise and keep the alarm and its incident."""
        alarm, entries = self.alarm_of(finding, definition)
        incident, entry = self.incident_of(finding, alarm)
        await self.store.append([*entries, entry])
        return incident

    @asynccontextmanager
    async def life(self, **store: Any) -> AsyncIterator[Engine]:
        """A process: fresh engine, book and graph on the kept rows; `store` may bring a crash."""
        if isinstance(self.store, MemoryStore):
            self.store = MemoryStore(self.clock, records=self.store.records, **store)
        self.counter = StepCounter()
        book = self._book()
        book.restore([decode(record.payload, Alarm) for record in await self._kept("alarm")])
        episodes = [(decode(record.payload, Episode), record.seq) for record in await self._kept("graph.episode")]
        await asyncio.to_thread(self.graph.rebuild, episodes)
        core = Core(CoreConfig(enabled=False))
        self.desk = Desk(
            book=book,
            core=core,
            graph=self.graph,
            store=self.store,
            criticality=lambda _: 3,
            episode_seq=self._episode_seq,
            incident=self._incident,
            incident_closed=self.closed.append,
        )
        engine = Engine(self.store, self.clock, services=self.desk, observer=self.counter)
        engine.register(investigate, consolidate)
        engine.register_queues(INVESTIGATIONS)
        self.desk.engine = engine
        try:
            yield engine
        finally:
            await engine.close()
            await core.close()

    async def until_open(self, engine: Engine, run_id: str) -> None:
        """Wait until the run asks for its verdict."""
        async with asyncio.timeout(20):
            while StepState.WAITING not in {step.state for step in await engine.steps(run_id)}:  # noqa: ASYNC110 - the store sets no event
                await asyncio.sleep(0.001)

    async def all_ended(self) -> None:
        """Wait until no run is open."""
        async with asyncio.timeout(20):
            while await self.store.open_runs():  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.001)

    async def kinds(self, kind: str) -> list[Record]:
        return await self._kept(kind)

    async def _kept(self, kind: str) -> list[Record]:
        if isinstance(self.store, MemoryStore):
            return [record for record in self.store.records if record.kind == kind]
        records: list[Record] = await self.store.latest(kind)
        return records

    async def _episode_seq(self, episode_id: str) -> int:
        return next(record.seq for record in await self._kept("graph.episode") if record.key == episode_id)

    async def _incident(self, incident_id: str) -> Incident:
        record = next(record for record in await self._kept("incident.opened") if record.key == incident_id)
        incident: Incident = decode(record.payload, Incident)
        return incident

    def _book(self) -> AlarmBook:
        return AlarmBook("g1", "", self.assets, self.clock, simulated=False)


@pytest.fixture(scope="session")
def seeded_graph() -> Iterator[FaultGraph]:
    graph, _ = open_or_rebuild(Path(":memory:"), knowledge_base.load().seed(), [])
    yield graph
    graph.close()


@pytest.fixture
def make_world(clock: FakeClock, t1: Asset, q1: Asset, seeded_graph: FaultGraph) -> Callable[[], InvestigationWorld]:
    return lambda: InvestigationWorld(clock, [t1, q1], seeded_graph)


@pytest.fixture
def world(make_world: Callable[[], InvestigationWorld]) -> InvestigationWorld:
    return make_world()


@pytest.fixture
def verdict() -> Callable[..., Verdict]:
    def make(**changes: Any) -> Verdict:
        fields = {
            "outcome": "confirmed",
            "final_code": "D2",
            "basis": "internal_inspection",
            "observed_at": START + timedelta(days=1),
            "by": "inspector",
        }
        return Verdict.model_validate(fields | changes)

    return make
