"""The assets that are watched and what their nameplates say.

A method whose assumption the nameplate does not settle names that assumption; a method that does not fit
abstains.  Loaded from the configuration by `gateway.config`.
"""

from enum import StrEnum

from pydantic import Field

from drivers.base import Frozen, Name
from models.dga.accuracy import GasAccuracy

__all__ = ("Asset", "AssetKind", "Breathing", "Cooling", "Fluid", "Nameplate", "Paper")


class AssetKind(StrEnum):
    """Kinds of equipment, after the CIM class names."""

    POWER_TRANSFORMER = "PowerTransformer"
    BREAKER = "Breaker"


class Fluid(StrEnum):
    """Insulating liquid; the dissolved-gas limits hold for mineral oil alone."""

    MINERAL = "mineral"
    NATURAL_ESTER = "natural_ester"
    SYNTHETIC_ESTER = "synthetic_ester"
    SILICONE = "silicone"


class Paper(StrEnum):
    """Winding insulation, which decides the ageing formula."""

    UPGRADED = "thermally_upgraded"
    KRAFT = "kraft"


class Breathing(StrEnum):
    """Whether air reaches the oil; it stands in for O2/N2 where that is not measured."""

    SEALED = "sealed"
    FREE = "free_breathing"


class Cooling(StrEnum):
    """Cooling classes with a row in the parameter table of IEC 60076-7."""

    ONAN_DISTRIBUTION = "ONAN-distribution"
    ONAN = "ONAN"
    ONAF = "ONAF"


class Nameplate(Frozen):
    """What is known of a machine; `None` means unknown and is named by each method that needs it."""

    model: Name | None = Field(default=None, description="maker's type: knowledge is shared between equal models")
    rated_mva: float | None = Field(default=None, gt=0)
    age_years: float | None = Field(default=None, ge=0, le=120)
    cooling: Cooling | None = None
    fluid: Fluid = Fluid.MINERAL
    paper: Paper | None = None
    breathing: Breathing | None = None
    tap_changer_communicates: bool | None = Field(
        default=None, description="the tap changer's oil reaches the main tank, so that its gases mislead"
    )
    top_oil_rise_k: float | None = Field(default=None, gt=0, le=100, description="heat run, rated load")
    hot_spot_gradient_k: float | None = Field(default=None, gt=0, le=80, description="H·gr of the heat run")
    loss_ratio: float | None = Field(default=None, gt=0, description="R: load losses over no-load losses")
    sf6_alarm_bara: float | None = Field(default=None, gt=0, description="pressure at 20 °C, first stage")
    sf6_lockout_bara: float | None = Field(default=None, gt=0, description="pressure at 20 °C, lock-out")


class Asset(Frozen):
    """One watched machine."""

    id: Name
    kind: AssetKind
    name: str = Field(default="", max_length=40, description="shown to people; never part of a prompt")
    bay: str = Field(default="", max_length=20)
    criticality: int = Field(default=3, ge=1, le=5, description="5 is the most critical; ranks the outbox")
    nameplate: Nameplate = Nameplate()
    gas_accuracy: GasAccuracy | None = Field(
        default=None, description="its gas monitor's stated accuracy; without it the one known for the template"
    )
