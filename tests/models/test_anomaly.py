"""The anomaly model as it runs: loading, refusing, scoring."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from drivers.errors import BadInput, Misconfigured
from models.anomaly import FEATURES, AnomalyModel
from models.training.anomaly import train_anomaly

GASES = {name: 20.0 for name in FEATURES if name.endswith("_ul_l")} | {"c2h2_ul_l": 0.0}


def healthy_rows(count: int, seed: int = 1):
    """Load and ambient wander; temperatures follow them; gases tremble."""
    rng = np.random.default_rng(seed)
    hours = np.arange(count)
    load = 0.6 + 0.2 * np.sin(hours / 24 * 2 * np.pi) + rng.normal(0, 0.02, count)
    ambient = 15 + 8 * np.sin(hours / 24 * 2 * np.pi - 1) + rng.normal(0, 0.5, count)
    top_oil = ambient + 50 * load**1.6 + rng.normal(0, 0.5, count)
    hot_spot = top_oil + 26 * load**1.3 + rng.normal(0, 0.5, count)
    for index in range(count):
        row = {"load_pu": load[index], "ambient_degc": ambient[index], "top_oil_degc": top_oil[index]}
        row["hot_spot_degc"] = hot_spot[index]
        yield row | {name: mean + float(rng.normal(0, 0.02 * mean)) for name, mean in GASES.items()}


def write_csv(path: Path, count: int = 2000) -> Path:
    lines = [",".join(("time", *FEATURES))]
    for index, row in enumerate(healthy_rows(count)):
        lines.append(",".join((f"2026-01-01T{index}", *(repr(float(row[name])) for name in FEATURES))))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def model_path(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("anomaly")
    train_anomaly(write_csv(folder / "t1.csv"), "T1", folder / "t1.onnx")
    return folder / "t1.onnx"


@pytest.fixture
def model(model_path) -> AnomalyModel:
    return AnomalyModel.load(model_path, asset_id="T1")


def test_healthy_rows_are_rarely_anomalous(model):
    alarms = [model.score(row).anomalous for row in healthy_rows(1000, seed=2)]
    assert sum(alarms) < 10


def test_a_blocked_cooler_is_seen_and_named(model):
    row = next(iter(healthy_rows(1, seed=3)))
    row["top_oil_degc"] += 15
    row["hot_spot_degc"] += 15
    score = model.score(row)
    assert score.anomalous
    assert max(score.t2 / score.t2_limit, score.q / score.q_limit) > 1
    assert score.contributors[0][0] in {"top_oil_degc", "hot_spot_degc", "ambient_degc", "load_pu"}
    assert 0 < sum(share for _, share in score.contributors) <= 1 + 1e-9


def test_a_gas_that_was_never_there_is_seen(model):
    row = next(iter(healthy_rows(1, seed=3)))
    assert not model.score(row).anomalous
    score = model.score(row | {"c2h2_ul_l": 8.0})
    assert score.anomalous
    assert score.contributors[0][0] == "c2h2_ul_l"


def test_absurd_values_are_anomalous_not_normal(model):
    row = next(iter(healthy_rows(1)))
    assert model.score(row | {"h2_ul_l": 1e12}).anomalous


@pytest.mark.parametrize("change", [{"h2_ul_l": float("nan")}, {"h2_ul_l": float("inf")}, {"h2_ul_l": -1e300}])
def test_values_that_are_no_measurements_are_refused(model, change):
    with pytest.raises(BadInput, match="h2_ul_l"):
        model.score(next(iter(healthy_rows(1))) | change)


def test_missing_features_are_named(model):
    with pytest.raises(BadInput, match=r"load_pu.*co2_ul_l"):
        model.score({name: 1.0 for name in FEATURES if name not in {"load_pu", "co2_ul_l"}})


def test_identity_is_that_of_the_file(model, model_path):
    assert model.identity == AnomalyModel.load(model_path).identity
    assert len(model.identity) == 64


SMALL_CHART = {key: [1, 1] for key in ("mean", "scale", "reference", "spread", "lowest", "highest")}


def rewritten(model_path: Path, out: Path, **changes) -> Path:
    proto = onnx.load(model_path)
    metadata = {entry.key: entry.value for entry in proto.metadata_props} | {
        key: json.dumps(value) for key, value in changes.items()
    }
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, metadata)
    onnx.save(proto, out)
    return out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema_id": "other/1"}, "metadata"),
        ({"t2_limit": -1}, "metadata"),
        ({"features": ["load_pu", "shoe_size"]}, "shoe_size"),
        ({"features": ["load_pu", "ambient_degc"]}, "graph does not fit"),
        ({"asset_id": "T2"}, "trained for asset T2"),
        ({"method": "oracle"}, "metadata"),
        ({"chart": SMALL_CHART}, "its chart has 2 channels"),
        ({"chart": SMALL_CHART | {"scale": [0, 1]}}, "metadata"),
        ({"surprise": 1}, "metadata"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_by_name(model_path, tmp_path, changes, said):
    path = rewritten(model_path, tmp_path / "bad.onnx", **changes)
    with pytest.raises(Misconfigured, match=said) as caught:
        AnomalyModel.load(path, asset_id="T1")
    assert str(path) in str(caught.value)


def test_a_file_that_is_no_model_is_refused_by_name(model_path, tmp_path):
    torn = tmp_path / "torn.onnx"
    for blob in (b"", b"not a model", model_path.read_bytes()[:300], b"\0" * (5 << 20)):
        torn.write_bytes(blob)
        with pytest.raises(Misconfigured, match=r"torn\.onnx"):
            AnomalyModel.load(torn)
    with pytest.raises(Misconfigured, match=r"absent\.onnx"):
        AnomalyModel.load(tmp_path / "absent.onnx")
    with pytest.raises(Misconfigured):
        AnomalyModel.load(tmp_path)
