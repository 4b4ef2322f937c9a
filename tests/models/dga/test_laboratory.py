"""CSV files of laboratories: what is taken, and every error in one report."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import BadInput
from models.asset import Breathing, Nameplate
from models.dga.laboratory import ERRORS_SHOWN, ROWS_MAX, judge_newest, parse_samples

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HEADER = "asset,time,lab,H2,CH4,C2H6,C2H4,C2H2,CO,CO2,O2,N2"
SEALED_20 = Nameplate(breathing=Breathing.SEALED, age_years=20)


def parsed(*rows, header=HEADER):
    return parse_samples("\n".join([header, *rows]), {"T1", "T2"}, NOW)


def refused(*rows, header=HEADER) -> list[str]:
    with pytest.raises(BadInput) as caught:
        parsed(*rows, header=header)
    return str(caught.value).splitlines()


def test_a_row_is_a_sample():
    (sample,) = parsed("T1,2025-06-01T10:30+02:00,Oil Lab & Co.,12.5,3,4,5,<0.5,600,,1000,60000")
    assert (sample.asset_id, sample.laboratory) == ("T1", "Oil Lab & Co.")
    assert sample.taken == datetime(2025, 6, 1, 8, 30, tzinfo=UTC)
    assert (sample.gases.h2_ul_l, sample.gases.c2h2_ul_l) == (12.5, 0.0)  # below detection is none
    assert (sample.gases.co_ul_l, sample.gases.co2_ul_l) == (600, None)  # an empty one was not measured
    assert sample.key == "T1/2025-06-01T08:30:00+00:00/Oil Lab & Co."


def test_the_example_in_the_documentation_is_good():
    example = (Path(__file__).parents[3] / "docs" / "dga.md").read_text().split("```")[1]
    assert [sample.gases.c2h2_ul_l for sample in parse_samples(example, {"T1"}, NOW)] == [0, 0]


def test_columns_come_in_any_order_with_their_unit_and_a_date_is_midnight():
    header = "lab,C2H2_ppm,h2_ul_l,CH4,C2H6,C2H4,time,asset"
    (sample,) = parsed("L,1,2,3,4,5,2025-06-01,T2", header=f"\ufeff{header}\r")
    assert (sample.gases.c2h2_ul_l, sample.gases.h2_ul_l) == (1, 2)
    assert sample.taken == datetime(2025, 6, 1, tzinfo=UTC)


def test_every_error_is_in_one_report():
    lines = refused(
        "T9,yesterday,L,1,2,3,4,5,,,,",
        "T1,2025-06-01,L,1,2,3,4,5,,,,",
        "T1,2025-06-01T10:00,,-1,x,,nan,1e9,,,,",
        "T1,2025-06-01,L,9,2,3,4,5,,,,",
        "T1,2027-06-01,L",
        "T1,2027-06-01,L,1,2,3,4,5,,,,",
    )
    assert lines == [
        "12 error(s), nothing was taken:",
        "line 2: asset: 'T9' is no configured power transformer; there are: T1, T2",
        "line 2: time: 'yesterday' is no time; right is 2026-03-01T10:30+01:00 or 2026-03-01",
        "line 4: time: '2025-06-01T10:00' has no offset; right is 2026-03-01T10:30+01:00 or a date alone",
        "line 4: lab: 1 to 40 letters, digits, spaces and . , & ( ) - are a laboratory's name",
        "line 4: H2: '-1' is no concentration; it is 0 to 1e+06 uL/L",
        "line 4: CH4: 'x' is no number; a decimal point is '.'",
        "line 4: C2H6: is empty; where it was not detected write 0 or <limit",
        "line 4: C2H4: 'nan' is no concentration; it is 0 to 1e+06 uL/L",
        "line 4: C2H2: '1e9' is no concentration; it is 0 to 1e+06 uL/L",
        "line 5: the same asset, time and lab as line 3",
        "line 6: 3 cells; the first line names 12 columns",
        "line 7: time: '2027-06-01' lies in the future or before 1970",
    ]


def test_a_wrong_header_is_told_before_any_row():
    lines = refused("T1,2025-06-01,L,1", header="asset,time,lab,H2,H2,C2H2_mg")
    assert lines[0] == "6 error(s), nothing was taken:"
    assert lines[1].startswith("line 1: column 'C2H2_mg' is not known; columns are asset time lab H2 CH4")
    assert lines[2:] == [
        "line 1: column 'h2' is there twice",
        *(f"line 1: column '{gas}' is missing" for gas in ("ch4", "c2h6", "c2h4", "c2h2")),
    ]


def test_errors_and_rows_are_bounded():
    lines = refused(*["T9,2025-06-01,L,1,2,3,4,5,,,,"] * (ERRORS_SHOWN + 10))
    assert (len(lines), lines[-1]) == (ERRORS_SHOWN + 2, "and 10 more")
    assert refused(*["T1"] * (ROWS_MAX + 1))[1] == f"{ROWS_MAX + 1} rows; a file has at most {ROWS_MAX}"


@pytest.mark.parametrize("text", ["", "\n\n", ","])
def test_an_empty_file_is_refused(text):
    with pytest.raises(BadInput, match="asset"):
        parse_samples(text, {"T1"}, NOW)


def test_a_file_that_is_no_csv_is_refused():
    with pytest.raises(BadInput, match="no CSV"):
        parse_samples(f'{HEADER}\n"T1"x,', {"T1"}, NOW)


@given(st.text(max_size=200))
def test_rubbish_is_a_report_or_nothing_worse(text):
    with pytest.raises(BadInput):
        parse_samples(text, {"T1"}, NOW)


@given(st.lists(st.text(max_size=12), min_size=12, max_size=12))
def test_rubbish_in_cells_is_a_report(cells):
    row = ",".join('"' + cell.replace('"', '""') + '"' for cell in ["T9", *cells[1:]])
    with pytest.raises(BadInput):
        parsed(row)


@pytest.mark.parametrize("time", ["0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00", "20250601", "2025-W01"])
def test_odd_times_are_a_report(time):
    assert any("time:" in line for line in refused(f"T1,{time},L,1,2,3,4,5,,,,"))


def test_deltas_and_rates_are_judged_from_sample_to_sample():
    rows = [f"T1,2025-{month:02}-01,L,{h2},1,1,1,0,,,," for month, h2 in ((1, 10), (4, 20), (7, 60))]
    samples = parsed(*rows)
    assert judge_newest(samples[:1], SEALED_20).status == 1
    assert len(judge_newest(samples[:1], SEALED_20).not_judged) == 2
    judged = judge_newest(samples, SEALED_20)
    assert (judged.status, judged.exceeded, judged.not_judged) == (3, ("h2",), ())
    assert judge_newest(samples[1:], SEALED_20).status == 1  # 40 more than before is not above the limit
