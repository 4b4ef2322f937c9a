"""The pool of opinions: what the methods and the learned model say of a composition, as one distribution over codes.

A logarithmic opinion pool, first over families and then within the family:

    log belief(code) = w_T1 · log share of the code among published labels where Triangle 1 says what it says
                     + w_L · log learned(code) + Σ log factor(method), for each method that names the code
                     + log factor(hydrogen), for PD where hydrogen is nearly all there is
    within the family: + log lead(Triangle 1's answer, code)

Triangle 1 leads: it enters twice, and within the discharges it is believed twice as much as what contradicts it,
because D1 and D2 are told apart by its zones where a tank was opened, while published labels follow local custom.
Where it says T2, which is below half ethylene, T3 counts a third: only one of six such changes agreed with the label.
The learned model is a second opinion (its share enters with exponent 0.6); without it the ratio methods, the pentagon
and hydrogen weigh more.  The mixed zone DT is no fault of its own: the others decide what it is.

The weights were chosen on development data, leaving one origin out, as round numbers within a broad plateau: by the
score as published and by the score after weighting the rows so that Triangle 1 is right in 0.87 of them, which is what
it reaches on inspected cases.  With them the beliefs need no further calibration (`weights/dga.json` has the figures).
Called by `consensus`, `models.evaluation.dga` and `models.training.dga`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from models.dga.batch import ANSWERS, CODES, Amounts, Marks, Matrix, shares
from models.findings import FAMILY, Family, FaultCode

__all__ = ("FAMILIES", "TRIANGLE_COUNTS", "family_beliefs", "pool", "triangle_table")

FAMILIES = (Family.PD, Family.DISCHARGE, Family.THERMAL)
HYDROGEN_SHARE = 0.8  # of the five gases; above it and with hardly any acetylene four of five published labels are PD
ACETYLENE_SHARE = 0.02

# Development rows by Triangle 1's zone and published label (PD, D1, D2, T1, T2, T3).
TRIANGLE_COUNTS: Mapping[FaultCode, tuple[int, ...]] = MappingProxyType(
    {
        FaultCode.PD: (13, 0, 0, 5, 0, 0),
        FaultCode.D1: (9, 85, 47, 7, 1, 3),
        FaultCode.D2: (5, 25, 91, 0, 1, 0),
        FaultCode.T1: (27, 1, 2, 68, 7, 3),
        FaultCode.T2: (14, 5, 1, 55, 49, 21),
        FaultCode.T3: (10, 5, 8, 12, 62, 332),
        FaultCode.DT: (9, 13, 21, 3, 3, 0),
    }
)


@dataclass(frozen=True, slots=True)
class _Weights:
    """Exponents of the two distributions, factors of the votes."""

    triangle: float
    learned: float
    factors: Mapping[str, float]
    hydrogen: float


_WITH_LEARNED = _Weights(0.6, 0.6, {"duval_pentagon_1": 1.0, "iec_60599": 1.6, "rogers": 1.4}, 4.0)
_ALONE = _Weights(0.85, 0.0, {"duval_pentagon_1": 2.0, "iec_60599": 3.0, "rogers": 2.0}, 10.0)
_LEAD: Mapping[FaultCode, Mapping[FaultCode, float]] = MappingProxyType(  # Triangle 1's answer → code → factor
    {
        FaultCode.D1: {FaultCode.D1: 2.0},
        FaultCode.D2: {FaultCode.D2: 2.0},
        FaultCode.T1: {FaultCode.T1: 1.3},
        FaultCode.T2: {FaultCode.T2: 1.3, FaultCode.T3: 1 / 3},
        FaultCode.T3: {FaultCode.T3: 1.3},
    }
)
_LOG_LEAD = np.log([[_LEAD.get(answer, {}).get(code, 1.0) for code in CODES] for answer in ANSWERS])
_FLOOR = 2e-3  # the learned model is never so sure that nothing could contradict it
_MEMBERS = np.array([[FAMILY[code] is family for code in CODES] for family in FAMILIES], dtype=np.float64)
_AS_CODE = np.array(  # what an answer says of a code; stray gassing counts as T1, whose mildest form it is
    [[code is answer or (answer, code) == (FaultCode.S, FaultCode.T1) for code in CODES] for answer in ANSWERS],
    dtype=np.float64,
)


def pool(amounts: Amounts, said: Mapping[str, Marks], learned: Matrix | None, table: Matrix | None = None) -> Matrix:
    """(n, 6) beliefs over `CODES`; each row sums to 1.

    `said` holds the methods' marks per row, `learned` the learned model's (n, 6) or None where there is no model.
    `table` replaces what is known of Triangle 1's zones (see `triangle_table`), for scores on rows it has not seen.
    """
    weights = _ALONE if learned is None else _WITH_LEARNED
    rows = _TABLE if table is None else table
    triangle = said["duval_triangle_1"].astype(np.float64)
    score = weights.triangle * (triangle @ np.log(rows))
    if learned is not None:
        score += weights.learned * np.log(learned + _FLOOR)
    for method, factor in weights.factors.items():
        score += np.log(factor) * (said[method] @ _AS_CODE)
    part = shares(amounts)
    score[:, 0] += np.log(weights.hydrogen) * ((part[:, 0] > HYDROGEN_SHARE) & (part[:, 4] < ACETYLENE_SHARE))
    lead = 0.0 if learned is None else triangle @ _LOG_LEAD
    inner = _softmax(score + lead)
    outer = family_beliefs(_softmax(score))
    beliefs: Matrix = inner / (inner @ _MEMBERS.T @ _MEMBERS) * (outer @ _MEMBERS)
    return beliefs


def family_beliefs(beliefs: Matrix) -> Matrix:
    """(n, 3) sums over the families, columns as `FAMILIES`."""
    sums: Matrix = beliefs @ _MEMBERS.T
    return sums


def triangle_table(counts: Mapping[FaultCode, tuple[int, ...]]) -> Matrix:
    """(9, 6) shares per answer of Triangle 1, from counts; one is added to each, so that nothing is impossible."""
    table = np.array([counts.get(answer, (0,) * len(CODES)) for answer in ANSWERS], dtype=np.float64) + 1.0
    shares_: Matrix = table / table.sum(axis=1, keepdims=True)
    return shares_


def _softmax(score: Matrix) -> Matrix:
    grown = np.exp(score - score.max(axis=1, keepdims=True))
    normalised: Matrix = grown / grown.sum(axis=1, keepdims=True)
    return normalised


_TABLE = triangle_table(TRIANGLE_COUNTS)
