"""What the agents say to each other: findings, diagnoses and verdicts.

Every type is frozen and goes through the journal as it stands.  Codes of faults are those of IEC 60599.
"""

from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from drivers.base import Frozen, Name, Quality, Value

__all__ = (
    "FAMILY",
    "Basis",
    "Branch",
    "Diagnosis",
    "EvidenceSample",
    "Fact",
    "Family",
    "FaultCode",
    "Finding",
    "GraphPath",
    "Hypothesis",
    "Outcome",
    "RankedCause",
    "Recommendation",
    "Severity",
    "Verdict",
)

MAX_EVIDENCE = 64  # samples by value in one finding; beyond it first, last, min and max per point


class Severity(IntEnum):
    """How bad, in steps that a definition maps to an alarm priority."""

    NONE = 0
    ADVISORY = 1  # look at it at the next visit
    WARNING = 2  # plan an inspection
    CRITICAL = 3  # act now


class FaultCode(StrEnum):
    """IEC 60599 fault types, Triangle 1's mixed zone DT, and N for no fault."""

    PD = "PD"  # partial discharge
    D1 = "D1"  # discharge of low energy
    D2 = "D2"  # discharge of high energy (arcing)
    DT = "DT"  # mixture of discharge and thermal fault
    T1 = "T1"  # thermal fault below 300 °C
    T2 = "T2"  # thermal fault 300 to 700 °C
    T3 = "T3"  # thermal fault above 700 °C
    S = "S"  # stray gassing of oil
    N = "N"  # no fault


class Family(StrEnum):
    """Fault families; an incident is keyed by asset and family."""

    PD = "partial_discharge"
    DISCHARGE = "discharge"
    THERMAL = "thermal"
    MIXED = "mixed"
    NONE = "none"
    LOSS_OF_GAS = "loss_of_gas"  # SF6
    ANOMALY = "anomaly"  # a statistical model sees something that no rule names
    OVERHEATING = "overheating"  # hot spot or top oil over its limit
    CONTACT_WEAR = "contact_wear"  # breaker or tap changer
    MECHANISM = "mechanism"  # drive of a breaker or tap changer
    BUSHING = "bushing"  # its condenser core
    DC_SUPPLY = "dc_supply"  # station battery
    SENSOR = "sensor"  # the measurement is gone, not the machine


FAMILY: dict[FaultCode, Family] = {
    FaultCode.PD: Family.PD,
    FaultCode.D1: Family.DISCHARGE,
    FaultCode.D2: Family.DISCHARGE,
    FaultCode.DT: Family.MIXED,
    FaultCode.T1: Family.THERMAL,
    FaultCode.T2: Family.THERMAL,
    FaultCode.T3: Family.THERMAL,
    FaultCode.S: Family.THERMAL,
    FaultCode.N: Family.NONE,
}


class Fact(Frozen):
    """One number that a finding or an explanation rests on."""

    name: str
    value: float
    unit: str


class EvidenceSample(Frozen):
    """A sample by value, small enough to be committed with the alarm that it raised."""

    point_id: str
    value: Value
    quality: Quality
    time: datetime
    cycle: int = Field(description="the measurement's number since the agent first saw its group")


class Finding(Frozen):
    """One thing that a hard agent saw in one asset."""

    id: str
    asset_id: Name
    indicator: str = Field(description="IEC 61850 logical node and data object, for example SIML.C2H2ppm")
    method: str
    code: str = Field(description="fault code or condition, for example D2 or HotSpotHigh")
    family: Family
    severity: Severity
    confidence: float = Field(ge=0, le=1)
    first_time: datetime
    last_time: datetime
    evidence: tuple[EvidenceSample, ...] = Field(max_length=MAX_EVIDENCE)
    facts: tuple[Fact, ...] = ()
    assumptions: tuple[str, ...] = ()


class Hypothesis(Frozen):
    """A fault code with its calibrated share of belief."""

    code: FaultCode
    probability: float = Field(ge=0, le=1)


class GraphPath(Frozen):
    """Edges of the fault graph that lead from what was seen to a cause, in words a person can check."""

    nodes: tuple[str, ...]
    confirmed: int
    suspected: int
    source: str


class RankedCause(Frozen):
    """A failure mode that memory offers for what was seen."""

    cause: str = Field(description="failure mode, for example winding_turn_insulation_breakdown")
    score: float = Field(ge=0, le=1, description="share among the causes offered")
    paths: tuple[GraphPath, ...] = ()


class Recommendation(StrEnum):
    """The closed list of what may be advised; each is a thing for people to consider, never a command."""

    CONTINUE = "continue_monitoring"
    RESAMPLE = "take_laboratory_sample"
    PLAN_INSPECTION = "plan_inspection"
    REDUCE_LOAD = "consider_load_reduction"
    CONSIDER_OUTAGE = "consider_outage"
    REFILL_GAS = "plan_gas_refill"


class Branch(Frozen):
    """What one branch of an investigation found for one hypothesis."""

    code: FaultCode
    support: float = Field(ge=0, le=1)
    reasons: tuple[str, ...]


class Diagnosis(Frozen):
    """The answer of an investigation, or of `blackstart diagnose`.

    `deterministic_code` is what the methods decide; `core_choice` is what the reasoning core preferred, shown
    beside it.  Until the core is qualified for this kind of decision it never changes `code`.
    """

    code: FaultCode | None = Field(description="None where the methods abstain")
    family: Family
    hypotheses: tuple[Hypothesis, ...]
    votes: dict[str, str] = Field(description="method → code, or a reason in words where it abstained")
    severity: Severity
    abstained: str = Field(default="", description="why no code is given")
    status: int | None = Field(default=None, ge=1, le=3, description="IEEE C57.104-2019 status")
    facts: tuple[Fact, ...] = ()
    assumptions: tuple[str, ...] = ()
    causes: tuple[RankedCause, ...] = ()
    branches: tuple[Branch, ...] = ()
    recommendation: Recommendation = Recommendation.CONTINUE
    explanation: str = ""
    deterministic_code: FaultCode | None = None
    core_choice: str = ""
    core_probabilities: dict[str, float] = Field(default_factory=dict)
    core_status: Literal["off", "unqualified", "advises", "votes"] = "off"
    core_identity: str = Field(default="", description="model file's SHA-256, build and prompt hash")
    models_identity: str = ""


class Outcome(StrEnum):
    """How an investigation on the spot ended."""

    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    NO_FAULT_FOUND = "no_fault_found"


class Basis(StrEnum):
    """What a verdict rests on; only the first two confirm."""

    INTERNAL_INSPECTION = "internal_inspection"
    ELECTRICAL_TEST = "electrical_test"
    LAB_ANALYSIS = "lab_analysis"
    OPERATOR_JUDGEMENT = "operator_judgement"


class Verdict(Frozen):
    """What people found; it closes the loop from diagnosis to memory."""

    outcome: Outcome
    final_code: FaultCode
    basis: Basis
    observed_at: AwareDatetime
    by: Annotated[str, Field(min_length=1, max_length=64)]
    final_cause: Name | None = Field(default=None, description="failure mode of the fault graph")
    note: str = Field(default="", max_length=500, description="kept verbatim; never part of a prompt")
