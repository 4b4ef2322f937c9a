"""`blackstart eval dga` and `blackstart train dga` as people type them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from drivers.errors import BadInput
from gateway.cli import app
from models.evaluation.dga import METHODS

DEV = Path(__file__).parents[2] / ".." / "shared" / "data" / "dga" / "dev.csv"
ROWS = """H2,CH4,C2H6,C2H4,C2H2,fault
32930,2397,157,0,0,PD
440,89,19,304,757,D2
1270,3450,520,1390,8,T12
10,5,3,2,0.5,N
"""  # IEC TC10 database, inspected cases, and a normal one


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(ROWS)
    return path


def test_for_machines(data):
    done = invoke("eval", "dga", "--data", data, "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.output)
    assert (report["n"], report["n_normal"]) == (3, 1)
    assert {*METHODS, "gate"} <= report.keys()
    assert report["gate"] == report["gate"] | {"fault_recall": 1.0, "normal_pass": 1.0}
    assert report["trained_on_this_file"] is False


def test_for_people(data):
    done = invoke("eval", "dga", "--data", data)
    assert done.exit_code == 0, done.output
    assert "rows.csv: 3 faults, 1 normal" in done.output
    assert all(method[:12] in done.output for method in METHODS)
    assert "passes 100.0 % of the faults" in done.output


def test_a_bad_cell_is_named(data):
    data.write_text(ROWS.replace("440", "many"))
    with pytest.raises(BadInput, match="line 3, column H2: 'many' is no number"):
        CliRunner().invoke(app, ["eval", "dga", "--data", str(data)], catch_exceptions=False)


def test_training_needs_origins(data, tmp_path):
    with pytest.raises(BadInput, match="needs the rows of two origins"):
        CliRunner().invoke(app, ["train", "dga", str(data), "--out", str(tmp_path / "m.onnx")], catch_exceptions=False)


@pytest.mark.skipif(not DEV.exists(), reason="the development data are not beside the repository")
def test_on_development_rows_the_consensus_beats_the_triangle_and_says_that_it_knows_them():
    report = json.loads(invoke("eval", "dga", "--data", DEV, "--json").output)
    assert report["trained_on_this_file"] is True
    assert report["consensus"]["accuracy"] > 0.75
    assert report["consensus"]["vs_triangle_1"]["difference"] > 0.1
    assert report["consensus"]["ece"] < 0.05
    assert report["consensus"]["decided"] > 0.98
