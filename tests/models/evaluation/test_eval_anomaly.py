"""The protocol of the anomaly figures: what is read, what is left out, what a detector can know, how it is counted."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from drivers.errors import BadInput
from models.evaluation.anomaly import FIT_ROWS, Run, evaluate, load_runs, said, score

HEADER = "datetime;Current;Volume Flow RateRMS;anomaly;changepoint"
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_(name: str, rows: int = 600, faulty: range = range(500, 550), header: str = HEADER) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        lines = [f"2020-03-09 10:14:33;{row}.5;-1e-3;{float(row in faulty)};0.0" for row in range(rows)]
        path.write_text("\n".join([header, *lines]) + "\n")
        return path

    return write_


def made(truth: list[int], name: str = "made") -> Run:
    """A run whose second sensor tells the truth."""
    rows = np.column_stack([np.arange(len(truth)), truth]).astype(float)
    return Run(name, ("count", "tell"), np.zeros((FIT_ROWS, 2)), rows, np.array(truth, dtype=bool))


def test_runs_are_read_in_natural_order_and_split_at_the_fit(write: Write, tmp_path: Path) -> None:
    for name in ("valve1/10.csv", "valve1/2.csv", "other/1.csv"):
        write(name)
    runs = load_runs(tmp_path).runs
    assert [run.name for run in runs] == ["other/1.csv", "valve1/2.csv", "valve1/10.csv"]
    assert runs[0].sensors == ("Current", "Volume Flow RateRMS")
    assert runs[0].fitted[[0, -1]].tolist() == [[0.5, -0.001], [399.5, -0.001]]
    assert runs[0].rows[0].tolist() == [400.5, -0.001]
    assert np.flatnonzero(runs[0].truth).tolist() == list(range(100, 150))


def test_what_cannot_be_scored_is_left_out_by_name(write: Write, tmp_path: Path) -> None:
    write("valve1/0.csv")
    write("other/2.csv", faulty=range(399, 450))
    write("other/3.csv", rows=400)
    write("anomaly-free/anomaly-free.csv", header="datetime;Current;Flow;x;y")
    loaded = load_runs(tmp_path)
    assert [run.name for run in loaded.runs] == ["valve1/0.csv"]
    assert loaded.left_out["other/2.csv"] == "has anomalies among its first 400 rows"
    assert "400 rows" in loaded.left_out["other/3.csv"]
    assert "no column anomaly" in loaded.left_out["anomaly-free/anomaly-free.csv"]


@pytest.mark.parametrize(
    ("old", "new", "said_"),
    [("7.5;", "x;", "column Current: 'x'"), ("7.5;", "nan;", "column Current: 'nan'"), ("7.5;", "", "4 cells")],
)
def test_a_bad_cell_is_named_with_file_and_line(write: Write, tmp_path: Path, old: str, new: str, said_: str) -> None:
    path = write("valve1/0.csv")
    path.write_text(path.read_text().replace(f";{old}", f";{new}", 1))
    with pytest.raises(BadInput, match=said_) as caught:
        load_runs(tmp_path)
    assert f"{path}: line 9" in str(caught.value)


def test_a_folder_without_anything_to_score_is_refused(write: Write, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no \*\.csv"):
        load_runs(tmp_path)
    write("valve1/0.csv", faulty=range(10, 20))
    with pytest.raises(BadInput, match=r"valve1/0\.csv: has anomalies"):
        load_runs(tmp_path)


def test_a_detector_is_shown_one_row_at_a_time_and_nothing_else() -> None:
    shown: list[np.ndarray] = []

    def fit(fitted: np.ndarray) -> Callable[[np.ndarray], bool]:
        assert fitted.shape == (FIT_ROWS, 2)
        return lambda row: bool(shown.append(row.copy()))

    run = made([0, 1, 0])
    assert said(fit(run.fitted), run.rows).tolist() == [False] * 3
    assert np.array(shown).tolist() == run.rows.tolist()


def test_rows_are_pooled_and_counted_one_by_one() -> None:
    runs = [made([0, 0, 0, 1]), made([1, 1, 1, 1, 0, 0])]
    figures = score(runs, lambda _: lambda row: row[0] in {0, 3})  # the first and the fourth row of each
    assert figures == {"f1": round(2 * 3 / (2 * 3 + 1 + 2), 4), "far": 0.2, "mar": 0.4}


def test_truth_told_by_a_sensor_is_perfect_and_baselines_stand_beside() -> None:
    runs = [made([0] * 200 + [1] * 300 + [0] * 100, name=f"{number}") for number in range(6)]
    detectors = {"telling": lambda _: lambda row: bool(row[1]), "silent": lambda _: lambda _: False}
    report = evaluate(runs, detectors, "telling")
    assert (report["telling"]["f1"], report["telling"]["far"], report["telling"]["mar"]) == (1.0, 0.0, 0.0)
    assert report["best"]["detector"] == "telling"
    assert report["best"]["f1"] == 1.0
    assert (report["silent"]["f1"], report["silent"]["mar"]) == (0.0, 1.0)
    assert (report["always"]["f1"], report["always"]["far"]) == (0.6667, 1.0)
    assert (report["rows"], report["anomalous_rows"], len(report["files"])) == (3600, 1800, 6)
    assert report["telling"]["random_prefix"]["f1_fall"] == 0


def test_a_random_prefix_gives_a_clock_away() -> None:
    runs = [made([0] * 173 + [1] * 401 + [0] * 100, name=f"{number}") for number in range(10)]

    def row_counter(_: np.ndarray) -> Callable[[np.ndarray], bool]:
        count = iter(range(400, 10_000))
        return lambda _: 573 <= next(count) < 974

    report = evaluate(runs, {"row_counter": row_counter}, "row_counter")
    assert report["clock"]["f1"] == report["row_counter"]["f1"] == 1.0
    assert report["clock"]["random_prefix"] == report["row_counter"]["random_prefix"]
    assert report["row_counter"]["random_prefix"]["f1_fall"] > 0.1


def test_the_same_figures_come_out_again() -> None:
    runs = [made([0] * 50 + [1] * 50, name=f"{number}") for number in range(4)]
    detectors = {"first_rows": lambda _: lambda row: row[0] < 60}
    reports = [evaluate(runs, detectors, "first_rows")["first_rows"] for _ in range(2)]
    assert reports[0]["random_prefix"] == reports[1]["random_prefix"]
    assert reports[0]["f1"] == reports[1]["f1"]


@pytest.mark.parametrize("truth", [[0] * 10, [1] * 10])
def test_rows_of_one_kind_cannot_be_scored(truth: list[int]) -> None:
    with pytest.raises(BadInput, match="of one kind"):
        evaluate([made(truth)], {"silent": lambda _: lambda _: False}, "silent")
