"""The anomaly detectors that are scored side by side, each fitted anew on one machine's commissioning rows.

In: commissioning rows (rows, sensors); out: a function that is called once per row, in time order, and says whether the
row is anomalous.  Thresholds come from the commissioning rows alone.

| name | what it is |
|---|---|
| `pca_t2_q` | PCA with T² and Q on the row as it stands (ONNX, what `blackstart train anomaly` writes) |
| `pca_t2_q_smoothed` | the same on rows smoothed by an exponentially weighted moving average |
| `dynamic_pca` | the same on the row together with the rows `LAGS` before (Ku, Storer and Georgakis 1995) |
| `kernel_regression` | auto-associative kernel regression (ONNX), the small non-linear model |
| `kernel_drift_chart` | the drift chart of `models.drift` on that model's residuals |
| `cusum` | two-sided cumulative sums of each sensor, as in `models.change_point`, without learning anew |
| `drift_chart` | the drift chart on the sensors |

Called by `blackstart eval anomaly`; the ONNX models need the extra `train`.
"""

from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from models.anomaly import AnomalyModel
from models.drift import DriftChart, fit_chart
from models.evaluation.anomaly import Detect, Fit
from models.training.anomaly import Kind, card_of, fit_model, to_onnx
from models.training.kernel import Kernel

__all__ = ("BEST", "DETECTORS")

BEST = "drift_chart"  # chosen on development files, before any other file was scored
RESOLUTION = 1e-3  # of a sensor's own spread: a channel that stands still must not divide by zero
SMOOTHING = 0.2
LAGS = (1, 2, 5)
CUSUM_SLACK, CUSUM_LIMIT = 1.0, 20.0  # coarser than for dating a change: sensors wander

Matrix = npt.NDArray[np.float64]


def _model(fitted: Matrix, kind: Kind) -> Callable[[Matrix], bool]:
    """An ONNX model as the product runs it, on whatever features there are."""
    names = tuple(f"f{index}" for index in range(fitted.shape[1]))
    model = fit_model(fitted, _resolution(fitted).tolist(), kind)
    card = card_of(model, fitted, names, "scored", "0" * 64)
    running = AnomalyModel.from_bytes(to_onnx(model, card), Path("scored.onnx"), known=names)

    def detect(row: Matrix) -> bool:
        return running.score(dict(zip(names, row.tolist(), strict=True))).anomalous

    return detect


def _plain(kind: Kind) -> Fit:
    return lambda fitted: _model(fitted, kind)


def _smoothed(fitted: Matrix) -> Detect:
    smoothed = [fitted[0]]
    for row in fitted[1:]:
        smoothed.append(smoothed[-1] + SMOOTHING * (row - smoothed[-1]))
    detect, level = _model(np.array(smoothed), "pca"), smoothed[-1].copy()

    def next_row(row: Matrix) -> bool:
        nonlocal level
        level = level + SMOOTHING * (row - level)
        return detect(level)

    return next_row


def _dynamic(fitted: Matrix) -> Detect:
    longest = max(LAGS)

    def lagged(rows: Matrix) -> Matrix:
        parts = [rows[longest:], *(rows[longest - lag : len(rows) - lag] for lag in LAGS)]
        stacked: Matrix = np.hstack(parts)
        return stacked

    detect = _model(lagged(fitted), "pca")
    newest = deque(fitted[-longest - 1 :], maxlen=longest + 1)

    def next_row(row: Matrix) -> bool:
        newest.append(row)
        return detect(lagged(np.array(newest))[0])

    return next_row


def _cusum(fitted: Matrix) -> Detect:
    mean, spread = fitted.mean(axis=0), fitted.std(axis=0) + _resolution(fitted)
    up, down = np.zeros(len(mean)), np.zeros(len(mean))

    def next_row(row: Matrix) -> bool:
        nonlocal up, down
        score = (row - mean) / spread
        # Bounded, so that a sum comes down again: how long a shift has lasted is not to be told from it.
        up = np.clip(up + score - CUSUM_SLACK, 0.0, 2 * CUSUM_LIMIT)
        down = np.clip(down - score - CUSUM_SLACK, 0.0, 2 * CUSUM_LIMIT)
        return bool(max(up.max(), down.max()) > CUSUM_LIMIT)

    return next_row


def _chart(fitted: Matrix) -> Detect:
    chart = DriftChart(fit_chart(fitted, _resolution(fitted)))
    return lambda row: chart.update(row).anomalous


def _kernel_chart(fitted: Matrix) -> Detect:
    kernel = fit_model(fitted, _resolution(fitted).tolist(), "kernel")
    assert isinstance(kernel, Kernel)
    residuals = kernel.residuals(fitted)
    chart = DriftChart(fit_chart(residuals, _resolution(residuals)))
    return lambda row: chart.update(kernel.residuals(row[None, :])[0]).anomalous


def _resolution(fitted: Matrix) -> Matrix:
    """Per sensor, above zero also where it stood still."""
    spread: Matrix = fitted.std(axis=0) * RESOLUTION + 1e-9
    return spread


DETECTORS: Mapping[str, Fit] = MappingProxyType(
    {
        "pca_t2_q": _plain("pca"),
        "pca_t2_q_smoothed": _smoothed,
        "dynamic_pca": _dynamic,
        "kernel_regression": _plain("kernel"),
        "kernel_drift_chart": _kernel_chart,
        "cusum": _cusum,
        "drift_chart": _chart,
    }
)
