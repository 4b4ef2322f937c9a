"""Points of gas, breakers, tap changers, bushings and batteries make their rules run, through the hard agent."""

import cmath
import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from math import degrees, radians
from typing import Any

import pytest

from drivers.base import Point, Quality
from drivers.opcua import OpcuaLinkConfig, OpcuaPoint, OpcuaSource
from drivers.templates import load_template, template_names
from gateway.agents.equipment_rules import INDICATORS, equipment_rules
from gateway.agents.hard import HardAgent
from gateway.agents.sight import Remembering
from gateway.alarms import DEFINITIONS, Judgement
from hil_sim.opcua_plc import NAMESPACE_URI, OpcuaPlc
from models.asset import Asset, Nameplate
from models.findings import Severity
from models.sf6 import density_kg_m3
from models.trend import Keepsake

DAY_S = 86_400.0
HOUR_S = 3_600.0


class Machine:
    """One asset with its agent; `show` is one delivery of all points, and says what stands afterwards."""

    def __init__(self, asset: Asset, units: Mapping[str, str], clock: Any, sample: Any, *, apart: bool = False) -> None:
        """`apart`: each point is a group of its own, as with OPC UA; else all are of one device's read."""
        self.points = [
            Point(id=f"{asset.id}/{name}", unit=unit, group=name if apart else "g", update_interval_s=HOUR_S)
            for name, unit in units.items()
        ]
        self._asset, self.clock, self._sample = asset, clock, sample
        self.kept: dict[str, Keepsake] = {}
        self.standing: dict[str, Judgement] = {}
        self.samples: list[Any] = []
        self.restart()

    def restart(self) -> None:
        """A process of the gateway ends and another begins: what it knows is what was journalled, and the last day."""
        self.agent = HardAgent(self._asset, self.points, self.clock, clear_after_cycles=2)
        self.agent.recall(self.kept)
        day_ago = self.clock.now() - timedelta(seconds=DAY_S)
        self.agent.warm([sample for sample in self.samples if sample.received_time >= day_ago])

    def show(
        self,
        values: Mapping[str, Any],
        *,
        after_s: float = HOUR_S,
        quality: Quality = Quality.GOOD,
        stamps: Mapping[str, Any] | None = None,
    ) -> None:
        self.clock.advance(after_s)
        samples = [
            self._sample(f"{self._asset.id}/{name}", value, quality, source_time=(stamps or {}).get(name))
            for name, value in values.items()
        ]
        self.samples += samples
        for judgement in self.agent.observe(samples):
            if judgement.finding is None:
                self.standing.pop(judgement.definition, None)
            else:
                self.standing[judgement.definition] = judgement
        self.kept |= dict(self.agent.keepsakes())

    def code(self, definition: str) -> str:
        judgement = self.standing.get(definition)
        return judgement.finding.code if judgement is not None and judgement.finding is not None else ""

    def facts(self, definition: str) -> dict[str, float]:
        finding = self.standing[definition].finding
        assert finding is not None
        return {fact.name: fact.value for fact in finding.facts}


Make = Callable[..., Machine]


@pytest.fixture
def machine(clock: Any, sample: Any) -> Make:
    def make(kind: str, units: Mapping[str, str], *, apart: bool = False, **nameplate: Any) -> Machine:
        asset = Asset(id="X1", kind=kind, nameplate=Nameplate.model_validate(nameplate))
        return Machine(asset, units, clock, sample, apart=apart)

    return make


# -- gas


@pytest.mark.parametrize(
    ("units", "values"),
    [
        ({"SIMG.Pres20": "bara", "SIMG.Tmp": "degC"}, lambda bara: {"SIMG.Pres20": bara, "SIMG.Tmp": 20.0}),
        (
            {"SIMG.Den": "kg/m3", "SIMG.Tmp": "degC"},
            lambda bara: {"SIMG.Den": density_kg_m3(bara, 20.0), "SIMG.Tmp": 20.0},
        ),
        ({"SIMG.Pres": "barg", "SIMG.Tmp": "degC"}, lambda bara: {"SIMG.Pres": bara - 1.01325, "SIMG.Tmp": 20.0}),
    ],
    ids=["normalised", "density", "gauge"],
)
def test_a_leak_is_found_in_days_whatever_the_sensor_measures(machine: Make, units: Any, values: Any) -> None:
    q1 = machine("Breaker", units, sf6_alarm_bara=5.4, sf6_lockout_bara=5.0, insulating_gas="SF6")
    for hour in range(14 * 24):
        q1.show(values(6.2 - 0.02 * hour / 24))
    assert q1.code("GasLeak") == "GasLeak"
    assert q1.facts("GasLeak")["time to alarm"] == pytest.approx((6.2 - 0.02 * 14 - 5.4) / 0.02, rel=0.15)
    assert "%/a, next stage in " in q1.standing["GasLeak"].value
    assert q1.code("GasDensityLow") == ""
    q1.show(values(5.3))
    assert q1.code("GasDensityLow") == "GasLow"
    assert q1.standing["GasDensityLow"].value == "5.30 bara, limit 5.40"


def test_a_leak_is_still_known_after_a_restart(machine: Make) -> None:
    q1 = machine("Breaker", {"SIMG.Pres20": "bara", "SIMG.Tmp": "degC"}, sf6_alarm_bara=5.4)
    for hour in range(8 * 24):
        q1.show({"SIMG.Pres20": 6.2 - 0.02 * hour / 24, "SIMG.Tmp": 20.0})
    before = q1.facts("GasLeak")
    q1.standing.clear()
    q1.restart()
    q1.show({"SIMG.Pres20": 6.2 - 0.02 * 8, "SIMG.Tmp": 20.0})
    assert q1.facts("GasLeak")["leak"] == pytest.approx(before["leak"], rel=0.05)


def test_bad_samples_never_reach_a_trend(machine: Make) -> None:
    q1 = machine("Breaker", {"SIMG.Pres20": "bara", "SIMG.Tmp": "degC"}, sf6_alarm_bara=5.4)
    for hour in range(14 * 24):
        q1.show({"SIMG.Pres20": 6.2, "SIMG.Tmp": 20.0})
        q1.show({"SIMG.Pres20": 6.2 - 0.002 * hour, "SIMG.Tmp": 20.0}, after_s=60, quality=Quality.UNCERTAIN)
    assert q1.standing == {}
    means = [row[1] for row in q1.kept["X1/GasLeak"].rows]
    assert means == pytest.approx([6.2] * len(means))
    assert len(means) > 50


# -- breaker

BREAKER_UNITS = {
    "XCBR.OpCnt": "1",
    "SCBR.SwA": "kA",
    "SCBR.OpTmOpn": "ms",
    "SOPM.MotTm": "s",
    "SOPM.MotA": "A",
    "SOPM.MotV": "V",
}
BREAKER_PLATE = {
    "breaker": {"wear_curve": [[1.2, 10_000], [8, 150], [20, 12]], "wear_percent": 0, "inactive_days_max": 30}
}


def operation(count: int, current_ka: float = 1.0, **values: float) -> dict[str, float]:
    usual = {"SCBR.OpTmOpn": 30.0, "SOPM.MotTm": 12.0, "SOPM.MotA": 5.0, "SOPM.MotV": 110.0}
    return {"XCBR.OpCnt": count, "SCBR.SwA": current_ka} | usual | values


@pytest.mark.parametrize("apart", [False, True], ids=["one group", "a group each"])
def test_a_breakers_contacts_wear_with_what_they_interrupt(machine: Make, apart: bool) -> None:
    q1 = machine("Breaker", BREAKER_UNITS, apart=apart, **BREAKER_PLATE)
    for count in range(11):
        q1.show(operation(count, 20.0))
    assert q1.code("BreakerWear") == "ContactsWearing"
    q1.show(operation(10, 20.0))  # polls without an operation wear nothing
    assert q1.facts("BreakerWear")["wear by curve"] == pytest.approx(10 / 12 * 100)
    q1.show(operation(15, 20.0))
    assert q1.facts("BreakerWear")["operations unread"] == 4
    assert q1.standing["BreakerWear"].finding is not None
    assert "lower bound" in q1.standing["BreakerWear"].finding.assumptions[0]


def test_wear_survives_a_restart_and_counts_nothing_twice(machine: Make) -> None:
    q1 = machine("Breaker", BREAKER_UNITS, **BREAKER_PLATE)
    for count in range(11):
        q1.show(operation(count, 20.0))
    for _ in range(3):
        q1.restart()
    q1.show(operation(11, 20.0))
    assert q1.facts("BreakerWear")["wear by curve"] == pytest.approx(11 / 12 * 100)
    assert q1.facts("BreakerWear")["operations unread"] == 0


def test_a_drive_that_slows_is_seen_in_its_records(machine: Make) -> None:
    q1 = machine("Breaker", BREAKER_UNITS, **BREAKER_PLATE)
    for count in range(12):
        q1.show(operation(count))
    assert q1.standing == {}
    for count in range(12, 18):
        q1.show(operation(count, **{"SOPM.MotTm": 15.0}))
    finding = q1.standing["BreakerDrive"].finding
    assert finding is not None
    assert (finding.code, finding.indicator) == ("Drift", "SOPM.EnAlm")
    assert q1.facts("BreakerDrive")["charging time, change"] == pytest.approx(25)
    assert q1.standing["BreakerDrive"].value == "charging time 15 s, was 12"


def test_a_breaker_that_does_not_move_is_named(machine: Make) -> None:
    q1 = machine("Breaker", BREAKER_UNITS, **BREAKER_PLATE)
    q1.show(operation(4))
    q1.show(operation(5))
    for _ in range(29):
        q1.show(operation(5), after_s=DAY_S)
    assert q1.code("BreakerIdle") == ""
    for _ in range(2):
        q1.show(operation(5), after_s=DAY_S)
    assert q1.code("BreakerIdle") == "Inactive"
    for _ in range(2):
        q1.show(operation(6))
    assert q1.code("BreakerIdle") == ""


def test_a_counter_that_its_server_stamped_once_is_idle_all_the_same(machine: Make) -> None:
    """The counter brings no device cycle any more; the gas sensor's do."""
    q1 = machine("Breaker", {"XCBR.OpCnt": "1", "SIMG.Pres20": "bara"}, apart=True, **BREAKER_PLATE)
    stamp = q1.clock.now()
    for day in range(33):
        q1.show({"XCBR.OpCnt": 4, "SIMG.Pres20": 6.0 + day / 1000}, after_s=DAY_S, stamps={"XCBR.OpCnt": stamp})
    assert q1.code("BreakerIdle") == "Inactive"


def test_wear_that_the_ied_states_comes_first(machine: Make) -> None:
    q1 = machine("Breaker", {**BREAKER_UNITS, "SCBR.AbrPrt": "%"}, **BREAKER_PLATE)
    q1.show({"SCBR.AbrPrt": 85.0} | operation(1))
    assert q1.standing["BreakerWear"].finding is not None
    assert q1.standing["BreakerWear"].finding.method == "ied_contact_wear"


def test_a_rule_says_why_it_cannot_judge(machine: Make) -> None:
    q1 = machine("Breaker", BREAKER_UNITS)
    q1.show(operation(1))
    assert q1.agent.abstentions == {
        "BreakerDrive": "0 records of opening time are too few to compare; "
        "0 records of closing time are too few to compare; 0 records of charging time are too few to compare; "
        "0 records of motor energy are too few to compare",
        "BreakerIdle": "nameplate lacks inactive_days_max",
        "BreakerWear": "nameplate lacks wear_curve and wear_limit",
    }
    settled = machine("Breaker", BREAKER_UNITS, **BREAKER_PLATE)
    settled.show(operation(1))
    assert set(settled.agent.abstentions) == {"BreakerDrive"}


# -- tap changer


def test_a_tap_changer_whose_drive_left_its_pattern(machine: Make) -> None:
    units = {"YLTC.TapPos": "-", "SLTC.Torq": "Nm", "SLTC.MotDrvA": "A"}
    tap = machine("TapChanger", units)
    for number in range(30):
        torque = 20.0 + 0.2 * (number % 3) + (12.0 if number > 22 else 0.0)
        tap.show({"YLTC.TapPos": 8 + number % 2, "SLTC.Torq": torque, "SLTC.MotDrvA": 3.0})
    assert tap.code("TapChangerDrive") == "Drift"
    assert tap.facts("TapChangerDrive")["torque"] == pytest.approx(32.2, abs=0.3)


def test_a_tap_changer_hotter_than_the_tank_and_worn(machine: Make) -> None:
    units = {"SLTC.Tmp": "degC", "SIML.Tmp": "degC", "SLTC.AbrPrt": "%", "YLTC.OpCnt": "1"}
    plate = {"tap_changer": {"abrasion_limit_percent": 80, "operations_between_overhauls": 1000}}
    tap = machine("TapChanger", units, **plate)
    for hour in range(5 * 24):
        tap.show({"SLTC.Tmp": 62.0, "SIML.Tmp": 55.0, "SLTC.AbrPrt": 50.0, "YLTC.OpCnt": 900 + hour})
    assert tap.code("TapChangerHot") == "TapChangerHot"
    assert tap.code("TapChangerWear") == "ContactsWorn"


# -- bushing


def test_a_bushing_against_its_nameplate(machine: Make) -> None:
    units = {"ZBSH.C1": "pF", "ZBSH.LosFact": "%"}
    bushing = machine("Bushing", units, bushing={"c1_pf": 400, "tan_delta_percent": 0.4})
    for day in range(9):
        bushing.show({"ZBSH.C1": 401.0 + day / 100, "ZBSH.LosFact": 0.41}, after_s=DAY_S)
    assert bushing.standing == {}
    for day in range(8):
        bushing.show({"ZBSH.C1": 430.0 + day / 100, "ZBSH.LosFact": 0.41}, after_s=DAY_S)
    finding = bushing.standing["BushingInsulation"].finding
    assert finding is not None
    assert (finding.code, finding.severity) == ("CapacitanceChanged", Severity.WARNING)
    assert "not of a standard" in finding.assumptions[0]


def test_three_bushings_against_each_other_while_the_grid_moves_all(machine: Make) -> None:
    units = {f"ZBSH.LosFactPhs{phase}": "%" for phase in "ABC"}
    bushing = machine("Bushing", units)
    for day in range(24):
        common = 1 + 0.4 * (day % 5)
        worse = 2.5 if day > 14 else 1.0
        bushing.show(
            {
                "ZBSH.LosFactPhsA": 0.4 * common,
                "ZBSH.LosFactPhsB": 0.4 * common * worse,
                "ZBSH.LosFactPhsC": 0.4 * common,
            },
            after_s=DAY_S,
        )
    finding = bushing.standing["BushingInsulation"].finding
    assert finding is not None
    assert finding.code == "LossFactorHigh"
    assert "PhsB" in finding.facts[0].name


def test_the_sum_of_three_leakage_currents(machine: Make) -> None:
    names = [f"ZBSH.Lk{what}Phs{phase}" for phase in "ABC" for what in ("A", "Ang")]
    units = {name: "deg" if "Ang" in name else "mA" for name in names}
    bushing = machine("Bushing", units, bushing={"tan_delta_percent": 0.4})
    for day in range(24):
        values: dict[str, float] = {}
        for index, phase in enumerate("ABC"):
            grid = cmath.rect(50.0 * (1 + 0.01 * (day % 3)), radians(90 - 120 * index + (day % 4) - 1.5))
            changed = grid * (1.07 if phase == "C" and day > 14 else 1.0)
            values |= {f"ZBSH.LkAPhs{phase}": abs(changed), f"ZBSH.LkAngPhs{phase}": degrees(cmath.phase(changed))}
        bushing.show(values, after_s=DAY_S)
    finding = bushing.standing["BushingInsulation"].finding
    assert finding is not None
    assert (finding.code, finding.method) == ("CapacitanceChanged", "bushing_sum_current")
    assert finding.facts[0].name == "C1 of phase C, change"
    assert finding.facts[0].value == pytest.approx(7, abs=0.5)


# -- station battery


def test_a_battery_against_its_own_past(machine: Make) -> None:
    units = {"ZBAT.CapPct": "%", "ZBAT.IntRes": "mOhm", "ZBAT.FltA": "A"}
    plate = {"battery": {"impedance_rise_percent": 30, "float_current_rise_percent": 50}}
    battery = machine("Battery", units, **plate)
    for day in range(20):
        grown = 1.4 if day > 11 else 1.0
        battery.show({"ZBAT.CapPct": 95.0, "ZBAT.IntRes": 2.0 * grown, "ZBAT.FltA": 0.2 + day / 1000}, after_s=DAY_S)
    assert battery.code("BatteryTrend") == "Risen"
    assert battery.code("BatteryCapacity") == ""
    battery.show({"ZBAT.CapPct": 78.0, "ZBAT.IntRes": 2.8, "ZBAT.FltA": 0.2})
    assert battery.code("BatteryCapacity") == "CapacityLow"


# -- what all share


def test_a_unit_that_no_method_understands_is_said_and_feeds_none(machine: Make, caplog: Any) -> None:
    with caplog.at_level(logging.WARNING):
        q1 = machine("Breaker", {"SIMG.Pres": "bar", "SIMG.Tmp": "degC"}, sf6_alarm_bara=5.4)
    assert "'bar' is not one of bara, barg" in caplog.text
    q1.show({"SIMG.Pres": 1.0, "SIMG.Tmp": 20.0})
    assert q1.standing == {}


def test_memory_of_other_columns_is_left_alone(machine: Make, caplog: Any) -> None:
    one = machine("Bushing", {"ZBSH.C1": "pF"}, bushing={"c1_pf": 400})
    for _ in range(4):
        one.show({"ZBSH.C1": 400.0}, after_s=DAY_S)
    two = machine("Bushing", {"ZBSH.LosFact": "%"}, bushing={"tan_delta_percent": 0.4})
    two.kept = dict(one.kept)
    two.restart()
    assert "of other points" in caplog.text
    for day in range(10):
        two.show({"ZBSH.LosFact": 0.4 + day / 1000}, after_s=DAY_S)
    assert two.standing == {}


def test_delivered_templates_have_units_that_the_methods_understand() -> None:
    for name in template_names():
        for register in load_template(name).registers():
            assert register.unit in INDICATORS.get(register.indicator, (register.unit,)), (name, register.indicator)


def every_rule(asset: Asset) -> dict[str, Any]:
    rules = equipment_rules(asset, {name: units[0] for name, units in INDICATORS.items()}, timedelta(days=1))
    bare = [name for name in INDICATORS if not name.endswith(("C1", "LosFact"))]
    rules += equipment_rules(asset, dict.fromkeys(bare, ""), timedelta(days=1))
    return {rule.definition: rule for rule in rules}


def test_every_rule_has_its_line_in_the_alarm_list(q1: Asset) -> None:
    rules = every_rule(q1)
    assert set(rules) <= set(DEFINITIONS)
    assert len([rule for rule in rules.values() if isinstance(rule, Remembering)]) >= 7


async def test_a_point_of_an_opc_ua_server_feeds_a_rule(clock: Any) -> None:
    """From a variable of a real server to a finding: a battery's capacity."""
    plc = OpcuaPlc({"B1/ZBAT.CapPct": "%"}, clock.now)
    await plc.start()
    point = OpcuaPoint(node="s=B1/ZBAT.CapPct", asset="B1", indicator="ZBAT.CapPct", unit="%")
    link = OpcuaLinkConfig(name="b", url=plc.url, namespace_uri=NAMESPACE_URI, security="none", points=(point,))
    source = OpcuaSource(link, clock)
    try:
        await plc.show({"B1/ZBAT.CapPct": 70.0})
        await source.open()
        agent = HardAgent(Asset(id="B1", kind="Battery"), source.points, clock)
        judgements = agent.observe(await source.read())
    finally:
        await source.close()
        await plc.stop()
    assert [judgement.definition for judgement in judgements] == ["BatteryCapacity"]
    assert judgements[0].finding is not None
    assert judgements[0].finding.severity is Severity.WARNING
