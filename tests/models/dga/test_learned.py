"""The learned model as it is installed."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import onnxruntime as ort
import pytest

from drivers.errors import Misconfigured
from models.dga.batch import CODES, answers
from models.dga.learned import INPUT, MAX_BYTES, OUTPUT, WEIGHTS, LearnedModel, features, installed


def some_rows(n=400):
    rng = np.random.default_rng(7)
    return np.round(rng.lognormal(3, 2, size=(n, 5)) * (rng.random((n, 5)) > 0.15), 2)


@pytest.fixture
def copy(tmp_path):
    path = tmp_path / "dga.onnx"
    path.write_bytes(WEIGHTS.read_bytes())
    path.with_suffix(".json").write_bytes(WEIGHTS.with_suffix(".json").read_bytes())
    return path


def test_numpy_and_a_runtime_agree():
    rows = features(some_rows(), answers(some_rows()))
    session = ort.InferenceSession(WEIGHTS.read_bytes(), providers=["CPUExecutionProvider"])
    (reference,) = session.run([OUTPUT], {INPUT: rows})
    assert np.abs(reference - LearnedModel.load().probabilities(rows)).max() < 1e-12


def test_probabilities_are_a_distribution_over_the_codes():
    rows = some_rows()
    found = installed().probabilities(features(rows, answers(rows)))
    assert found.shape == (len(rows), len(CODES))
    assert found.sum(axis=1) == pytest.approx(1)
    assert found.min() > 0


def test_no_gas_at_all_is_finite():
    none = np.zeros((1, 5))
    assert np.isfinite(installed().probabilities(features(none, answers(none)))).all()


def test_the_card_says_what_it_rests_on():
    card = installed().card
    assert card.sha256 == hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    assert WEIGHTS.stat().st_size < MAX_BYTES
    assert card.cross_origin["consensus"]["all"].accuracy > card.cross_origin["duval_triangle_1"]["all"].accuracy + 0.1
    assert set(card.tau) == {"consensus", "consensus_without_model", "learned"}
    assert card.limits


def test_a_changed_byte_is_found(copy):
    blob = bytearray(copy.read_bytes())
    blob[len(blob) // 2] ^= 1
    copy.write_bytes(blob)
    with pytest.raises(Misconfigured, match=r"dga\.onnx: its SHA-256 is [0-9a-f]{64}, its card dga\.json says"):
        LearnedModel.load(copy)


@pytest.mark.parametrize("content", [b"", b"no model", WEIGHTS.read_bytes()[:20_000], WEIGHTS.read_bytes()[:-40_000]])
def test_what_is_no_model_is_refused(copy, content):
    copy.write_bytes(content)
    card = json.loads(copy.with_suffix(".json").read_text())
    copy.with_suffix(".json").write_text(json.dumps(card | {"sha256": hashlib.sha256(content).hexdigest()}))
    with pytest.raises(Misconfigured, match=r"dga\.onnx: is no blackstart\.dga/1 model"):
        LearnedModel.load(copy)


def test_a_missing_file_and_a_foreign_card_are_named(copy):
    copy.with_suffix(".json").write_text("{}")
    with pytest.raises(Misconfigured, match=r"dga\.json: is no card"):
        LearnedModel.load(copy)
    copy.unlink()
    with pytest.raises(Misconfigured, match=r"dga\.onnx: cannot be read: No such file"):
        LearnedModel.load(copy)


def test_a_file_too_large_is_not_read(copy):
    with copy.open("r+b") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(Misconfigured, match="larger than"):
        LearnedModel.load(copy)


def test_shapes_that_do_not_belong_together_are_refused(copy):
    model = LearnedModel.load(copy)
    with pytest.raises(Misconfigured, match="shapes of w2, b2"):
        LearnedModel(model.mean, model.scale, model.w1, model.b1, model.w2[1:], model.b2[:, :, 1:]).check(copy)


def test_a_diagnosis_loads_no_runtime():
    code = (
        "import sys; from models.dga.consensus import diagnose; from models.dga.gases import Gases;"
        "print(diagnose(Gases(h2_ul_l=440, ch4_ul_l=89, c2h6_ul_l=19, c2h4_ul_l=304, c2h2_ul_l=757)).votes['learned'],"
        "'onnxruntime' in sys.modules, 'onnx' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["D2", "False", "False"]
