"""Dissolved gases of one oil sample, in µL gas per L oil (equal to ppm by volume); the input of every method here."""

from typing import Annotated

from pydantic import AwareDatetime, Field

from drivers.base import Frozen

__all__ = ("ALL_GASES", "FAULT_GASES", "MAX_UL_L", "DatedGases", "Gases")

MAX_UL_L = 1e6  # a litre of gas in a litre of oil: above it the number is no concentration
FAULT_GASES = ("h2", "ch4", "c2h6", "c2h4", "c2h2")  # the gases from which the methods read a fault
ALL_GASES = (*FAULT_GASES, "co", "co2")  # those that have limits

Concentration = Annotated[float, Field(ge=0, le=MAX_UL_L, allow_inf_nan=False)]


class Gases(Frozen):
    """Concentrations in µL/L; 0 means not detected, `None` means not measured."""

    h2_ul_l: Concentration
    ch4_ul_l: Concentration
    c2h6_ul_l: Concentration
    c2h4_ul_l: Concentration
    c2h2_ul_l: Concentration
    co_ul_l: Concentration | None = None
    co2_ul_l: Concentration | None = None
    o2_ul_l: Concentration | None = None
    n2_ul_l: Concentration | None = None

    def of(self, gas: str) -> float | None:
        """Concentration of a gas by its name in `ALL_GASES`."""
        value: float | None = getattr(self, f"{gas}_ul_l")
        return value


class DatedGases(Frozen):
    """One oil sample and when it was taken."""

    taken: AwareDatetime
    gases: Gases
