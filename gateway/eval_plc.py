"""Measured runs through a simulated I/O module and the real driver, so that detectors can be scored on what arrives.

Every run becomes a device on one Modbus server in another process.  A row is shown on all of them, read by the driver
as any poll reads it, passed by the quality gate that agents have, and only then is the next one asked for.
Called by `blackstart eval anomaly --through-plc`.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from drivers.base import Sample
from drivers.clock import SystemClock
from drivers.errors import BadInput, Transient
from drivers.judge import Judge
from drivers.modbus import ModbusDevice, ModbusLinkConfig, ModbusSource
from gateway.simulator import Simulator, simulator
from models.evaluation.anomaly import Run
from models.features import CycleDetector

__all__ = ("Received", "through_plc")

CHANNELS = 8
MAX_RUNS = 247  # unit ids of one line
READS_PER_ROW = 100  # a device that was late is asked again only at some of the next reads
TIMEOUT_S = 5.0  # nothing but load makes a device on loopback late
EACH_READ_IS_NEW = 1e-9  # times the second that the module's template states: two equal rows are two measurements


@dataclass(frozen=True, slots=True)
class Received:
    """The runs as they arrived, and how many single values differ from those of the file."""

    runs: tuple[Run, ...]
    values: int
    values_differing: int
    greatest_relative_difference: float


async def through_plc(runs: Sequence[Run]) -> Received:
    """Play all rows of all runs.  Raises BadInput for runs that do not fit a module, Transient when rows get lost."""
    for run in runs:
        if len(run.sensors) != CHANNELS:
            raise BadInput(f"{run.name}: {len(run.sensors)} sensors, the simulated module has {CHANNELS} inputs")
    if len(runs) > MAX_RUNS:
        raise BadInput(f"{len(runs)} files, one Modbus line has {MAX_RUNS} devices: score a part of the folder")
    with TemporaryDirectory(prefix="blackstart-plc-") as folder:
        files = _write(runs, Path(folder))
        async with simulator("replay-rows", *(str(file) for file in files)) as sim:
            arrived = await _read_all(sim, len(runs))
    received = tuple(_received(run, arrived[number]) for number, run in enumerate(runs, 1))
    sent = np.concatenate([np.vstack([run.fitted, run.rows]).ravel() for run in runs])
    got = np.concatenate([np.vstack([run.fitted, run.rows]).ravel() for run in received])
    relative = np.abs(got - sent) / np.maximum(np.abs(sent), np.finfo(float).tiny)
    return Received(received, sent.size, int(np.count_nonzero(got != sent)), float(relative.max()))


def _write(runs: Sequence[Run], folder: Path) -> list[Path]:
    """Files as the simulator reads them, without label and time."""
    files = []
    for number, run in enumerate(runs, 1):
        files.append(folder / f"{number}.csv")
        with files[-1].open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([f"AnIn{channel}" for channel in range(1, CHANNELS + 1)])
            writer.writerows(np.vstack([run.fitted, run.rows]).tolist())
    return files


async def _read_all(sim: Simulator, count: int) -> dict[int, list[list[float]]]:
    """Rows by unit id, as the driver delivered them."""
    ready = await sim.event("ready")
    source = ModbusSource(_link(ready, count), SystemClock(), interval_scale=EACH_READ_IS_NEW)
    judge = Judge(source.points)
    detectors = {
        unit_id: CycleDetector([point for point in source.points if point.asset_id == _asset(unit_id)])
        for unit_id in range(1, count + 1)
    }
    rows: dict[int, list[list[float]]] = {unit_id: [] for unit_id in detectors}
    await source.open()
    try:
        while True:
            await sim.send("next")
            event = await sim.event("row", "end")
            if event["event"] == "end":
                return rows
            missing = set(event["playing"])
            for _ in range(READS_PER_ROW):
                samples = judge(await source.read())
                for unit_id in sorted(missing):
                    if row := _row(detectors[unit_id], samples):
                        rows[unit_id].append(row)
                        missing.discard(unit_id)
                if not missing:
                    break
            if missing:
                raise Transient(f"row {event['index']}: {len(missing)} devices showed no measurement, try again")
    finally:
        await source.close()


def _link(ready: Mapping[str, Any], count: int) -> ModbusLinkConfig:
    return ModbusLinkConfig(
        protocol="modbus_tcp",
        name="replay",
        host=ready["host"],
        port=ready["port"],
        poll_period_s=TIMEOUT_S,
        timeout_s=TIMEOUT_S,
        devices=tuple(
            ModbusDevice(name=_asset(unit_id), asset=_asset(unit_id), unit_id=unit_id, template=ready["template"])
            for unit_id in range(1, count + 1)
        ),
    )


def _asset(unit_id: int) -> str:
    return f"run-{unit_id:03d}"


def _row(detector: CycleDetector, samples: Sequence[Sample]) -> list[float] | None:
    """The measurement of one device, where every input is GOOD."""
    cycle = detector.feed(samples)
    return None if cycle is None else [cycle.values[f"GGIO.AnIn{channel}"] for channel in range(1, CHANNELS + 1)]


def _received(run: Run, rows: Sequence[Sequence[float]]) -> Run:
    fitted = len(run.fitted)
    assert len(rows) == fitted + len(run.rows), "every row is asked for until it is there"
    return replace(run, fitted=np.array(rows[:fitted]), rows=np.array(rows[fitted:]))
