"""Measured rows of several machines played through simulated I/O modules, one row at a time, in step with the reader.

Each CSV file is a machine: a Modbus unit of its own on one server, its columns the module's analogue inputs.  The next
row of every file is shown on {"cmd": "next"}: nothing depends on how quick the box is.
Called by `hil_sim.__main__`.
"""

from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

from hil_sim.errors import SimError
from hil_sim.lines import Lines
from hil_sim.modbus_plc import ModbusPlc
from hil_sim.register_maps import RegisterMap
from hil_sim.scenario import MAX_UNIT_ID
from hil_sim.tables import read_table

__all__ = ("RowsReplay",)

COLUMNS = tuple(f"AnIn{number}" for number in range(1, 9))
TEMPLATE = "analog-inputs-8"
MODULE = RegisterMap(
    floats=MappingProxyType({column: 1 + 2 * index for index, column in enumerate(COLUMNS)}),
    words=MappingProxyType({}),
    blocks=(range(1, 1 + 2 * len(COLUMNS)),),
)


class RowsReplay:
    """Files of rows on the units of one Modbus server."""

    def __init__(self, lines: Lines, paths: Sequence[Path]) -> None:
        """Read the files, columns `AnIn1` to `AnIn8`.  Raises SimError for a bad number or too many files."""
        if len(paths) > MAX_UNIT_ID:
            raise SimError(f"{len(paths)} files, one server has {MAX_UNIT_ID} units")
        self._lines = lines
        self._rows: dict[int, list[tuple[float, ...]]] = {}
        for unit_id, path in enumerate(paths, 1):
            table = read_table(path, COLUMNS)
            if table.refused:
                first = table.refused[0]
                raise SimError(f"{path}:{first.line}: {first.reason}; a series must not have holes")
            self._rows[unit_id] = list(table.rows.values())
        self._plc = ModbusPlc(dict.fromkeys(self._rows, MODULE))

    async def run(self) -> None:
        """Say `ready`, show a row of every file at each `next`, say `end` when no file has another."""
        await self._plc.start()
        try:
            rows = {str(unit_id): len(rows) for unit_id, rows in self._rows.items()}
            self._lines.emit("ready", host=self._plc.host, port=self._plc.port, template=TEMPLATE, rows=rows)
            index = 0
            async for command in self._lines.commands():
                match command:
                    case {"cmd": "next"}:
                        if not self._show(index):
                            self._lines.emit("end")
                            return
                        index += 1
                    case {"cmd": "stop"}:
                        self._lines.emit("ok", cmd="stop")
                        return
                    case _:
                        message = "unknown command; known: next, stop"
                        self._lines.emit("error", cmd=str(command.get("cmd") or ""), message=message)
        finally:
            await self._plc.stop()

    def _show(self, index: int) -> bool:
        """Whether any file has a row of this index; what has ended keeps its last one."""
        playing = [unit_id for unit_id, rows in self._rows.items() if index < len(rows)]
        for unit_id in playing:
            self._plc.show(unit_id, dict(zip(COLUMNS, self._rows[unit_id][index], strict=True)))
        if playing:
            self._lines.emit("row", index=index, playing=playing)
        return bool(playing)
