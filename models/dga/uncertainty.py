"""From one sample and the monitor's stated accuracy to the probability of each zone in each method (Monte Carlo).

Input: concentrations in µL/L and a `GasAccuracy`, whose half widths are read as the limits of a rectangular
distribution, as the GUM (JCGM 100, 4.3.7) has it where a maker states limits and no distribution; what falls below zero
is zero.  Output: per method the share of draws in each zone.  The seed is fixed: the same sample gets the same answer.
Limits of validity: errors of the gases are drawn independently, although a monitor's calibration error is partly common
to all of them and then cancels in the proportions; the spread is therefore rather too wide than too narrow.
500 draws know a share of 0.5 to ±0.04 and one of 0.05 to ±0.02 (95 %).
Called by `consensus`.
"""

from collections.abc import Mapping

import numpy as np

from models.dga.accuracy import GasAccuracy
from models.dga.batch import ANSWERS, Amounts, answers
from models.dga.gases import FAULT_GASES, Gases

__all__ = ("DRAWS", "UNDECIDED", "draw_amounts", "zone_probabilities")

DRAWS = 500
SEED = 60599
UNDECIDED = "no diagnosis"


def zone_probabilities(
    gases: Gases, accuracy: GasAccuracy, *, draws: int = DRAWS, seed: int = SEED
) -> Mapping[str, Mapping[str, float]]:
    """Per method: answer → share of the draws, largest first; an overlap of two codes is an answer of its own (D1/D2).

    The shares of one method sum to 1; draws in which it does not decide count as `UNDECIDED`.
    """
    said = answers(draw_amounts(gases, accuracy, draws=draws, seed=seed))
    return {method: _shares_of(marks) for method, marks in said.items()}


def draw_amounts(gases: Gases, accuracy: GasAccuracy, *, draws: int = DRAWS, seed: int = SEED) -> Amounts:
    """(draws, 5) amounts in µL/L that the monitor could have seen as this sample."""
    values = np.array([gases.of(gas) for gas in FAULT_GASES])
    widths = np.array([accuracy.uncertainty_ul_l(gas, value) for gas, value in zip(FAULT_GASES, values, strict=True)])
    unit = np.random.default_rng(seed).uniform(-1.0, 1.0, size=(draws, len(FAULT_GASES)))
    return np.maximum(values + widths * unit, 0.0)


def _shares_of(marks: np.ndarray) -> dict[str, float]:
    weights = 1 << np.arange(len(ANSWERS))
    patterns, counts = np.unique(marks @ weights, return_counts=True)
    shares = {
        "/".join(sorted(code for bit, code in zip(weights.tolist(), ANSWERS, strict=True) if pattern & bit))
        or UNDECIDED: count / len(marks)
        for pattern, count in zip(patterns.tolist(), counts.tolist(), strict=True)
    }
    return dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))
