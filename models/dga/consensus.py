"""From one oil sample to a diagnosis: the published methods and a learned model, fused by a fixed rule.

Inputs: concentrations in µL/L (of one reliable sample) and the nameplate.  Called by hard agents, by investigations
and by `blackstart diagnose`; pure, so that the same sample always gets the same answer.

The rule, in order:
1. Fluid: the methods hold for mineral oil; any other abstains.
2. Gate: IEEE C57.104-2019 status 1 is code N, whatever the proportions of such small gases say.  The votes are listed
   all the same.  Where only CO or CO2 exceed a limit no method applies, and the answer abstains.
3. Fusion (`fusion`): Triangle 1 first, the ratios, Pentagon 1 and hydrogen, the learned model as a second opinion.
4. Family first: the family with the largest sum, then the likeliest code in it.  Where no family has more than half of
   the belief it abstains.  Below the threshold τ the code is given, and called a suspicion.

A learned model that is not there, or whose file is damaged, is named as an assumption; the published methods decide
alone then.  Triangles 4 and 5 and Pentagon 2 are listed among the votes as refinements; they do not move the code.
With a monitor's stated accuracy the zones that its errors may reach are listed as facts.  Their shares do not enter the
belief: on development data that made neither the code nor the confidence better.
Limits of validity: a tap changer whose oil reaches the main tank adds C2H2 that is no fault of the transformer.
"""

from collections.abc import Mapping
from itertools import compress

import numpy as np

from models.asset import Fluid, Nameplate
from models.data_sheet import DataSheet, Mark
from models.dga.accuracy import GasAccuracy
from models.dga.batch import ANSWERS, CODES, Marks, Matrix, marks_of
from models.dga.duval import pentagon_1, pentagon_2, triangle_1, triangle_4, triangle_5
from models.dga.fusion import FAMILIES, family_beliefs, pool
from models.dga.gases import FAULT_GASES, Gases
from models.dga.learned import LearnedModel, features, installed
from models.dga.limits import Limits, c57_104_status
from models.dga.ratios import iec_60599, rogers
from models.dga.uncertainty import zone_probabilities
from models.findings import FAMILY, Diagnosis, Fact, Family, FaultCode, Hypothesis, Recommendation, Severity

__all__ = ("MODELS_IDENTITY", "SHEETS", "choose", "codes_said", "diagnose", "identity", "tau")

MODELS_IDENTITY = "blackstart-dga/2 (triangle 1, pentagon 1, IEC 60599, Rogers, C57.104-2019)"
TAU_ALONE = 0.57  # τ without the learned model, by the same rule and from the same rows as the model's own
_NO_DIAGNOSIS = "no diagnosis"
_NOTHING_KNOWN = Nameplate()
_MAJORITY = 0.5  # of the belief, below which no family is named
_CERTAIN = 0.95  # of the draws within the monitor's accuracy, above which a zone is not worth a fact

_Codes = tuple[FaultCode, ...]


def diagnose(
    gases: Gases,
    nameplate: Nameplate = _NOTHING_KNOWN,
    previous: Gases | None = None,
    *,
    accuracy: GasAccuracy | None = None,
    model: LearnedModel | str | None = None,
) -> Diagnosis:
    """The diagnosis of one sample.

    `previous`, the sample before it, adds the deltas of C57.104 to the gate.  `accuracy`, the monitor's, adds the zones
    that its errors may reach.  `model` is the learned model, or in words why there is none; None takes the installed.
    """
    if model is None:
        model = installed()
    said = _ask(gases)
    if nameplate.fluid is not Fluid.MINERAL:
        reason = f"the methods hold for mineral oil, not for {nameplate.fluid}"
        return Diagnosis(
            code=None,
            family=Family.NONE,
            hypotheses=(),
            votes=dict.fromkeys(said, reason),
            severity=Severity.NONE,
            abstained=reason,
            recommendation=Recommendation.RESAMPLE,
            models_identity=identity(model),
        )
    limits = c57_104_status(gases, nameplate, previous)
    amounts = np.array([[gases.of(gas) for gas in FAULT_GASES]], dtype=np.float64)
    marks = {method: marks_of(codes)[np.newaxis] for method, codes in said.items()}
    learned = None if isinstance(model, str) else model.probabilities(features(amounts, marks))
    votes = _votes(gases, said, learned if amounts.any() else None)
    beliefs: dict[FaultCode, float] = {}
    if limits.status == 1:
        code, reason, beliefs = FaultCode.N, "", {FaultCode.N: 1.0}
    elif not set(limits.exceeded) & set(FAULT_GASES):
        code, reason = None, "only CO or CO2 exceed a limit: no method names a fault"
    else:
        row = pool(amounts, marks, learned)
        code, reason = _decide(row)
        beliefs = dict(sorted(zip(CODES, row[0].tolist(), strict=True), key=lambda item: -item[1]))
    return Diagnosis(
        code=code,
        family=FAMILY[code] if code else Family.NONE,
        hypotheses=tuple(Hypothesis(code=each, probability=belief) for each, belief in beliefs.items()),
        votes=votes,
        severity=(severity := _severity(code, limits.status)),
        abstained=reason,
        status=limits.status,
        facts=limits.facts + (_zone_facts(gases, accuracy) if accuracy and code is not FaultCode.N and beliefs else ()),
        assumptions=limits.assumptions + _assumptions(nameplate, model, code, beliefs),
        recommendation=_recommendation(code, severity),
        explanation=_explanation(code, limits, beliefs, reason),
        deterministic_code=code,
        models_identity=identity(model),
    )


def identity(model: LearnedModel | str) -> str:
    """What has diagnosed, for the record."""
    return MODELS_IDENTITY if isinstance(model, str) else f"{MODELS_IDENTITY} + {model.identity}"


def tau(model: LearnedModel | str) -> float:
    """The confidence below which a code is only a suspicion; fixed on development data."""
    return TAU_ALONE if isinstance(model, str) or model.card is None else model.card.tau["consensus"]


def choose(beliefs: Matrix) -> list[int | None]:
    """Per row of (n, 6) beliefs the index of the code in `CODES`, family first; None where no family has a majority."""
    families = family_beliefs(beliefs)
    leading = families.argmax(axis=1)
    is_member = np.array([FAMILY[code] for code in CODES]) == np.array(FAMILIES)[leading][:, np.newaxis]
    best = np.where(is_member, beliefs, -1.0).argmax(axis=1)
    has_majority = families.max(axis=1) > _MAJORITY if len(families) else []
    return [index if named else None for index, named in zip(best.tolist(), has_majority, strict=True)]


def codes_said(marks: Marks) -> list[tuple[FaultCode, ...]]:
    """Per row of (n, 9) marks the codes in words."""
    return [tuple(compress(ANSWERS, row)) for row in marks.tolist()]


def _ask(gases: Gases) -> dict[str, _Codes]:
    """What each method says: one code, both codes of an overlap, or none."""
    triangle, pentagon, ratio = triangle_1(gases), pentagon_1(gases), rogers(gases)
    return {
        "duval_triangle_1": (triangle,) if triangle else (),
        "duval_pentagon_1": (pentagon,) if pentagon else (),
        "iec_60599": iec_60599(gases),
        "rogers": (ratio,) if ratio else (),
    }


def _votes(gases: Gases, said: Mapping[str, _Codes], learned: Matrix | None) -> dict[str, str]:
    """The methods' answers in words, the refinements that apply, and the learned model's."""
    votes = {method: "/".join(sorted(codes)) or _NO_DIAGNOSIS for method, codes in said.items()}
    if learned is not None:
        votes["learned"] = CODES[int(learned[0].argmax())].value
    refined = {
        "duval_triangle_4": triangle_4(gases),
        "duval_triangle_5": triangle_5(gases),
        "duval_pentagon_2": pentagon_2(gases),
    }
    return votes | {method: answer.zone.value for method, answer in refined.items() if answer.zone}


def _decide(row: Matrix) -> tuple[FaultCode | None, str]:
    """Code, or the reason to abstain."""
    index = choose(row)[0]
    if index is not None:
        return CODES[index], ""
    share = family_beliefs(row)[0]
    leading = FAMILIES[int(share.argmax())]
    return None, f"the methods disagree: {leading} leads with {share.max():.2f} of the belief"


def _assumptions(
    nameplate: Nameplate, model: LearnedModel | str, code: FaultCode | None, beliefs: Mapping[FaultCode, float]
) -> tuple[str, ...]:
    found = []
    if nameplate.tap_changer_communicates is not False:
        known = "reaches" if nameplate.tap_changer_communicates else "not known to stay out of"
        found.append(f"tap changer oil {known} the main tank: C2H2 taken as the transformer's own")
    if isinstance(model, str):
        found.append(f"learned model not used: {model}")
    if code is not None and beliefs[code] < tau(model):
        found.append("confidence below its threshold: the code is a suspicion")
    return tuple(found)


def _zone_facts(gases: Gases, accuracy: GasAccuracy) -> tuple[Fact, ...]:
    """Zones that the monitor's errors may reach, where they are more than one."""
    within = "within the assumed accuracy" if accuracy.assumed else "within the monitor's accuracy"
    return tuple(
        Fact(name=f"{method.replace('_', ' ')} {answer} {within}", value=share, unit="1")
        for method, shares in zone_probabilities(gases, accuracy).items()
        if max(shares.values()) < _CERTAIN
        for answer, share in shares.items()
        if share > 1 - _CERTAIN
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


_MINERAL = "mineral oil, main tank; amounts behind the gate"
_FIVE = "H2, CH4, C2H6, C2H4, C2H2 in uL/L"

SHEETS = (
    DataSheet(
        name="consensus",
        title="Consensus of the gas methods",
        function="models.dga.consensus.diagnose",
        inputs=(_FIVE, "CO, CO2 in uL/L for the gate", "nameplate"),
        output="PD D1 D2 T1 T2 T3 with probabilities; N below the gate",
        validity=(_MINERAL, "no code where no family has more than half of the belief", "below tau a suspicion"),
        source="logarithmic pool of Triangle 1, Pentagon 1, IEC 60599, Rogers, hydrogen and the learned model",
        mark=Mark.OWN,
    ),
    DataSheet(
        name="learned",
        title="Learned gas model",
        function="models.dga.learned.LearnedModel",
        inputs=(_FIVE,),
        output="PD D1 D2 T1 T2 T3 with probabilities",
        validity=(_MINERAL, "proportions only", "a second opinion; its labels are published ones, some of them wrong"),
        source="models/weights/dga.json, the model card",
        mark=Mark.OWN,
    ),
)
