"""`blackstart replay`: real measurements through simulated device → driver → hard agent, beside the methods alone.

Each dissolved-gas row is a fresh asset on a device of its own; its code is what the agent judges once the gate
has let it through.  The direct column calls the same methods on the same numbers read from the file here, so that
whatever the wire, the driver or the gate changed shows as a row of its own.
"""

import asyncio
import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from drivers.base import Quality, Sample
from drivers.clock import SystemClock
from drivers.errors import BadInput
from drivers.modbus import ModbusDevice, ModbusLinkConfig, ModbusSource
from drivers.opcua import OpcuaLinkConfig, OpcuaPoint, OpcuaSource
from gateway.agents.hard import HardAgent
from gateway.poller import Poller
from gateway.simulator import simulator
from gateway.watchdog import Heartbeats
from models.asset import Asset, AssetKind
from models.dga.consensus import diagnose
from models.dga.gases import Gases
from models.features import MIN_RELIABLE, above_detection
from models.findings import FaultCode, Severity

__all__ = ("direct_code", "replay_file", "report_text")

GAS_COLUMNS = ("H2", "CH4", "C2H6", "C2H4", "C2H2")
UNITS = 60  # devices at a time
CYCLE_S = 0.4  # real seconds of a device's hour; longer than a read of all units takes
POLL_S = 0.15
BATCH_TIMEOUT_S = 120.0
NO_FAULT = FaultCode.N.value
UNDECIDED = "undecided"


async def replay_file(path: Path, rows: int, seed: int) -> dict[str, Any]:
    """Replay a dissolved-gas CSV or an ETT file, told apart by their headers.

    Raises BadInput where the file is neither, naming the columns that would be right.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError) as err:
        raise BadInput(f"{path}: cannot be read: {err}") from err
    if set(GAS_COLUMNS) <= set(header):
        return await _replay_gases(path, rows, seed)
    if "OT" in header:
        return await _replay_oil(path, rows)
    raise BadInput(f"{path}: neither {','.join(GAS_COLUMNS)} nor OT among its columns {','.join(header)[:200]}")


def direct_code(row: Mapping[str, str]) -> str:
    """The code that the methods give for a row of the file, behind the same gates as in an agent."""
    gases = Gases(**{f"{column.lower()}_ul_l": float(row[column]) for column in GAS_COLUMNS})
    if not above_detection(gases):
        return NO_FAULT
    diagnosis = diagnose(gases)
    if diagnosis.severity is Severity.NONE:
        return NO_FAULT
    return diagnosis.code.value if diagnosis.code else UNDECIDED


async def _replay_gases(path: Path, rows: int, seed: int) -> dict[str, Any]:
    with path.open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    via_agent: dict[int, str] = {}
    polled: Counter[str] = Counter()
    arguments = ("replay-dga", "--csv", str(path), "--rows", str(rows), "--seed", str(seed))
    async with simulator(*arguments, "--units", str(UNITS), "--cycle-s", str(CYCLE_S)) as sim:
        while True:
            batch = await sim.event("batch")
            via_agent |= await _play(batch, polled)
            if batch["last"]:
                break
            await sim.send("next")
    results = [_result(index, table[index], via_agent[index]) for index in sorted(via_agent)]
    return _gas_report(path, seed, results, polled)


async def _play(batch: Mapping[str, Any], polled: Counter[str]) -> dict[int, str]:
    """One batch of rows: poll their devices until every agent has judged; row → code."""
    clock = SystemClock()
    link = ModbusLinkConfig(
        protocol="modbus_tcp",
        name="replay",
        host=batch["host"],
        port=batch["port"],
        poll_period_s=POLL_S,
        timeout_s=1.0,
        devices=tuple(
            ModbusDevice(name=row["asset"], asset=row["asset"], unit_id=row["unit_id"], template="vaisala-opt100")
            for row in batch["rows"]
        ),
    )
    source = ModbusSource(link, clock, interval_scale=1.0 / batch["time_factor"])
    agents = {
        row["asset"]: HardAgent(
            Asset(id=row["asset"], kind=AssetKind.POWER_TRANSFORMER),
            [point for point in source.points if point.asset_id == row["asset"]],
            clock,
            time_factor=batch["time_factor"],
        )
        for row in batch["rows"]
    }
    codes: dict[str, str] = {}
    done = asyncio.Event()

    def deliver(samples: Sequence[Sample]) -> None:
        for sample in samples:
            polled[sample.quality.value] += 1
        for asset_id in {sample.point_id.partition("/")[0] for sample in samples} - codes.keys():
            _observe(agents[asset_id], [s for s in samples if s.point_id.startswith(f"{asset_id}/")], codes)
        if len(codes) == len(agents):
            done.set()

    poller = Poller(source, POLL_S, deliver, clock, Heartbeats(clock))
    running = asyncio.create_task(poller.run(), name="replay.poller")
    try:
        async with asyncio.timeout(BATCH_TIMEOUT_S):
            await done.wait()
    except TimeoutError as err:
        missing = sorted(agents.keys() - codes.keys())
        raise BadInput(f"{len(missing)} rows were never judged, the first is {missing[0]}") from err
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return {row["row"]: codes[row["asset"]] for row in batch["rows"]}


def _observe(agent: HardAgent, samples: Sequence[Sample], codes: dict[str, str]) -> None:
    for judgement in agent.observe(samples):
        if judgement.finding is not None and judgement.definition == "DgaFault":
            codes[agent.asset.id] = judgement.finding.code
            return
    if agent.measurements("SIML.H2ppm") > MIN_RELIABLE:
        codes[agent.asset.id] = NO_FAULT


def _result(index: int, row: Mapping[str, str], via_agent: str) -> dict[str, Any]:
    label = row.get("fault", "")
    return {"row": index, "label": label, "agent": via_agent, "direct": direct_code(row)}


def _gas_report(path: Path, seed: int, results: Sequence[dict[str, Any]], polled: Counter[str]) -> dict[str, Any]:
    matrix: dict[str, dict[str, int]] = {}
    direct: dict[str, dict[str, int]] = {}
    for result in results:
        for counts, column in ((matrix, "agent"), (direct, "direct")):
            row = counts.setdefault(result["label"], {})
            row[result[column]] = row.get(result[column], 0) + 1
    differing = [result for result in results if result["agent"] != result["direct"]]
    faults = [result for result in results if result["label"] not in ("", "N")]
    right = sum(_agrees(result["label"], result["agent"]) for result in faults)
    return {
        "kind": "dissolved_gas",
        "file": path.name,
        "rows": len(results),
        "seed": seed,
        "confusion": matrix,
        "confusion_direct": direct,
        "equal": not differing and matrix == direct,
        "rows_differing": differing,
        "fault_rows": len(faults),
        "fault_accuracy": round(right / len(faults), 4) if faults else None,
        "samples_by_quality": dict(polled),
        "results": list(results),
    }


def _agrees(label: str, code: str) -> bool:
    return code == label or (label == "T12" and code in ("T1", "T2"))


async def _replay_oil(path: Path, hours: int) -> dict[str, Any]:
    """Oil temperature through the OPC UA server; every hour's value must arrive as it stands in the file."""
    with path.open(newline="", encoding="utf-8") as file:
        wanted = [float(row["OT"]) for _, row in zip(range(hours), csv.DictReader(file), strict=False)]
    clock = SystemClock()
    got: list[float] = []
    qualities: Counter[str] = Counter()
    async with simulator("replay-ett", "--csv", str(path), "--hours", str(hours), "--wait") as sim:
        ready = await sim.event("ready")
        link = OpcuaLinkConfig(
            protocol="opcua",
            name="replay",
            url=ready["opcua"]["url"],
            namespace_uri=ready["opcua"]["namespace_uri"],
            security="none",
            poll_period_s=POLL_S,
            points=tuple(
                OpcuaPoint(
                    node=f"s={point['node']}",
                    asset=point["asset"],
                    indicator=point["indicator"],
                    unit=point["unit"],
                    update_interval_s=3600.0 / ready["time_factor"],
                )
                for point in ready["opcua"]["points"]
            ),
        )

        first = asyncio.Event()

        def deliver(samples: Sequence[Sample]) -> None:
            first.set()
            for sample in samples:
                qualities[sample.quality.value] += 1
                fresh = sample.quality is Quality.GOOD and sample.point_id == "T1/SIML.Tmp"
                if fresh and isinstance(sample.value, float) and (not got or got[-1] != sample.value):
                    got.append(sample.value)

        source = OpcuaSource(link, clock)
        poller = Poller(source, POLL_S, deliver, clock, Heartbeats(clock))
        running = asyncio.create_task(poller.run(), name="replay.poller")
        try:
            await asyncio.wait_for(first.wait(), BATCH_TIMEOUT_S)
            await sim.send("next")
            await sim.event("end", timeout_s=BATCH_TIMEOUT_S + hours)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    distinct = [value for index, value in enumerate(wanted) if index == 0 or wanted[index - 1] != value]
    return {
        "kind": "oil_temperature",
        "file": path.name,
        "hours": len(wanted),
        "values_sent": len(distinct),
        "values_received": len(got),
        "values_not_in_file": sorted(set(got) - set(wanted)),
        "highest_degc": max(got, default=None),
        "samples_by_quality": dict(qualities),
    }


def report_text(report: Mapping[str, Any]) -> str:
    """The report for people."""
    if report["kind"] != "dissolved_gas":
        return "\n".join(f"{key.replace('_', ' ')}: {value}" for key, value in report.items())
    codes = sorted({code for row in report["confusion"].values() for code in row})
    lines = [f"{report['rows']} rows of {report['file']}: label (down) against the agent's code (across)"]
    lines.append("      " + "".join(f"{code:>10}" for code in codes))
    for label, row in sorted(report["confusion"].items()):
        lines.append(f"{label:>6}" + "".join(f"{row.get(code, 0):>10}" for code in codes))
    accuracy = report["fault_accuracy"]
    if accuracy is not None:
        lines.append(f"right on {report['fault_rows']} labelled faults: {accuracy:.3f}")
    same = "equal, row for row" if report["equal"] else f"{len(report['rows_differing'])} rows differ"
    lines.append(f"against the methods called directly: {same}")
    return "\n".join(lines)
