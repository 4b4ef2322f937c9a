"""The reflex path, in one place: samples → judgements → alarms → one commit → investigations.

Never waits for the language model.  What belongs together (finding, alarm, message, exposure, incident) is one
unit and commits as one; units that wait are committed together.  An alarm that cannot be committed at all still
goes out, marked `journalled: false`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from drivers.base import Message, Quality, Sample
from drivers.errors import Refused, Transient
from gateway.agents.hard import HardAgent
from gateway.agents.soft import SoftAgent
from gateway.agents.wave import WaveAgent
from gateway.alarms import AlarmBook, Judgement, Revision
from gateway.announce import entries
from gateway.incidents import Incident
from gateway.watchdog import Heartbeats
from journal import Journal
from journal.engine.codec import encode
from journal.engine.ports import Entry
from models.asset import Asset
from models.findings import Family, Finding
from models.memory_gate import GateDecision

__all__ = ("COOLING_FIT", "KEPT", "Reflex")

log = logging.getLogger(__name__)

KEPT = "rule.kept"  # journal kind of what rules remember; the newest per key counts
COOLING_FIT = "cooling.fit"  # journal kind of what commissioning has learnt; the newest per asset counts
UNITS_MAX = 10_000  # judgements waiting for the disk; a full queue means a dead disk, and is counted
BATCH_UNITS_MAX = 32  # units in one commit: with their findings and exposures they stay below what an append may carry
COMMIT_RETRY_S = 1.0
UNJOURNALLED_AFTER_TRIES = 5  # then the alarm goes out without the journal: the disk is dead
BEAT_S = 5.0  # the committer comes round at least this often

SendNow = Callable[[Message], Awaitable[object]]
Open = Callable[[Incident], Awaitable[None]]


@dataclass(slots=True)
class _Unit:
    """Entries that commit together and what they set off."""

    entries: list[Entry] = field(default_factory=list)
    untold: list[Revision] = field(default_factory=list)  # what SCADA must hear even if this cannot be committed
    incidents: list[Incident] = field(default_factory=list)


class Reflex:
    """Turns deliveries of samples into committed alarms."""

    def __init__(
        self,
        journal: Journal,
        book: AlarmBook,
        assets: Sequence[Asset],
        hard: Mapping[str, HardAgent],
        soft: SoftAgent,
        wave: WaveAgent,
        heartbeats: Heartbeats,
        by_exception: Callable[[Sequence[Sample]], Sequence[Sample]] = list,
    ) -> None:
        self._journal = journal
        self._by_exception = by_exception
        self._book = book
        self._criticality = {asset.id: asset.criticality for asset in assets}
        self._hard = hard
        self._soft = soft
        self._wave = wave
        self._heartbeats = heartbeats
        self._units: asyncio.Queue[_Unit] = asyncio.Queue(UNITS_MAX)
        self.dropped_units = 0
        self.unjournalled = 0

    def accept(self, samples: Sequence[Sample]) -> None:
        """One delivery of a poller; never blocks."""
        by_asset: dict[str, list[Sample]] = {}
        for sample in samples:
            by_asset.setdefault(sample.point_id.partition("/")[0], []).append(sample)
        for asset_id, members in by_asset.items():
            for judgement in self._hard[asset_id].observe(members, self._store):
                self._weigh(judgement)
            self._keep(self._hard[asset_id])
            self._keep_fit(asset_id)

    def _keep(self, agent: HardAgent) -> None:
        """Journal what the agent's rules have learnt: days and operations, not polls."""
        kept = [Entry(kind=KEPT, key=key, payload=encode(keepsake)) for key, keepsake in agent.keepsakes()]
        if kept:
            self._put(_Unit(entries=kept))

    def _keep_fit(self, asset_id: str) -> None:
        """What commissioning has learnt of a transformer's cooling outlasts a restart."""
        twin = self._hard[asset_id].twin
        fit = twin.fit_to_keep() if twin else None
        if fit is not None:
            self._put(_Unit(entries=[Entry(kind=COOLING_FIT, key=asset_id, payload=encode(fit))]))

    def _store(self, samples: Sequence[Sample]) -> None:
        self._journal.samples.add(self._by_exception(samples))

    def qualities(self) -> dict[str, Quality]:
        """Last quality of each point."""
        return {point: quality for agent in self._hard.values() for point, quality in agent.qualities.items()}

    def thermal(self) -> dict[str, dict[str, float | str | None]]:
        """Where the transformers that show enough stand thermally, and whether their cooling is watched."""
        return {asset_id: agent.twin.snapshot for asset_id, agent in self._hard.items() if agent.twin}

    def abstentions(self) -> dict[str, dict[str, str]]:
        """Which rules cannot judge, and why, by asset and definition."""
        return {asset_id: agent.abstentions for asset_id, agent in self._hard.items() if agent.abstentions}

    def measurements(self) -> dict[str, int]:
        """Device cycles seen, by asset and group."""
        return {name: count for agent in self._hard.values() for name, count in agent.cycle_counts.items()}

    def raise_own(self, judgement: Judgement) -> None:
        """A judgement about the gateway itself, for example a rescued journal."""
        revision = self._book.judge(judgement)
        if revision is not None:
            self._put(_Unit(entries=self._entries(revision), untold=[revision]))

    async def settled(self) -> None:
        """Wait until everything judged so far is committed."""
        await self._units.join()

    async def run(self, open_incident: Open, send_now: SendNow) -> None:
        """Commit what `accept` queued, in order, until cancelled."""
        self._heartbeats.expect("reflex", 4 * BEAT_S)
        while True:
            self._heartbeats.beat("reflex")
            self._judge_silence()
            try:
                async with asyncio.timeout(BEAT_S):
                    units = [await self._units.get()]
            except TimeoutError:
                continue
            self._take_more(units, BATCH_UNITS_MAX)
            await self._commit(units, send_now)
            for unit in units:
                for incident in unit.incidents:
                    await self._open(incident, open_incident)
                self._units.task_done()

    def _take_more(self, units: list[_Unit], most: int) -> None:
        while len(units) < most and not self._units.empty():
            units.append(self._units.get_nowait())

    async def _open(self, incident: Incident, open_incident: Open) -> None:
        """Start the investigation; its journal entry stands already, so it must not be forgotten before a restart."""
        while True:
            try:
                await open_incident(incident)
            except Transient as err:
                log.warning("investigation %s does not start: %s", incident.id, err)
                await self._pause()
            else:
                return

    async def _pause(self) -> None:
        self._heartbeats.beat("reflex")
        await asyncio.sleep(COMMIT_RETRY_S)

    def _judge_silence(self) -> None:
        """A device that is gone delivers nothing to judge: its agent is asked now and then."""
        for agent in self._hard.values():
            for judgement in agent.silence():
                self._weigh(judgement)

    def _weigh(self, judgement: Judgement) -> None:
        unit = _Unit()
        revision = self._book.judge(judgement)
        if revision is not None:
            unit.untold.append(revision)
            unit.entries += self._entries(revision)
        finding = judgement.finding
        alarm = self._book.find(judgement.asset_id, judgement.definition)
        if finding is not None and alarm is not None and finding.family is not Family.SENSOR:
            decision, incident = self._soft.consider(finding, alarm.alarm_id, raised_alarm=revision is not None)
            if decision is not None:
                unit.entries += self._remembered(finding, decision)
            if incident is not None:
                unit.entries.append(Entry(kind="incident.opened", key=incident.id, payload=encode(incident)))
                unit.incidents.append(incident)
        if unit.entries:
            self._put(unit)

    def _remembered(self, finding: Finding, decision: GateDecision) -> list[Entry]:
        exposures = self._wave.relay(finding)
        return [
            Entry(kind="finding", key=finding.id, name=finding.method, payload=encode(finding)),
            Entry(kind="gate", key=finding.id, name="admit" if decision.admit else "pass", payload=encode(decision)),
            *(Entry(kind="wave.exposure", key=update.asset_id, payload=encode(update)) for update in exposures),
        ]

    def _entries(self, revision: Revision) -> list[Entry]:
        return entries(revision, self._criticality.get(revision.alarm.asset_id, 5))

    def _put(self, unit: _Unit) -> None:
        try:
            self._units.put_nowait(unit)
        except asyncio.QueueFull:
            self.dropped_units += 1
            log.critical("the journal accepts nothing; %d judgement(s) dropped so far", self.dropped_units)

    async def _commit(self, units: list[_Unit], send_now: SendNow) -> None:
        """Commit the units, batch by batch; while the disk takes nothing, those that arrive join them."""
        tries = committed = 0
        while committed < len(units):
            batch = units[committed : committed + BATCH_UNITS_MAX]
            try:
                await self._journal.store.append([entry for unit in batch for entry in unit.entries])
            except Transient as err:
                tries += 1
                log.warning("commit failed (%d): %s", tries, err)
                if tries >= UNJOURNALLED_AFTER_TRIES:
                    self._take_more(units, UNITS_MAX)
                    await self._send_unjournalled(units[committed:], send_now)
                await self._pause()
            else:
                tries = 0
                committed += len(batch)

    async def _send_unjournalled(self, units: Sequence[_Unit], send_now: SendNow) -> None:
        """The one exception to "nothing is published that is not in the journal": the disk is dead."""
        for unit in units:
            while unit.untold:
                alarm = unit.untold[0].alarm.model_copy(update={"journalled": False})
                message = Message(
                    message_id=alarm.message_id,
                    topic=unit.untold[0].message.topic,
                    payload=alarm.model_dump_json(by_alias=True).encode(),
                    retain=True,
                )
                try:
                    await send_now(message)
                except Transient as err:
                    log.critical("alarm %s can neither be journalled nor sent: %s", alarm.message_id, err)
                    return
                except Refused as err:
                    log.critical("alarm %s can not be journalled, and is refused: %s", alarm.message_id, err)
                self.unjournalled += 1
                unit.untold.pop(0)
