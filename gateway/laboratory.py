"""Laboratory samples of the assets: imported by people, kept in the journal, judged beside the monitors' data.

CSV text comes over the control socket; what is new is committed, and what it says of each machine's newest sample
becomes the alarm `DgaLaboratory` or clears it.  Importing the same file again changes nothing; a sample of the same
asset, time and laboratory with other values corrects the one before it, of which the journal keeps both.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from drivers.base import Clock, Quality
from drivers.errors import BadInput
from gateway.agents.hard import HardAgent
from gateway.alarms import Judgement
from gateway.control import Handlers
from journal.engine import Entry, Store, decode, encode
from journal.engine.ports import Record
from models.asset import Asset, Nameplate
from models.dga.consensus import diagnose
from models.dga.gases import ALL_GASES, Gases
from models.dga.laboratory import LabSample, judge_newest, parse_samples
from models.dga.typical import c57_104_2008
from models.findings import Diagnosis, EvidenceSample, Fact, Family, Finding, Severity

__all__ = ("KIND", "TEXT_CHARS_MAX", "Laboratory")

KIND = "lab.sample"
TEXT_CHARS_MAX = 170_000  # of one import: a thousand rows and room; escaped sixfold it fits a line of the socket
SAMPLES_PER_ASSET = 240  # in memory; monthly for twenty years.  The journal keeps all
ROWS_MAX = 50  # of one list
DEFINITION = "DgaLaboratory"


class Laboratory:
    """The samples of all assets; one per running gateway."""

    def __init__(self, assets: Iterable[Asset], store: Store, clock: Clock, judge: Callable[[Judgement], None]) -> None:
        """`judge` is told what the newest sample of a machine says."""
        self._assets = {asset.id: asset for asset in assets if asset.has_main_tank}  # what the limits are made for
        self._store = store
        self._clock = clock
        self._judge = judge
        self._samples: dict[str, dict[str, LabSample]] = {asset_id: {} for asset_id in self._assets}  # by key
        self._monitors: Mapping[str, HardAgent] = {}

    def restore(self, records: Iterable[Record], monitors: Mapping[str, HardAgent]) -> None:
        """At boot: take over the newest record of each sample and judge once more what may not have been told."""
        self._monitors = monitors
        samples: list[LabSample] = [decode(record.payload, LabSample) for record in records]
        self._keep([one for one in samples if one.asset_id in self._assets])  # others are configured no more

    def handlers(self) -> Handlers:
        """What the control socket offers."""
        return {"sample_import": self.take, "sample_list": self.listed}

    async def take(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Import a CSV text: how many samples were new, corrected or known, and the status of each machine in it."""
        text = question.get("text")
        if not isinstance(text, str) or len(text) > TEXT_CHARS_MAX:
            raise BadInput(f"text is CSV of at most {TEXT_CHARS_MAX} characters")
        now = self._clock.now() if self._clock.trusted() else None
        samples = await asyncio.to_thread(parse_samples, text, tuple(self._assets), now)
        known = [self._samples[sample.asset_id].get(sample.key) for sample in samples]
        news = [sample for sample, before in zip(samples, known, strict=True) if before != sample]
        if news:
            entries = [Entry(kind=KIND, key=one.key, name=one.asset_id, payload=encode(one)) for one in news]
            await self._store.append(entries)
            self._keep(news)
        corrected = len(news) - known.count(None)
        asset_ids = dict.fromkeys(sample.asset_id for sample in samples)
        return {
            "new": len(news) - corrected,
            "corrected": corrected,
            "known": len(samples) - len(news),
            "assets": [_row(self._history(asset_id), self._assets[asset_id].nameplate) for asset_id in asset_ids],
        }

    async def listed(self, question: Mapping[str, Any]) -> list[dict[str, Any]]:
        """One machine's samples with what the limits say of each, the newest first; its monitor's last day on top."""
        asset_id = question.get("asset")
        if asset_id not in self._assets:
            raise BadInput(f"no power transformer {asset_id!r}; configured are: {', '.join(sorted(self._assets))}")
        rows = await asyncio.to_thread(_rows, self._history(asset_id), self._assets[asset_id].nameplate)
        return [*self._monitor_rows(asset_id), *rows]

    def _keep(self, news: Sequence[LabSample]) -> None:
        """Take samples into memory, drop the oldest of too many, and judge the newest of each machine."""
        for sample in news:
            self._samples[sample.asset_id][sample.key] = sample
        for asset_id in dict.fromkeys(sample.asset_id for sample in news):
            self._samples[asset_id] = {sample.key: sample for sample in self._history(asset_id)}
            self._judge(self._judgement(asset_id))

    def _history(self, asset_id: str) -> list[LabSample]:
        """Oldest first."""
        return sorted(self._samples[asset_id].values(), key=lambda one: one.taken)[-SAMPLES_PER_ASSET:]

    def _monitor_rows(self, asset_id: str) -> list[dict[str, Any]]:
        agent = self._monitors.get(asset_id)
        last = agent.trend.last_day() if agent else None
        if last is None:
            return []
        began, medians = last
        return [
            {"asset": asset_id, "source": "monitor", "time": began.isoformat(), "lab": "median of the day"}
            | {gas.upper(): round(value, 2) for gas, value in medians.items()}
        ]

    def _judgement(self, asset_id: str) -> Judgement:
        """What the newest sample says: the condition of `DgaLaboratory`, or its absence."""
        samples, nameplate = self._history(asset_id), self._assets[asset_id].nameplate
        newest = samples[-1]
        limits = judge_newest(samples, nameplate)
        if limits.status in (None, 1):
            return Judgement(asset_id=asset_id, definition=DEFINITION, finding=None)
        assert limits.status is not None, "checked above"
        diagnosis = _diagnosed(samples, nameplate)
        code = str(diagnosis.code or "undecided")
        finding = Finding(
            id=str(uuid5(NAMESPACE_URL, f"{newest.key}/{limits.status}/{code}")),
            asset_id=asset_id,
            indicator="SIML.CmbuGas",
            method="laboratory",
            code=code,
            family=Family.MIXED if diagnosis.family is Family.NONE else diagnosis.family,  # undecided is still a fault
            severity=max(diagnosis.severity, Severity(limits.status - 1)),  # a rate may say more than the amounts
            confidence=diagnosis.hypotheses[0].probability if diagnosis.hypotheses else 0.0,
            first_time=newest.taken,
            last_time=newest.taken,
            evidence=_evidence(newest),
            facts=limits.facts,
            assumptions=limits.assumptions,
        )
        value = f"{newest.taken.date()} {code}, status {limits.status}"
        return Judgement(
            asset_id=asset_id,
            definition=DEFINITION,
            finding=finding,
            value=value,
            time_source="poll",
            time_uncertainty_ms=round(timedelta(days=1) / timedelta(milliseconds=1)),
        )


def _rows(samples: Sequence[LabSample], nameplate: Nameplate) -> list[dict[str, Any]]:
    """The newest first."""
    newest = range(len(samples), max(0, len(samples) - ROWS_MAX), -1)
    return [_row(samples[:count], nameplate) for count in newest]


def _row(samples: Sequence[LabSample], nameplate: Nameplate) -> dict[str, Any]:
    """The last of the samples."""
    sample = samples[-1]
    limits = judge_newest(samples, nameplate)
    return {
        "asset": sample.asset_id,
        "source": "laboratory",
        "time": sample.taken.astimezone(UTC).isoformat(),
        "lab": sample.laboratory,
        **_amounts(sample.gases),
        "status": limits.status,
        "exceeded": _excesses(limits.facts),
        "code": str(_diagnosed(samples, nameplate).code or ""),
        "condition_2008": c57_104_2008(sample.gases, nameplate).condition,
        "abstained": limits.abstained,
        "not_judged": list(limits.not_judged),
        "assumptions": list(limits.assumptions),
    }


def _excesses(facts: Sequence[Fact]) -> list[str]:
    """Each limit that is exceeded beside what exceeds it; a fact `X limit, source` follows one of `X` or `X …`."""
    lines = []
    for number, limit in enumerate(facts):
        name, is_limit, source = limit.name.partition(" limit, ")
        if is_limit:
            measured = next(fact for fact in reversed(facts[:number]) if f"{fact.name} ".startswith(f"{name} "))
            lines.append(f"{name} {measured.value:.4g} > {limit.value:.4g} {limit.unit} ({source})")
    return lines


def _diagnosed(samples: Sequence[LabSample], nameplate: Nameplate) -> Diagnosis:
    return diagnose(samples[-1].gases, nameplate, samples[-2].gases if len(samples) > 1 else None)


def _amounts(gases: Gases) -> dict[str, float]:
    return {gas.upper(): value for gas in ALL_GASES if (value := gases.of(gas)) is not None}


def _evidence(sample: LabSample) -> tuple[EvidenceSample, ...]:
    return tuple(
        EvidenceSample(
            point_id=f"{sample.asset_id}/LAB.{gas}", value=value, quality=Quality.GOOD, time=sample.taken, cycle=1
        )
        for gas, value in _amounts(sample.gases).items()
    )
