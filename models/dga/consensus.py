"""From one oil sample to a diagnosis: four published methods, fused by a fixed rule that never guesses in silence.

Inputs: concentrations in µL/L (of one reliable sample) and the nameplate.  Called by hard agents, by investigations
and by `blackstart diagnose`; pure, so that the same sample always gets the same answer.

The rule, in order:
1. Fluid: the methods hold for mineral oil; any other abstains.
2. Gate: IEEE C57.104-2019 status 1 is code N, whatever the proportions of such small gases say.  The votes are listed
   all the same.  Where only CO or CO2 exceed a limit no method applies, and the answer abstains.
3. Fusion: each method that decides is an opinion, a distribution over the codes: its code gets the method's accuracy,
   the other codes of the same family share what its family accuracy leaves, all others the rest.  The opinions
   are multiplied, each raised to its weight (a logarithmic opinion pool), and normalised.
4. Family first: the family with the largest sum, then the likeliest code in it.  Where no family has more than half of
   the belief it abstains.

Triangle 1 leads: no other method alone outweighs it, because where two differ it is right more often; only the others
together can.  The weights sum to 1.5 and not to 4 because all methods read the same five gases, so that their errors
go together; with that sum a stated belief of 0.8 is right about as often as it says (held against published labels).
Accuracies, over the samples that a method decides: 1,543 distinct published faults.  They count wrong labels as
errors; on inspected cases the methods do better.
Limits of validity: a tap changer whose oil reaches the main tank adds C2H2 that is no fault of the transformer.
"""

from math import log
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from models.asset import Fluid, Nameplate
from models.dga.duval import pentagon_1, triangle_1
from models.dga.gases import Gases
from models.dga.limits import FAULT_GASES, Limits, c57_104_status
from models.dga.ratios import iec_60599, rogers
from models.findings import FAMILY, Diagnosis, Family, FaultCode, Hypothesis, Recommendation, Severity

__all__ = ("MODELS_IDENTITY", "diagnose")

MODELS_IDENTITY = "blackstart-dga/1 (triangle 1, pentagon 1, IEC 60599, Rogers, C57.104-2019)"
_NO_DIAGNOSIS = "no diagnosis"
_NOTHING_KNOWN = Nameplate()


class _Method(NamedTuple):
    """How far one method's vote is believed."""

    accuracy: float  # share of decided samples whose code is right
    family_accuracy: float  # share of decided samples whose family is right
    weight: float  # exponent in the pool


_METHODS = MappingProxyType(
    {
        "duval_triangle_1": _Method(0.64, 0.86, 0.75),
        "duval_pentagon_1": _Method(0.74, 0.92, 0.375),
        "iec_60599": _Method(0.80, 0.95, 0.1875),
        "rogers": _Method(0.82, 0.97, 0.1875),
    }
)
_CODES = (FaultCode.PD, FaultCode.D1, FaultCode.D2, FaultCode.DT, FaultCode.T1, FaultCode.T2, FaultCode.T3)
_MIXED_KIN = frozenset({Family.DISCHARGE, Family.THERMAL})  # what the mixed zone DT is a mixture of
_MAJORITY = 0.5  # of the belief, below which no family is named

_Votes = dict[str, tuple[FaultCode, ...]]


def diagnose(
    gases: Gases,
    nameplate: Nameplate = _NOTHING_KNOWN,
    previous: Gases | None = None,
) -> Diagnosis:
    """The diagnosis of one sample; `previous`, the sample before it, adds the deltas of C57.104 to the gate."""
    if nameplate.fluid is not Fluid.MINERAL:
        reason = f"the methods hold for mineral oil, not for {nameplate.fluid}"
        return Diagnosis(
            code=None,
            family=Family.NONE,
            hypotheses=(),
            votes=dict.fromkeys(_METHODS, reason),
            severity=Severity.NONE,
            abstained=reason,
            recommendation=Recommendation.RESAMPLE,
            models_identity=MODELS_IDENTITY,
        )
    limits = c57_104_status(gases, nameplate, previous)
    votes = _vote(gases)
    if limits.status == 1:
        return _answer(votes, limits, nameplate, {FaultCode.N: 1.0}, "")
    if not set(limits.exceeded) & set(FAULT_GASES):
        return _answer(votes, limits, nameplate, {}, "only CO or CO2 exceed a limit: no method names a fault")
    if not any(_opinion_codes(codes) for codes in votes.values()):
        return _answer(votes, limits, nameplate, {}, "no method decides")
    beliefs = _pool(votes)
    family, share = _leading_family(beliefs)
    reason = "" if share > _MAJORITY else f"the methods disagree: {family} leads with {share:.2f} of the belief"
    return _answer(votes, limits, nameplate, beliefs, reason)


def _vote(gases: Gases) -> _Votes:
    """What each method says: one code, both codes of an overlap, or none."""
    triangle, pentagon, ratio = triangle_1(gases), pentagon_1(gases), rogers(gases)
    return {
        "duval_triangle_1": (triangle,) if triangle else (),
        "duval_pentagon_1": (pentagon,) if pentagon else (),
        "iec_60599": iec_60599(gases),
        "rogers": (ratio,) if ratio else (),
    }


def _opinion_codes(codes: tuple[FaultCode, ...]) -> tuple[FaultCode, ...]:
    """The codes as the pool knows them: stray gassing counts as T1, whose mildest form it is; N is no opinion."""
    return tuple(FaultCode.T1 if code is FaultCode.S else code for code in codes if code is not FaultCode.N)


def _pool(votes: _Votes) -> dict[FaultCode, float]:
    """Logarithmic opinion pool over `_CODES`; sums to 1."""
    score = np.zeros(len(_CODES))
    for method, codes in votes.items():
        if opinion := _opinion_codes(codes):
            believed = _METHODS[method]
            score += believed.weight * np.array([log(_belief(code, opinion, believed)) for code in _CODES])
    beliefs = np.exp(score - score.max())
    beliefs /= beliefs.sum()
    return dict(sorted(zip(_CODES, beliefs.tolist(), strict=True), key=lambda item: -item[1]))


def _belief(code: FaultCode, voted: tuple[FaultCode, ...], method: _Method) -> float:
    """How much one method's vote leaves for one code; over `_CODES` it sums to 1."""
    kin = [other for other in _CODES if other not in voted and _are_kin(other, voted[0])]
    if code in voted:
        return (method.accuracy if kin else method.family_accuracy) / len(voted)
    if code in kin:
        return (method.family_accuracy - method.accuracy) / len(kin)
    return (1 - method.family_accuracy) / (len(_CODES) - len(voted) - len(kin))


def _are_kin(code: FaultCode, voted: FaultCode) -> bool:
    """Same family; the mixed zone is kin to each of its parts, but a vote for a part is no vote for the mixture."""
    return FAMILY[code] is FAMILY[voted] or (voted is FaultCode.DT and FAMILY[code] in _MIXED_KIN)


def _leading_family(beliefs: dict[FaultCode, float]) -> tuple[Family, float]:
    shares: dict[Family, float] = {}
    for code, belief in beliefs.items():
        shares[FAMILY[code]] = shares.get(FAMILY[code], 0.0) + belief
    family = max(shares, key=lambda name: shares[name])
    return family, shares[family]


def _answer(
    votes: _Votes, limits: Limits, nameplate: Nameplate, beliefs: dict[FaultCode, float], abstained: str
) -> Diagnosis:
    """The diagnosis that the beliefs lead to; with a reason to abstain they are still listed."""
    assumptions = limits.assumptions
    if nameplate.tap_changer_communicates is not False:
        known = "reaches" if nameplate.tap_changer_communicates else "not known to stay out of"
        assumptions += (f"tap changer oil {known} the main tank: C2H2 taken as the transformer's own",)
    code = None
    if not abstained:
        family, _ = _leading_family(beliefs)
        code = max((code for code in beliefs if FAMILY[code] is family), key=lambda code: beliefs[code])
    severity = _severity(code, limits.status)
    return Diagnosis(
        code=code,
        family=FAMILY[code] if code else Family.NONE,
        hypotheses=tuple(Hypothesis(code=each, probability=belief) for each, belief in beliefs.items()),
        votes={method: "/".join(sorted(codes)) or _NO_DIAGNOSIS for method, codes in votes.items()},
        severity=severity,
        abstained=abstained,
        status=limits.status,
        facts=limits.facts,
        assumptions=assumptions,
        recommendation=_recommendation(code, severity),
        explanation=_explanation(code, limits, beliefs, abstained),
        deterministic_code=code,
        models_identity=MODELS_IDENTITY,
    )


def _severity(code: FaultCode | None, status: int | None) -> Severity:
    """Discharges, mixtures with them and hot spots above 700 °C destroy fast: one step above the others.

    | | status 2 | status 3 |
    |---|---|---|
    | D1, D2, DT, T3 | WARNING | CRITICAL |
    | PD, T1, T2, no code | ADVISORY | WARNING |
    """
    if code is FaultCode.N or status not in (2, 3):
        return Severity.NONE
    fast = code in {FaultCode.D1, FaultCode.D2, FaultCode.DT, FaultCode.T3}
    return Severity(status - 1 + fast)


def _recommendation(code: FaultCode | None, severity: Severity) -> Recommendation:
    if severity is Severity.NONE:
        return Recommendation.CONTINUE
    if code is None or severity is Severity.ADVISORY:
        return Recommendation.RESAMPLE
    if severity is Severity.WARNING:
        return Recommendation.PLAN_INSPECTION
    return Recommendation.REDUCE_LOAD if code is FaultCode.T3 else Recommendation.CONSIDER_OUTAGE


def _explanation(code: FaultCode | None, limits: Limits, beliefs: dict[FaultCode, float], abstained: str) -> str:
    """One sentence from a template; every number in it is in the facts or the hypotheses."""
    above = f"C57.104 status {limits.status}"
    if limits.exceeded:
        above += f": {', '.join(gas.upper() for gas in limits.exceeded)} above their limits"
    if code is FaultCode.N:
        return f"{above}; no diagnosis below typical values."
    if code is None:
        return f"{above}; no fault is named: {abstained}."
    return f"{above}; {code} ({FAMILY[code]}) is the likeliest fault with probability {beliefs[code]:.2f}."
