"""Dissolved gases of one oil sample, in µL gas per L oil (equal to ppm by volume); the input of every method here."""

from typing import Annotated

from pydantic import Field

from drivers.base import Frozen

__all__ = ("MAX_UL_L", "Gases")

MAX_UL_L = 1e6  # a litre of gas in a litre of oil: above it the number is no concentration

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
