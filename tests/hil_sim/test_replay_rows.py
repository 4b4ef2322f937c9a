"""Rows through simulated I/O modules: one more at each command, every file on a unit of its own."""

import math
import struct

import pytest
from pymodbus.client import AsyncModbusTcpClient

from hil_sim.errors import SimError
from hil_sim.lines import Lines
from hil_sim.replay_rows import COLUMNS, RowsReplay


def write(path, rows):
    path.write_text("\n".join([",".join(COLUMNS), *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


async def read_unit(client, unit_id):
    words = (await client.read_holding_registers(0, count=16, device_id=unit_id)).registers
    return [struct.unpack(">f", struct.pack(">HH", words[at + 1], words[at]))[0] for at in range(0, 16, 2)]


async def test_rows_are_shown_in_step_with_commands(start_sim, tmp_path):
    first = write(tmp_path / "a.csv", [range(row, row + 8) for row in range(3)])
    second = write(tmp_path / "b.csv", [[-1.5] * 8])
    sim = await start_sim("replay-rows", str(first), str(second))
    ready = await sim.line()
    assert (ready["event"], ready["rows"], ready["template"]) == ("ready", {"1": 3, "2": 1}, "analog-inputs-8")
    client = AsyncModbusTcpClient(ready["host"], port=ready["port"], timeout=10, retries=0, reconnect_delay=0)
    assert await client.connect()
    assert all(map(math.isnan, await read_unit(client, 1)))  # NaN: nothing has been measured yet
    for index in range(3):
        sim.send("next")
        assert await sim.until("row", index=index)
        assert await read_unit(client, 1) == list(range(index, index + 8))
        assert await read_unit(client, 2) == [-1.5] * 8
    assert "known: next, stop" in (await sim.ask("again"))["message"]
    client.close()
    sim.send("next")
    assert (await sim.line())["event"] == "end"
    assert await sim.exit_code() == 0


def test_a_series_with_a_hole_is_refused_by_file_and_line(tmp_path):
    path = write(tmp_path / "a.csv", [range(8), ["?"] * 8])
    with pytest.raises(SimError, match=r"a\.csv:3: .*holes"):
        RowsReplay(Lines(), [path])


def test_more_files_than_units_are_refused(tmp_path):
    with pytest.raises(SimError, match="248 files"):
        RowsReplay(Lines(), [write(tmp_path / "a.csv", [range(8)])] * 248)
