"""Gases dissolved in oil, one analysis at a time: from where they are towards a scripted target vector.

All concentrations in µL/L.  A fault's target is a vector of a published case (the scenario names its source);
between two targets the oil follows a straight line over a number of device cycles, and on a plateau it stands
still.  Noise is the analyser's: relative, seeded, added to what is shown and never to the oil.
Called by `hil_sim.substation` and `hil_sim.replay`.
"""

import random
from collections.abc import Mapping

__all__ = ("COMBUSTIBLE", "GASES", "ChamberThermometer", "GasModel", "combustible_sum_ul_l")

GASES = ("h2", "ch4", "c2h6", "c2h4", "c2h2", "co", "co2")
COMBUSTIBLE = ("h2", "ch4", "c2h6", "c2h4", "c2h2", "co")  # TDCG of IEEE C57.104

CHAMBER_LOW_DEGC, CHAMBER_HIGH_DEGC = 43.0, 47.0
CHAMBER_STEP_LOW_K, CHAMBER_STEP_HIGH_K = 0.11, 0.5  # the least step stays above 0.1 K after rounding to float32


class GasModel:
    """The gases of one transformer's oil."""

    def __init__(self, gases_ul_l: Mapping[str, float], rng: random.Random, *, noise_rel: float) -> None:
        """Start at a full vector (keys of GASES, µL/L); noise_rel is the analyser's relative standard deviation."""
        self._now = {gas: float(gases_ul_l[gas]) for gas in GASES}
        self._target = dict(self._now)
        self._cycles_left = 0
        self._rng = rng
        self._noise_rel = noise_rel

    def aim(self, target_ul_l: Mapping[str, float], *, ramp_cycles: int) -> None:
        """Go to the target (gases that it leaves out stay) in this many analyses; 1 is a jump."""
        self._target = self._now | {gas: float(value) for gas, value in target_ul_l.items()}
        self._cycles_left = ramp_cycles

    def analyse(self) -> dict[str, float]:
        """One device cycle: let the oil take its step and return what the analyser shows, µL/L."""
        if self._cycles_left == 1:
            self._now = dict(self._target)  # exactly, so that a plateau is the published vector to the last bit
        elif self._cycles_left > 1:
            share = 1 / self._cycles_left
            self._now = {gas: now + share * (self._target[gas] - now) for gas, now in self._now.items()}
        self._cycles_left = max(0, self._cycles_left - 1)
        if self._noise_rel == 0:
            return dict(self._now)
        return {gas: max(0.0, now * (1 + self._rng.gauss(0, self._noise_rel))) for gas, now in self._now.items()}


class ChamberThermometer:
    """Temperature of the analyser's measuring chamber: it moves by at least 0.1 K with every device cycle.

    So a new cycle can be told from a repeated one although every gas stands still.
    """

    def __init__(self, rng: random.Random) -> None:
        """Start in the middle of the regulated range."""
        self._rng = rng
        self._now_degc = (CHAMBER_LOW_DEGC + CHAMBER_HIGH_DEGC) / 2

    def next_degc(self) -> float:
        """The temperature of the next device cycle in °C."""
        step_k = self._rng.uniform(CHAMBER_STEP_LOW_K, CHAMBER_STEP_HIGH_K) * self._rng.choice((-1, 1))
        if not CHAMBER_LOW_DEGC <= self._now_degc + step_k <= CHAMBER_HIGH_DEGC:
            step_k = -step_k
        self._now_degc += step_k
        return self._now_degc


def combustible_sum_ul_l(gases_ul_l: Mapping[str, float]) -> float:
    """Total dissolved combustible gas of a vector, µL/L."""
    return sum(gases_ul_l[gas] for gas in COMBUSTIBLE)
