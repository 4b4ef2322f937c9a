"""Training of the learned dissolved-gas model, on samples made up here."""

import json
from dataclasses import replace

import numpy as np
import onnxruntime as ort
import pytest

from drivers.errors import BadInput
from models.dga.batch import CODES
from models.dga.learned import INPUT, OUTPUT, LearnedModel, features
from models.evaluation.cases import load_cases
from models.training.dga import fault_rows, hold_out, to_onnx, train_dga
from models.training.dga_net import Recipe, fit_ensemble

QUICK = Recipe(members=2, hidden=4, epochs=8)
CENTRES = {  # one composition per code, in the order of the columns
    "PD": (900, 60, 30, 5, 0),
    "D1": (300, 60, 20, 60, 250),
    "D2": (300, 90, 20, 220, 300),
    "T1": (60, 300, 250, 40, 0),
    "T2": (60, 300, 120, 180, 0),
    "T3": (60, 250, 60, 500, 4),
}


def write(path, rows_per_code=14, origins=("a", "b"), label=lambda code: code):
    rng = np.random.default_rng(3)
    lines = ["H2,CH4,C2H6,C2H4,C2H2,fault,origin"]
    for origin in origins:
        for code, centre in CENTRES.items():
            for _ in range(rows_per_code):
                amounts = np.array(centre) * np.exp(0.4 * rng.normal(size=5))
                lines.append(",".join([*(f"{amount:.2f}" for amount in amounts), label(code), origin]))
        lines.append(f"3,2,1,1,0,N,{origin}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write(tmp_path_factory.mktemp("dga") / "rows.csv")


def test_a_run_writes_a_model_that_loads_and_repeats(data, tmp_path):
    first = train_dga(data, tmp_path / "one.onnx", QUICK)
    second = train_dga(data, tmp_path / "two.onnx", QUICK)
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()
    assert first.card == second.card
    model = LearnedModel.load(tmp_path / "one.onnx")
    assert model.card == first.card
    assert set(first.card.cross_origin["consensus"]) == {"all", "a", "b"}
    assert first.card.cross_origin["learned"]["all"].accuracy > 0.5
    assert first.card.rows == 2 * 6 * 14
    assert json.loads((tmp_path / "one.json").read_text())["seed"] == QUICK.seed


def test_the_graph_and_numpy_agree_for_any_number_of_rows(data):
    rows = fault_rows(load_cases(data))
    model = fit_ensemble(rows.amounts, rows.labels, np.ones(len(rows.labels)), QUICK)
    found = features(rows.amounts, rows.said)
    (reference,) = ort.InferenceSession(to_onnx(model), providers=["CPUExecutionProvider"]).run(
        [OUTPUT], {INPUT: found}
    )
    assert np.abs(reference - model.probabilities(found)).max() < 1e-12


def test_another_seed_gives_other_weights(data):
    rows = fault_rows(load_cases(data))
    one, two = (
        fit_ensemble(rows.amounts, rows.labels, np.ones(len(rows.labels)), replace(QUICK, seed=seed)) for seed in (1, 2)
    )
    assert not np.array_equal(one.w1, two.w1)


def test_training_learns_and_weights_count(data):
    rows = fault_rows(load_cases(data))
    recipe = replace(QUICK, epochs=200)
    found, thermal = features(rows.amounts, rows.said), rows.labels >= 3
    everything = fit_ensemble(rows.amounts, rows.labels, np.ones(len(rows.labels)), recipe)
    only_thermal = fit_ensemble(rows.amounts, rows.labels, np.where(thermal, 1.0, 1e-6), recipe)
    hits, hits_thermal = (
        model.probabilities(found).argmax(axis=1) == rows.labels for model in (everything, only_thermal)
    )
    assert hits.mean() > 0.8
    assert hits_thermal[thermal].mean() > 0.8
    assert hits_thermal[~thermal].mean() < 0.5


def test_what_is_held_out_is_not_learnt_from(data):
    """With the labels of one origin turned round, what is said of that origin does not change."""
    rows = fault_rows(load_cases(data))
    turned = replace(rows, labels=np.where(rows.origins == "a", (rows.labels + 1) % len(CODES), rows.labels))
    held, held_turned = (hold_out(each, each.origins, QUICK)["consensus"] for each in (rows, turned))
    inside = np.flatnonzero(rows.origins == "a")
    assert [held.codes[index] for index in inside] == [held_turned.codes[index] for index in inside]
    assert held.codes != held_turned.codes


def test_twins_of_held_out_rows_are_not_learnt_from(tmp_path):
    path = write(tmp_path / "rows.csv", rows_per_code=11, origins=("a", "b", "c"))
    lines = path.read_text().splitlines()
    copied = [line.removesuffix(",a") + ",b" for line in lines if line.endswith(",a")]
    path.write_text("\n".join(lines + copied) + "\n")
    rows = fault_rows(load_cases(path))
    twins = np.isin(rows.groups, rows.groups[rows.origins == "a"]) & (rows.origins == "b")
    assert twins.sum() == 6 * 11
    turned = replace(rows, labels=np.where(twins, (rows.labels + 1) % len(CODES), rows.labels))
    held, held_turned = (hold_out(each, each.origins, QUICK)["learned"] for each in (rows, turned))
    inside = np.flatnonzero(rows.origins == "a")
    assert [held.codes[index] for index in inside] == [held_turned.codes[index] for index in inside]


def test_an_origin_of_twins_alone_leaves_nothing_to_learn_from(tmp_path):
    path = write(tmp_path / "rows.csv", rows_per_code=11, origins=("a",))
    path.write_text(path.read_text() + path.read_text().partition("\n")[2].replace(",a\n", ",b\n"))
    with pytest.raises(BadInput, match="without a and the near twins of its rows 0 rows are left"):
        train_dga(path, tmp_path / "m.onnx", QUICK)


def test_small_origins_are_left_out_together(tmp_path):
    rows = fault_rows(load_cases(write(tmp_path / "rows.csv", rows_per_code=6, origins=("a", "b", "c", "d"))))
    assert set(rows.origins) == {"b+a", "d+c"}


def test_what_cannot_be_learnt_from_is_named(tmp_path):
    with pytest.raises(BadInput, match="two origins or more"):
        train_dga(write(tmp_path / "one.csv", origins=("a",)), tmp_path / "m.onnx", QUICK)
    path = write(tmp_path / "no_pd.csv", label=lambda code: code.replace("PD", "T1"))
    with pytest.raises(BadInput, match="no row is labelled PD"):
        train_dga(path, tmp_path / "m.onnx", QUICK)
    with pytest.raises(BadInput, match=r"m\.onnx: cannot be written"):
        train_dga(write(tmp_path / "rows.csv"), tmp_path / "none" / "m.onnx", QUICK)
