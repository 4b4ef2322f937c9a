"""The frozen frames of what the reasoning core is asked; a model is qualified together with their very bytes.

`<name>.v<n>.txt` holds static text, one `{evidence}` and the turn that the model has to fill.  The static text
comes first so that its computation is shared between questions.  A changed text is a new version: a new file.
What fills the slot are numbers under names made of a closed set of words, so that no sentence from outside can.
"""

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from models.findings import Fact, FaultCode

__all__ = ("ARBITRATE_HYPOTHESES", "EXPLAIN_DIAGNOSIS", "Template", "readings")

MAX_READINGS = 64  # about 600 tokens; the worker's context has room for 1,536
MAX_NAME = 64

_SLOT = "{evidence}"
_WORD = re.compile(
    "|".join(code.value for code in FaultCode)
    + r"|H2|CH4|C2H[246]|CO2?|H2O|SF6|O2|N2"  # gases
    + r"|[A-Z]{4}\.[A-Za-z0-9]{1,12}"  # IEC 61850 logical node and data object
    + r"|limit|rise|rate|ratio|support|status|of|per|the|above|below|since|before|sample|table|day|year|total|gas"
    + r"|combustible|hot|spot|top|oil|ambient|temperature|load|density|pressure|moisture|ageing|alarm|lockout|Q"
    + r"|C57\.104|[0-9]"
)
_UNITS = frozenset({"uL/L", "uL/L/day", "uL/L/year", "degC", "K", "bara", "kg/m3", "pu", "ppm", "-", "1", "%", "h"})


@dataclass(frozen=True, slots=True)
class Template:
    """One frame: what stands before and behind the evidence, and the hash of the file."""

    version: str
    prefix: str
    suffix: str
    sha256: str


def readings(facts: Sequence[Fact]) -> str:
    """One line `name = value unit` for each fact that may be read; the others are left out."""
    return "\n".join(
        f"{fact.name} = {fact.value:.6g} {fact.unit}" for fact in facts[:MAX_READINGS] if _may_be_read(fact)
    )


def _may_be_read(fact: Fact) -> bool:
    words = re.split("[ ,/]+", fact.name)
    return all(_WORD.fullmatch(word) for word in words) and fact.unit in _UNITS and math.isfinite(fact.value)


def _load(version: str) -> Template:
    raw = files(__name__).joinpath(f"{version}.txt").read_bytes()
    prefix, slot, suffix = raw.decode().partition(_SLOT)
    assert slot == _SLOT, f"{version}.txt has no {_SLOT}"
    return Template(version=version, prefix=prefix, suffix=suffix, sha256=hashlib.sha256(raw).hexdigest())


ARBITRATE_HYPOTHESES = _load("arbitrate_hypotheses.v1")
EXPLAIN_DIAGNOSIS = _load("explain_diagnosis.v1")
