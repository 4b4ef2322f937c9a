"""A diagnosis in plain English: a template filled from its facts, and the test that a model's sentence has to pass.

The template says what was measured, which limits were passed, what each method says, what leads and how sure it
is, what was assumed and what to consider.  A model's sentence is added to it only when every number and fault code
in it is found in the evidence.  Pure functions, called by the gateway's investigation.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import pairwise

from models.findings import Diagnosis, Fact, FaultCode, Recommendation, Severity

__all__ = ("check_text", "explanation", "merge")

MAX_MODEL_TEXT = 600  # characters; two sentences
MAX_RELATIVE_ROUNDING = 0.05  # 12.4 may be written 12, 2.4 may not be written 2

_FAULTS = {
    FaultCode.PD: "partial discharge",
    FaultCode.D1: "discharge of low energy",
    FaultCode.D2: "discharge of high energy (arcing)",
    FaultCode.DT: "discharge together with overheating",
    FaultCode.T1: "mild overheating",
    FaultCode.T2: "strong overheating",
    FaultCode.T3: "severe overheating",
    FaultCode.S: "stray gassing of the oil",
    FaultCode.N: "no fault",
}
_WITHIN = " accuracy"  # ends the names of facts that `dga.consensus` draws from it
_ADVICE = {
    Recommendation.CONTINUE: "go on monitoring",
    Recommendation.RESAMPLE: "take a sample for the laboratory",
    Recommendation.PLAN_INSPECTION: "plan an inspection",
    Recommendation.REDUCE_LOAD: "consider a lower load",
    Recommendation.CONSIDER_OUTAGE: "consider an outage",
    Recommendation.REFILL_GAS: "plan a gas refill",
}
_SEVERITIES = {
    Severity.NONE: "not serious",
    Severity.ADVISORY: "for the next visit",
    Severity.WARNING: "serious",
    Severity.CRITICAL: "critical",
}

_CODE = re.compile(rf"(?<![\w.])(?:{'|'.join(code for code in FaultCode if len(code) > 1)})(?!\w|\.\d)", re.IGNORECASE)
_NAMES = re.compile(  # words with digits that are names and no numbers
    r"(?<![\w.])(?:H2O?|CH4|C2H[246]|CO2?|SF6|O2|N2|IEEE(?: Std)? C57\.104(?:-2019)?|C57\.104(?:-2019)?|IEC 60599)"
    r"(?!\w|\.\d|-\d)"
)
_NUMBER = re.compile(
    r"(?P<number>[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.(?P<decimals>\d+))?)(?P<unit>%|°C|ppm|[uμ]L/L|K|degC|bara|pu|kg/m3)?"
)
_OPERATOR = re.compile(r"[\^*/+\u00d7\u00b1]|^[xX]$")
_EDGES = "()[]{}\"',;:!?=~<>"
_NUMBER_WORDS = re.compile(
    r"\b(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|(?:twen|thir|for|fif|six|seven"
    r"|eigh|nine)ty|hundreds?|thousands?|millions?|billions?|trillions?|dozens?|half|halves|halved|thirds?|quarters?"
    r"|once|twice|thrice|doubled?|triple[ds]?|quadrupled?|times|[a-z]*fold|squared|cubed|percent\w*)\b",
    re.IGNORECASE,
)
_ALIASES = {"°C": "degC", "ppm": "uL/L", "μL/L": "uL/L"}


def explanation(diagnosis: Diagnosis, asset_id: str) -> str:
    """The diagnosis in plain English, one sentence a line; every number in it is one of the diagnosis's own."""
    sentences = (
        _headline(diagnosis, asset_id),
        _measured(diagnosis.facts),
        _limits(diagnosis.facts),
        f"IEEE C57.104-2019 status: {diagnosis.status} of 3." if diagnosis.status else "",
        _methods(diagnosis.votes),
        _zones(diagnosis.facts),
        _listed("How sure", (f"{each.code} {each.probability:.0%}" for each in diagnosis.hypotheses)),
        _listed("Memory offers", (f"{each.cause} {each.score:.0%}" for each in diagnosis.causes)),
        _core(diagnosis),
        _listed("Assumed", diagnosis.assumptions),
        f"To consider: {_ADVICE[diagnosis.recommendation]}.",
    )
    return "\n".join(sentence for sentence in sentences if sentence)


def check_text(text: str, facts: Sequence[Fact]) -> list[str]:
    """Every number of the text that is not in the facts, as written; empty when all are.

    A number is found when a fact's value, rounded to the decimals written, is that number and the rounding moved it
    by no more than 5 %; a unit that is written behind it has to be the fact's (ppm is uL/L).  Whatever is not plainly
    a number is refused: spelled numbers, powers, fractions, ranges, multiples, digits glued to letters, numerals of
    other scripts.  Names of gases, fault codes and standards are no numbers.
    """
    plain = unicodedata.normalize("NFKC", text).replace("\N{MINUS SIGN}", "-")
    odd = [char for char in dict.fromkeys(text + plain) if _is_foreign_numeral(char)]
    odd += [match.group() for match in _NUMBER_WORDS.finditer(plain)]
    chunks = [*_CODE.sub(" . ", _NAMES.sub(" . ", plain)).split(), ""]
    previous_bare = False
    for chunk, following in pairwise(chunks):
        if not re.search(r"\d", chunk, re.ASCII):
            odd += [chunk] if _OPERATOR.search(chunk) and not _is_unit(_bare(chunk)) else []
            previous_bare = False
            continue
        if previous_bare or not _is_known(_bare(chunk), _bare(following), facts):
            odd.append(chunk)
        previous_bare = chunk[-1].isdigit()  # "1 234" is not two numbers
    return odd


def merge(template_text: str, model_text: str | None, facts: Sequence[Fact]) -> str:
    """The template's text, followed by the model's where that holds nothing the evidence does not."""
    offered = " ".join((model_text or "").split())
    known = {code.upper() for code in _CODE.findall(template_text)}
    said = {code.upper() for code in _CODE.findall(offered)}
    if not offered or len(offered) > MAX_MODEL_TEXT or not said <= known or check_text(offered, facts):
        return template_text
    return f"{template_text}\nIn the model's words: {offered}"


def _is_known(written: str, following: str, facts: Sequence[Fact]) -> bool:
    match = _NUMBER.fullmatch(written)
    if match is None:
        return False
    number = float(match["number"].replace(",", ""))
    unit = match["unit"] or (following if _is_unit(following) else "")
    half_digit = 0.5 * 10.0 ** -len(match["decimals"] or "")
    return any(
        abs(fact.value - number) <= min(half_digit, MAX_RELATIVE_ROUNDING * abs(fact.value)) * (1 + 1e-9)
        and (not unit or _ALIASES.get(unit, unit) == _ALIASES.get(fact.unit, fact.unit))
        for fact in facts
    )


def _is_foreign_numeral(char: str) -> bool:
    """True for Ⅳ, 四 and their like; ₂ and ½ come out of the normalisation with digits and are judged as those."""
    return unicodedata.numeric(char, None) is not None and not re.search("[0-9]", unicodedata.normalize("NFKC", char))


def _bare(chunk: str) -> str:
    return chunk.strip(_EDGES).removesuffix(".").strip(_EDGES)


def _is_unit(word: str) -> bool:
    return bool(re.fullmatch(r"%|°C|ppm|[uμ]L/L|K|degC|bara|pu|kg/m3", word))


def _headline(diagnosis: Diagnosis, asset_id: str) -> str:
    if diagnosis.code is None:
        why = diagnosis.abstained or f"the finding is {diagnosis.family.value}"
        return f"{asset_id}: no fault code is given ({why}); {_SEVERITIES[diagnosis.severity]}."
    return f"{asset_id}: {diagnosis.code}, {_FAULTS[diagnosis.code]}; {_SEVERITIES[diagnosis.severity]}."


def _measured(facts: Sequence[Fact]) -> str:
    kept = (fact for fact in facts if " limit" not in fact.name and not fact.name.endswith(_WITHIN))
    return _listed("Measured", (f"{fact.name} {_amount(fact)}" for fact in kept))


def _zones(facts: Sequence[Fact]) -> str:
    """What else the methods could have said, had the monitor erred as far as it may."""
    reached = (fact for fact in facts if fact.name.endswith(_WITHIN))
    return _listed("Zones that errors of measurement may reach", (f"{fact.name} {fact.value:.0%}" for fact in reached))


def _limits(facts: Sequence[Fact]) -> str:
    """Facts named `X limit…` stand beside the fact named `X` or `X …`."""
    passed = []
    for limit in facts:
        base, is_limit, source = limit.name.partition(" limit")
        named = [fact for fact in facts if " limit" not in fact.name and f"{fact.name} ".startswith(f"{base} ")]
        measured = min(named, key=lambda fact: len(fact.name), default=None)
        if is_limit and measured and measured.value != limit.value:
            side = "above" if measured.value > limit.value else "below"
            passed.append(f"{base} {side} {_amount(limit)}{source.replace(', ', ' (', 1)}{')' if source else ''}")
    return _listed("Limits passed", passed)


def _methods(votes: dict[str, str]) -> str:
    return _listed("Methods", (f"{method.replace('_', ' ')} says {vote}" for method, vote in votes.items()))


def _core(diagnosis: Diagnosis) -> str:
    if diagnosis.core_status == "off":
        return f"The reasoning core gave no answer ({diagnosis.core_choice})." if diagnosis.core_choice else ""
    weight = "it does not decide" if diagnosis.core_status == "unqualified" else f"it {diagnosis.core_status}"
    return f"The reasoning core prefers {diagnosis.core_choice} ({diagnosis.core_status}: {weight})."


def _listed(title: str, items: Iterable[str]) -> str:
    listed = tuple(items)
    return f"{title}: {'; '.join(listed)}." if listed else ""


def _amount(fact: Fact) -> str:
    unit = "" if fact.unit in {"-", "1"} else f" {fact.unit}"
    return f"{fact.value:.6g}{unit}"
