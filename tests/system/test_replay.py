"""`blackstart replay`: what goes through device, driver and agent is judged as the methods judge it directly."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

# IEC TC10 database, inspected cases: H2, CH4, C2H6, C2H4, C2H2 in uL/L, what inspection found, what we conclude.
INSPECTED = (
    (32930, 2397, 157, 0, 0, "PD", "PD"),
    (37800, 1740, 249, 8, 8, "PD", "PD"),
    (78, 20, 11, 13, 28, "D1", "D1"),
    (305, 100, 33, 161, 541, "D1", "D1"),
    (440, 89, 19, 304, 757, "D2", "D2"),
    (210, 43, 12, 102, 187, "D2", "D2"),
    (1270, 3450, 520, 1390, 8, "T12", "T2"),
    (3420, 7870, 1500, 6990, 33, "T12", "T2"),  # Triangle 1 says T2, Pentagon 1 and the IEC ratios T3
    (6709, 10500, 1400, 17700, 750, "T3", "T3"),
    (8800, 64064, 72128, 95650, 0, "T3", "T2"),  # Triangle 1 says T3, Pentagon 1 and the IEC ratios T2
)
OTHERS = (
    (5, 2, 3, 1, 0, "N"),  # below what a monitor resolves
    (20, 10, 10, 5, 0, "N"),  # a healthy transformer
    (31, 192, 130, 31, 0, "T12"),
)


async def test_inspected_cases_come_through_the_wire_as_they_are(tmp_path: Path, blackstart: Any) -> None:
    path = tmp_path / "cases.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("H2", "CH4", "C2H6", "C2H4", "C2H2", "fault"))
        writer.writerows([case[:6] for case in INSPECTED] + list(OTHERS))
    count = len(INSPECTED) + len(OTHERS)
    report = await _replay(blackstart, str(path), "--rows", str(count), "--seed", "1")
    assert (report["rows"], report["rows_differing"], report["equal"]) == (count, [], True)
    by_row = {result["row"]: result["agent"] for result in report["results"]}
    assert [by_row[row] for row in range(len(INSPECTED))] == [case[6] for case in INSPECTED]
    assert [by_row[row] for row in range(len(INSPECTED), count)] == ["N", "N", "T1"]


@pytest.mark.timeout(120)
async def test_three_hundred_measured_rows_are_judged_as_directly(shared_data: Path, blackstart: Any) -> None:
    path = shared_data / "dga" / "dev.csv"
    report = await _replay(blackstart, str(path), "--rows", "300", "--seed", "1")
    assert (report["rows"], report["rows_differing"], report["equal"]) == (300, [], True)
    assert report["confusion"] == report["confusion_direct"]
    assert set(report["samples_by_quality"]) <= {"GOOD", "STALE"}  # a loaded box may be late; nothing may be BAD


async def test_forty_measured_hours_of_oil_temperature_arrive_as_they_stand_in_the_file(
    shared_data: Path, blackstart: Any
) -> None:
    report = await _replay(blackstart, str(shared_data / "ett" / "ETTh1.csv"), "--rows", "40")
    assert report["hours"] == 40
    assert report["values_received"] == report["values_sent"]
    assert report["values_not_in_file"] == []


async def test_a_file_of_neither_kind_is_refused_in_words(tmp_path: Path, blackstart: Any) -> None:
    path = tmp_path / "prices.csv"
    path.write_text("day,price\n1,2\n")
    code, output, complaints = await blackstart("replay", str(path), "--json")
    assert (code, output) == (1, "")
    assert "day,price" in complaints


async def _replay(blackstart: Any, *arguments: str) -> dict[str, Any]:
    code, output, complaints = await blackstart("replay", *arguments, "--json", timeout_s=110)
    assert code == 0, complaints
    report: dict[str, Any] = json.loads(output)
    return report
