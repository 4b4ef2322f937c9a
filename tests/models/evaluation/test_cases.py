"""Labelled samples from a file."""

import re

import pytest

from drivers.errors import BadInput
from models.evaluation.cases import load_cases

HEADER = "H2,CH4,C2H6,C2H4,C2H2,fault,origin\n"


@pytest.fixture
def csv(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "cases.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def test_rows_are_read_in_their_order(csv):
    cases = load_cases(csv("note,fault,C2H2,C2H4,C2H6,CH4,H2\nx, T12 ,5,4,3,2,1\n\ny,N,0,0,0,0,0.5\n"))
    assert cases.amounts.tolist() == [[1, 2, 3, 4, 5], [0.5, 0, 0, 0, 0]]
    assert cases.labels == ("T12", "N")
    assert cases.origins == ("", "")


def test_origin_and_byte_order_mark(csv):
    assert load_cases(csv("\ufeff" + HEADER + "1,2,3,4,5,PD,a book\n")).origins == ("a book",)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "line 1: lacks the columns H2, CH4, C2H6, C2H4, C2H2, fault"),
        ("H2,CH4,C2H6,C2H4,fault\n", "line 1: lacks the columns C2H2; needed are"),
        ("H2,H2,CH4,C2H6,C2H4,C2H2,fault\n", "line 1: columns named twice: H2"),
        (HEADER, "no row below its header"),
        (HEADER + "1,2,3,4,5,PD,a\n1,2,x,4,5,PD,a\n", "line 3, column C2H6: 'x' is no number"),
        (HEADER + "1,2,,4,5,PD,a\n", "line 2, column C2H6: '' is no number; write 0 for none"),
        (HEADER + "1,-2,3,4,5,PD,a\n", "line 2, column CH4: '-2' is no concentration"),
        (HEADER + "1,2,3,nan,5,PD,a\n", "line 2, column C2H4: 'nan' is no concentration"),
        (HEADER + "1,2,3,4,2e6,PD,a\n", "line 2, column C2H2: '2e6' is no concentration (0 to 1e+06 uL/L)"),
        (HEADER + "1,2,3,4,5,X,a\n", "line 2, column fault: 'X' is none of PD, D1, D2, T1, T2, T3, T12, N"),
        (HEADER + "1,2,3,4,5,PD\n", "line 2: 6 cells, the header has 7"),
        (HEADER + '1,2,3,4,5,PD,"a\n', "is no CSV"),
    ],
)
def test_what_is_wrong_is_named(csv, text, complaint):
    path = csv(text)
    with pytest.raises(BadInput, match=re.escape(complaint)) as caught:
        load_cases(path)
    assert str(path) in str(caught.value)


def test_other_encodings_and_missing_files_are_named(csv, tmp_path):
    with pytest.raises(BadInput, match="is no UTF-8 text"):
        load_cases(csv(HEADER + "1,2,3,4,5,PD,Müller\n", "latin-1"))
    with pytest.raises(BadInput, match="cannot be read: No such file"):
        load_cases(tmp_path / "none.csv")
