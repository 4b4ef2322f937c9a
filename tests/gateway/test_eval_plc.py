"""Runs through the simulated module: row for row, in order, or refused in words."""

from dataclasses import replace

import numpy as np
import pytest

from drivers.errors import BadInput
from gateway.eval_plc import through_plc
from models.evaluation.anomaly import Run


def made(name: str, rows: int, sensors: int = 8) -> Run:
    """Numbers that a float32 holds, some rows twice the same, one sensor standing still."""
    table = np.arange(rows * sensors, dtype=float).reshape(rows, sensors) // 16 * 0.25 - 3
    table[:, 0] = 32.0
    truth = np.zeros(rows - 5, dtype=bool)
    return Run(name, tuple(f"s{number}" for number in range(sensors)), table[:5], table[5:], truth)


@pytest.mark.may_block
async def test_every_row_arrives_in_order_and_what_a_register_cannot_hold_is_counted() -> None:
    runs = [made("short", 8), made("long", 30)]
    received = await through_plc([runs[0], replace(runs[1], rows=runs[1].rows + 1e-9 * (runs[1].rows == 0.25))])
    for run, arrived in zip(runs, received.runs, strict=True):
        assert arrived.fitted.tolist() == run.fitted.tolist()
        assert arrived.rows.tolist() == run.rows.tolist()
    assert (received.values, received.values_differing) == (38 * 8, np.count_nonzero(runs[1].rows == 0.25))
    assert 0 < received.greatest_relative_difference < 1e-7


async def test_runs_that_do_not_fit_are_refused_in_words() -> None:
    with pytest.raises(BadInput, match="odd: 7 sensors, the simulated module has 8"):
        await through_plc([made("odd", 8, sensors=7)])
    with pytest.raises(BadInput, match="248 files"):
        await through_plc([made("one", 8)] * 248)
