"""The pool of opinions."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.dga.batch import ANSWERS, CODES, answers
from models.dga.fusion import TRIANGLE_COUNTS, family_beliefs, pool, triangle_table
from models.dga.learned import features, installed
from models.evaluation.cases import load_cases
from models.findings import FaultCode
from models.training.dga import fault_rows, triangle_counts

DEV = Path(__file__).parents[3] / ".." / "shared" / "data" / "dga" / "dev.csv"
rows_of_gases = arrays(np.float64, st.tuples(st.integers(1, 6), st.just(5)), elements=st.floats(0, 1e6))


def pooled(rows, *, with_model=True, **options):
    marks = answers(rows)
    learned = installed().probabilities(features(rows, marks)) if with_model else None
    return pool(rows, marks, learned, **options)


@given(rows_of_gases, st.booleans())
def test_beliefs_are_a_distribution(rows, with_model):
    beliefs = pooled(rows, with_model=with_model)
    assert np.all(beliefs >= 0)
    assert beliefs.sum(axis=1) == pytest.approx(1)
    assert family_beliefs(beliefs).sum(axis=1) == pytest.approx(1)


@given(arrays(np.float64, (1, 5), elements=st.integers(1, 1000)), st.sampled_from([0.25, 0.5, 2.0, 8.0]))
def test_only_proportions_count(rows, factor):
    assert pooled(rows * factor) == pytest.approx(pooled(rows))


def test_what_the_triangle_says_moves_no_family_of_its_own_accord():
    """The lead within a family leaves the families' sums alone."""
    rows = np.array([[305.0, 100.0, 33.0, 161.0, 541.0]])
    marks = answers(rows)
    uniform = np.full((1, len(CODES)), 1 / len(CODES))
    flat = np.full((len(ANSWERS), len(CODES)), 1 / len(CODES))
    silent = {method: np.zeros_like(each) for method, each in marks.items()}
    beliefs = pool(rows, silent | {"duval_triangle_1": marks["duval_triangle_1"]}, uniform, flat)
    assert family_beliefs(beliefs)[0] == pytest.approx([1 / 6, 1 / 3, 1 / 2])
    assert beliefs[0, 1] == pytest.approx(2 * beliefs[0, 2])  # D1 leads D2 by two


def test_hydrogen_alone_speaks_for_partial_discharge():
    beliefs = pooled(np.array([[900.0, 60.0, 20.0, 10.0, 0.0], [700.0, 60.0, 20.0, 10.0, 0.0]]), with_model=False)
    assert beliefs[0, 0] > 0.5


def test_a_table_of_its_own_replaces_the_stored_one():
    counts = {FaultCode.T3: (0, 0, 0, 0, 1000, 0)}
    rows = np.array([[100.0, 100.0, 30.0, 400.0, 5.0]])
    assert pooled(rows, table=triangle_table(counts))[0, 4] > pooled(rows)[0, 4]


def test_a_table_holds_shares_and_no_zero():
    table = triangle_table(TRIANGLE_COUNTS)
    assert table.sum(axis=1) == pytest.approx(1)
    assert np.all(table > 0)


@pytest.mark.skipif(not DEV.exists(), reason="the development data are not beside the repository")
def test_the_stored_counts_are_those_of_the_development_rows():
    rows = fault_rows(load_cases(DEV))
    assert triangle_counts(rows, np.ones(len(rows.labels), dtype=bool)) == dict(TRIANGLE_COUNTS)
