"""Runs a learned anomaly model: one row of features in, two distances from the commissioning state out.

The model is a PCA or a kernel regression, written as ONNX by `models.training.anomaly`.  T² is the distance within what
the machine did during commissioning (of the kernel regression: to the nearest row that it remembers), Q (squared
prediction error) the distance from it.  Inputs in the units that the feature names end in.
Everything the model needs (names, limits, asset) is in the file's own metadata, so that file and limits never part.
Limits of validity: the states that the commissioning data cover; a season not seen then is an anomaly too.
Called by hard agents.  The only place that imports onnxruntime.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors
from pydantic import Field, ValidationError

from drivers.base import Frozen
from drivers.errors import BadInput, Misconfigured
from models.drift import ChartFit

__all__ = (
    "FEATURES",
    "INPUT",
    "MAR_SHIFT",
    "OUTPUTS",
    "RESOLUTION",
    "SCHEMA",
    "AnomalyModel",
    "AnomalyScore",
    "ModelCard",
)

SCHEMA = "blackstart.anomaly/1"
MAX_MODEL_BYTES = 4 << 20  # the largest model of these features is a few kB: more is not one of ours
MAX_MAGNITUDE = 1e12  # no feature in any unit comes near; its square still sums without overflow
MAR_SHIFT = 5.0  # spreads: one feature off by so much is what the missed alarm rate of a model counts
TOP_CONTRIBUTORS = 3  # as many as a person takes in at a glance
INPUT = "features"
OUTPUTS = ("t2", "q", "t2_parts", "q_parts")

RESOLUTION: Mapping[str, float] = MappingProxyType(
    {  # feature → smallest spread that means anything, in its unit: a signal that stood still may still tremble
        "load_pu": 0.01,
        "ambient_degc": 0.5,
        "top_oil_degc": 0.5,
        "hot_spot_degc": 0.5,
        "h2_ul_l": 2.0,
        "ch4_ul_l": 1.0,
        "c2h6_ul_l": 1.0,
        "c2h4_ul_l": 1.0,
        "c2h2_ul_l": 0.5,
        "co_ul_l": 10.0,
        "co2_ul_l": 50.0,
    }
)
FEATURES = tuple(RESOLUTION)

_ORT_ERRORS = tuple(
    getattr(ort_errors, name)
    for name in ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented", "RuntimeException")
)


class ModelCard(Frozen):
    """The metadata of a model file; every field is one entry of the ONNX file, as JSON."""

    schema_id: str = Field(pattern=f"^{SCHEMA}$")
    asset_id: str
    method: Literal["pca_t2_q", "kernel_regression"] = "pca_t2_q"
    features: tuple[str, ...] = Field(min_length=2, max_length=64)
    components: int = Field(ge=1, description="of the PCA, or rows that the kernel regression remembers")
    fitted_rows: int = Field(ge=1)
    held_back_rows: int = Field(ge=1)
    t2_limit: float = Field(gt=0, allow_inf_nan=False)
    q_limit: float = Field(gt=0, allow_inf_nan=False)
    far: float | None = Field(default=None, ge=0, le=1, description="false alarms per held-back row")
    mar: float | None = Field(
        default=None, ge=0, le=1, description="share of held-back rows not seen with one feature off by MAR_SHIFT"
    )
    chart: ChartFit | None = Field(
        default=None, description="of the same features; follows the drift of a healthy asset"
    )
    data_sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the commissioning file")


@dataclass(frozen=True, slots=True)
class AnomalyScore:
    """How far one row is from the commissioning state; above either limit it is anomalous."""

    t2: float
    q: float
    t2_limit: float
    q_limit: float
    contributors: tuple[tuple[str, float], ...]  # feature, its share of the worse statistic; largest first
    anomalous: bool


class AnomalyModel:
    """A loaded model; `load` is the way to get one."""

    def __init__(self, session: ort.InferenceSession, card: ModelCard, identity: str) -> None:
        self._session = session
        self.card = card
        self.identity = identity  # SHA-256 of the model file, for the record of each finding

    @classmethod
    def load(cls, path: Path, *, asset_id: str | None = None, known: Sequence[str] = FEATURES) -> "AnomalyModel":
        """Open a model file and check that it is one of ours, for `asset_id` and for features that are `known`.

        Raises Misconfigured naming the file and what is wrong with it.
        """
        try:
            with path.open("rb") as file:
                blob = file.read(MAX_MODEL_BYTES + 1)
        except OSError as err:
            raise Misconfigured(f"{path}: cannot be read: {err.strerror}") from err
        return cls.from_bytes(blob, path, asset_id=asset_id, known=known)

    @classmethod
    def from_bytes(
        cls, blob: bytes, path: Path, *, asset_id: str | None = None, known: Sequence[str] = FEATURES
    ) -> "AnomalyModel":
        """As `load`, for a file that has been read; `path` is for messages."""
        if len(blob) > MAX_MODEL_BYTES:
            raise Misconfigured(f"{path}: larger than {MAX_MODEL_BYTES} bytes, which no anomaly model is")
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # a few products of small matrices
        options.log_severity_level = 4  # what is wrong is raised, not printed
        try:
            session = ort.InferenceSession(blob, options, providers=["CPUExecutionProvider"])
        except _ORT_ERRORS as err:
            raise Misconfigured(f"{path}: is no ONNX model that can be run: {err}") from err
        card = _read_card(path, session)
        _check(path, session, card, asset_id, known)
        return cls(session, card, hashlib.sha256(blob).hexdigest())

    def score(self, features: Mapping[str, float]) -> AnomalyScore:
        """Score one row; features that the model does not use are ignored.

        Raises BadInput naming the features that are missing, not finite or beyond `MAX_MAGNITUDE`.
        """
        names = self.card.features
        bad = [name for name in names if not abs(features.get(name, nan)) <= MAX_MAGNITUDE]
        if bad:
            raise BadInput(f"anomaly model: missing or no measurement: {', '.join(bad)}")
        row = np.array([[features[name] for name in names]], dtype=np.float64)
        t2, q, t2_parts, q_parts = (np.asarray(out).ravel() for out in self._session.run(OUTPUTS, {INPUT: row}))
        card = self.card
        t2_excess, q_excess = float(t2[0]) / card.t2_limit, float(q[0]) / card.q_limit
        parts = np.abs(t2_parts if t2_excess > q_excess else q_parts)
        shares = parts / max(float(parts.sum()), np.finfo(float).tiny)
        order = np.argsort(-shares, kind="stable")[:TOP_CONTRIBUTORS]
        return AnomalyScore(
            t2=float(t2[0]),
            q=float(q[0]),
            t2_limit=card.t2_limit,
            q_limit=card.q_limit,
            contributors=tuple((names[index], float(shares[index])) for index in order),
            anomalous=t2_excess > 1 or q_excess > 1,
        )


def _read_card(path: Path, session: ort.InferenceSession) -> ModelCard:
    metadata = session.get_modelmeta().custom_metadata_map
    try:
        return ModelCard.model_validate({key: json.loads(value) for key, value in metadata.items()})
    except (ValidationError, json.JSONDecodeError) as err:
        raise Misconfigured(f"{path}: its metadata are not those of a {SCHEMA} model: {err}") from err


def _check(
    path: Path, session: ort.InferenceSession, card: ModelCard, asset_id: str | None, known: Sequence[str]
) -> None:
    """Compare the card with the graph, with the asset and with the features there are."""
    unknown = [name for name in card.features if name not in known]
    if unknown:
        raise Misconfigured(f"{path}: expects features that do not exist here: {', '.join(unknown)}")
    if asset_id is not None and card.asset_id != asset_id:
        raise Misconfigured(f"{path}: was trained for asset {card.asset_id}, not for {asset_id}")
    inputs = [(each.name, each.type, each.shape[-1:]) for each in session.get_inputs()]
    outputs = tuple(each.name for each in session.get_outputs())
    if inputs != [(INPUT, "tensor(double)", [len(card.features)])] or outputs != OUTPUTS:
        raise Misconfigured(f"{path}: its graph does not fit its metadata (inputs {inputs}, outputs {outputs})")
    if card.chart is not None and len(card.chart.mean) != len(card.features):
        raise Misconfigured(f"{path}: its chart has {len(card.chart.mean)} channels, not one for each feature")
