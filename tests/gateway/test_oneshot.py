"""`blackstart diagnose` without its command line."""

import math
from typing import Any

import pytest

from drivers.errors import BadInput
from gateway.oneshot import diagnose_values
from models.findings import FaultCode, Severity

ARCING = {"h2": 210, "ch4": 43, "c2h6": 12, "c2h4": 102, "c2h2": 187}  # IEC TC10 database, inspected case: D2


def test_an_inspected_case() -> None:
    diagnosis = diagnose_values(**ARCING)
    assert diagnosis.code is FaultCode.D2
    assert diagnosis.votes["duval_triangle_1"] == "D2"
    assert diagnosis.severity is Severity.CRITICAL
    assert "D2" in diagnosis.explanation


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"h2": -1}, r"h2_ul_l: Input should be greater than or equal to 0 \(found -1"),
        ({"c2h2": math.nan}, "c2h2_ul_l: .*finite"),
        ({"co": 1e7}, "co_ul_l: .*less than or equal"),
        ({"age_years": -2}, "age_years: .*greater than or equal to 0"),
        ({"h2": -1, "ch4": -2}, "h2_ul_l: .*; ch4_ul_l: "),
    ],
)
def test_what_is_no_sample_is_refused_by_name(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(BadInput, match=expected):
        diagnose_values(**ARCING | changes)
