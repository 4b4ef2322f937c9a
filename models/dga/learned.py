"""The learned second opinion on dissolved gases: an ensemble of small neural networks, read from an ONNX file.

Input: (n, 5) amounts in µL/L and the marks of the classical methods.  Output: (n, 6) probabilities over `CODES`.
The networks see proportions only (each gas's share, the centred logarithms of the shares, what each method says), never
the level: the same fault looks alike in a large and in a small tank.  All zero amounts get what the networks say of
equal shares; callers abstain there.

The file is ONNX, written by `models.training.dga`, and any runtime can run it.  Here its matrices are evaluated with
numpy: that takes a twentieth of a millisecond, and the daemon saves the 30 MB of a runtime.  The model card beside it
(`dga.json`) states data, scores, calibration, limits and the file's SHA-256, which is checked before anything is read.
Limits of validity: mineral oil, main tank, faults behind the gate; trained on published labels, some of them wrong.
Called by `consensus`, `models.training.dga` and `models.evaluation.dga`.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from pydantic import Field, ValidationError

from drivers.base import Frozen
from drivers.errors import Misconfigured
from models.dga.batch import ANSWERS, CODES, Amounts, Marks, Matrix, shares
from models.onnx_tensors import read_tensors

__all__ = ("INPUT", "METHODS", "OUTPUT", "SCHEMA", "WEIGHTS", "DgaCard", "LearnedModel", "features", "installed")

SCHEMA = "blackstart.dga/1"
WEIGHTS = Path(__file__).parents[1] / "weights" / "dga.onnx"
MAX_BYTES = 2 << 20  # what may be committed
INPUT, OUTPUT = "features", "probabilities"
METHODS = ("duval_triangle_1", "duval_pentagon_1", "iec_60599", "rogers")  # whose marks are features, in this order
TENSORS = ("mean", "scale", "w1", "b1", "w2", "b2")
_SHARE_FLOOR = 0.003  # of the five gases: below it a gas is about as good as not detected
_SHARE_SCALE = 2.0  # brings shares to the spread of their logarithms


class Scores(Frozen):
    """Scores of one method on rows that its training has not seen."""

    n: int
    accuracy: float
    family_accuracy: float
    ece: float | None = Field(description="expected calibration error, ten bins")


class DgaCard(Frozen):
    """The model card; `dga.json` beside the weights."""

    schema_id: str = Field(pattern=f"^{SCHEMA}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the ONNX file")
    data: str
    data_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    rows: int
    groups: int = Field(description="of near twins; each weighs as one row")
    features: int
    members: int
    seed: int
    cross_origin: Mapping[str, Mapping[str, Scores]] = Field(
        description="method → origin left out (and its near twins), or `all` → scores"
    )
    five_fold: Mapping[str, Scores] = Field(description="flatters: for comparison only")
    tau: Mapping[str, float] = Field(description="confidence threshold per method, from cross-origin predictions")
    tau_rule: str
    calibration: str
    limits: tuple[str, ...]


def features(amounts: Amounts, said: Mapping[str, Marks]) -> Matrix:
    """(n, 46) features: shares, centred log shares, marks of the methods."""
    part = shares(amounts)
    logs = np.log(part + _SHARE_FLOOR)
    return np.hstack(
        [_SHARE_SCALE * part, logs - logs.mean(axis=1, keepdims=True), *(said[method] for method in METHODS)]
    )


@dataclass(frozen=True, slots=True)
class LearnedModel:
    """Matrices of the ensemble; (members, inputs, hidden) and so on, as the ONNX graph has them."""

    mean: Matrix  # (features,)
    scale: Matrix  # (features,)
    w1: Matrix  # (members, features, hidden)
    b1: Matrix  # (members, 1, hidden)
    w2: Matrix  # (members, hidden, codes)
    b2: Matrix  # (members, 1, codes)
    card: DgaCard | None = None  # None only while it is being trained

    @classmethod
    def load(cls, path: Path = WEIGHTS) -> "LearnedModel":
        """Read the weights and the card beside them.  Raises Misconfigured naming the file and what is wrong."""
        card_path = path.with_suffix(".json")
        blob, card_text = _read(path), _read(card_path)
        try:
            card = DgaCard.model_validate_json(card_text)
        except ValidationError as err:
            raise Misconfigured(f"{card_path}: is no card of a {SCHEMA} model: {err}") from err
        digest = hashlib.sha256(blob).hexdigest()
        if digest != card.sha256:
            raise Misconfigured(f"{path}: its SHA-256 is {digest}, its card {card_path.name} says {card.sha256}")
        try:
            tensors, _ = read_tensors(blob)
            model = cls(**{name: tensors[name] for name in TENSORS}, card=card)
        except (ValueError, KeyError) as err:
            raise Misconfigured(f"{path}: is no {SCHEMA} model: {err}") from err
        model.check(path)
        return model

    def check(self, path: Path) -> None:
        """Raise Misconfigured where the shapes do not belong together."""
        members, inputs, hidden = self.w1.shape if self.w1.ndim == 3 else (0, 0, 0)  # noqa: PLR2004
        expected = {
            "mean": (len(METHODS) * len(ANSWERS) + 10,),
            "scale": (inputs,),
            "w1": (members, len(self.mean), hidden),
            "b1": (members, 1, hidden),
            "w2": (members, hidden, len(CODES)),
            "b2": (members, 1, len(CODES)),
        }
        wrong = [name for name, shape in expected.items() if getattr(self, name).shape != shape]
        if wrong:
            raise Misconfigured(f"{path}: shapes of {', '.join(wrong)} do not fit each other or the features")

    def probabilities(self, rows: Matrix) -> Matrix:
        """(n, features) to (n, 6): the members' geometric mean."""
        scaled = (rows - self.mean) / self.scale
        logits = np.tanh(scaled @ self.w1 + self.b1) @ self.w2 + self.b2
        logits -= logits.max(axis=2, keepdims=True)
        logs = (logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))).mean(axis=0)
        grown = np.exp(logs - logs.max(axis=1, keepdims=True))
        normalised: Matrix = grown / grown.sum(axis=1, keepdims=True)
        return normalised

    @property
    def identity(self) -> str:
        """For the record of each diagnosis."""
        return f"learned {self.card.sha256[:12]}" if self.card else "learned, untrained"


@cache
def installed() -> LearnedModel | str:
    """The model that came with this installation, or in words why there is none; read once per process."""
    try:
        return LearnedModel.load()
    except Misconfigured as err:
        return str(err)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            blob = file.read(MAX_BYTES + 1)
    except OSError as err:
        raise Misconfigured(f"{path}: cannot be read: {err.strerror}") from err
    if len(blob) > MAX_BYTES:
        raise Misconfigured(f"{path}: larger than {MAX_BYTES} bytes")
    return blob
