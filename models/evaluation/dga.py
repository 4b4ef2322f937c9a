"""Scores every dissolved-gas method, the consensus and the learned model side by side on labelled samples.

Rules, one table for all methods:

| a method answers | in `accuracy` | in `family_accuracy` |
|---|---|---|
| a code of IEC 60599 (PD, D1, D2, T1, T2, T3) | right where it is the label; T1 and T2 for the label T12 | its family |
| two codes (an overlap) | undecided, hence wrong | their family where it is the same |
| S, O, C (kinds of overheating without a code) | undecided, hence wrong | thermal |
| DT, ND, N, nothing | undecided, hence wrong | none, hence wrong |

Methods are scored ungated on the fault rows: each is asked whatever the amounts are.  The gate (IEEE C57.104 status 2
or 3, nameplate unknown) is reported apart.  Rows labelled N count as false alarms only.  `ece` is the calibration error
of the confidence in the code given, over decided rows; `coverage_at_tau` the share of fault rows whose code is given
with a confidence of at least τ, `accuracy_at_tau` how many of those are right.  τ comes with the model.  All shares are
0 to 1; intervals are 95 %: Wilson's for shares, bootstrap with a fixed seed for the difference.
Called by `blackstart eval dga`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from models.asset import Nameplate
from models.dga import consensus, learned
from models.dga.batch import CODES, Amounts, Matrix, answers
from models.dga.fusion import pool
from models.dga.gases import FAULT_GASES, Gases
from models.dga.limits import c57_104_status
from models.evaluation.cases import LABELS, Cases
from models.evaluation.statistics import (
    Booleans,
    Numbers,
    calibration_error,
    mcnemar_p,
    paired_interval,
    wilson_interval,
)
from models.findings import FAMILY, Family, FaultCode

__all__ = (
    "ACCEPTED",
    "FAMILY_OF",
    "METHODS",
    "Said",
    "evaluate",
    "said_by_beliefs",
    "said_by_codes",
    "said_by_probabilities",
    "score",
)

ACCEPTED: Mapping[str, frozenset[str]] = MappingProxyType(  # label → codes that are right
    {code.value: frozenset({code.value}) for code in CODES} | {"T12": frozenset({"T1", "T2"})}
)
FAMILY_OF: Mapping[str, Family] = MappingProxyType(  # answer → family; an answer that is missing has none
    {code.value: FAMILY[code] for code in CODES} | dict.fromkeys(("S", "O", "C", "T12"), Family.THERMAL)
)
METHODS = ("consensus", "duval_triangle_1", "duval_pentagon_1", "iec_60599", "rogers", "learned")  # of the report
REFERENCE = "duval_triangle_1"
FAULT_LABELS = tuple(label for label in LABELS if label != "N")


@dataclass(frozen=True, slots=True)
class Said:
    """What one method said of each row."""

    codes: tuple[str, ...]  # "" where undecided
    families: tuple[Family | None, ...]
    confidence: Numbers | None  # of the code, for methods that have one
    tau: float | None = None


def evaluate(cases: Cases, model: learned.LearnedModel | str | None = None) -> dict[str, Any]:
    """Every figure of one file, ready for JSON.

    `model` is the learned model, or in words why there is none; None takes the installed one.
    """
    model = learned.installed() if model is None else model
    faults = [index for index, label in enumerate(cases.labels) if label != "N"]
    normals = [index for index, label in enumerate(cases.labels) if label == "N"]
    labels = [cases.labels[index] for index in faults]
    on_faults = say(cases.amounts[faults], model)
    on_normals = say(cases.amounts[normals], model)
    report: dict[str, Any] = {
        "n": len(faults),
        "n_normal": len(normals),
        "models": consensus.identity(model),
        "trained_on_this_file": not isinstance(model, str)
        and model.card is not None
        and model.card.data_sha256 == cases.sha256,
    }
    reference = right(on_faults[REFERENCE], labels)
    for method, said in on_faults.items():
        report[method] = score(said, labels) | {
            "vs_triangle_1": _versus(right(said, labels), reference),
            "false_alarm_rate": _share(sum(code != "" for code in on_normals[method].codes), len(normals)),
        }
    if isinstance(model, str):
        report["learned"] = dict.fromkeys(report["consensus"]) | {"n": len(faults), "absent": model}
    return report | {"gate": _gate(cases.amounts[faults], cases.amounts[normals])}


def say(amounts: Amounts, model: learned.LearnedModel | str) -> dict[str, Said]:
    """What every method says of each row, in the order of the report."""
    marks = answers(amounts)
    codes = {method: consensus.codes_said(each) for method, each in marks.items()}
    probabilities = None if isinstance(model, str) else model.probabilities(learned.features(amounts, marks))
    beliefs = pool(amounts, marks, probabilities)
    empty = amounts.sum(axis=1) == 0
    said = {"consensus": said_by_beliefs(beliefs, empty, consensus.tau(model))}
    said |= {method: said_by_codes(rows) for method, rows in codes.items()}
    if probabilities is not None and not isinstance(model, str) and model.card is not None:
        said["learned"] = said_by_probabilities(probabilities, empty, model.card.tau["learned"])
    return said


def said_by_codes(rows: Sequence[tuple[FaultCode, ...]]) -> Said:
    """Codes per row, none or several of them, by the table above."""
    families = [{FAMILY_OF.get(code) for code in codes} for codes in rows]
    return Said(
        codes=tuple(codes[0].value if len(codes) == 1 and codes[0] in CODES else "" for codes in rows),
        families=tuple(next(iter(family)) if len(family) == 1 else None for family in families),
        confidence=None,
    )


def said_by_beliefs(beliefs: Matrix, empty: Booleans, tau: float | None) -> Said:
    """The consensus's rule: family first, then the likeliest code in it; nothing where there is no gas (`empty`)."""
    return _said(beliefs, consensus.choose(beliefs), empty, tau)


def said_by_probabilities(probabilities: Matrix, empty: Booleans, tau: float | None) -> Said:
    """The learned model's rule: the likeliest code; nothing where there is no gas (`empty`)."""
    return _said(probabilities, probabilities.argmax(axis=1).tolist(), empty, tau)


def _said(beliefs: Matrix, chosen: Sequence[int | None], empty: Booleans, tau: float | None) -> Said:
    codes = tuple(
        "" if none or index is None else CODES[index].value for index, none in zip(chosen, empty, strict=True)
    )
    confidence = np.array([0.0 if index is None else beliefs[row, index] for row, index in enumerate(chosen)])
    return Said(codes, tuple(FAMILY_OF.get(code) for code in codes), confidence, tau)


def right(said: Said, labels: Sequence[str]) -> Booleans:
    """Per row whether the code is one that the label accepts."""
    return np.array([code in ACCEPTED[label] for code, label in zip(said.codes, labels, strict=True)], dtype=bool)


def score(said: Said, labels: Sequence[str]) -> dict[str, Any]:
    """The figures of one method on fault rows with these labels."""
    n = len(labels)
    hits = right(said, labels)
    family_hits = sum(
        family is FAMILY_OF[label] for family, label in zip(said.families, labels, strict=True) if family is not None
    )
    decided = np.array([code != "" for code in said.codes], dtype=bool)
    return {
        "n": n,
        "accuracy": _share(int(hits.sum()), n),
        "accuracy_ci": wilson_interval(int(hits.sum()), n),
        "family_accuracy": _share(family_hits, n),
        "family_accuracy_ci": wilson_interval(family_hits, n),
        "decided": _share(int(decided.sum()), n),
        "decided_ci": wilson_interval(int(decided.sum()), n),
        "ece": None if said.confidence is None else calibration_error(said.confidence[decided], hits[decided]),
        **_at_tau(said, hits, decided),
        "recall": {label: _recall(label, labels, hits) for label in FAULT_LABELS},
    }


def _at_tau(said: Said, hits: Booleans, decided: Booleans) -> dict[str, Any]:
    if said.confidence is None or said.tau is None:
        return dict.fromkeys(("tau", "coverage_at_tau", "accuracy_at_tau", "accuracy_at_tau_ci"))
    sure = decided & (said.confidence >= said.tau)
    found, n = int(hits[sure].sum()), int(sure.sum())
    return {
        "tau": said.tau,
        "coverage_at_tau": _share(n, len(hits)),
        "accuracy_at_tau": _share(found, n),
        "accuracy_at_tau_ci": wilson_interval(found, n),
    }


def _versus(hits: Booleans, reference: Booleans) -> dict[str, Any]:
    """Paired comparison with Triangle 1: difference of the accuracies, and McNemar's exact test."""
    only, only_reference = int(np.sum(hits & ~reference)), int(np.sum(reference & ~hits))
    difference = hits.astype(np.float64) - reference.astype(np.float64)
    return {
        "difference": float(difference.mean()) if len(difference) else None,
        "difference_ci": paired_interval(difference),
        "right_only_here": only,
        "right_only_triangle_1": only_reference,
        "mcnemar_p": mcnemar_p(only, only_reference),
    }


def _recall(label: str, labels: Sequence[str], hits: Booleans) -> float | None:
    of_label = np.array([each == label for each in labels], dtype=bool)
    return _share(int(hits[of_label].sum()), int(of_label.sum()))


def _gate(faults: Amounts, normals: Amounts) -> dict[str, Any]:
    """How many fault rows the gate lets through to the methods, and how many normal rows it keeps from them."""
    opened, kept = sum(_opens(row) for row in faults), sum(not _opens(row) for row in normals)
    return {
        "method": "IEEE C57.104-2019 status 2 or 3, nameplate unknown",
        "fault_recall": _share(opened, len(faults)),
        "fault_recall_ci": wilson_interval(opened, len(faults)),
        "normal_pass": _share(kept, len(normals)),
        "normal_pass_ci": wilson_interval(kept, len(normals)),
    }


def _opens(row: Numbers) -> bool:
    named = {f"{gas}_ul_l": amount for gas, amount in zip(FAULT_GASES, row.tolist(), strict=True)}
    return c57_104_status(Gases.model_validate(named), Nameplate()).status != 1


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
