"""Near twins among samples."""

import numpy as np
import pytest

from models.training.twins import group_twins

BASE = [345.0, 112.3, 27.5, 51.5, 58.6]


@pytest.mark.parametrize(
    "twin",
    [
        [value * 0.26 for value in BASE],  # scaled
        [345.0, 112.3, 27.5, 58.6, 51.5],  # columns exchanged
        [345.0, 112.3, 27.5, 51.5, 586.0],  # a digit mistyped
        [345.0, 112.25, 27.5, 51.5, 345.0],  # a column copied
        [345.2, 112.0, 27.5, 51.6, 58.6],  # rounded
    ],
)
def test_twins_are_found(twin):
    assert len(set(group_twins(np.array([BASE, [10.0, 200.0, 30.0, 90.0, 0.0], twin])).tolist())) == 2


@pytest.mark.parametrize("other", [[345.0, 112.3, 40.0, 70.0, 58.6], [58.6, 51.5, 27.5, 112.3, 400.0]])
def test_others_stay_apart(other):
    assert len(set(group_twins(np.array([BASE, other])).tolist())) == 2


def test_zeros_alone_make_no_twins():
    rows = np.array([[50.0, 0.0, 0.0, 0.0, 0.0], [50.0, 3.0, 0.0, 0.0, 0.0]])
    assert len(set(group_twins(rows).tolist())) == 2


def test_groups_are_connected_components_named_by_their_first_row():
    rows = np.array([[1.0, 2.0, 3.0, 4.0, 5.0], BASE, [10.0, 20.0, 30.0, 40.0, 50.0], [5.0, 4.0, 3.0, 2.0, 1.0]])
    assert group_twins(rows).tolist() == [0, 1, 0, 0]
