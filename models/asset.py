"""The assets that are watched and what their nameplates say.

A method whose assumption the nameplate does not settle names that assumption; a method that does not fit
abstains.  Loaded from the configuration by `gateway.config`.
"""

from enum import StrEnum
from itertools import pairwise

from pydantic import Field, model_validator

from drivers.base import Frozen, Name
from models.dga.accuracy import GasAccuracy

__all__ = (
    "Asset",
    "AssetKind",
    "BatteryPlate",
    "BreakerPlate",
    "Breathing",
    "BushingPlate",
    "Cooling",
    "Fluid",
    "InsulatingGas",
    "Nameplate",
    "Paper",
    "RiskPlate",
    "TapChangerPlate",
)


class AssetKind(StrEnum):
    """Kinds of equipment, after the CIM class names."""

    POWER_TRANSFORMER = "PowerTransformer"
    BREAKER = "Breaker"
    TAP_CHANGER = "TapChanger"
    BUSHING = "Bushing"  # one, or the three of a winding with a value per phase
    BATTERY = "Battery"  # of the station's direct-current supply


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


class InsulatingGas(StrEnum):
    """What fills the breaker; the density equation holds for the first alone."""

    SF6 = "SF6"
    SF6_N2 = "SF6/N2"
    SF6_CF4 = "SF6/CF4"


class BreakerPlate(Frozen):
    """What the maker says of a breaker's contacts and drive, and what the owner allows."""

    wear_curve: tuple[tuple[float, float], ...] = Field(
        default=(), max_length=12, description="[kA, permitted operations] pairs, currents rising: the maker's curve"
    )
    wear_limit: float | None = Field(default=None, gt=0, description="permitted sum of I^y·t in kA^y·s")
    wear_exponent: float = Field(default=2.0, ge=1, le=2, description="y of that sum")
    arcing_time_ms: float | None = Field(default=None, gt=0, le=100, description="where the device does not measure it")
    wear_percent: float | None = Field(default=None, ge=0, le=100, description="at the first reading by this gateway")
    open_time_ms: float | None = Field(default=None, gt=0)
    close_time_ms: float | None = Field(default=None, gt=0)
    spring_charge_s: float | None = Field(default=None, gt=0)
    motor_energy_j: float | None = Field(default=None, gt=0)
    drift_percent: float | None = Field(default=None, gt=0, description="change of times and energy that is reported")
    inactive_days_max: float | None = Field(default=None, gt=0, description="longest time without an operation")

    @model_validator(mode="after")
    def _falls(self) -> "BreakerPlate":
        pairs = list(pairwise(self.wear_curve))
        if len(self.wear_curve) == 1 or any(a[0] >= b[0] or a[1] <= b[1] for a, b in pairs):
            raise ValueError("wear_curve needs two points or more, currents rising and operations falling")
        if any(current <= 0 or operations <= 0 for current, operations in self.wear_curve):
            raise ValueError("wear_curve holds positive numbers alone")
        return self


class TapChangerPlate(Frozen):
    """Limits of a tap changer; they differ from maker to maker, so none is built in."""

    drift_percent: float | None = Field(default=None, gt=0, description="change of torque or motor current")
    abrasion_limit_percent: float | None = Field(default=None, gt=0, le=100)
    operations_between_overhauls: int | None = Field(default=None, gt=0)
    temperature_difference_k: float | None = Field(
        default=None, ge=-20, le=40, description="its oil over the main tank's, as a daily mean"
    )


class BushingPlate(Frozen):
    """Factory or commissioning values of a bushing."""

    tan_delta_percent: float | None = Field(default=None, gt=0, le=10)
    c1_pf: float | None = Field(default=None, gt=0)


class BatteryPlate(Frozen):
    """What the owner allows a station battery; no published limit is built in for ohmic values."""

    impedance_rise_percent: float | None = Field(default=None, gt=0)
    float_current_rise_percent: float | None = Field(default=None, gt=0)


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
    insulating_gas: InsulatingGas | None = None
    atmospheric_bara: float | None = Field(default=None, ge=0.5, le=1.1, description="of the site, for gauge sensors")
    sf6_leak_percent_per_year: float | None = Field(default=None, gt=0, description="loss that is reported")
    breaker: BreakerPlate = BreakerPlate()
    tap_changer: TapChangerPlate = TapChangerPlate()
    bushing: BushingPlate = BushingPlate()
    battery: BatteryPlate = BatteryPlate()


class RiskPlate(Frozen):
    """What a failure of the machine would cost its owner, and how likely it is without any finding.

    `consequence` is in a unit of the owner's choice, the same for all assets of the station.
    """

    consequence: float | None = Field(default=None, ge=0)
    failures_per_year: float | None = Field(default=None, gt=0, lt=1, description="of its kind in good health")
    normal_life_years: float | None = Field(default=None, gt=0, le=200)
    duty_factor: float = Field(default=1.0, ge=0.5, le=4)
    location_factor: float = Field(default=1.0, ge=0.5, le=4)


class Asset(Frozen):
    """One watched machine."""

    id: Name
    kind: AssetKind
    name: str = Field(default="", max_length=40, description="shown to people; never part of a prompt")
    bay: str = Field(default="", max_length=20)
    criticality: int = Field(default=3, ge=1, le=5, description="5 is the most critical; ranks the outbox")
    nameplate: Nameplate = Nameplate()
    risk: RiskPlate = RiskPlate()
    gas_accuracy: GasAccuracy | None = Field(
        default=None, description="its gas monitor's stated accuracy; without it the one known for the template"
    )

    @property
    def has_main_tank(self) -> bool:
        """The oil that the dissolved-gas methods and limits are made for; a tap changer's or a bushing's is another."""
        return self.kind is AssetKind.POWER_TRANSFORMER
