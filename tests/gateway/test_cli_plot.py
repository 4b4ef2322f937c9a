"""`blackstart plot …`: what it draws from values, files and the daemon's answers, and what it refuses in words."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner

from drivers.errors import BadInput
from gateway.cli import app
from gateway.cli_plot import ROWS_MAX, parsed_gases, samples_of_csv, samples_of_history

SAMPLE = Path(__file__).parents[2] / "systemd" / "blackstart.toml"
SVG = "{http://www.w3.org/2000/svg}"
GASES = "H2=210,CH4=43,C2H6=12,C2H4=102,C2H2=187"  # IEC TC10 database, inspected: D2


def plot(*arguments):
    result = CliRunner().invoke(app, ["plot", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def out(tmp_path):
    return tmp_path / "x.svg"


def dots(out):
    return [dot.get("data-code") for dot in ET.parse(out).getroot().iter(f"{SVG}circle")]


@pytest.mark.parametrize(
    ("kind", "which", "code"),
    [
        ("triangle", "1", "D2"),
        ("triangle", "2", "X3"),
        ("triangle", "4", ""),
        ("triangle", "5", ""),
        ("pentagon", "1", "D2"),
        ("pentagon", "2", "D2"),
    ],
)
def test_one_sample_in_each_diagram(out, kind, which, code):
    answer = json.loads(plot(kind, "--which", which, "--gases", GASES, "--out", out, "--json").stdout)
    assert answer == {"file": str(out), "samples": 1, "codes": [code]}
    assert dots(out) == [code]


def test_for_people(out):
    assert plot("triangle", "--gases", GASES, "--out", out).stdout == f"{out}: written\n"


def test_a_track_from_a_file(out, tmp_path):
    path = tmp_path / "track.csv"
    path.write_text("time,H2,CH4,C2H6,C2H4,C2H2,fault\n2026-01-01,78,20,11,13,28,D1\n2026-02-01,210,43,12,102,187,D2\n")
    answer = json.loads(plot("triangle", "--csv", path, "--out", out, "--json").stdout)
    assert answer["codes"] == ["D1", "D2"]
    said = ET.parse(out).getroot().find(f"{SVG}desc").text
    assert "2 samples from 2026-01-01 (hollow)" in said
    assert "2026-02-01: D2, discharge of high energy" in said


def test_triangle_1_needs_its_three_gases_alone(out):
    answer = json.loads(plot("triangle", "--gases", "CH4=20,C2H4=13,C2H2=28", "--out", out, "--json").stdout)
    assert answer["codes"] == ["D1"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("H2=1,CH4=2", "--gases: lacks c2h2, c2h4, c2h6; gases are H2, CH4, C2H6, C2H4, C2H2"),
        ("H2=1,CH4=2,C2H6=3,C2H4=4,C2H2=5,CO=6", "--gases: unknown co"),
        ("H2=1,CH4=2,C2H6=3,C2H4=4,C2H2=-5", "--gases: c2h2_ul_l: Input should be greater than or equal to 0"),
        ("H2=1,CH4=2,C2H6=3,C2H4=4,C2H2=x", "--gases: c2h2_ul_l: Input should be a valid number"),
        ("H2,CH4=2,C2H6=3,C2H4=4,C2H2=5", "--gases: lacks h2"),
        ("", "--gases: lacks c2h2, c2h4, c2h6, ch4, h2"),
    ],
)
def test_gases_that_are_none_are_refused(text, words):
    with pytest.raises(BadInput) as refused:
        parsed_gases(text)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("H2,CH4,C2H6,C2H4,C2H2\n", "0 rows; 1 to"),
        ("a,b\n1,2\n", "row 1: lacks c2h2, c2h4, c2h6, ch4, h2"),
        ("H2,CH4,C2H6,C2H4,C2H2\n1,2,3,4,5\n1,2,3,4,nan\n", "row 2: c2h2_ul_l: Input should be a finite number"),
        ("H2,CH4,C2H6,C2H4,C2H2\n1,2,3,4\n", "row 1: lacks c2h2"),
        ("H2,CH4,C2H6,C2H4,C2H2\n" + "1,2,3,4,5\n" * (ROWS_MAX + 1), f"{ROWS_MAX + 1} rows"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_a_file_that_holds_no_samples_is_refused(tmp_path, content, words):
    path = tmp_path / "track.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadInput) as refused:
        samples_of_csv(path)
    assert str(path) in str(refused.value)
    assert words in str(refused.value)


@pytest.mark.parametrize("sources", [(), ("--gases", GASES, "--asset", "T1")])
def test_samples_come_in_one_way(out, sources):
    with pytest.raises(BadInput, match="in one way: --gases, --csv or --asset"):
        plot("pentagon", *sources, "--out", out)


def test_a_file_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(BadInput, match="cannot be written: No such file or directory"):
        plot("triangle", "--gases", GASES, "--out", tmp_path / "nowhere" / "x.svg")


def test_only_whole_analyses_of_a_history_are_drawn():
    whole = {
        f"SIML.{gas}ppm": value for gas, value in (("H2", -0.3), ("CH4", 5), ("C2H6", 5), ("C2H4", 5), ("C2H2", 9))
    }
    history = {
        "groups": {
            "T1/oil": [{"time": "2026-03-01T00:00:00+00:00", "values": {"SIML.Tmp": 50.0}}],
            "T1/dga": [
                {"time": "2026-03-01T02:00:00+00:00", "values": whole},
                {"time": "2026-03-01T01:00:00+00:00", "values": whole | {"SIML.CH4ppm": 7}},
            ],
        }
    }
    samples = samples_of_history(history)
    assert [sample.when for sample in samples] == ["2026-03-01 01:00 UTC", "2026-03-01 02:00 UTC"]
    assert [sample.gases.ch4_ul_l for sample in samples] == [7.0, 5.0]
    assert samples[0].gases.h2_ul_l == 0.0  # a monitor's noise around nothing


def test_temperatures_to_come_need_no_daemon(out):
    given = ("--load", "1.4", "--top-oil-degc", "60", "--load-before", "0.8", "--ambient", "25", "--config", SAMPLE)
    answer = json.loads(plot("thermal", "T1", *given, "--out", out, "--json").stdout)
    assert answer["first_limit_after_s"] > 0
    said = ET.parse(out).getroot().find(f"{SVG}desc").text
    assert "at 1.4 pu the first limit is met after 0 h " in said
    assert said.endswith("A planning aid: it neither allows nor forbids anything.")
