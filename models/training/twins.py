"""Groups near twins among dissolved-gas samples: the same case under several names, before any split of the data.

Two rows are twins where
- their proportions differ by at most 0.002 in each gas (the same sample, scaled, or copied with other rounding), or
- their sorted amounts agree within 1 % (columns exchanged), or
- four of five amounts agree within 0.5 %, at least three of them above zero (one number mistyped).
Groups are the connected components of that relation.  Called by `models.training.dga`.
"""

import numpy as np
import numpy.typing as npt

from models.dga.batch import Amounts, shares

__all__ = ("group_twins",)

SHARE_TOLERANCE = 0.002
SORTED_TOLERANCE = 0.01
SORTED_FLOOR_UL_L = 0.05  # rounding of small amounts
CELL_TOLERANCE = 0.005
CELLS_EQUAL = 4  # of five
CELLS_PRESENT = 3  # zeros agree too easily

Groups = npt.NDArray[np.int64]


def group_twins(amounts: Amounts) -> Groups:
    """(n,) number of each row's group: the index of its first row."""
    parent = list(range(len(amounts)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    part, ordered = shares(amounts), np.sort(amounts, axis=1)
    for index in range(len(amounts) - 1):
        rest = slice(index + 1, None)
        scaled = (np.abs(part[rest] - part[index]) <= SHARE_TOLERANCE).all(axis=1)
        permuted = _close(ordered[rest], ordered[index], SORTED_TOLERANCE, SORTED_FLOOR_UL_L).all(axis=1)
        same = _close(amounts[rest], amounts[index], CELL_TOLERANCE, 0.0)
        present = same & (amounts[rest] > 0)
        mistyped = (same.sum(axis=1) >= CELLS_EQUAL) & (present.sum(axis=1) >= CELLS_PRESENT)
        for twin in (np.flatnonzero(scaled | permuted | mistyped) + index + 1).tolist():
            first, second = sorted((root(index), root(twin)))
            parent[second] = first
    return np.array([root(index) for index in range(len(amounts))], dtype=np.int64)


def _close(many: Amounts, one: Amounts, relative: float, absolute: float) -> npt.NDArray[np.bool_]:
    close: npt.NDArray[np.bool_] = np.abs(many - one) <= relative * np.maximum(many, one) + absolute
    return close
