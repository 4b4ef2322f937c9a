"""Fits the anomaly model of one asset from commissioning data and writes it as ONNX.

Input: a CSV with a header; `time` and the columns of `FEATURES` that the site measures, in the units their names end
in, while the machine was known to be healthy.  Output: a PCA with the statistics T² and Q, or the kernel regression of
`models.training.kernel`; limits, false and missed alarm rates and the asset's drift chart in the metadata.

The fit: each feature is centred and scaled by its standard deviation, widened by its resolution (so that a gas that was
never there, C2H2 above all, neither divides by zero nor cries at the first tenth of a µL/L).  Components are kept until
they explain `EXPLAINED` of the variance, at least one fewer than features.  The limits are for one false alarm in a
thousand rows: the larger of the theoretical limit (chi-square for T², Jackson and Mudholkar 1979 for Q) and the
empirical quantile on the last fifth of the rows, which the fit did not see.  On that fifth the alarm rates are counted:
false ones as it stands, missed ones with one feature at a time off by `MAR_SHIFT` spreads.
Called by `blackstart train anomaly` and `models.evaluation.detectors`.
"""

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, sqrt
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, checker, helper, numpy_helper

from drivers.errors import BadInput
from models.anomaly import FEATURES, INPUT, MAR_SHIFT, OUTPUTS, RESOLUTION, SCHEMA, ModelCard
from models.drift import fit_chart
from models.training.kernel import Constants, Kernel, fit_kernel, kernel_graph

__all__ = (
    "Commissioning",
    "Kind",
    "Pca",
    "TrainingReport",
    "card_of",
    "fit",
    "fit_model",
    "load_commissioning_csv",
    "to_onnx",
    "train_anomaly",
)

EXPLAINED = 0.99  # of the variance; Q watches the rest: relations as tight as that of load, ambient and oil
FIT_SHARE = 0.8  # of the rows, in their order; the tail sets the empirical limits
MIN_ROWS = 100  # fewer rows know too few states of the machine
MAX_BYTES = 256 << 20  # ten years of ten-minute rows stay below
_QUANTILE = 0.999
_Z_QUANTILE = 3.0902  # of the standard normal distribution at `_QUANTILE`
_OPSET = 17
_IR_VERSION = 8

Matrix = npt.NDArray[np.float64]
Kind: TypeAlias = Literal["pca", "kernel"]


@dataclass(frozen=True, slots=True)
class Commissioning:
    """Rows of a healthy machine: `matrix` is (rows, features), columns as `features`."""

    features: tuple[str, ...]
    matrix: Matrix
    ignored: tuple[str, ...]  # columns of the file that no model uses
    sha256: str


@dataclass(frozen=True, slots=True)
class Pca:
    """A fitted model; features are scaled as (x - mean) / scale before projection."""

    mean: Matrix  # (features,)
    scale: Matrix  # (features,)
    loadings: Matrix  # (features, components)
    eigenvalues: Matrix  # (components,)
    t2_limit: float
    q_limit: float
    fitted_rows: int
    held_back_rows: int

    def statistics(self, matrix: Matrix) -> tuple[Matrix, Matrix]:
        """T² and Q per row; the reference that the ONNX graph is tested against."""
        return _statistics((matrix - self.mean) / self.scale, self.loadings, self.eigenvalues)


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What a training run did, for the person who started it."""

    path: Path
    sha256: str
    card: ModelCard
    ignored_columns: tuple[str, ...]
    held_back_alarms: int  # rows of the held-back tail above either limit


def train_anomaly(csv_path: Path, asset_id: str, out_path: Path, kind: Kind = "pca") -> TrainingReport:
    """Fit and write the model of one asset.  Raises BadInput naming file, line and column."""
    data = load_commissioning_csv(csv_path)
    resolution = [RESOLUTION[name] for name in data.features]
    model = fit_model(data.matrix, resolution, kind)
    card = card_of(model, data.matrix, data.features, asset_id, data.sha256)
    card = card.model_copy(update={"chart": fit_chart(data.matrix, np.array(resolution))})
    blob = to_onnx(model, card)
    try:
        out_path.write_bytes(blob)
    except OSError as err:
        raise BadInput(f"{out_path}: cannot be written: {err.strerror}") from err
    return TrainingReport(
        path=out_path,
        sha256=hashlib.sha256(blob).hexdigest(),
        card=card,
        ignored_columns=data.ignored,
        held_back_alarms=int(np.count_nonzero(_anomalous(model, data.matrix[model.fitted_rows :]))),
    )


def load_commissioning_csv(path: Path) -> Commissioning:
    """Read a commissioning file, strictly: every cell of a feature is a finite number.  Raises BadInput."""
    try:
        blob = path.read_bytes() if path.stat().st_size <= MAX_BYTES else None
        text = None if blob is None else blob.decode("utf-8-sig")
    except OSError as err:
        raise BadInput(f"{path}: cannot be read: {err.strerror}") from err
    except UnicodeDecodeError as err:
        raise BadInput(f"{path}: is no UTF-8 text: {err.reason} at byte {err.start}") from err
    if blob is None or text is None:
        raise BadInput(f"{path}: larger than {MAX_BYTES} bytes")
    try:
        features, ignored, rows = _parse(path, text)
    except csv.Error as err:
        raise BadInput(f"{path}: is no CSV: {err}") from err
    if len(rows) < MIN_ROWS:
        raise BadInput(f"{path}: {len(rows)} rows, at least {MIN_ROWS} are needed")
    return Commissioning(features, np.array(rows), ignored, hashlib.sha256(blob).hexdigest())


def fit(matrix: Matrix, resolution: Sequence[float]) -> Pca:
    """Fit a model to (rows, features) in time order; `resolution` per feature as in `RESOLUTION`, above zero."""
    rows, features = matrix.shape
    assert rows >= MIN_ROWS, rows
    assert features > 1, features
    fitted_rows = int(rows * FIT_SHARE)
    fitted = matrix[:fitted_rows]
    trembling = np.asarray(resolution, dtype=np.float64)
    scale = np.sqrt(fitted.var(axis=0) + trembling**2)
    mean = fitted.mean(axis=0)
    scaled = (fitted - mean) / scale
    spectrum, vectors = np.linalg.eigh(scaled.T @ scaled / fitted_rows + np.diag((trembling / scale) ** 2))
    spectrum, vectors = spectrum[::-1], vectors[:, ::-1]
    explained = np.cumsum(spectrum) / spectrum.sum()
    kept = min(int(np.searchsorted(explained, EXPLAINED)) + 1, features - 1)
    loadings, eigenvalues = vectors[:, :kept], spectrum[:kept]
    t2, q = _statistics((matrix[fitted_rows:] - mean) / scale, loadings, eigenvalues)
    return Pca(
        mean=mean,
        scale=scale,
        loadings=loadings,
        eigenvalues=eigenvalues,
        t2_limit=max(_chi_square_limit(kept), float(np.quantile(t2, _QUANTILE))),
        q_limit=max(_q_limit(spectrum[kept:]), float(np.quantile(q, _QUANTILE))),
        fitted_rows=fitted_rows,
        held_back_rows=rows - fitted_rows,
    )


def fit_model(matrix: Matrix, resolution: Sequence[float], kind: Kind) -> Pca | Kernel:
    """Fit a model of this kind to (rows, features) in time order, as `fit` does."""
    if kind == "pca":
        return fit(matrix, resolution)
    assert len(matrix) >= MIN_ROWS, len(matrix)
    return fit_kernel(matrix, resolution, int(len(matrix) * FIT_SHARE), _QUANTILE)


def card_of(
    model: Pca | Kernel, matrix: Matrix, features: tuple[str, ...], asset_id: str, data_sha256: str
) -> ModelCard:
    """The metadata of a model fitted to `matrix`, with its alarm rates on the rows that the fit did not see."""
    held_back = matrix[model.fitted_rows :]
    shifts = np.vstack([np.diag(model.scale), -np.diag(model.scale)]) * MAR_SHIFT
    missed = [1 - np.mean(_anomalous(model, held_back + shift)) for shift in shifts]
    is_pca = isinstance(model, Pca)
    return ModelCard(
        schema_id=SCHEMA,
        asset_id=asset_id,
        method="pca_t2_q" if is_pca else "kernel_regression",
        features=features,
        components=len(model.eigenvalues if isinstance(model, Pca) else model.memory),
        fitted_rows=model.fitted_rows,
        held_back_rows=model.held_back_rows,
        t2_limit=model.t2_limit,
        q_limit=model.q_limit,
        far=float(np.mean(_anomalous(model, held_back))),
        mar=float(np.mean(missed)),
        data_sha256=data_sha256,
    )


def to_onnx(fitted: Pca | Kernel, card: ModelCard) -> bytes:
    """The model as an ONNX file: (1, features) in double to T², Q and the share of each feature in both."""
    nodes, constants = _pca_graph(fitted) if isinstance(fitted, Pca) else kernel_graph(fitted, INPUT)
    width = len(card.features)
    widths = dict(zip(OUTPUTS, (1, 1, width, width), strict=True))
    graph = helper.make_graph(
        nodes,
        card.method,
        [helper.make_tensor_value_info(INPUT, TensorProto.DOUBLE, [1, width])],
        [helper.make_tensor_value_info(name, TensorProto.DOUBLE, [1, size]) for name, size in widths.items()],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="blackstart",
    )
    metadata = card.model_dump(mode="json", exclude_none=True)
    helper.set_model_props(model, {key: json.dumps(value) for key, value in metadata.items()})
    checker.check_model(model, full_check=True)
    blob: bytes = model.SerializeToString(deterministic=True)
    return blob


def _pca_graph(pca: Pca) -> tuple[list[NodeProto], Constants]:
    constants: Constants = {
        "mean": pca.mean,
        "scale": pca.scale,
        "loadings": pca.loadings,
        "loadings_t": pca.loadings.T,
        "weights": 1 / pca.eigenvalues,
        "axis": np.array([1], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Sub", [INPUT, "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "scale"], ["scaled"]),
        helper.make_node("MatMul", ["scaled", "loadings"], ["scores"]),
        helper.make_node("Mul", ["scores", "weights"], ["weighted"]),
        helper.make_node("MatMul", ["weighted", "loadings_t"], ["pull"]),
        helper.make_node("Mul", ["scaled", "pull"], ["t2_parts"]),  # sums to T² = Σ scores²/eigenvalue
        helper.make_node("ReduceSum", ["t2_parts", "axis"], ["t2"], keepdims=1),
        helper.make_node("MatMul", ["scores", "loadings_t"], ["explained"]),
        helper.make_node("Sub", ["scaled", "explained"], ["residual"]),
        helper.make_node("Mul", ["residual", "residual"], ["q_parts"]),
        helper.make_node("ReduceSum", ["q_parts", "axis"], ["q"], keepdims=1),
    ]
    return nodes, constants


def _anomalous(model: Pca | Kernel, matrix: Matrix) -> npt.NDArray[np.bool_]:
    t2, q = model.statistics(matrix)
    above: npt.NDArray[np.bool_] = (t2 > model.t2_limit) | (q > model.q_limit)
    return above


def _statistics(scaled: Matrix, loadings: Matrix, eigenvalues: Matrix) -> tuple[Matrix, Matrix]:
    scores = scaled @ loadings
    residual = scaled - scores @ loadings.T
    return (scores**2 / eigenvalues).sum(axis=1), (residual**2).sum(axis=1)


def _chi_square_limit(degrees: int) -> float:
    """Quantile of the chi-square distribution, Wilson and Hilferty's approximation."""
    ninth = 2 / (9 * degrees)
    return float(degrees * (1 - ninth + _Z_QUANTILE * sqrt(ninth)) ** 3)


def _q_limit(left_over: Matrix) -> float:
    """Quantile of Q from the variances that the model leaves unexplained (Jackson and Mudholkar)."""
    theta1, theta2, theta3 = (float((left_over**power).sum()) for power in (1, 2, 3))
    h0 = max(1 - 2 * theta1 * theta3 / (3 * theta2**2), 1e-3)  # below zero the formula leaves its domain
    root = _Z_QUANTILE * sqrt(2 * theta2 * h0**2) / theta1 + 1 + theta2 * h0 * (h0 - 1) / theta1**2
    return float(theta1 * max(root, 1.0) ** (1 / h0))


def _parse(path: Path, text: str) -> tuple[tuple[str, ...], tuple[str, ...], list[list[float]]]:
    """Features, ignored columns and rows; the line number in a message is that of a text editor."""
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    header = [name.strip() for name in next(lines, [])]
    doubled = sorted({name for name in header if header.count(name) > 1})
    if doubled:
        raise BadInput(f"{path}: line 1: columns named twice: {', '.join(doubled)}")
    columns = {name: header.index(name) for name in FEATURES if name in header}
    if len(columns) < 2:  # noqa: PLR2004 - one signal has nothing to be compared with
        raise BadInput(f"{path}: line 1: needs at least two of the columns {', '.join(FEATURES)}")
    ignored = tuple(name for name in header if name not in columns and name != "time")
    rows = [_parse_row(path, lines.line_num, cells, columns, len(header)) for cells in lines if cells]
    return tuple(columns), ignored, rows


def _parse_row(path: Path, line: int, cells: list[str], columns: Mapping[str, int], width: int) -> list[float]:
    if len(cells) != width:
        raise BadInput(f"{path}: line {line}: {len(cells)} cells, the header has {width}")
    row = []
    for name, index in columns.items():
        try:
            value = float(cells[index])
        except ValueError as err:
            raise BadInput(f"{path}: line {line}, column {name}: {cells[index]!r} is no number") from err
        if not isfinite(value):
            raise BadInput(f"{path}: line {line}, column {name}: {cells[index]!r} is not finite")
        row.append(value)
    return row
