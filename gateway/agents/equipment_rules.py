"""Rules of a hard agent for gas, breakers, tap changers, bushings and batteries.

Equipment changes over weeks and with each operation, so most of these remember: means per bin of device time, records
of operations, an accumulated wear.  What they remember is journalled as a `Keepsake` and recalled at boot.  The methods
are in `models/`; here is only which points feed them.  `INDICATORS` is the list for people, see `docs/indicators.md`.
A poll cannot see milliseconds: times of operations were measured by the IED, and its record is taken as it stands when
the counter is seen to have changed.
"""

import cmath
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from math import degrees, isfinite, nan, radians
from statistics import fmean

from gateway.agents.remembering import Aspect, DutyRule, Judged, Reads, RecordRule, SeriesRule, ValueRule
from gateway.agents.sight import Rule
from models import battery, breaker, bushing, sf6, tap_changer
from models.asset import Asset, BreakerPlate, Nameplate
from models.findings import Family, Severity
from models.trend import Assessment

__all__ = ("INDICATORS", "equipment_rules")

log = logging.getLogger(__name__)

DAY_S = 86_400.0
DAYS_KEPT = 60  # of daily means: two months show a bushing's or a battery's trend
LEAK_BINS_A_DAY, LEAK_BINS_KEPT = 4, 180  # quarters of a day, so that nights can be compared with nights; 45 days

P20, DENSITY, PRESSURE, GAS_TEMPERATURE = "SIMG.Pres20", "SIMG.Den", "SIMG.Pres", "SIMG.Tmp"
BREAKER_COUNTER = "XCBR.OpCnt"
DRIVE_COLUMNS = ("SCBR.OpTmOpn", "SCBR.OpTmCls", "SOPM.MotTm", "SOPM.MotEn")
TAP_COUNTER, TAP_POSITION, TAP_OIL, TANK_OIL = "YLTC.OpCnt", "YLTC.TapPos", "SLTC.Tmp", "SIML.Tmp"
PHASES = ("PhsA", "PhsB", "PhsC")
LEAKAGE = tuple(f"ZBSH.{what}{phase}" for phase in PHASES for what in ("LkA", "LkAng"))

INDICATORS: dict[str, tuple[str, ...]] = {  # indicator → units that its point may have
    P20: ("bara",),
    DENSITY: ("kg/m3",),
    PRESSURE: ("bara", "barg", "kPaa", "kPag", "MPaa", "MPag", "psia", "psig"),
    GAS_TEMPERATURE: ("degC",),
    BREAKER_COUNTER: ("-", "1"),
    "SCBR.SwA": ("kA", "A"),
    "SCBR.ArcTm": ("ms",),
    "SCBR.AbrPrt": ("%",),
    "SCBR.OpTmOpn": ("ms",),
    "SCBR.OpTmCls": ("ms",),
    "SOPM.MotTm": ("s",),
    "SOPM.MotEn": ("J",),
    "SOPM.MotA": ("A",),
    "SOPM.MotV": ("V",),
    TAP_COUNTER: ("-", "1"),
    TAP_POSITION: ("-", "1"),
    "SLTC.Torq": ("Nm",),
    "SLTC.MotDrvA": ("A",),
    "SLTC.AbrPrt": ("%",),
    TAP_OIL: ("degC",),
    TANK_OIL: ("degC",),
    "ZBSH.C1": ("pF",),
    "ZBSH.LosFact": ("%",),
    **{f"ZBSH.C1{phase}": ("pF",) for phase in PHASES},
    **{f"ZBSH.LosFact{phase}": ("%",) for phase in PHASES},
    **{name: ("deg",) if "Ang" in name else ("mA", "A") for name in LEAKAGE},
    "ZBAT.CapPct": ("%",),
    "ZBAT.FltA": ("mA", "A"),
    "ZBAT.IntRes": ("mOhm",),
}


def equipment_rules(asset: Asset, units: Mapping[str, str], day: timedelta) -> list[Rule]:
    """The rules that this asset's points can feed.

    `units` has every indicator of the asset; where a point's unit is not one that its methods understand, the point
    feeds none of them, and the log says what would be right.  An empty unit is taken for the first of the list.
    """
    usable = {name: unit for name, unit in units.items() if name in INDICATORS and _usable(asset.id, name, unit)}
    scale = DAY_S / day.total_seconds()  # device seconds in a second of the clock that stamps measurements
    rules: list[Rule] = []
    for make in (_gas, _breaker, _tap_changer, _bushing, _battery):
        rules += make(asset.nameplate, usable, scale)
    return rules


def _usable(asset_id: str, name: str, unit: str) -> bool:
    if unit in ("", *INDICATORS[name]):
        return True
    log.warning("%s %s: unit %r is not one of %s: not judged", asset_id, name, unit, ", ".join(INDICATORS[name]))
    return False


def _reads(*names: str, scale: float = 1.0) -> Reads:
    """The newest values of these indicators, NaN for what is not known; None where none of them is."""

    def read(latest: Mapping[str, float]) -> tuple[float, ...] | None:
        values = tuple(latest.get(name, nan) * scale for name in names)
        return values if any(map(isfinite, values)) else None

    return read


def _gas(plate: Nameplate, units: Mapping[str, str], scale: float) -> list[Rule]:
    trigger = next((name for name in (P20, DENSITY, PRESSURE) if name in units), None)
    if trigger is None:
        return []

    def normalised(latest: Mapping[str, float]) -> sf6.Normalised:
        absolute: float | None = None
        notes: tuple[str, ...] = ()
        if PRESSURE in latest and P20 not in units and DENSITY not in units:
            absolute, notes = sf6.absolute_bara(latest[PRESSURE], units[PRESSURE] or "bara", plate.atmospheric_bara)
        found = sf6.pressure_at_20(
            plate,
            normalised_bara=latest.get(P20),
            density=latest.get(DENSITY),
            absolute=absolute,
            temperature_degc=latest.get(GAS_TEMPERATURE),
        )
        return replace(found, assumptions=found.assumptions + notes)

    def level(latest: Mapping[str, float]) -> Judged:
        found = normalised(latest)
        if found.bara is None:
            return [(trigger, Assessment(Severity.NONE, abstained=found.abstained))]
        judged = sf6.assess(found.bara, plate)
        limit = f", limit {judged.facts[1].value:.2f}" if judged.severity else ""
        text = f"{found.bara:.2f} bara{limit}"
        return [(trigger, replace(judged, assumptions=judged.assumptions + found.assumptions, text=text))]

    def sample(latest: Mapping[str, float]) -> tuple[float, ...] | None:
        bara = normalised(latest).bara
        return None if bara is None else (bara, latest.get(GAS_TEMPERATURE, nan))

    def leak(rows: Sequence[tuple[float, ...]]) -> Judged:
        return [(trigger, sf6.leak_verdict(sf6.leak(rows), plate))]

    trend = Aspect("GasLeak", trigger, "sf6_leak_trend", Family.LOSS_OF_GAS)
    rules: list[Rule] = [
        SeriesRule(trend, (trigger, GAS_TEMPERATURE), sample, leak, scale, DAY_S / LEAK_BINS_A_DAY, LEAK_BINS_KEPT)
    ]
    if trigger != P20:  # there the sensor has done it, and `rules.PressureRule` compares
        method = "sf6_density" if trigger == DENSITY else "sf6_beattie_bridgman"
        rules.append(ValueRule(Aspect("GasDensityLow", trigger, method, Family.LOSS_OF_GAS), level))
    return rules


def _breaker(plate: Nameplate, units: Mapping[str, str], scale: float) -> list[Rule]:
    own = plate.breaker
    rules: list[Rule] = []
    if "SCBR.AbrPrt" in units:  # the IED reckons with its own curve and every pole
        aspect = Aspect("BreakerWear", "SCBR.AbrPrt", "ied_contact_wear", Family.CONTACT_WEAR)
        rules.append(ValueRule(aspect, lambda latest: _named("SCBR.AbrPrt", latest, breaker.stated_wear)))
    if BREAKER_COUNTER not in units:
        return rules
    if "SCBR.AbrPrt" not in units and "SCBR.SwA" in units:
        aspect = Aspect("BreakerWear", BREAKER_COUNTER, "contact_wear", Family.CONTACT_WEAR)
        factor = 1e-3 if units["SCBR.SwA"] == "A" else 1.0

        def worn(duty: breaker.Duty, first_s: float, now_s: float) -> Judged:  # noqa: ARG001 - one shape for both
            return [("SCBR.AbrPrt", breaker.wear_verdict(duty, own))]

        record = partial(_record, factor)
        rules.append(DutyRule(aspect, own, worn, scale, record, counter=BREAKER_COUNTER))

    def idle(duty: breaker.Duty, first_s: float, now_s: float) -> Judged:
        return [(BREAKER_COUNTER, breaker.inactivity(duty, first_s, now_s, DAY_S, own))]

    moving = next((name for name in (P20, DENSITY, PRESSURE) if name in units), BREAKER_COUNTER)
    aspect = Aspect("BreakerIdle", moving, "days_without_operation", Family.MECHANISM)
    rules.append(DutyRule(aspect, own, idle, scale, counter=BREAKER_COUNTER))
    if any(name in units for name in DRIVE_COLUMNS):
        aspect = Aspect("BreakerDrive", BREAKER_COUNTER, "operation_records", Family.MECHANISM)
        rules.append(RecordRule(aspect, DRIVE_COLUMNS, _drive_record, lambda records: _drive(records, own), rises=True))
    return rules


def _record(factor: float, latest: Mapping[str, float]) -> tuple[float | None, float | None]:
    current = latest.get("SCBR.SwA")
    return None if current is None else current * factor, latest.get("SCBR.ArcTm")


def _drive_record(latest: Mapping[str, float]) -> tuple[float, ...]:
    times = tuple(latest.get(name, nan) for name in ("SCBR.OpTmOpn", "SCBR.OpTmCls", "SOPM.MotTm"))
    parts = tuple(latest.get(name, nan) for name in ("SOPM.MotV", "SOPM.MotA", "SOPM.MotTm"))
    energy = breaker.motor_energy_j(*parts) if all(map(isfinite, parts)) else nan
    return (*times, latest.get("SOPM.MotEn", energy))


def _drive(records: Sequence[tuple[float, ...]], own: BreakerPlate) -> Judged:
    """Of each quantity only the records that have it: an opening has no closing time."""
    columns = (
        ("SCBR.OpTmAlm", "opening time", "ms", own.open_time_ms),
        ("SCBR.OpTmAlm", "closing time", "ms", own.close_time_ms),
        ("SOPM.EnAlm", "charging time", "s", own.spring_charge_s),
        ("SOPM.EnAlm", "motor energy", "J", own.motor_energy_j),
    )
    return [
        (indicator, breaker.drift(name, unit, _finite(records, index), reference, own.drift_percent))
        for index, (indicator, name, unit, reference) in enumerate(columns)
    ]


def _tap_changer(plate: Nameplate, units: Mapping[str, str], scale: float) -> list[Rule]:
    own = plate.tap_changer
    rules: list[Rule] = []
    moved = next((name for name in (TAP_COUNTER, TAP_POSITION) if name in units), None)
    drives = tuple(name for name in ("SLTC.Torq", "SLTC.MotDrvA") if name in units)
    if moved and drives:
        aspect = Aspect("TapChangerDrive", moved, "drive_signature", Family.MECHANISM)

        def drive(records: Sequence[tuple[float, ...]]) -> Judged:
            words = {"SLTC.Torq": ("torque", "Nm"), "SLTC.MotDrvA": ("motor current", "A")}
            return [
                ("SLTC.Torq", tap_changer.drive(*words[name], _finite(records, index), own))
                for index, name in enumerate(drives)
            ]

        record = _reads(*drives)
        rules.append(
            RecordRule(aspect, (moved, *drives), lambda latest: record(latest) or (), drive, rises=moved == TAP_COUNTER)
        )
    if TAP_OIL in units and TANK_OIL in units:
        aspect = Aspect("TapChangerHot", TAP_OIL, "oil_temperature_difference", Family.OVERHEATING)

        def difference(latest: Mapping[str, float]) -> tuple[float, ...] | None:
            value = latest.get(TAP_OIL, nan) - latest.get(TANK_OIL, nan)
            return (value,) if isfinite(value) else None

        def hot(rows: Sequence[tuple[float, ...]]) -> Judged:
            return [(TAP_OIL, tap_changer.warmer_than_tank([row[1] for row in rows], own))]

        rules.append(SeriesRule(aspect, (TAP_OIL, TANK_OIL), difference, hot, scale, DAY_S, DAYS_KEPT))
    judges: dict[str, Callable[[float], Assessment]] = {
        "SLTC.AbrPrt": lambda value: tap_changer.abrasion(value, own),
        TAP_COUNTER: lambda value: tap_changer.operations(value, own),
    }
    for name in [name for name in judges if name in units][:1]:
        aspect = Aspect("TapChangerWear", name, "contact_wear", Family.CONTACT_WEAR)
        rules.append(
            ValueRule(aspect, lambda latest: [part for key in judges for part in _named(key, latest, judges[key])])
        )
    return rules


def _bushing(plate: Nameplate, units: Mapping[str, str], scale: float) -> list[Rule]:
    own = plate.bushing
    rules: list[Rule] = []
    singles = [name for name in ("ZBSH.C1", "ZBSH.LosFact") if name in units]
    if singles:
        judges: dict[str, Callable[[Sequence[float]], tuple[str, Assessment]]] = {
            "ZBSH.C1": lambda days: ("ZBSH.React", bushing.capacitance(days, own.c1_pf)),
            "ZBSH.LosFact": lambda days: ("ZBSH.LosFact", bushing.tan_delta(days, own.tan_delta_percent)),
        }

        def one(rows: Sequence[tuple[float, ...]]) -> Judged:
            return [judges[name]([row[index] for row in rows]) for index, name in enumerate(singles, start=1)]

        aspect = Aspect("BushingInsulation", singles[0], "bushing_reference", Family.BUSHING)
        rules.append(SeriesRule(aspect, tuple(singles), _reads(*singles), one, scale, DAY_S, DAYS_KEPT))
        return rules
    threes = [base for base in ("ZBSH.C1", "ZBSH.LosFact") if all(f"{base}{phase}" in units for phase in PHASES)]
    if threes:
        names = [f"{base}{phase}" for base in threes for phase in PHASES]
        aspect = Aspect("BushingInsulation", names[0], "bushing_relative", Family.BUSHING)
        rules.append(
            SeriesRule(
                aspect, tuple(names), _reads(*names), lambda rows: _relative(rows, threes), scale, DAY_S, DAYS_KEPT
            )
        )
        return rules
    if all(name in units for name in LEAKAGE):
        aspect = Aspect("BushingInsulation", LEAKAGE[0], "bushing_sum_current", Family.BUSHING)
        rules.append(
            SeriesRule(
                aspect,
                LEAKAGE,
                _phasors,
                lambda rows: _sum_current(rows, own.tan_delta_percent),
                scale,
                DAY_S,
                DAYS_KEPT,
            )
        )
    return rules


def _relative(rows: Sequence[tuple[float, ...]], bases: Sequence[str]) -> Judged:
    judged = []
    for place, base in enumerate(bases):
        first = 1 + place * len(PHASES)
        days = [bushing.relative(row[first : first + len(PHASES)]) for row in rows]
        for index, phase in enumerate(PHASES):
            own_days = [day[index] for day in days]
            words = f"{'C1' if base == 'ZBSH.C1' else 'tan delta'} ratio of {phase}"
            if base == "ZBSH.C1":
                judged.append(("ZBSH.React", bushing.capacitance(own_days, None, words, "1")))
            else:
                judged.append(("ZBSH.LosFact", bushing.tan_delta(own_days, None, words, "1")))
    return judged


def _phasors(latest: Mapping[str, float]) -> tuple[float, ...] | None:
    """Real and imaginary parts, which can be averaged where angles cannot."""
    parts: list[float] = []
    for size, angle in zip(LEAKAGE[::2], LEAKAGE[1::2], strict=True):
        if size not in latest or angle not in latest:
            return None
        phasor = cmath.rect(latest[size], radians(latest[angle]))
        parts += [phasor.real, phasor.imag]
    return tuple(parts)


def _sum_current(rows: Sequence[tuple[float, ...]], tan_delta_percent: float | None) -> Judged:
    if len(rows) < 2 * bushing.WEEK:
        wanting = f"{len(rows)} of {2 * bushing.WEEK} daily means"
        return [("ZBSH.LosFact", Assessment(Severity.NONE, abstained=wanting))]
    found = bushing.sum_current(_mean_phasors(rows[-bushing.WEEK :]), _mean_phasors(rows[: bushing.WEEK]))
    return bushing.sum_verdict(found, tan_delta_percent)


def _mean_phasors(rows: Sequence[tuple[float, ...]]) -> list[tuple[float, float]]:
    """Size and angle of each phase's mean; rows hold all six parts, since `_phasors` gives all or none."""
    parts = [fmean(row[index] for row in rows) for index in range(1, 2 * len(PHASES) + 1)]
    phasors = [complex(real, imag) for real, imag in zip(parts[::2], parts[1::2], strict=True)]
    return [(abs(phasor), degrees(cmath.phase(phasor))) for phasor in phasors]


def _battery(plate: Nameplate, units: Mapping[str, str], scale: float) -> list[Rule]:
    own = plate.battery
    rules: list[Rule] = []
    if "ZBAT.CapPct" in units:
        aspect = Aspect("BatteryCapacity", "ZBAT.CapPct", "capacity_test", Family.DC_SUPPLY)
        rules.append(ValueRule(aspect, lambda latest: _named("ZBAT.CapPct", latest, battery.capacity)))
    names = [name for name in ("ZBAT.IntRes", "ZBAT.FltA") if name in units]
    if names:
        limits = {
            "ZBAT.IntRes": ("impedance", "mOhm", own.impedance_rise_percent, "impedance_rise_percent"),
            "ZBAT.FltA": ("float current", units.get("ZBAT.FltA") or "A", own.float_current_rise_percent,
                          "float_current_rise_percent"),
        }  # fmt: skip

        def risen(rows: Sequence[tuple[float, ...]]) -> Judged:
            return [
                (name, battery.rise(words, unit, [row[index] for row in rows], limit, key))
                for index, name in enumerate(names, start=1)
                for words, unit, limit, key in [limits[name]]
            ]

        aspect = Aspect("BatteryTrend", names[0], "own_baseline", Family.DC_SUPPLY)
        rules.append(SeriesRule(aspect, tuple(names), _reads(*names), risen, scale, DAY_S, DAYS_KEPT))
    return rules


def _named(name: str, latest: Mapping[str, float], judge: Callable[[float], Assessment]) -> Judged:
    return [(name, judge(latest[name]))] if name in latest else []


def _finite(records: Sequence[tuple[float, ...]], index: int) -> list[float]:
    return [record[index] for record in records if index < len(record) and isfinite(record[index])]
