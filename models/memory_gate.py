"""What is worth remembering: findings in, a decision with its reasons and a bounded episodic buffer out.

No model and no I/O is on this path: the score is a weighted sum of measurable terms, each in [0, 1].  Admitted findings
wait in a ring that is bounded in bytes, from which an investigation takes its context.  Called by the soft agent.
"""

import math
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import Field

from drivers.base import Frozen, Name, Quality
from models.findings import Family, Finding, Severity

__all__ = ("EpisodicBuffer", "Gate", "GateContext", "GateDecision")

THRESHOLD = 0.5
MAX_REPEATS = 32  # a storm of one finding counts as this many: repetition must not drown the rest
MAX_BUFFER_BYTES = 1 << 20  # a few hundred findings with their evidence; the journal holds them all anyway
# The weights add up to 1.  Goal, type and severity lead: ablations of memory admission find that the type matters most.
WEIGHTS = {"goal": 0.25, "type": 0.25, "severity": 0.25, "provenance": 0.10, "novelty": 0.10, "repetition": 0.05}
# How often a finding of this family turns out to be something: engineering judgement, no such rates are published.
TYPE_PRIOR = {
    Family.PD: 0.7,
    Family.DISCHARGE: 1.0,
    Family.THERMAL: 0.9,
    Family.MIXED: 0.9,
    Family.NONE: 0.0,
    Family.LOSS_OF_GAS: 0.9,
    Family.ANOMALY: 0.4,  # a statistical model raises most nuisances
    Family.OVERHEATING: 0.7,
    Family.CONTACT_WEAR: 0.8,
    Family.MECHANISM: 0.8,
    Family.BUSHING: 0.8,
    Family.DC_SUPPLY: 0.7,
    Family.SENSOR: 0.3,  # says something of the instrument, nothing of the machine
}
NEIGHBOUR_GOAL = 0.5  # an asset next to a watched one


@dataclass(frozen=True, slots=True, kw_only=True)
class GateContext:
    """What the gate is told beside the finding."""

    raised_alarm: bool = False
    repeats: int = 0  # how often this code of this asset was remembered lately: `EpisodicBuffer.repeats`


class GateDecision(Frozen):
    """Whether a finding is remembered, and why; it goes into the journal as it stands."""

    admit: bool
    score: float = Field(ge=0, le=1)
    reasons: tuple[str, ...]


class Gate:
    """Goal-conditioned admission: what concerns a watched asset passes more easily."""

    def __init__(self, watched: frozenset[Name], *, neighbours: frozenset[Name] = frozenset()) -> None:
        self._watched = watched
        self._neighbours = neighbours

    def decide(self, finding: Finding, context: GateContext) -> GateDecision:
        """Admit or pass over; a finding that raised an alarm is always admitted.

        A finding none of whose evidence is GOOD is passed over whatever its score.
        """
        terms = self._terms(finding, context)
        score = min(1.0, math.fsum(WEIGHTS[name] * value for name, value in terms.items()))
        reasons = [f"{name} {value:.2f}" for name, value in terms.items()]
        if context.raised_alarm:
            return GateDecision(admit=True, score=score, reasons=("raised an alarm", *reasons))
        if _good_share(finding) == 0:
            return GateDecision(admit=False, score=score, reasons=("no evidence of good quality", *reasons))
        side = "at or over" if score >= THRESHOLD else "under"
        verdict = f"{score:.2f} is {side} {THRESHOLD:.2f}"
        return GateDecision(admit=score >= THRESHOLD, score=score, reasons=(verdict, *reasons))

    def _terms(self, finding: Finding, context: GateContext) -> Mapping[str, float]:
        """Every term grows with the worth of remembering."""
        repeats = min(max(context.repeats, 0), MAX_REPEATS)
        return {
            "goal": self._goal(finding.asset_id),
            "type": TYPE_PRIOR[finding.family],
            "severity": finding.severity / max(Severity),
            "provenance": finding.confidence * _good_share(finding),
            "novelty": 1 / (1 + repeats),
            "repetition": math.log1p(repeats) / math.log1p(MAX_REPEATS),
        }

    def _goal(self, asset_id: str) -> float:
        if asset_id in self._watched:
            return 1.0
        return NEIGHBOUR_GOAL if asset_id in self._neighbours else 0.0


class EpisodicBuffer:
    """A ring of findings, bounded in bytes; the oldest makes room.  Not safe for several threads."""

    def __init__(self, max_bytes: int = MAX_BUFFER_BYTES) -> None:
        assert max_bytes > 0
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self.evicted: Counter[Family] = Counter()
        self._ring: deque[tuple[Finding, int]] = deque()
        self._ids: set[str] = set()

    def __len__(self) -> int:
        return len(self._ring)

    def add(self, finding: Finding) -> bool:
        """Remember it; False where it is known already or larger than the whole buffer (counted as evicted)."""
        if finding.id in self._ids:
            return False
        size = len(finding.model_dump_json())
        if size > self.max_bytes:
            self.evicted[finding.family] += 1
            return False
        while self.size_bytes + size > self.max_bytes:
            self._evict_oldest()
        self._ring.append((finding, size))
        self._ids.add(finding.id)
        self.size_bytes += size
        return True

    def context(self, asset_id: str, family: Family | None = None) -> tuple[Finding, ...]:
        """Findings of one asset, oldest first; of one fault family, or of all."""
        return tuple(
            finding
            for finding, _ in self._ring
            if finding.asset_id == asset_id and (family is None or finding.family is family)
        )

    def repeats(self, asset_id: str, code: str) -> int:
        """How many remembered findings say the same of the same asset."""
        return sum(finding.asset_id == asset_id and finding.code == code for finding, _ in self._ring)

    def _evict_oldest(self) -> None:
        finding, size = self._ring.popleft()
        self._ids.discard(finding.id)
        self.size_bytes -= size
        self.evicted[finding.family] += 1


def _good_share(finding: Finding) -> float:
    """Share of the evidence that the hard agent could trust; a finding without evidence has none."""
    good = sum(sample.quality is Quality.GOOD for sample in finding.evidence)
    return good / len(finding.evidence) if finding.evidence else 0.0
