"""Builds the daemon by hand and runs it: sinks before sources at the start, sources before sinks at the end.

Polling starts before the journal is open: what it brings waits in `Intake`, bounded, until the agents stand.
"""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from drivers.agreement import Agreements
from drivers.base import Clock, Message, Sample, Source
from drivers.by_exception import ByException
from drivers.errors import NotStarted
from drivers.modbus import ModbusLinkConfig, ModbusSource
from drivers.mqtt import MqttSink
from drivers.opcua import OpcuaSource
from gateway.agents.gas_history import rebuild_trends
from gateway.agents.hard import HardAgent
from gateway.agents.soft import SoftAgent
from gateway.agents.wave import WaveAgent
from gateway.alarms import Alarm, AlarmBook
from gateway.asset_views import AssetViews
from gateway.config import Config, gas_accuracy
from gateway.consolidation import consolidate
from gateway.control import serve
from gateway.desk import Desk
from gateway.housekeeping import Housekeeping
from gateway.incidents import Incident
from gateway.intake import Intake
from gateway.investigation import INVESTIGATIONS, begin, investigate
from gateway.journal_views import head_of
from gateway.laboratory import KIND as LAB_SAMPLE
from gateway.laboratory import Laboratory
from gateway.memory import known_causes, open_graph
from gateway.plant_clock import PlantClock
from gateway.poller import Poller
from gateway.publisher import Publisher, status_message
from gateway.reflex import COOLING_FIT, KEPT, Reflex
from gateway.rescue_alarm import rescue_judgements
from gateway.supervisor import Backoff, Child, first_leaf, supervise
from gateway.verdicts import Verdicts
from gateway.views import Views
from gateway.watchdog import Heartbeats, notify
from journal import Journal
from journal.engine import Engine, StepObserver, Undecodable, decode
from models.core import Core
from models.failure_risk import rank_risk
from models.findings import Finding
from models.thermal.cooling import CoolingFit
from models.trend import Keepsake

if TYPE_CHECKING:  # its onnxruntime costs 30 MB, which a gateway without anomaly models need not have
    from models.anomaly import AnomalyModel

__all__ = ("run_gateway",)

log = logging.getLogger(__name__)

T = TypeVar("T")

WATCHDOG_FEED_S = 5.0  # a third of the unit's WatchdogSec leaves room for a slow disk
ALARM_DEPTH = 3  # a step's revision may commit behind a later one of the reflex path: the highest counts, not the last
FINDINGS_MAX = 1_000  # read back into the episodic buffer at boot; with their evidence they fill its default size
RESUME_LOOK_S = 60.0  # a full disk is not mended faster
STOP_DRAIN_S = 5.0  # for the outbox, after the sources have stopped
LONGEST_SILENCE_S = 60.0  # device time in which a group is stored at least once, though it stands still
WARM_UP_S = 86_400.0  # agents rebuild their windows from the last day of device time


async def run_gateway(config: Config, clock: Clock, observer: StepObserver | None = None) -> None:
    """Run until SIGTERM or SIGINT.

    Raises Fatal where the process must start afresh, Misconfigured where a person must mend something.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await _Daemon(config, clock, observer).run(stop)
    except BaseExceptionGroup as group:
        raise first_leaf(group) from group


class _Daemon:
    """One life of the gateway."""

    def __init__(self, config: Config, clock: Clock, observer: StepObserver | None) -> None:
        self._config = config
        self._clock = clock
        self._plant_clock = PlantClock(clock)
        self._observer = observer
        self._simulated = config.gateway.time_factor != 1.0
        self._heartbeats = Heartbeats(clock)
        self._intake = Intake()
        sources = list(_sources(config, clock))
        agreements = Agreements(config.agreement, [point for source in sources for point in source.points])
        self._hard: dict[str, HardAgent] = {}  # by asset, once the journal is open
        self._pollers = [
            Poller(
                source, link.poll_period_s, lambda samples: self._intake(agreements(samples)), clock, self._heartbeats
            )
            for link, source in zip(config.link, sources, strict=True)
        ]

    async def run(self, stop: asyncio.Event) -> None:
        """Poll, open what lasts, connect both, publish; then stop the other way round."""
        async with asyncio.TaskGroup() as group:
            children = [Child(f"poller.{poller.source.name}", poller.run) for poller in self._pollers]
            polling = [group.create_task(supervise(child, self._clock), name=child.name) for child in children]
            async with self._opened() as (journal, engine, desk, reflex, soft), asyncio.TaskGroup() as working:
                tasks = await self._start(working, journal, engine, desk, reflex, soft)
                await stop.wait()
                notify("STOPPING=1\nSTATUS=stopping: draining alarms")
                _cancel(polling)
                await _drain(reflex, journal)
                _cancel(tasks)
        log.info("%s stopped", self._config.gateway.id)

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[tuple[Journal, Engine, Desk, Reflex, SoftAgent]]:
        config, clock = self._config, self._clock
        config.gateway.state_dir.mkdir(parents=True, exist_ok=True)
        async with AsyncExitStack() as stack:
            journal = await Journal.open(config.gateway.state_dir, clock)
            stack.push_async_callback(journal.close)
            graph = await open_graph(config.gateway.state_dir, journal)
            stack.callback(graph.close)
            core = Core(config.core)
            stack.push_async_callback(core.close)
            await core.start()
            risk = {row.asset_id: row.risk for row in rank_risk(config.asset, config.edge)}
            book = AlarmBook(
                config.gateway.id, config.gateway.site, config.asset, clock, simulated=self._simulated, risk=risk
            )
            alarms = await journal.store.latest("alarm", depth=ALARM_DEPTH)
            book.restore([decode(record.payload, Alarm) for record in alarms])
            soft = SoftAgent(
                config.gateway.id,
                config.asset,
                clock,
                buffer_bytes=config.memory.buffer_bytes,
                reinvestigate_after_s=config.investigation.reinvestigate_after_s,
            )
            criticality = {asset.id: asset.criticality for asset in config.asset}
            desk = Desk(
                book=book,
                core=core,
                graph=graph,
                store=journal.store,
                criticality=lambda asset_id: criticality.get(asset_id, 5),
                episode_seq=partial(_episode_seq, journal),
                incident=partial(_incident, journal),
                incident_closed=soft.close,
            )
            engine = Engine(
                journal.store,
                self._plant_clock,
                services=desk,
                observer=self._observer,
                not_started=(NotStarted,),
                boot_id=journal.store.boot_id,
            )
            engine.register(investigate, consolidate)
            engine.register_queues(INVESTIGATIONS)
            desk.engine = engine
            stack.push_async_callback(engine.close)
            hard = self._hard = self._hard_agents(
                journal,
                book,
                await _remembered(journal, KEPT, Keepsake),
                await _remembered(journal, COOLING_FIT, CoolingFit),
            )
            wave = WaveAgent(config.edge, self._boost)
            points = [point for poller in self._pollers for point in poller.source.points]
            by_exception = ByException(points, LONGEST_SILENCE_S / config.gateway.time_factor)
            reflex = Reflex(journal, book, config.asset, hard, soft, wave, self._heartbeats, by_exception)
            yield journal, engine, desk, reflex, soft

    async def _start(
        self,
        group: asyncio.TaskGroup,
        journal: Journal,
        engine: Engine,
        desk: Desk,
        reflex: Reflex,
        soft: SoftAgent,
    ) -> list[asyncio.Task[None]]:
        """Start what works on the open journal; returns its tasks."""
        config, gateway_id = self._config, self._config.gateway.id
        verdicts = Verdicts(desk, await asyncio.to_thread(known_causes))
        topics = [f"blackstart/{gateway_id}/command/verdict"] if config.scada.commands == "broker_acl" else []
        offline = status_message(gateway_id, online=False, simulated=self._simulated)

        def online() -> Message:
            head = head_of(journal.head)
            return status_message(gateway_id, online=True, simulated=self._simulated, journal_head=head)

        sink = MqttSink(config.mqtt, will=offline, subscriptions=topics)
        publisher = Publisher(sink, journal.outbox, online, offline, verdicts.hear, self._clock, self._heartbeats)
        housekeeping = Housekeeping(journal, config.journal, self._clock)
        views = Views(config, journal, desk, verdicts, self._pollers, reflex, publisher, housekeeping)
        laboratory = Laboratory(config.asset, journal.store, self._clock, reflex.raise_own)
        points = [point for poller in self._pollers for point in poller.source.points]
        asset_views = AssetViews(journal, reflex, points, self._clock, config.gateway.time_factor)
        handlers = {**views.handlers(), **laboratory.handlers(), **asset_views.handlers()}

        async def open_incident(incident: Incident) -> None:
            timeout = timedelta(days=config.investigation.verdict_timeout_days)
            await begin(engine, incident, timeout, desk.criticality(incident.asset_id))

        children = [
            Child("publisher", publisher.run, backoff=Backoff(first_s=0.2, most_s=15.0)),
            Child("reflex", lambda: reflex.run(open_incident, publisher.send_now)),
            Child("control", lambda: serve(config.gateway.state_dir, handlers)),
            Child("runs", lambda: self._resume_runs(engine)),
            Child("housekeeping", housekeeping.run),
            Child("gas-trends", lambda: self._rebuild_trends(journal)),
            Child("watchdog", lambda: self._feed_watchdog(journal)),
        ]
        resumed = await engine.resume()
        closed = {record.key for record in await journal.store.latest("incident.closed")}
        incidents = await _incidents(journal)
        soft.restore(await _admitted_findings(journal), incidents, closed)
        for incident in incidents:
            if incident.id not in closed:
                await open_incident(incident)  # does nothing where its run exists
        for judgement in rescue_judgements(gateway_id, journal.rescue_notes, self._clock):
            reflex.raise_own(judgement)
        laboratory.restore(await journal.store.latest(LAB_SAMPLE), self._hard)

        def accept(samples: Sequence[Sample]) -> None:
            self._plant_clock.hear(samples)
            reflex.accept(samples)

        self._intake.connect(accept)
        log.info("%s runs: %d links, %d open runs resumed", gateway_id, len(self._pollers), len(resumed))
        notify("READY=1")
        return [group.create_task(supervise(child, self._clock), name=child.name) for child in children]

    async def _rebuild_trends(self, journal: Journal) -> None:
        factor = self._config.gateway.time_factor
        await rebuild_trends(journal.samples, list(self._hard.values()), self._clock, factor)

    async def _resume_runs(self, engine: Engine) -> None:
        """A commit that failed leaves its run open and out of memory: bring such runs back, now and then."""
        while True:
            await asyncio.sleep(RESUME_LOOK_S)
            await self._plant_clock.refresh()
            engine.clock_changed()
            for run_id in await engine.resume():
                log.warning("run %s had stopped and goes on", run_id)

    async def _feed_watchdog(self, journal: Journal) -> None:
        """Feed while every loop comes round, success or not, and the journal's writer is not stuck."""
        while True:
            late = self._heartbeats.late()
            stuck = journal.store.stuck_s > WATCHDOG_FEED_S * 4
            if late or stuck:
                notify(f"STATUS=late: {', '.join(late) or 'journal writer'}")
                log.error("late: %s", ", ".join(late) or "journal writer")
            else:
                connected = sum(poller.stats.connected for poller in self._pollers)
                waiting = len(journal.outbox.pending())
                notify(f"WATCHDOG=1\nSTATUS={connected}/{len(self._pollers)} links up, {waiting} messages waiting")
            await asyncio.sleep(WATCHDOG_FEED_S)

    def _hard_agents(
        self, journal: Journal, book: AlarmBook, kept: Mapping[str, Keepsake], fits: Mapping[str, CoolingFit]
    ) -> dict[str, HardAgent]:
        config = self._config
        models = _anomaly_models(config)
        points = [point for poller in self._pollers for point in poller.source.points]
        agents = {}
        for asset in config.asset:
            own = [point for point in points if point.asset_id == asset.id]
            agent = HardAgent(
                asset,
                own,
                self._clock,
                model=models.get(asset.id),
                gas_accuracy=gas_accuracy(config, asset),
                cooling_fit=fits.get(asset.id),
                time_factor=config.gateway.time_factor,
                clear_after_cycles=config.alarm.clear_after_cycles,
                lost_delay_s=config.alarm.measurement_lost_delay_s,
            )
            agent.recall(kept)
            since = self._clock.now() - timedelta(seconds=WARM_UP_S / config.gateway.time_factor)
            agent.warm(journal.samples.recent([point.id for point in own], since))
            agent.continue_alarms(alarm.definition for alarm in book.standing() if alarm.asset_id == asset.id)
            agents[asset.id] = agent
        return agents

    def _boost(self, asset_id: str, for_s: float) -> None:
        for poller in self._pollers:
            if asset_id in poller.assets:
                poller.boost(for_s / self._config.gateway.time_factor)


def _anomaly_models(config: Config) -> "dict[str, AnomalyModel]":
    if not config.anomaly_model:
        return {}
    from models.anomaly import AnomalyModel  # noqa: PLC0415 - see above: 30 MB

    return {item.asset: AnomalyModel.load(item.file, asset_id=item.asset) for item in config.anomaly_model}


def _sources(config: Config, clock: Clock) -> Iterable[Source]:
    scale = 1.0 / config.gateway.time_factor
    for link in config.link:
        if isinstance(link, ModbusLinkConfig):
            yield ModbusSource(link, clock, interval_scale=scale)
        else:
            yield OpcuaSource(link, clock, interval_scale=scale)


async def _remembered(journal: Journal, kind: str, expected: type[T]) -> dict[str, T]:
    """The newest of each key that was journalled to be remembered; what cannot be read is learnt anew."""
    found = {}
    for record in await journal.store.latest(kind):
        try:
            found[record.key] = decode(record.payload, expected)
        except Undecodable as err:
            log.warning("%s: its %s cannot be read and is learnt anew: %s", record.key, kind, err)
    return found


async def _incident(journal: Journal, incident_id: str) -> Incident:
    incidents = await journal.store.latest("incident.opened")
    found = next(record for record in incidents if record.key == incident_id)
    incident: Incident = decode(found.payload, Incident)
    return incident


async def _episode_seq(journal: Journal, episode_id: str) -> int:
    records = await journal.store.latest("graph.episode")
    return next(record.seq for record in records if record.key == episode_id)


def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()


async def _drain(reflex: Reflex, journal: Journal) -> None:
    """Commit what was judged and send what was committed, as far as the time allows; the rest waits in the outbox."""
    try:
        async with asyncio.timeout(STOP_DRAIN_S):
            await reflex.settled()
            await journal.outbox.drained()
    except TimeoutError:
        log.warning(
            "stopping with %d message(s) waiting; they are sent after the next start", len(journal.outbox.pending())
        )


async def _admitted_findings(journal: Journal) -> list[Finding]:
    """What the episodic buffer held; its byte bound drops the oldest."""
    decisions = await journal.store.latest("gate", limit=FINDINGS_MAX)
    admitted = {record.key for record in decisions if record.name == "admit"}
    findings = await journal.store.latest("finding", limit=FINDINGS_MAX)
    return [decode(record.payload, Finding) for record in findings if record.key in admitted]


async def _incidents(journal: Journal) -> Sequence[Incident]:
    """Every incident, oldest first; of one that is open the investigation runs, or was cut off before it began."""
    return [decode(record.payload, Incident) for record in await journal.store.latest("incident.opened")]
