"""How far a gas reading may be off: a monitor's stated accuracy, and how far a change of readings can be told.

Limits of tables are laboratory limits.  A rise or a rate that a monitor shows counts only where it is larger than
what its accuracy alone could make; see `limits` and `rates`.  Each reading is believed to within the larger of an
absolute and a relative part.  The two ends of a rise are taken as independent, although a monitor's error is partly
the same at both: that makes the bound wide, so that a rise that counts is real.
"""

from collections.abc import Iterable
from math import hypot, sqrt

from pydantic import Field

from drivers.base import Frozen

__all__ = ("DEFAULT_ACCURACY", "GasAccuracy", "accuracy_of")


class GasAccuracy(Frozen):
    """Stated accuracy of one gas monitor; the larger of both parts counts."""

    relative: float = Field(default=0.15, ge=0, le=1, description="share of the reading")
    h2_relative: float = Field(default=0.15, ge=0, le=1, description="hydrogen's share, mostly the largest")
    h2_ul_l: float = Field(default=25.0, ge=0)
    ch4_ul_l: float = Field(default=10.0, ge=0)
    c2h6_ul_l: float = Field(default=10.0, ge=0)
    c2h4_ul_l: float = Field(default=10.0, ge=0)
    c2h2_ul_l: float = Field(default=2.0, ge=0)
    co_ul_l: float = Field(default=25.0, ge=0)
    co2_ul_l: float = Field(default=50.0, ge=0)

    @property
    def assumed(self) -> bool:
        """True of the default, which methods name as an assumption: nobody stated it for this monitor."""
        return self == DEFAULT_ACCURACY

    def uncertainty_ul_l(self, gas: str, value_ul_l: float) -> float:
        """Half width around one reading of a gas (`h2`, `ch4`, …)."""
        relative = self.h2_relative if gas == "h2" else self.relative
        absolute: float = getattr(self, f"{gas}_ul_l")
        return max(absolute, relative * value_ul_l)

    def of_rise_ul_l(self, gas: str, before_ul_l: float, after_ul_l: float) -> float:
        """Half width around the difference of two readings."""
        return hypot(self.uncertainty_ul_l(gas, before_ul_l), self.uncertainty_ul_l(gas, after_ul_l))

    def of_sum_ul_l(self, gas: str, weighted: Iterable[tuple[float, float]]) -> float:
        """Half width around Σ weight · reading, in the weights' unit times µL/L; a fitted slope is such a sum."""
        return sqrt(sum((weight * self.uncertainty_ul_l(gas, value)) ** 2 for weight, value in weighted))


DEFAULT_ACCURACY = GasAccuracy()

# Template → what its maker states.  OPT100: absolute parts as its user guide lists them for data point selection,
# relative parts as the same guide states the variance to laboratory analysis; newer units are better than this.
_BY_TEMPLATE = {"vaisala-opt100": GasAccuracy(relative=0.10, h2_relative=0.15, co_ul_l=10.0, co2_ul_l=10.0)}


def accuracy_of(template: str) -> GasAccuracy:
    """Stated accuracy of the monitor that a template describes, else `DEFAULT_ACCURACY`."""
    return _BY_TEMPLATE.get(template, DEFAULT_ACCURACY)
