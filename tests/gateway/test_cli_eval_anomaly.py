"""`blackstart eval anomaly` as people and machines meet it, also through a simulated module and the real driver."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from gateway.cli import app

SENSORS = [f"s{number}" for number in range(8)]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two short runs of eight sensors, with a fault, and one that cannot be scored."""
    for number, faulty_from in enumerate((420, 410, 100)):
        rng = np.random.default_rng(number)
        table = rng.normal(np.arange(1, 9), 0.1, (450, 8))
        table[faulty_from : faulty_from + 30, 2] += 4
        lines = [";".join(["datetime", *SENSORS, "anomaly", "changepoint"])]
        for row, values in enumerate(table.tolist()):
            faulty = float(faulty_from <= row < faulty_from + 30)
            lines.append(";".join(["t", *(f"{value:.6g}" for value in values), str(faulty), "0.0"]))
        (tmp_path / f"{number}.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def eval_anomaly(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["eval", "anomaly", *arguments])
    return done.exit_code, done.stdout


def test_for_machines_every_detector_has_its_ratios_and_the_wire_loses_nothing(runs: Path) -> None:
    code, output = eval_anomaly("--data", str(runs), "--through-plc", "--json")
    assert code == 0
    report = json.loads(output)
    named = {"pca_t2_q", "dynamic_pca", "kernel_regression", "drift_chart", "cusum", "best", "clock", "always"}
    assert named <= set(report)
    for name in named:
        assert all(0 <= report[name][key] <= 1 for key in ("f1", "far", "mar"))
        assert "f1_fall" in report[name]["random_prefix"]
    assert report["best"]["f1"] == report[report["best"]["detector"]]["f1"] > 0.8
    assert report["left_out"] == {"2.csv": "has anomalies among its first 400 rows"}
    wire = report["through_plc"]
    assert (wire["f1_loss"], wire["f1"], wire["values"]) == (0, report["best"]["f1"], 2 * 450 * 8)
    assert wire["values_differing"] == 0  # six digits are what a float32 register can carry


def test_for_people_there_is_a_table_and_the_reasons(runs: Path) -> None:
    code, output = eval_anomaly("--data", str(runs))
    assert code == 0
    for text in ("drift_chart", "FAR", "chosen on development files", "left out: 2.csv"):
        assert text in output


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["eval", "anomaly", "--data", str(tmp_path / "absent")])
    assert done.exit_code == 1
    assert "no such folder" in str(done.exception)
