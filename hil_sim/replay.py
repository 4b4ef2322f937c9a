"""Real measurements played through the simulated devices, for scoring the way from socket to diagnosis.

Dissolved gases: rows of a CSV, each a fresh asset on a Modbus unit of its own, batch by batch.  Transformer series:
oil temperature and load of a CSV, an hour of data per device cycle, on the OPC UA server.
Called by `hil_sim.__main__`.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hil_sim.control import first_to_end
from hil_sim.errors import SimError
from hil_sim.lines import Lines
from hil_sim.modbus_plc import ModbusPlc
from hil_sim.opcua_plc import NAMESPACE_URI, OpcuaPlc
from hil_sim.physics.gassing import ChamberThermometer
from hil_sim.register_maps import MAPS
from hil_sim.substation import gas_monitor_channels
from hil_sim.tables import Table, read_table

__all__ = ("DgaReplay", "EttReplay", "pick_rows")

DGA_COLUMNS = ("H2", "CH4", "C2H6", "C2H4", "C2H2")
ETT_COLUMNS = ("OT", "HUFL")
HOUR_S = 3600.0
CO_UL_L, CO2_UL_L = 300.0, 3000.0  # not in the data; ordinary for a sealed transformer and far below any limit
MOISTURE_UL_L = 8.0
MAX_REFUSALS_TOLD = 100  # the rest is counted
TEMPLATE = "vaisala-opt100"
OIL_POINT, LOAD_POINT = "T1/SIML.Tmp", "T1/MMXU.LodPu"


def pick_rows(table: Table, count: int, seed: int) -> list[int]:
    """The data rows to play: a seeded sample without repetition, in the file's order.

    Raises SimError when the file has fewer good rows.
    """
    if count > len(table.rows):
        raise SimError(f"{count} rows are wanted, {len(table.rows)} good ones are there")
    return sorted(random.Random(seed).sample(sorted(table.rows), count))


@dataclass(frozen=True, slots=True)
class _Unit:
    row: int
    unit_id: int
    gases_ul_l: dict[str, float]
    chamber: ChamberThermometer

    def as_json(self) -> dict[str, object]:
        return {"row": self.row, "unit_id": self.unit_id, "asset": f"row-{self.row:05d}"}


class DgaReplay:
    """Rows of dissolved gases on the units of one Modbus server."""

    def __init__(
        self, lines: Lines, path: Path, *, rows: int, seed: int, units: int = 100, cycle_s: float = 0.2
    ) -> None:
        """Read the file and pick the rows; `cycle_s` are real seconds.  Raises SimError for an unusable file."""
        self._lines = lines
        self._path = path
        self._table = read_table(path, DGA_COLUMNS, low=0.0)
        self._seed = seed
        self._cycle_s = cycle_s
        picked = pick_rows(self._table, rows, seed)
        self._batches = [picked[start : start + units] for start in range(0, len(picked), units)]
        self._unit_ids = range(1, min(units, rows) + 1)
        self._plc = ModbusPlc(dict.fromkeys(self._unit_ids, MAPS[TEMPLATE]))
        self._playing: list[_Unit] = []

    async def run(self) -> None:
        """Play every batch until it is asked for the next one; say `end` behind the last."""
        self._tell_refused()
        await self._plc.start()
        try:
            await first_to_end(self._obey(), self._keep_cycling())
        finally:
            await self._plc.stop()

    def _tell_refused(self) -> None:
        refused = self._table.refused
        for bad in refused[:MAX_REFUSALS_TOLD]:
            self._lines.emit("refused", file=str(self._path), line=bad.line, row=bad.row, reason=bad.reason)
        if len(refused) > MAX_REFUSALS_TOLD:
            self._lines.emit("refused_more", file=str(self._path), count=len(refused) - MAX_REFUSALS_TOLD)

    async def _obey(self) -> None:
        self._load(0)
        index = 0
        async for command in self._lines.commands():
            match command:
                case {"cmd": "next"}:
                    index += 1
                    if index == len(self._batches):
                        self._lines.emit("end")
                        return
                    self._load(index)
                case {"cmd": "stop"}:
                    self._lines.emit("ok", cmd="stop")
                    return
                case _:
                    _refuse(self._lines, command.get("cmd"), ("next", "stop"))

    def _load(self, index: int) -> None:
        batch = self._batches[index]
        self._playing = [self._unit(row, unit_id) for row, unit_id in zip(batch, self._unit_ids, strict=False)]
        self._plc.silence()
        self._show()
        self._lines.emit(
            "batch",
            index=index,
            last=index == len(self._batches) - 1,
            host=self._plc.host,
            port=self._plc.port,
            template=TEMPLATE,
            cycle_s=self._cycle_s,
            time_factor=HOUR_S / self._cycle_s,
            rows=[unit.as_json() for unit in self._playing],
        )

    def _unit(self, row: int, unit_id: int) -> _Unit:
        gases = dict(zip(("h2", "ch4", "c2h6", "c2h4", "c2h2"), self._table.rows[row], strict=True))
        chamber = ChamberThermometer(random.Random(f"{self._seed}/{row}"))
        return _Unit(row, unit_id, gases | {"co": CO_UL_L, "co2": CO2_UL_L}, chamber)

    def _show(self) -> None:
        for unit in self._playing:
            channels = gas_monitor_channels(
                unit.gases_ul_l, moisture_ul_l=MOISTURE_UL_L, chamber_degc=unit.chamber.next_degc()
            )
            self._plc.show(unit.unit_id, channels)

    async def _keep_cycling(self) -> None:
        while True:
            await asyncio.sleep(self._cycle_s)
            self._show()


class EttReplay:
    """Oil temperature and load of the Electricity Transformer dataset, hour by hour."""

    def __init__(
        self,
        lines: Lines,
        path: Path,
        now: Callable[[], datetime],
        *,
        hours: int,
        start: int = 0,
        cycle_s: float = 0.2,
        wait: bool = False,
    ) -> None:
        """Read the series; `wait` holds the first hour until {"cmd":"next"}.  Raises SimError for a bad number."""
        table = read_table(path, ETT_COLUMNS)
        if table.refused:
            first = table.refused[0]
            raise SimError(f"{path}:{first.line}: {first.reason}; a series must not have holes")
        if start + hours > len(table.rows):
            raise SimError(f"{path}: {hours} hours from {start} on are wanted, the file has {len(table.rows)}")
        self._lines = lines
        self._start = start
        self._cycle_s = cycle_s
        self._wait = wait
        self._hours = ett_hours([table.rows[row] for row in range(len(table.rows))])[start : start + hours]
        self._opcua = OpcuaPlc({OIL_POINT: "degC", LOAD_POINT: "pu"}, now)

    async def run(self) -> None:
        """Say `ready`, play each hour with its `hour` line, say `end`."""
        await self._opcua.start()
        try:
            await self._show(0)
            self._lines.emit(
                "ready",
                time_factor=HOUR_S / self._cycle_s,
                cycle_s=self._cycle_s,
                hours=len(self._hours),
                devices=[],
                opcua={
                    "url": self._opcua.url,
                    "namespace_uri": NAMESPACE_URI,
                    "points": [point.as_json() for point in self._opcua.points],
                },
                mqtt=None,
            )
            go = asyncio.Event()
            if not self._wait:
                go.set()
            await first_to_end(self._obey(go), self._play(go))
        finally:
            await self._opcua.stop()

    async def _obey(self, go: asyncio.Event) -> None:
        async for command in self._lines.commands():
            match command:
                case {"cmd": "next"}:
                    go.set()
                    self._lines.emit("ok", cmd="next")
                case {"cmd": "stop"}:
                    self._lines.emit("ok", cmd="stop")
                    return
                case _:
                    _refuse(self._lines, command.get("cmd"), ("next", "stop"))

    async def _play(self, go: asyncio.Event) -> None:
        await go.wait()
        for index in range(len(self._hours)):
            await self._show(index)
            self._lines.emit("hour", index=index, row=self._start + index)
            await asyncio.sleep(self._cycle_s)
        self._lines.emit("end")

    async def _show(self, index: int) -> None:
        oil_degc, load_pu = self._hours[index]
        await self._opcua.show({OIL_POINT: oil_degc, LOAD_POINT: load_pu})


def ett_hours(rows: Sequence[tuple[float, ...]]) -> list[tuple[float, float]]:
    """(oil temperature °C, load pu) per row.

    The set's load has no published unit, so that its share of the file's greatest magnitude stands for the load per
    unit of rating; its sign is the direction of power, which heats the same way.
    """
    greatest = max(abs(load) for _, load in rows) or 1.0
    return [(oil_degc, abs(load) / greatest) for oil_degc, load in rows]


def _refuse(lines: Lines, command: object, known: Sequence[str]) -> None:
    lines.emit("error", cmd=str(command or ""), message=f"unknown command; known: {', '.join(known)}")
