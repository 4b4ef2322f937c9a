"""What the methods cost: all of them for one asset, and 200 assets each second, on one core.

    python -m benchmarks.phm [--rounds 30] > phm.json

`asset_ms`: CPU time of every method once, with nothing remembered from before: dissolved gas, thermal step and limits,
anomaly (where the extra `train` is there to make a model), gas density, 45 days of a leak's trend, contacts, drives,
bushings, battery, what its failure would do to a station of twelve.  `assets_per_s`: hard agents of transformers,
breakers, tap changers, bushings and batteries, each fed a new measurement of every point.  Medians over the rounds, CPU
time of one process; the bars are 5 ms and 200 assets a second.  One JSON document, and last `BENCH` with both figures.
"""

import argparse
import importlib.util
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from drivers.base import Point, Quality, Sample
from gateway.agents.equipment_rules import INDICATORS
from gateway.agents.hard import HardAgent
from gateway.agents.rules import INDICATOR_OF
from models import battery, breaker, bushing, sf6, tap_changer
from models.asset import Asset, BatteryPlate, BreakerPlate, BushingPlate, Nameplate, TapChangerPlate
from models.dga.consensus import diagnose
from models.dga.gases import Gases
from models.failure_risk import if_it_fails, rank_risk
from models.risk import AssetEdge
from models.thermal import ageing_rate, overheating, parameters_for, steady_state, step

ASSETS = 200
START = datetime(2026, 3, 1, tzinfo=UTC)
CURVE = ((1.2, 10_000.0), (8.0, 150.0), (20.0, 12.0))
PLATE = Nameplate.model_validate(
    {
        "age_years": 22,
        "cooling": "ONAF",
        "paper": "kraft",
        "breathing": "sealed",
        "tap_changer_communicates": False,
        "sf6_alarm_bara": 5.4,
        "sf6_lockout_bara": 5.0,
        "insulating_gas": "SF6",
        "breaker": BreakerPlate(wear_curve=CURVE, inactive_days_max=365),
        "tap_changer": TapChangerPlate(abrasion_limit_percent=80, operations_between_overhauls=100_000),
        "bushing": BushingPlate(tan_delta_percent=0.4, c1_pf=400),
        "battery": BatteryPlate(impedance_rise_percent=30, float_current_rise_percent=50),
    }
)
GASES = Gases(h2_ul_l=210, ch4_ul_l=43, c2h6_ul_l=12, c2h4_ul_l=102, c2h2_ul_l=187, co_ul_l=167, co2_ul_l=1000)
PHASORS = ((0.050, 90.0), (0.051, -30.0), (0.049, -150.0))
KINDS: dict[str, tuple[str, ...]] = {
    "PowerTransformer": (*dict.fromkeys(INDICATOR_OF.values()), "SLTC.Tmp"),
    "Breaker": ("SIMG.Den", "SIMG.Tmp", *(name for name in INDICATORS if name[:4] in {"XCBR", "SCBR", "SOPM"})),
    "TapChanger": ("YLTC.OpCnt", "SLTC.Torq", "SLTC.MotDrvA", "SLTC.AbrPrt"),
    "Bushing": tuple(f"ZBSH.{what}Phs{phase}" for what in ("C1", "LosFact") for phase in "ABC"),
    "Battery": ("ZBAT.CapPct", "ZBAT.FltA", "ZBAT.IntRes"),
}


class Clock:
    """An hour a round."""

    def __init__(self) -> None:
        self.hours = 0

    def now(self) -> datetime:
        """Of the round."""
        return START + timedelta(hours=self.hours)

    def monotonic_ns(self) -> int:
        """The same since the start."""
        return self.hours * 3600 * 10**9

    def trusted(self) -> bool:
        """It is."""
        return True


def methods() -> dict[str, Callable[[], object]]:
    """Every method of one asset on inputs of full size, by name."""
    parameters = parameters_for(PLATE)
    state = steady_state(0.8, 20.0, parameters)
    rows = [(day * sf6.DAY_S / 4, 6.2 - 0.002 * day / 4 + 0.01 * (day % 3), 20.0 + day % 2) for day in range(180)]
    records = [30.0 + number % 3 for number in range(60)]
    days = [400.0 + number % 3 for number in range(60)]
    duty = breaker.Duty(counter=100, recorded=90, skipped=10, wear_percent=40, last_operation_s=0.0)
    assets, edges = station(12)
    found: dict[str, Callable[[], object]] = {
        "dissolved_gas": lambda: diagnose(GASES, PLATE),
        "thermal": lambda: (
            step(state, 60.0, 1.1, 20.0, parameters),
            overheating(90.0, 110.0),
            ageing_rate(110.0, PLATE.paper),
        ),
        "sf6_density": lambda: sf6.assess(
            sf6.pressure_at_20(PLATE, absolute=6.0, temperature_degc=10.0).bara or 0.0, PLATE
        ),
        "sf6_leak": lambda: sf6.leak_verdict(sf6.leak(rows), PLATE),
        "breaker": lambda: (
            breaker.after_reading(duty, 101, 1.0, 7.0, 12.0, PLATE.breaker),
            breaker.wear_verdict(duty, PLATE.breaker),
            breaker.inactivity(duty, 0.0, 1e6, sf6.DAY_S, PLATE.breaker),
            [breaker.drift("time", "ms", records, 30.0, 10.0) for _ in range(4)],
        ),
        "tap_changer": lambda: (
            tap_changer.drive("torque", "Nm", records, PLATE.tap_changer),
            tap_changer.drive("current", "A", records, PLATE.tap_changer),
            tap_changer.warmer_than_tank(days, PLATE.tap_changer),
            tap_changer.abrasion(50.0, PLATE.tap_changer),
        ),
        "bushing": lambda: (
            [bushing.relative((400.0, 401.0, 399.0)) for _ in range(60)],
            [bushing.capacitance(days, 400.0) for _ in range(3)],
            [bushing.tan_delta(days, 400.0) for _ in range(3)],
            bushing.sum_current(PHASORS, PHASORS),
        ),
        "battery": lambda: (
            battery.capacity(95.0),
            battery.rise("impedance", "mOhm", days, 30.0, "impedance_rise_percent"),
            battery.rise("float current", "A", days, 50.0, "float_current_rise_percent"),
        ),
        "risk": lambda: if_it_fails(assets, edges, "A0"),
    }
    return found | _anomaly()


def station(size: int) -> tuple[list[Asset], list[AssetEdge]]:
    """Assets of which each can reach its next three."""
    assets = [Asset.model_validate({"id": f"A{n}", "kind": "Breaker", "risk": {"consequence": n}}) for n in range(size)]
    edges = [
        AssetEdge(from_asset=f"A{n}", to_asset=f"A{(n + reach) % size}", kind="fire_exposure", attenuation=0.5)
        for n in range(size)
        for reach in (1, 2, 3)
    ]
    return assets, edges


def _anomaly() -> dict[str, Callable[[], object]]:
    if importlib.util.find_spec("onnx") is None:
        return {}
    from hil_sim.commission import write_commissioning  # noqa: PLC0415 - only where a model can be made
    from hil_sim.scenario import load_scenario  # noqa: PLC0415
    from models.anomaly import AnomalyModel  # noqa: PLC0415
    from models.training.anomaly import load_commissioning_csv, train_anomaly  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        csv, out = Path(folder) / "t1.csv", Path(folder) / "t1.onnx"
        write_commissioning(load_scenario("demo"), "T1", csv, days=20)
        train_anomaly(csv, "T1", out)
        model = AnomalyModel.load(out, asset_id="T1")
        data = load_commissioning_csv(csv)
    row = dict(zip(data.features, map(float, data.matrix[-1]), strict=True))
    return {"anomaly": lambda: model.score(row)}


def cpu_ms(work: Callable[[], object], rounds: int) -> float:
    """Median CPU time of one call in milliseconds."""
    times = []
    for _ in range(rounds):
        began = time.process_time_ns()
        work()
        times.append((time.process_time_ns() - began) / 1e6)
    return statistics.median(times)


def fleet_ms(rounds: int) -> float:
    """CPU time in milliseconds in which 200 agents judge one new measurement of every point."""
    clock = Clock()
    agents = []
    for number in range(ASSETS):
        kind = list(KINDS)[number % len(KINDS)]
        asset = Asset.model_validate({"id": f"A{number}", "kind": kind, "nameplate": PLATE})
        points = [
            Point(
                id=f"A{number}/{name}",
                unit=INDICATORS.get(name, ("",))[0],
                group=f"A{number}/g",
                update_interval_s=3600,
            )
            for name in KINDS[kind]
        ]
        agents.append(HardAgent(asset, points, clock))
    names = [list(KINDS.values())[number % len(KINDS)] for number in range(ASSETS)]
    times = []
    for _ in range(rounds):
        clock.hours += 1
        deliveries = [_delivery(f"A{number}", names[number], clock) for number in range(ASSETS)]
        began = time.process_time_ns()
        for agent, samples in zip(agents, deliveries, strict=True):
            agent.observe(samples)
            agent.keepsakes()
        times.append((time.process_time_ns() - began) / 1e6)
    return statistics.median(times)


def _delivery(asset: str, names: tuple[str, ...], clock: Clock) -> list[Sample]:
    usual = {"SIMG.Den": 40.0, "ZBAT.CapPct": 95.0, "MMXU.LodPu": 0.8, "SLTC.AbrPrt": 40.0, "SCBR.AbrPrt": 40.0}
    return [
        Sample(
            point_id=f"{asset}/{name}",
            value=float(clock.hours) if name.endswith("OpCnt") else usual.get(name, 30.0) + clock.hours % 5 / 100,
            quality=Quality.GOOD,
            received_time=clock.now(),
            monotonic_ns=clock.monotonic_ns(),
            clock_trusted=True,
        )
        for name in names
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="repetitions behind each median")
    rounds = parser.parse_args().rounds
    each: Mapping[str, float] = {name: round(cpu_ms(work, rounds), 4) for name, work in methods().items()}
    fleet, whole = fleet_ms(max(rounds, 30)), station(ASSETS)
    figures = {"asset_ms": round(sum(each.values()), 3), "assets_per_s": round(ASSETS / fleet * 1000)}
    report = {
        "machine": {"cpu": platform.processor() or platform.machine(), "python": platform.python_version()}
        | {"cores": os.cpu_count(), "load": os.getloadavg()[0]},
        "bars": {"asset_ms": 5.0, "assets_per_s": ASSETS},
        "methods_ms": each,
        "fleet": {"assets": ASSETS, "cpu_ms_per_round": round(fleet, 2)},
        "risk_of_200_assets_ms": round(cpu_ms(lambda: rank_risk(*whole), 5), 2),
        **figures,
    }
    print(json.dumps(report, indent=2))
    print("BENCH", json.dumps(figures))


if __name__ == "__main__":
    main()
