"""The reflex path: what belongs together commits together, in order, and a dead disk silences no alarm."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from drivers.base import Message, Point, Quality
from drivers.clock import SystemClock
from drivers.errors import Refused, Transient
from gateway import reflex as reflex_module
from gateway.agents.hard import HardAgent
from gateway.agents.soft import SoftAgent
from gateway.agents.wave import WaveAgent
from gateway.alarms import Alarm, AlarmBook, Judgement
from gateway.incidents import Incident
from gateway.reflex import KEPT, UNJOURNALLED_AFTER_TRIES, Reflex
from gateway.watchdog import Heartbeats
from journal import Journal, Limits, Outbox
from journal.engine import Entry, decode
from models.asset import Asset
from models.findings import Severity
from models.risk import AssetEdge
from models.trend import Keepsake


class Store:
    """Keeps each append as one unit; fails as often as it is told."""

    def __init__(self) -> None:
        self.appends: list[list[Entry]] = []
        self.fail = 0
        self.attempts = 0

    async def append(self, entries: Sequence[Entry]) -> list[int]:
        self.attempts += 1
        await asyncio.sleep(0)
        if self.fail:
            self.fail -= 1
            raise Transient("no space left")
        self.appends.append(list(entries))
        return [1] * len(entries)

    @property
    def alarms(self) -> list[Alarm]:
        return [decode(entry.payload, Alarm) for unit in self.appends for entry in unit if entry.kind == "alarm"]


class Scene:
    """A reflex with everything around it."""

    def __init__(self, store: Any, journal: Any, assets: Sequence[Asset], points: Sequence[Point], clock: Any) -> None:
        self.store = store
        self.opened: list[Incident] = []
        self.sent: list[Message] = []
        self.open_fails = 0
        self.send_errors: list[Exception] = []
        self.book = AlarmBook("g1", "", assets, clock, simulated=False)
        self.soft = SoftAgent("g1", assets, clock, buffer_bytes=1_000_000, reinvestigate_after_s=600)
        hard = {
            asset.id: HardAgent(asset, [p for p in points if p.asset_id == asset.id], clock, clear_after_cycles=3)
            for asset in assets
        }
        wave = WaveAgent([AssetEdge(from_asset="T1", to_asset="Q1", kind="same_bay", attenuation=0.5)], lambda *_: None)
        self.reflex = Reflex(journal, self.book, assets, hard, self.soft, wave, Heartbeats(clock))

    async def open_incident(self, incident: Incident) -> None:
        if self.open_fails:
            self.open_fails -= 1
            raise Transient("no space left")
        self.opened.append(incident)

    async def send_now(self, message: Message) -> None:
        if self.send_errors:
            raise self.send_errors.pop(0)
        self.sent.append(message)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.reflex.run(self.open_incident, self.send_now))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled() or not task.exception()

    async def settled(self) -> None:
        async with asyncio.timeout(20):
            await self.reflex.settled()


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reflex_module, "COMMIT_RETRY_S", 0.001)


PRESSURE = Point(id="Q1/SIMG.Pres20", unit="bara", group="Q1/sf6", update_interval_s=60)


@pytest.fixture
def make_scene(t1: Asset, q1: Asset, gas_points: Sequence[Point], clock: Any) -> Callable[..., Scene]:
    def make(journal: Any = None) -> Scene:
        store = Store()
        taken: list[Any] = []
        stand_in = SimpleNamespace(
            store=store, outbox=SimpleNamespace(entry=Outbox.entry), samples=SimpleNamespace(add=taken.append)
        )
        return Scene(store, journal or stand_in, [t1, q1], [*gas_points, PRESSURE], clock)

    return make


@pytest.fixture
def scene(make_scene: Callable[..., Scene]) -> Scene:
    return make_scene()


@pytest.fixture
def arc(scene: Scene, monitor: Any, gases: Any) -> Callable[..., None]:
    def arc_(on: Scene = scene) -> None:
        for _ in range(5):
            on.reflex.accept(monitor.measure(gases["D2"]))

    return arc_


async def test_one_unit_is_one_commit(scene: Scene, arc: Any) -> None:
    arc()
    async with scene.running():
        await scene.settled()
    (entries,) = scene.store.appends
    kinds = [entry.kind for entry in entries]
    assert kinds == ["alarm", "outbox.queued", "finding", "gate", "wave.exposure", "incident.opened"]
    alarm = decode(entries[0].payload, Alarm)
    assert entries[1].key == f"{alarm.alarm_id}.1"
    assert entries[2].key == alarm.finding.id
    assert [incident.alarm_id for incident in scene.opened] == [alarm.alarm_id]


async def test_what_rules_learn_is_journalled(scene: Scene, clock: Any, sample: Any) -> None:
    """Once for each quarter of a day that is over, not for each poll; the newest is what a restart goes on with."""
    async with scene.running():
        for _ in range(48):
            clock.advance(3600)
            scene.reflex.accept([sample("Q1/SIMG.Pres20", 6.0)])
        await scene.settled()
    kept = [entry for unit in scene.store.appends for entry in unit if entry.kind == KEPT]
    assert {entry.key for entry in kept} == {"Q1/GasLeak"}
    assert 6 <= len(kept) <= 9
    rows = decode(kept[-1].payload, Keepsake).rows
    assert [row[1] for row in rows] == pytest.approx([6.0] * len(kept))


async def test_healthy_measurements_commit_nothing(scene: Scene, monitor: Any, gases: Any) -> None:
    async with scene.running():
        for _ in range(20):
            scene.reflex.accept(monitor.measure(gases["healthy"]))
        await scene.settled()
    assert scene.store.appends == []


async def test_what_repeats_commits_nothing_more(scene: Scene, arc: Any) -> None:
    async with scene.running():
        arc()
        arc()
        arc()
        await scene.settled()
    assert len(scene.store.appends) == len(scene.opened) == 1


async def test_what_waits_is_committed_together_and_in_order(scene: Scene, arc: Any, sample: Any) -> None:
    arc()
    scene.reflex.accept([sample("Q1/SIMG.Pres20", 5.3)])
    async with scene.running():
        await scene.settled()
    assert len(scene.store.appends) == 1
    assert [alarm.definition for alarm in scene.store.alarms] == ["DgaFault", "GasDensityLow"]
    assert len(scene.opened) == 2


async def test_the_gateways_own_alarm_is_no_incident(scene: Scene, make_finding: Any) -> None:
    finding = make_finding(asset_id="g1", severity=Severity.WARNING)
    scene.reflex.raise_own(Judgement(asset_id="g1", definition="JournalRescued", finding=finding))
    async with scene.running():
        await scene.settled()
    assert [entry.kind for entry in scene.store.appends[0]] == ["alarm", "outbox.queued"]


async def test_a_silent_device_is_an_alarm_but_no_incident(
    scene: Scene, monitor: Any, clock: Any, eventually: Any
) -> None:
    scene.reflex.accept(monitor.stale())
    clock.advance(60)
    async with scene.running():
        await eventually(lambda: bool(scene.store.appends))
    assert [alarm.definition for alarm in scene.store.alarms] == ["MeasurementLost"]
    assert scene.opened == []
    assert set(scene.reflex.qualities().values()) == {Quality.STALE}


# -- a disk that refuses


async def test_a_refused_commit_is_tried_again_and_keeps_the_order(scene: Scene, arc: Any, sample: Any) -> None:
    scene.store.fail = UNJOURNALLED_AFTER_TRIES - 1
    async with scene.running():
        arc()
        await asyncio.sleep(0)
        scene.reflex.accept([sample("Q1/SIMG.Pres20", 5.3)])
        await scene.settled()
    assert [alarm.definition for alarm in scene.store.alarms] == ["DgaFault", "GasDensityLow"]
    assert scene.sent == []
    assert scene.reflex.unjournalled == 0


async def test_an_alarm_that_cannot_be_journalled_goes_out_with_the_same_id(scene: Scene, arc: Any) -> None:
    scene.store.fail = UNJOURNALLED_AFTER_TRIES + 5
    async with scene.running():
        arc()
        await scene.settled()
    (message,) = scene.sent
    (alarm,) = scene.store.alarms
    content = json.loads(message.payload)
    assert content["journalled"] is False
    assert alarm.journalled
    assert message.message_id == content["message_id"] == alarm.message_id
    assert message.topic == f"blackstart/g1/alarm/{alarm.alarm_id}"
    assert message.retain
    assert scene.reflex.unjournalled == 1


async def test_a_disk_that_turns_read_only_silences_no_alarm(
    failing_disk: Any, make_scene: Callable[..., Scene], arc: Any, sample: Any, eventually: Any
) -> None:
    """Alarm after alarm goes out unjournalled; after the repair the journal holds what it had acknowledged."""
    state = failing_disk.folder / "state"
    journal = await Journal.open(state, SystemClock(), limits=Limits(ballast_bytes=0))
    scene = make_scene(journal)
    async with scene.running():
        arc(scene)
        await scene.settled()
        acknowledged = journal.store.last_seq
        await asyncio.to_thread(failing_disk.turn_read_only)
        scene.reflex.accept([sample("Q1/SIMG.Pres20", 5.3)])
        await eventually(lambda: len(scene.sent) == 1)
    content = json.loads(scene.sent[0].payload)
    assert (content["definition"], content["journalled"]) == ("GasDensityLow", False)
    assert scene.reflex.unjournalled == 1
    await journal.close()
    await asyncio.to_thread(failing_disk.mend)
    journal = await Journal.open(state, SystemClock(), limits=Limits(ballast_bytes=0))
    assert journal.rescue_notes == ()
    kept = [decode(record.payload, Alarm) for record in await journal.store.latest("alarm")]
    assert [alarm.definition for alarm in kept] == ["DgaFault"]
    assert journal.store.last_seq == acknowledged + 1
    assert (await journal.verify()).broken_seq is None
    await journal.close()


async def test_alarms_that_follow_do_not_wait_for_the_dead_disk(
    scene: Scene, arc: Any, sample: Any, eventually: Any
) -> None:
    scene.store.fail = 1_000_000
    async with scene.running():
        arc()
        await eventually(lambda: len(scene.sent) == 1)
        scene.reflex.accept([sample("Q1/SIMG.Pres20", 5.3)])
        await eventually(lambda: len(scene.sent) == 2)
        scene.store.fail = 0
        await scene.settled()
    assert [json.loads(message.payload)["definition"] for message in scene.sent] == ["DgaFault", "GasDensityLow"]
    assert [alarm.definition for alarm in scene.store.alarms] == ["DgaFault", "GasDensityLow"]
    assert len(scene.opened) == 2


async def test_a_broker_that_is_away_as_well_gets_it_later(scene: Scene, arc: Any, eventually: Any) -> None:
    scene.store.fail = 1_000_000
    scene.send_errors = [Transient("no link")] * 3
    async with scene.running():
        arc()
        await eventually(lambda: len(scene.sent) == 1)
    assert scene.send_errors == []


async def test_a_broker_that_refuses_blocks_nobody(scene: Scene, arc: Any, sample: Any, eventually: Any) -> None:
    scene.store.fail = 1_000_000
    scene.send_errors = [Refused("not authorised")]
    async with scene.running():
        arc()
        scene.reflex.accept([sample("Q1/SIMG.Pres20", 5.3)])
        await eventually(lambda: len(scene.sent) == 1)
    assert json.loads(scene.sent[0].payload)["definition"] == "GasDensityLow"


async def test_an_investigation_that_does_not_start_is_tried_again(scene: Scene, arc: Any) -> None:
    scene.open_fails = 3
    async with scene.running():
        arc()
        await scene.settled()
    assert len(scene.opened) == 1
    assert scene.open_fails == 0


async def test_the_queue_is_bounded_and_drops_are_counted(
    make_scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch, sample: Any, clock: Any
) -> None:
    monkeypatch.setattr(reflex_module, "UNITS_MAX", 2)
    scene = make_scene()
    for pressure_bara in (5.3, 6.5, 6.5, 6.5, 5.3, 6.5, 6.5, 6.5):  # raised, cleared, raised, cleared
        clock.advance(60)
        scene.reflex.accept([sample("Q1/SIMG.Pres20", pressure_bara)])
    assert scene.reflex.dropped_units == 2


# -- the real journal


async def test_it_is_in_the_real_journal_and_in_the_outbox(
    tmp_path: Path, make_scene: Callable[..., Scene], arc: Any
) -> None:
    journal = await Journal.open(tmp_path, SystemClock())
    scene = make_scene(journal)
    try:
        arc(scene)
        async with scene.running():
            await scene.settled()
        (record,) = await journal.store.latest("alarm")
        (item,) = journal.outbox.pending()
        assert item.message.message_id == decode(record.payload, Alarm).message_id
        assert (item.asset_id, item.criticality) == ("T1", 5)
    finally:
        await journal.close()
    again = await Journal.open(tmp_path, SystemClock())
    try:
        book = make_scene(again).book
        book.restore([decode(record.payload, Alarm) for record in await again.store.latest("alarm")])
        assert [alarm.definition for alarm in book.standing()] == ["DgaFault"]
        assert [one.message.message_id for one in again.outbox.pending()] == [item.message.message_id]
    finally:
        await again.close()
