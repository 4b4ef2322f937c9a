"""Auto-associative kernel regression as ONNX: the small non-linear model beside the PCA.

In: commissioning rows; out: the same kind of model file as `models.training.anomaly` writes, with the same outputs.
The model remembers `MEMORY` commissioning rows and expects of a new row the average of the remembered ones, weighted
by a Gaussian kernel of their distance (Nadaraya 1964, Watson 1964; the estimator family of MSET, Singer et al. 1997).
`q` is the squared residual, the distance from what the machine would show; `t2` is the squared distance to the
nearest remembered row, for states that commissioning did not visit.  A machine whose channels bend with its
load is followed where a PCA draws a plane.  Fitted in milliseconds, without iterations.
Called by `models.training.anomaly` and `models.evaluation.detectors`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, helper

__all__ = ("Constants", "Kernel", "fit_kernel", "kernel_graph")

MEMORY = 64  # rows; more cost time and remember noise
BANDWIDTH_SHARE = 0.35  # of the median distance between remembered rows: wide enough to average their noise away
MIN_BANDWIDTH = 1e-3
QUANTILE_MARGIN = 1.1  # a quantile of few held-back rows is nearly their greatest, and the next may be greater

Matrix = npt.NDArray[np.float64]
Constants: TypeAlias = dict[str, Matrix | npt.NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Kernel:
    """A fitted model; rows are scaled as (x - mean) / scale."""

    mean: Matrix  # (features,)
    scale: Matrix  # (features,)
    memory: Matrix  # (remembered rows, features), scaled
    bandwidth: float  # of the kernel, in scaled units
    t2_limit: float
    q_limit: float
    fitted_rows: int
    held_back_rows: int

    def residuals(self, matrix: Matrix) -> Matrix:
        """What each row (rows, features) shows less than what the machine would show, scaled."""
        scaled = (matrix - self.mean) / self.scale
        squares = _squares(scaled, self.memory)
        weights = np.exp(-(squares - squares.min(axis=1, keepdims=True)) / (2 * self.bandwidth**2))
        residual: Matrix = scaled - weights @ self.memory / weights.sum(axis=1, keepdims=True)
        return residual

    def statistics(self, matrix: Matrix) -> tuple[Matrix, Matrix]:
        """T² (distance to the nearest memory) and Q (residual) per row; the reference that the graph is tested on."""
        nearest = _squares((matrix - self.mean) / self.scale, self.memory).min(axis=1)
        return nearest, (self.residuals(matrix) ** 2).sum(axis=1)


def fit_kernel(matrix: Matrix, resolution: Sequence[float], fitted_rows: int, quantile: float) -> Kernel:
    """Remember `MEMORY` of the first `fitted_rows` of (rows, features), evenly spread; the rest sets the limits.

    `resolution` per feature in its unit, above zero; `quantile` of the held-back rows stays below each limit.
    """
    fitted = matrix[:fitted_rows]
    mean = fitted.mean(axis=0)
    scale = np.sqrt(fitted.var(axis=0) + np.asarray(resolution, dtype=np.float64) ** 2)
    picked = np.unique(np.linspace(0, fitted_rows - 1, MEMORY).astype(int))
    memory = (fitted[picked] - mean) / scale
    apart = np.sqrt(_squares(memory, memory)[np.triu_indices(len(memory), 1)])
    kernel = Kernel(
        mean=mean,
        scale=scale,
        memory=memory,
        bandwidth=max(BANDWIDTH_SHARE * float(np.median(apart)), MIN_BANDWIDTH),
        t2_limit=1.0,
        q_limit=1.0,
        fitted_rows=fitted_rows,
        held_back_rows=len(matrix) - fitted_rows,
    )
    t2, q = kernel.statistics(matrix[fitted_rows:])
    least = float(((np.asarray(resolution) / scale) ** 2).sum())  # all features off by their resolution is no anomaly
    return replace(
        kernel,
        t2_limit=max(QUANTILE_MARGIN * float(np.quantile(t2, quantile)), least),
        q_limit=max(QUANTILE_MARGIN * float(np.quantile(q, quantile)), least),
    )


def kernel_graph(kernel: Kernel, row: str) -> tuple[list[NodeProto], Constants]:
    """Nodes and constants that turn the input `row` into t2, q, t2_parts and q_parts."""
    constants: Constants = {
        "mean": kernel.mean,
        "scale": kernel.scale,
        "memory": kernel.memory,
        "memory_t": np.ascontiguousarray(kernel.memory.T),
        "memory_norms": (kernel.memory**2).sum(axis=1)[None, :],
        "two": np.array([2.0]),
        "sharpness": np.array([-1 / (2 * kernel.bandwidth**2)]),
        "axis": np.array([1], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Sub", [row, "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "scale"], ["scaled"]),
        helper.make_node("MatMul", ["scaled", "memory_t"], ["products"]),
        helper.make_node("Mul", ["products", "two"], ["doubled"]),
        helper.make_node("Sub", ["memory_norms", "doubled"], ["nearness"]),  # the squares, but for the row's own norm
        helper.make_node("Mul", ["nearness", "sharpness"], ["exponents"]),
        helper.make_node("Softmax", ["exponents"], ["weights"], axis=1),
        helper.make_node("MatMul", ["weights", "memory"], ["expected"]),
        helper.make_node("Sub", ["scaled", "expected"], ["residual"]),
        helper.make_node("Mul", ["residual", "residual"], ["q_parts"]),
        helper.make_node("ReduceSum", ["q_parts", "axis"], ["q"], keepdims=1),
        helper.make_node("ArgMax", ["exponents"], ["nearest"], axis=1, keepdims=0),
        helper.make_node("Gather", ["memory", "nearest"], ["neighbour"], axis=0),
        helper.make_node("Sub", ["scaled", "neighbour"], ["away"]),
        helper.make_node("Mul", ["away", "away"], ["t2_parts"]),
        helper.make_node("ReduceSum", ["t2_parts", "axis"], ["t2"], keepdims=1),
    ]
    return nodes, constants


def _squares(rows: Matrix, others: Matrix) -> Matrix:
    """Squared distances (rows, others)."""
    difference = rows[:, None, :] - others[None, :, :]
    squares: Matrix = (difference**2).sum(axis=2)
    return squares
