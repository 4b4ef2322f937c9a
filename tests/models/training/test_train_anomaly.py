"""Fitting the anomaly model: the file's errors, the limits, the export, and SKAB beside its baseline."""

import csv
from pathlib import Path

import numpy as np
import pytest

from drivers.errors import BadInput
from models.anomaly import SCHEMA, AnomalyModel, ModelCard
from models.training.anomaly import fit, load_commissioning_csv, to_onnx, train_anomaly

SKAB = Path(__file__).parents[3] / ".." / "shared" / "data" / "skab"
HEADER = "time,load_pu,top_oil_degc,remark\n"


def good_text(rows: int = 120) -> str:
    return HEADER + "".join(f"t{index},{0.5 + index % 7 / 10},{40 + index % 7 * 3},ok\n" for index in range(rows))


def card(pca, features) -> ModelCard:
    return ModelCard(
        schema_id=SCHEMA,
        asset_id="T1",
        features=tuple(features),
        components=len(pca.eigenvalues),
        fitted_rows=pca.fitted_rows,
        held_back_rows=pca.held_back_rows,
        t2_limit=pca.t2_limit,
        q_limit=pca.q_limit,
        data_sha256="0" * 64,
    )


def export(pca, names, path: Path) -> AnomalyModel:
    path.write_bytes(to_onnx(pca, card(pca, names)))
    return AnomalyModel.load(path, known=names)


def test_report_tells_what_was_done(tmp_path):
    source = tmp_path / "t1.csv"
    source.write_text(good_text())
    report = train_anomaly(source, "T1", tmp_path / "t1.onnx")
    assert report.card.features == ("load_pu", "top_oil_degc")
    assert (report.card.asset_id, report.card.fitted_rows, report.card.held_back_rows) == ("T1", 96, 24)
    assert report.ignored_columns == ("remark",)
    assert report.held_back_alarms == 0
    model = AnomalyModel.load(report.path)
    assert (model.identity, model.card) == (report.sha256, report.card)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: needs at least two"),
        ("time,load_pu\n", "line 1: needs at least two"),
        ("load_pu,load_pu,top_oil_degc\n", "line 1: columns named twice: load_pu"),
        (HEADER + "t0,0.5,40,ok\nt1,0.5,warm,ok\n", "line 3, column top_oil_degc: 'warm' is no number"),
        (HEADER + "t0,,40,ok\n", "line 2, column load_pu: '' is no number"),
        (HEADER + "t0,nan,40,ok\n", "line 2, column load_pu: 'nan' is not finite"),
        (HEADER + "t0,0.5\n", "line 2: 2 cells, the header has 4"),
        (HEADER + 't0,0.5,40,"open\n', "is no CSV"),
        (good_text(99), "99 rows, at least 100"),
    ],
)
def test_errors_name_file_line_and_column(tmp_path, text, said):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        load_commissioning_csv(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


def test_files_that_cannot_be_read_or_written_are_named(tmp_path):
    with pytest.raises(BadInput, match="absent"):
        load_commissioning_csv(tmp_path / "absent.csv")
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="UTF-8"):
        load_commissioning_csv(binary)
    good = tmp_path / "good.csv"
    good.write_text(good_text())
    with pytest.raises(BadInput, match="cannot be written"):
        train_anomaly(good, "T1", tmp_path / "no" / "t1.onnx")


def test_the_exported_graph_computes_what_was_fitted(tmp_path):
    rng = np.random.default_rng(7)
    matrix = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 6)) + rng.normal(0, 0.1, (500, 6))
    names = [f"f{index}" for index in range(6)]
    pca = fit(matrix, [1e-3] * 6)
    assert len(pca.eigenvalues) == 3
    model = export(pca, names, tmp_path / "m.onnx")
    t2, q = pca.statistics(matrix[:20])
    scores = [model.score(dict(zip(names, row, strict=True))) for row in matrix[:20].tolist()]
    assert [score.t2 for score in scores] == pytest.approx(t2.tolist())
    assert [score.q for score in scores] == pytest.approx(q.tolist())


def test_false_alarms_on_the_same_state_are_about_one_in_a_thousand():
    rng = np.random.default_rng(11)
    mixing = rng.normal(size=(3, 8))
    matrix = rng.normal(size=(12_000, 3)) @ mixing + rng.normal(0, 0.2, (12_000, 8))
    pca = fit(matrix[:2000], [1e-3] * 8)
    t2, q = pca.statistics(matrix[2000:])
    assert np.mean((t2 > pca.t2_limit) | (q > pca.q_limit)) < 0.005


def test_columns_that_never_move_are_no_obstacle(tmp_path):
    matrix = np.zeros((200, 3))
    matrix[:, 0] = np.linspace(0, 1, 200)
    pca = fit(matrix, [0.01, 0.5, 0.5])
    names = ["a", "b", "c"]
    model = export(pca, names, tmp_path / "m.onnx")
    assert not model.score({"a": 0.4, "b": 0.1, "c": 0.1}).anomalous
    assert model.score({"a": 0.4, "b": 5.0, "c": 0.0}).anomalous


def load_skab(path: Path):
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    names = [name for name in rows[0] if name not in {"datetime", "anomaly", "changepoint"}]
    matrix = np.array([[float(row[name]) for name in names] for row in rows])
    return names, matrix, np.array([float(row["anomaly"]) > 0 for row in rows])


def figures(said, truth) -> tuple[float, float, float]:
    """F1, false alarm rate and missed alarm rate."""
    hit, false, missed = np.sum(said & truth), np.sum(said & ~truth), np.sum(~said & truth)
    return 2 * hit / (2 * hit + false + missed), false / np.sum(~truth), missed / np.sum(truth)


@pytest.mark.skipif(not SKAB.exists(), reason="the SKAB files are not beside the repository")
def test_skab_beside_always_anomalous(tmp_path):
    said, truth = [], []
    for path in [SKAB / "valve1" / "0.csv", SKAB / "valve1" / "3.csv", SKAB / "other" / "4.csv"]:
        names, matrix, labels = load_skab(path)
        assert not labels[:400].any()
        pca = fit(matrix[:400], matrix[:400].std(axis=0) * 0.01 + 1e-9)
        model = export(pca, names, tmp_path / "m.onnx")
        scores = [model.score(dict(zip(names, row, strict=True))) for row in matrix[400:].tolist()]
        said.append(np.array([score.anomalous for score in scores]))
        truth.append(labels[400:])
    said, truth = np.concatenate(said), np.concatenate(truth)
    f1, far, mar = figures(said, truth)
    baseline, _, _ = figures(np.ones_like(truth), truth)
    print(  # noqa: T201 - the figures are the point of the run with `pytest -s`
        f"SKAB, {len(truth)} rows of 3 files: F1 {f1:.3f} FAR {far:.3f} MAR {mar:.3f}; always anomalous {baseline:.3f}"
    )
    assert np.isfinite(f1)
    assert f1 > 0
    assert far < 1
