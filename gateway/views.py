"""What the control socket answers: named questions with bounded rows, as plain JSON values.

The same answers serve `blackstart … --json` and the tables of the command line.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from drivers.errors import BadInput
from gateway.agents.wave import ExposureUpdate
from gateway.config import Config
from gateway.control import Handlers
from gateway.desk import Desk
from gateway.housekeeping import Housekeeping
from gateway.journal_views import JournalViews
from gateway.memory import edge_rows
from gateway.poller import Poller
from gateway.publisher import Publisher
from gateway.reflex import Reflex
from gateway.run_views import RunViews
from gateway.verdicts import VerdictCommand, Verdicts
from journal import Journal
from journal.engine import decode

__all__ = ("Views",)

ROWS_MAX = 500


class Views:
    """Read-only views of a running gateway, and the one thing that people hand in: a verdict."""

    def __init__(
        self,
        config: Config,
        journal: Journal,
        desk: Desk,
        verdicts: Verdicts,
        pollers: Sequence[Poller],
        reflex: Reflex,
        publisher: Publisher,
        housekeeping: Housekeeping,
    ) -> None:
        self._config = config
        self._journal = journal
        self._desk = desk
        self._verdicts = verdicts
        self._pollers = pollers
        self._reflex = reflex
        self._publisher = publisher
        self._housekeeping = housekeeping

    def handlers(self) -> Handlers:
        """Question → answer."""
        return {
            "status": self.status,
            "runs": self.runs,
            **RunViews(self._journal, self._desk).handlers(),
            **JournalViews(self._journal).handlers(),
            "alarms": self.alarms,
            "graph": self.graph,
            "outbox": self.outbox,
            "exposures": self.exposures,
            "metrics": self.metrics,
            "journal_metrics": self.journal_metrics,
            "verdict": self.verdict,
        }

    async def status(self, _: Mapping[str, Any]) -> dict[str, Any]:
        """Links, points by quality, journal, outbox, core."""
        qualities: dict[str, int] = {}
        for quality in self._reflex.qualities().values():
            qualities[quality.value] = qualities.get(quality.value, 0) + 1
        return {
            "gateway_id": self._config.gateway.id,
            "simulated": self._config.gateway.time_factor != 1.0,
            "links": [
                {
                    "name": poller.source.name,
                    "connected": poller.stats.connected,
                    "points": len(poller.source.points),
                    "polls": poller.stats.polls,
                    "samples": poller.stats.samples,
                    "failures": poller.stats.failures,
                    "skipped_ticks": poller.stats.skipped_ticks,
                    "stale_points": poller.stats.stale_points,
                }
                for poller in self._pollers
            ],
            "points_total": sum(len(poller.source.points) for poller in self._pollers),
            "points_by_quality": qualities,
            "measurements": self._reflex.measurements(),
            "thermal": {asset_id: _brief(one) for asset_id, one in self._reflex.thermal().items()},
            "abstaining": self._reflex.abstentions(),
            "alarms_standing": len(self._desk.book.standing()),
            "outbox": self._outbox_counters(),
            "journal": {
                "last_seq": self._journal.store.last_seq,
                "epoch": self._journal.store.epoch,
                **await self._housekeeping.status(),
            },
            "reflex_latency_ms": [round(value * 1000) for value in self._publisher.first_alarm_latencies_s],
            "samples_dropped": self._journal.samples.dropped_count,
            "judgements_dropped": self._reflex.dropped_units,
            "clock": "trusted" if self._desk.engine.clock_trusted() else "not trusted: deadlines count awake time",
            "core": self._desk.core.status,
        }

    def _outbox_counters(self) -> dict[str, int]:
        outbox = self._journal.outbox
        return {
            "pending": len(outbox.pending()),
            "sent": outbox.sent_count,
            "refused": outbox.refused_count,
            "unheard": outbox.unheard_count,
        }

    async def metrics(self, _: Mapping[str, Any]) -> dict[str, dict[str, float]]:
        """Counters and figures of each link, by name."""
        return {poller.source.name: poller.metrics() for poller in self._pollers}

    async def journal_metrics(self, _: Mapping[str, Any]) -> dict[str, float]:
        """Counters and figures of the journal."""
        return await self._housekeeping.metrics()

    async def runs(self, question: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Runs, newest first."""
        rows = await self._journal.query("runs", limit=_limit(question))
        keep = ("run_id", "workflow", "state", "steps_done", "started", "changed")
        return [{name: row[name] for name in keep} for row in rows]

    async def alarms(self, _: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Standing alarms, the most severe first."""
        return [alarm.model_dump(mode="json", by_alias=True) for alarm in self._desk.book.standing()[:ROWS_MAX]]

    async def graph(self, question: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Edges of the fault graph, the ones with confirmed counts first."""
        return edge_rows(self._desk.graph, _limit(question))

    async def outbox(self, question: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Messages for SCADA, the newest first: pending, sent or refused."""
        return await self._journal.query("outbox", limit=_limit(question))

    async def exposures(self, _: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Raised exposure of neighbours, with the path and the evidence ids: the newest per asset."""
        records = await self._journal.store.latest("wave.exposure", limit=ROWS_MAX)
        return [decode(record.payload, ExposureUpdate).model_dump(mode="json") for record in records]

    async def verdict(self, question: Mapping[str, Any]) -> str:
        """Hand in a verdict."""
        try:
            command = VerdictCommand.model_validate(
                {"run_id": question.get("run_id"), "verdict": question.get("verdict")}
            )
        except ValidationError as err:
            raise BadInput(f"not a verdict: {err}") from err
        return await self._verdicts.submit(command)


def _brief(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    keep = ("hot_spot_calculated_degc", "ageing_rate", "life_used_since_start_h", "cooling")
    return {name: snapshot[name] for name in keep}


def _limit(question: Mapping[str, Any]) -> int:
    limit = question.get("limit", 50)
    if not isinstance(limit, int) or not 1 <= limit <= ROWS_MAX:
        raise BadInput(f"limit is {limit!r}; it is a whole number from 1 to {ROWS_MAX}")
    return limit
