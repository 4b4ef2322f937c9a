"""Kernel regression: it sees what bends, its graph computes what was fitted, and its rates are counted honestly."""

from pathlib import Path

import numpy as np
import pytest

from models.anomaly import AnomalyModel
from models.training.anomaly import Kind, card_of, fit_model, to_onnx
from models.training.kernel import MEMORY, Kernel

NAMES = ("speed", "flow", "power")


def bent(rows: int, seed: int) -> np.ndarray:
    """Power grows with the cube of the speed: no plane fits it."""
    rng = np.random.default_rng(seed)
    speed = rng.uniform(-1, 1, rows)
    return np.column_stack([speed, speed**2, speed**3]) + rng.normal(0, 0.02, (rows, 3))


def exported(matrix: np.ndarray, kind: Kind) -> tuple[AnomalyModel, Kernel]:
    model = fit_model(matrix, [1e-3] * matrix.shape[1], kind)
    names = NAMES[: matrix.shape[1]]
    card = card_of(model, matrix, names, "T1", "0" * 64)
    return AnomalyModel.from_bytes(to_onnx(model, card), Path("m.onnx"), known=names), model


def test_the_exported_graph_computes_what_was_fitted() -> None:
    running, kernel = exported(bent(500, 1), "kernel")
    rows = bent(30, 2) * np.linspace(0.5, 3, 30)[:, None]
    t2, q = kernel.statistics(rows)
    scores = [running.score(dict(zip(NAMES, row, strict=True))) for row in rows.tolist()]
    assert [score.t2 for score in scores] == pytest.approx(t2.tolist(), abs=1e-9)
    assert [score.q for score in scores] == pytest.approx(q.tolist(), abs=1e-9)
    assert running.card.method == "kernel_regression"
    assert running.card.components == len(kernel.memory) == MEMORY


def test_it_sees_off_the_bend_what_a_plane_does_not() -> None:
    off_the_bend = {"speed": 0.0, "flow": 0.5, "power": 0.0}  # each value alone is ordinary
    assert exported(bent(500, 1), "kernel")[0].score(off_the_bend).anomalous
    assert not exported(bent(500, 1), "pca")[0].score(off_the_bend).anomalous


def test_rates_of_the_card_are_those_of_rows_that_the_fit_did_not_see() -> None:
    running, _ = exported(bent(500, 1), "kernel")
    assert running.card.held_back_rows == 100
    assert running.card.far == 0
    fresh = [running.score(dict(zip(NAMES, row, strict=True))).anomalous for row in bent(1000, 3).tolist()]
    assert np.mean(fresh) < 0.03
    assert running.card.mar is not None
    assert 0 <= running.card.mar < 0.2


@pytest.mark.parametrize("kind", ["pca", "kernel"])
def test_columns_that_never_move_are_no_obstacle(kind: Kind) -> None:
    matrix = np.zeros((200, 3))
    matrix[:, 0] = np.sin(np.arange(200))
    running, _ = exported(matrix, kind)
    assert not running.score({"speed": 0.4, "flow": 0.0, "power": 0.0}).anomalous
    assert running.score({"speed": 0.4, "flow": 5.0, "power": 0.0}).anomalous


def test_far_from_every_memory_the_numbers_stay_finite() -> None:
    running, _ = exported(bent(300, 4), "kernel")
    score = running.score({"speed": 1e9, "flow": -1e9, "power": 0.0})
    assert score.anomalous
    assert np.isfinite([score.t2, score.q]).all()
