"""The rules of a hard agent: measurements of one asset in, what they show out.

Each rule looks at the device cycles of one group of points and answers with a `Sight`: the condition is there
(severity above NONE), is absent (NONE), or cannot be judged from what is known (None), in which case nothing
changes.  These rules hold no state of their own, but for the drift chart of the anomaly rule: it begins at what
commissioning showed, also after every restart, so that nothing it followed since can have become normal by being
forgotten.  Those of `equipment_rules` remember what a window cannot hold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from gateway.agents.equipment_rules import equipment_rules
from gateway.agents.sight import ABSENT, Rule, Sight
from gateway.agents.twin import HOT_SPOT_CALCULATED, OIL_RESIDUAL, OIL_RESIDUAL_LIMIT
from models.asset import Asset, Nameplate
from models.change_point import last_change
from models.dga.accuracy import GasAccuracy
from models.dga.consensus import diagnose
from models.drift import DriftChart
from models.features import Window, reliable_gases
from models.findings import Fact, Family, Severity
from models.sf6 import assess
from models.thermal import ageing_rate, assumptions_of, overheating

if TYPE_CHECKING:  # its onnxruntime costs 30 MB, which a gateway without anomaly models need not have
    from models.anomaly import AnomalyModel

__all__ = ("CoolingRule", "GasRule", "PressureRule", "Rule", "Sight", "TemperatureRule", "UnusualRule", "rules_for")

UNUSUAL_CYCLES = 3  # an anomaly counts when it lasts: one cycle may be a transient of the load

COOLING_CYCLES = 6  # the residual is an average of hours already; six more measurements are no slip of one sensor
COOLING_HYSTERESIS = 0.8  # of the limit, below which the residual must fall before the fault is over

TOP_OIL, LOAD, HOT_SPOT = "SIML.Tmp", "MMXU.LodPu", "SPTR.HPTmp"
AMBIENT = "STMP.EnvTmp"

INDICATOR_OF = {  # feature of an anomaly model → indicator that feeds it
    "load_pu": LOAD,
    "ambient_degc": AMBIENT,
    "top_oil_degc": TOP_OIL,
    "hot_spot_degc": HOT_SPOT,
    "h2_ul_l": "SIML.H2ppm",
    "ch4_ul_l": "SIML.CH4ppm",
    "c2h6_ul_l": "SIML.C2H6ppm",
    "c2h4_ul_l": "SIML.C2H4ppm",
    "c2h2_ul_l": "SIML.C2H2ppm",
    "co_ul_l": "SIML.COppm",
    "co2_ul_l": "SIML.CO2ppm",
}


@dataclass(frozen=True, slots=True)
class GasRule:
    """Duval Triangle 1 and its second opinions behind the IEEE C57.104-2019 gate."""

    nameplate: Nameplate
    day: timedelta  # 24 hours of device time
    accuracy: GasAccuracy | None = None  # the monitor's: adds the zones that its errors may reach
    definition: str = "DgaFault"
    trigger: str = "SIML.H2ppm"
    lasts_cycles: int = 1  # the reliability gate has counted them

    def look(self, window: Window, latest: Mapping[str, float]) -> Sight | None:  # noqa: ARG002 - one protocol
        """Diagnose what the reliability gate lets through; None until there are enough cycles of one level."""
        reading = reliable_gases(window, window.newest.time, self.day)
        if reading.gases is None:
            return ABSENT if reading.quiet else None
        diagnosis = diagnose(reading.gases, self.nameplate, accuracy=self.accuracy)
        if diagnosis.severity is Severity.NONE:
            return ABSENT
        return Sight(
            severity=diagnosis.severity,
            indicator="SIML.CmbuGas",
            method="dga_consensus",
            code=str(diagnosis.code or "undecided"),
            family=Family.MIXED if diagnosis.code is None else diagnosis.family,  # undecided is still a fault
            confidence=max(
                (h.probability for h in diagnosis.hypotheses if diagnosis.code in (None, h.code)), default=0.0
            ),
            facts=diagnosis.facts,
            assumptions=diagnosis.assumptions,
            value=f"{diagnosis.code or 'fault, type undecided'}, status {diagnosis.status}",
        )


@dataclass(frozen=True, slots=True)
class TemperatureRule:
    """Top oil or hot spot over the limits of IEC 60076-7."""

    nameplate: Nameplate
    definition: str
    trigger: str
    reads: str = ""  # the indicator that is compared, where it is calculated at the trigger's cycle
    lasts_cycles: int = 1

    def look(self, window: Window, latest: Mapping[str, float]) -> Sight | None:  # noqa: ARG002 - one protocol
        """Compare the newest value with the limits; the ageing rate comes along as a fact."""
        reads = self.reads or self.trigger
        value_degc = latest.get(reads)
        if value_degc is None:
            return None
        is_hot_spot = self.definition == "HotSpotHigh"
        judged = overheating(0.0 if is_hot_spot else value_degc, value_degc if is_hot_spot else 0.0)
        if judged.severity is Severity.NONE:
            return ABSENT
        facts = judged.facts
        if is_hot_spot:
            facts += (Fact(name="ageing rate", value=ageing_rate(value_degc, self.nameplate.paper), unit="1"),)
        return Sight(
            severity=judged.severity,
            indicator=reads,
            method="iec_60076_7_limits",
            code=judged.code,
            family=Family.OVERHEATING,
            confidence=1.0,
            facts=facts,
            assumptions=assumptions_of(self.nameplate) if self.reads == HOT_SPOT_CALCULATED else (),
            value=f"{value_degc:.0f} degC, limit {facts[1].value:.0f}",
        )


@dataclass(frozen=True, slots=True)
class CoolingRule:
    """Top oil hotter, for hours, than load and ambient explain: fans, pumps or radiators have failed."""

    nameplate: Nameplate
    definition: str = "CoolingFault"
    trigger: str = TOP_OIL
    lasts_cycles: int = COOLING_CYCLES

    def look(self, window: Window, latest: Mapping[str, float]) -> Sight | None:  # noqa: ARG002 - one protocol
        """Compare the residual with its limit; None before the end of commissioning and just below the limit."""
        residual_k, limit_k = latest.get(OIL_RESIDUAL), latest.get(OIL_RESIDUAL_LIMIT)
        if residual_k is None or limit_k is None or COOLING_HYSTERESIS * limit_k < residual_k <= limit_k:
            return None
        if residual_k <= limit_k:
            return ABSENT
        return Sight(
            severity=Severity.WARNING if residual_k > 2 * limit_k else Severity.ADVISORY,
            indicator=TOP_OIL,
            method="iec_60076_7_residual",
            code="CoolingFault",
            family=Family.OVERHEATING,
            confidence=0.8,
            facts=(
                Fact(name="top oil above expected", value=residual_k, unit="K"),
                Fact(name="limit", value=limit_k, unit="K"),
            ),
            assumptions=(
                *assumptions_of(self.nameplate),
                "fans and pumps not measured: they are expected to run as they did at commissioning",
            ),
            value=f"{residual_k:.0f} K hotter than expected, limit {limit_k:.0f}",
        )


@dataclass(frozen=True, slots=True)
class PressureRule:
    """SF6 pressure at 20 °C against the nameplate's alarm and lock-out values."""

    nameplate: Nameplate
    definition: str = "GasDensityLow"
    trigger: str = "SIMG.Pres20"
    lasts_cycles: int = 1

    def look(self, window: Window, latest: Mapping[str, float]) -> Sight | None:  # noqa: ARG002 - one protocol
        """Compare the newest value with the nameplate; None where the nameplate says nothing."""
        value_bara = latest.get(self.trigger)
        if value_bara is None:
            return None
        judged = assess(value_bara, self.nameplate)
        if judged.abstained:
            return None
        if judged.severity is Severity.NONE:
            return ABSENT
        return Sight(
            severity=judged.severity,
            indicator=self.trigger,
            method="sf6_nameplate_limits",
            code=judged.code,
            family=Family.LOSS_OF_GAS,
            confidence=1.0,
            facts=judged.facts,
            assumptions=judged.assumptions,
            value=f"{value_bara:.2f} bara, limit {judged.facts[1].value:.2f}",
        )


@dataclass(frozen=True, slots=True)
class UnusualRule:
    """The asset's own commissioning model: T² and Q of each row, and its drift chart across rows.

    The chart follows slow drift only while the model calls the row healthy, and never beyond the band of commissioning.
    """

    model: "AnomalyModel"
    definition: str = "Anomaly"
    trigger: str = "SIML.H2ppm"
    lasts_cycles: int = UNUSUAL_CYCLES
    chart: DriftChart | None = field(init=False)

    def __post_init__(self) -> None:
        fit = self.model.card.chart
        object.__setattr__(self, "chart", DriftChart(fit) if fit is not None else None)

    def look(self, window: Window, latest: Mapping[str, float]) -> Sight | None:
        """Score the newest cycle together with what the asset's other groups show at that moment."""
        card = self.model.card
        row = {**latest, **window.newest.values}
        if any(INDICATOR_OF[name] not in row for name in card.features):
            return None
        values = [row[INDICATOR_OF[name]] for name in card.features]
        score = self.model.score(dict(zip(card.features, values, strict=True)))
        charted = self.chart.update(values, healthy=not score.anomalous) if self.chart is not None else None
        drifted = charted is not None and charted.anomalous
        if not score.anomalous and not drifted:
            return ABSENT
        leader, share = score.contributors[0]
        value = f"led by {leader} ({share:.0%})"
        if charted is not None and not score.anomalous:
            leader = card.features[charted.channel]
            value = f"{leader} has left its slow drift"
        facts = [
            Fact(name="T2", value=score.t2, unit="1"),
            Fact(name="T2 limit", value=score.t2_limit, unit="1"),
            Fact(name="Q", value=score.q, unit="1"),
            Fact(name="Q limit", value=score.q_limit, unit="1"),
        ]
        if charted is not None:
            facts.append(Fact(name="distance from slow drift, in limits", value=charted.excess, unit="1"))
        facts += [
            Fact(name=name, value=rate, unit="1")
            for name, rate in (("FAR at commissioning", card.far), ("MAR at commissioning", card.mar))
            if rate is not None
        ]
        return Sight(
            severity=Severity.ADVISORY,
            indicator=INDICATOR_OF[leader],
            method=card.method if score.anomalous else "drift_chart",
            code="Unusual",
            family=Family.ANOMALY,
            confidence=0.5,
            facts=(*facts, *self._since(window, leader)),
            value=value,
        )

    def _since(self, window: Window, leader: str) -> tuple[Fact, ...]:
        """How many measurements ago the leading feature changed its level, where the window shows it."""
        fit, indicator = self.model.card.chart, INDICATOR_OF[leader]
        values = [cycle.values[indicator] for cycle in window if indicator in cycle.values]
        if fit is None:
            return ()
        channel = self.model.card.features.index(leader)
        change = last_change(values, fit.mean[channel], fit.scale[channel])
        if change is None:
            return ()
        return (Fact(name="measurements since the change", value=float(len(values) - change.onset_row), unit="1"),)


def _hot_spot_rule(nameplate: Nameplate, indicators: Sequence[str]) -> TemperatureRule:
    """On the sensor where there is one, else on the value calculated from top oil and load."""
    if HOT_SPOT in indicators:
        return TemperatureRule(nameplate, "HotSpotHigh", HOT_SPOT)
    return TemperatureRule(nameplate, "HotSpotHigh", TOP_OIL, HOT_SPOT_CALCULATED)


def rules_for(
    asset: Asset,
    indicators: Sequence[str],
    model: "AnomalyModel | None",
    day: timedelta,
    *,
    units: Mapping[str, str] | None = None,
    accuracy: GasAccuracy | None = None,
) -> list[Rule]:
    """The rules that this asset's points can feed; `units` of the indicators, for those that take several."""
    candidates: list[Rule] = [GasRule(asset.nameplate, day, accuracy)] if asset.has_main_tank else []
    candidates += [
        TemperatureRule(asset.nameplate, "TopOilHigh", TOP_OIL),
        _hot_spot_rule(asset.nameplate, indicators),
        PressureRule(asset.nameplate),
    ]
    if {LOAD, AMBIENT} <= set(indicators):
        candidates.append(CoolingRule(asset.nameplate))
    if model is not None:
        candidates.append(UnusualRule(model))
    candidates += equipment_rules(asset, units or dict.fromkeys(indicators, ""), day)
    return [rule for rule in candidates if rule.trigger in indicators]
