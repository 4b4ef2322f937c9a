"""Hot-spot temperature in °C to relative ageing of the winding paper (1 = rated), and what it adds up to.

Sources: IEC 60076-7 (kraft), IEEE C57.91 (thermally upgraded; F_AA, F_EQA, loss of life).
Limits of validity: temperature alone; moisture and oxygen, which age paper as well, are not in these formulas.  The
result is insulation life consumed, not a forecast of remaining life.  Called by hard agents and `overload`.
"""

from collections.abc import Iterable
from math import exp

from models.asset import Paper
from models.thermal.equations import check

__all__ = ("NORMAL_LIFE_H", "ageing_rate", "equivalent_ageing", "loss_of_life_percent")

NORMAL_LIFE_H = 180_000.0  # IEEE C57.91, thermally upgraded paper at 110 °C
REFERENCE_K = 383.0  # 110 °C: average winding rise of 65 K, thermally upgraded paper
REFERENCE_55_K = 368.0  # 95 °C: average winding rise of 55 K


def ageing_rate(hot_spot_degc: float, paper: Paper | None, *, reference_k: float = REFERENCE_K) -> float:
    """Relative ageing of the winding paper, 1 at its reference temperature.

    Kraft paper: V = 2^((θ-98)/6), IEC 60076-7.  Thermally upgraded: F_AA = exp(15000/383 - 15000/(θ+273)), IEEE C57.91;
    `reference_k` is `REFERENCE_55_K` for a winding rated at 55 K rise.
    Unknown paper ages as kraft, the faster of the two: the caller names that assumption.
    """
    check(0.0, hot_spot_degc)
    if paper is Paper.UPGRADED:
        return exp(15_000 / reference_k - 15_000 / (hot_spot_degc + 273))
    return float(2 ** ((hot_spot_degc - 98) / 6))


def equivalent_ageing(rates: Iterable[tuple[float, float]]) -> float:
    """F_EQA: mean of (duration, rate) pairs weighted by duration; 0 without any duration."""
    pairs = list(rates)
    total = sum(duration for duration, _ in pairs)
    return sum(duration * rate for duration, rate in pairs) / total if total > 0 else 0.0


def loss_of_life_percent(equivalent_rate: float, duration_h: float) -> float:
    """Share of normal insulation life consumed, IEEE C57.91."""
    return equivalent_rate * duration_h * 100 / NORMAL_LIFE_H
