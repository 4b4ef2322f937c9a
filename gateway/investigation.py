"""The deliberate path: a durable workflow from incident to diagnosis to verdict, every step in the journal.

The deterministic methods decide; memory moves hypotheses by a bounded log-odds; the reasoning core's choice is
shown beside them and does not count until it is qualified for this kind of decision.  Step bodies reach the
outside through `Desk`, which the engine hands to them.
"""

import asyncio
import math
from collections.abc import Sequence
from datetime import timedelta

from drivers.base import Frozen
from drivers.errors import Transient
from gateway.consolidation import consolidate
from gateway.desk import Desk
from gateway.incidents import Incident
from journal.engine import Effect, Engine, Queue, checkpoint, current_run, emit, services, settle, wait_for, workflow
from journal.fault_graph import Episode
from models.core import Choice, Decision
from models.dga.consensus import diagnose
from models.dga.gases import Gases
from models.explain import explanation, merge
from models.features import reliable_gases, window_of
from models.findings import (
    FAMILY,
    Branch,
    Diagnosis,
    Fact,
    Family,
    FaultCode,
    Finding,
    GraphPath,
    Hypothesis,
    RankedCause,
    Recommendation,
    Severity,
    Verdict,
)

__all__ = ("INVESTIGATIONS", "WAIT", "begin", "episode_of", "investigate")

INVESTIGATIONS = Queue(name="investigations", concurrency=2)  # one that waits for its verdict has left its place
WAIT = "verdict"  # what `Engine.answer` addresses

GAS_FAMILIES = frozenset({Family.PD, Family.DISCHARGE, Family.THERMAL, Family.MIXED})
CORE_STEP_S = 900.0  # above the longest that the core's own time-out may be set to
CANDIDATES_MAX = 6  # hypotheses weighed in branches of their own
_CODES = frozenset(FaultCode)
CAUSES_MAX = 8
MEMORY_LOG_ODDS_MAX = 1.0  # memory nudges, it never overrules a physical method
ELIMINATED = 0.02  # below this share a hypothesis gets no branch


class Evidence(Frozen):
    """What an investigation works on."""

    incident: Incident
    gases: Gases | None
    indicators: tuple[str, ...]


class CoreOpinion(Frozen):
    """What the reasoning core preferred, or why it said nothing."""

    status: str
    choice: Choice | None = None


@checkpoint(retries=2)
async def gather_evidence(incident: Incident) -> Evidence:
    """Take the measurements that the finding carries by value; nothing is read from the plant again."""
    window = window_of(incident.finding.evidence)
    gases = reliable_gases(window, window.newest.time).gases if incident.family in GAS_FAMILIES else None
    indicators = [f"dga.{incident.finding.code}"] if gases else [incident.finding.indicator]
    indicators += [finding.indicator for finding in incident.related]
    return Evidence(incident=incident, gases=gases, indicators=tuple(dict.fromkeys(indicators)))


@checkpoint(retries=2)
async def weigh_methods(evidence: Evidence) -> Diagnosis:
    """The deterministic methods' answer."""
    finding = evidence.incident.finding
    if evidence.gases is not None:
        diagnosis = diagnose(evidence.gases, evidence.incident.nameplate)
        return diagnosis if diagnosis.severity >= finding.severity else _outvoted(diagnosis, finding)
    return Diagnosis(
        code=None,
        family=finding.family,
        hypotheses=(),
        votes={finding.method: finding.code},
        severity=finding.severity,
        abstained="no dissolved-gas pattern belongs to this finding",
        facts=finding.facts,
        assumptions=finding.assumptions,
        recommendation=_without_gas(finding.family, finding.severity),
    )


@checkpoint(retries=2)
async def weigh_hypothesis(evidence: Evidence, diagnosis: Diagnosis, code: FaultCode) -> Branch:
    """Test one hypothesis: which methods carry it, and what memory knows of it for this type of machine."""
    carried = [method for method, vote in diagnosis.votes.items() if code.value in vote.split("/")]
    against = [method for method, vote in diagnosis.votes.items() if vote in _CODES and vote != code]
    model = evidence.incident.nameplate.model
    log_odds = await asyncio.to_thread(services(Desk).graph.log_odds, str(code), model)
    log_odds = max(-MEMORY_LOG_ODDS_MAX, min(MEMORY_LOG_ODDS_MAX, log_odds))
    prior = next((item.probability for item in diagnosis.hypotheses if item.code is code), 0.0)
    reasons = (
        f"carried by {', '.join(carried) or 'no method'}",
        f"against it: {', '.join(against) or 'none'}",
        f"memory moves it by {log_odds:+.2f} log-odds",
    )
    return Branch(code=code, support=_moved(prior, log_odds), reasons=reasons)


@checkpoint(retries=2)
async def recall_causes(evidence: Evidence) -> tuple[RankedCause, ...]:
    """Failure modes that memory offers for what was seen, best first, with the edges that lead to them."""
    model = evidence.incident.nameplate.model
    ranked = await asyncio.to_thread(services(Desk).graph.rank, evidence.indicators, model, CAUSES_MAX)
    return tuple(
        RankedCause(
            cause=item.cause,
            score=item.score,
            paths=tuple(
                GraphPath(nodes=path.nodes, confirmed=path.confirmed, suspected=path.suspected, source=path.source)
                for path in item.paths
            ),
        )
        for item in ranked
    )


@checkpoint(retries=0, timeout_s=CORE_STEP_S)
async def ask_core(diagnosis: Diagnosis, supports: tuple[Branch, ...]) -> CoreOpinion:
    """Let the reasoning core choose among the hypotheses that the deterministic consensus admits."""
    options = tuple(branch.code.value for branch in supports)
    facts = diagnosis.facts + tuple(
        Fact(name=f"support of {branch.code}", value=round(branch.support, 3), unit="1") for branch in supports
    )
    decision = Decision(kind="arbitrate_hypotheses", options=options, facts=facts)
    try:
        return CoreOpinion(status="unqualified", choice=await services(Desk).core.choose(decision))
    except Transient as err:
        return CoreOpinion(status=f"unavailable: {err}")


@checkpoint(retries=0, timeout_s=CORE_STEP_S)
async def write_explanation(asset_id: str, diagnosis: Diagnosis) -> str:
    """The template's text; the model's sentence only where every number of it is in the evidence."""
    text = explanation(diagnosis, asset_id)
    try:
        offered = await services(Desk).core.explain(diagnosis)
    except Transient:
        offered = None
    return merge(text, offered, diagnosis.facts)


@checkpoint(effect=Effect.PURE, retries=2)
async def publish_diagnosis(incident: Incident, diagnosis: Diagnosis) -> str:
    """Amend the alarm; its new state and its message commit with this step's outcome."""
    desk = services(Desk)
    revision = desk.book.diagnose(incident.alarm_id, diagnosis, current_run().run_id)
    if revision is None:
        return ""
    desk.announce(revision)
    return revision.alarm.message_id


@checkpoint(effect=Effect.IDEMPOTENT, retries=2)
async def close_incident(incident: Incident, diagnosis: Diagnosis, verdict: Verdict | None) -> str:
    """Record the verdict on the alarm and hand the episode to consolidation; returns the consolidation's run."""
    desk = services(Desk)
    emit("incident.closed", {"incident_id": incident.id, "verdict": verdict is not None}, key=incident.id)
    desk.incident_closed(incident.id)
    if verdict is None:
        return ""
    revision = desk.book.record_verdict(incident.alarm_id, verdict)
    if revision is not None:
        desk.announce(revision)
    episode = episode_of(current_run().run_id, incident, diagnosis, verdict)
    return await desk.engine.start(consolidate, episode, key=f"consolidate/{episode.episode_id}")


@workflow("investigate", version=1)
async def investigate(incident: Incident, verdict_timeout: timedelta) -> Diagnosis:
    """From an incident to a published diagnosis, then to the verdict, days later if need be."""
    evidence = await gather_evidence(incident)
    methods = await weigh_methods(evidence)
    branches = [weigh_hypothesis.submit(evidence, methods, code, label=code.value) for code in _candidates(methods)]
    outcomes = await settle(branches, min_successful=min(1, len(branches)))
    supports = tuple(sorted((o.value for o in outcomes if o.value), key=lambda b: (-b.support, b.code)))
    causes = await recall_causes(evidence)
    contested = len(supports) > 1
    opinion = await ask_core(methods, supports) if contested else CoreOpinion(status="not asked: nothing to arbitrate")
    draft = _conclude(methods, supports, causes, opinion)
    diagnosis = draft.model_copy(update={"explanation": await write_explanation(incident.asset_id, draft)})
    await publish_diagnosis(incident, diagnosis)
    verdict = await wait_for(
        WAIT,
        Verdict,
        timeout=verdict_timeout,
        default=None,
        question=f"What was found at {incident.asset_id}?",
    )
    await close_incident(incident, diagnosis, verdict)
    return diagnosis


async def begin(engine: Engine, incident: Incident, verdict_timeout: timedelta, criticality: int) -> str:
    """Queue the investigation of an incident, once: severe ones first, then those of critical assets (5 to 1)."""
    priority = 10 * incident.severity + criticality
    key = incident.id
    return await engine.start(investigate, incident, verdict_timeout, key=key, queue=INVESTIGATIONS, priority=priority)


def _outvoted(diagnosis: Diagnosis, finding: Finding) -> Diagnosis:
    """The amounts say less than the finding does, which rests on how they rise: what it says is kept."""
    named = diagnosis.code not in (None, FaultCode.N)
    return diagnosis.model_copy(
        update={
            "code": diagnosis.code if named else None,
            "family": diagnosis.family if named else finding.family,
            "hypotheses": diagnosis.hypotheses if named else (),
            "votes": diagnosis.votes | {finding.method: finding.code},
            "severity": finding.severity,
            "abstained": diagnosis.abstained or ("" if named else "the amounts are typical, only their rise is not"),
            "facts": finding.facts + diagnosis.facts,
            "recommendation": Recommendation.RESAMPLE,
        }
    )


def _candidates(methods: Diagnosis) -> list[FaultCode]:
    admitted = [item.code for item in methods.hypotheses if item.probability >= ELIMINATED]
    return admitted[:CANDIDATES_MAX]


def _moved(probability: float, log_odds: float) -> float:
    if not 0.0 < probability < 1.0:
        return probability
    return 1.0 / (1.0 + math.exp(-(math.log(probability / (1.0 - probability)) + log_odds)))


def _conclude(
    methods: Diagnosis, supports: Sequence[Branch], causes: tuple[RankedCause, ...], opinion: CoreOpinion
) -> Diagnosis:
    """Renormalise the supports; the code stays the deterministic one, severity is kept."""
    total = sum(branch.support for branch in supports) or 1.0
    hypotheses = tuple(Hypothesis(code=branch.code, probability=branch.support / total) for branch in supports)
    choice = opinion.choice
    return methods.model_copy(
        update={
            "hypotheses": hypotheses or methods.hypotheses,
            "branches": tuple(supports),
            "causes": causes,
            "deterministic_code": methods.code,
            "core_choice": choice.label if choice else opinion.status,
            "core_probabilities": choice.probabilities if choice else {},
            "core_status": "unqualified" if choice else "off",
            "core_identity": f"{choice.model_sha256}/{choice.prompt_sha256}" if choice else "",
        }
    )


def _without_gas(family: Family, severity: Severity) -> Recommendation:
    if family is Family.LOSS_OF_GAS:
        return Recommendation.REFILL_GAS
    if family is Family.OVERHEATING:
        return Recommendation.REDUCE_LOAD
    return Recommendation.PLAN_INSPECTION if severity >= Severity.WARNING else Recommendation.CONTINUE


def episode_of(run_id: str, incident: Incident, diagnosis: Diagnosis, verdict: Verdict) -> Episode:
    """What memory learns from: seen, believed, found.  Codes are left out where the incident is not about gas."""
    gas = incident.family in GAS_FAMILIES
    suspected = str(diagnosis.code or "") if gas else ""  # empty where the methods could not decide
    return Episode(
        episode_id=run_id,
        asset_id=incident.asset_id,
        model=incident.nameplate.model,
        indicators=(f"dga.{suspected}" if suspected else incident.finding.indicator,),
        suspected_code=suspected,
        final_code=str(verdict.final_code) if gas else "",
        final_cause=verdict.final_cause,
        outcome=verdict.outcome.value,
        basis=verdict.basis.value,
        observed_at=verdict.observed_at,
    )


assert set(FAMILY) == set(FaultCode), "every fault code belongs to a family"
