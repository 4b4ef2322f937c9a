import random
import struct
from pathlib import Path

import pytest
from asyncua import Client
from pymodbus.client import AsyncModbusTcpClient

from hil_sim.errors import SimError
from hil_sim.replay import DGA_COLUMNS, ett_hours, pick_rows
from hil_sim.tables import read_table

# Made-up rows: gas k of row r is 10·r + k, so that a value tells where it came from.
ROWS = [[10 * r + k for k in range(5)] for r in range(12)]
NAMES = ("h2", "ch4", "c2h6", "c2h4", "c2h2")
ADDRESSES = {"h2": 34, "ch4": 20, "c2h6": 26, "c2h4": 24, "c2h2": 22, "co": 28, "co2": 30, "tdcg": 32, "chamber": 38}
DEV_CSV = Path(__file__).parents[2] / ".." / "shared" / "data" / "dga" / "dev.csv"


@pytest.fixture
def dga_csv(tmp_path):
    path = tmp_path / "dga.csv"
    lines = ["H2,CH4,C2H6,C2H4,C2H2,fault"] + [",".join(map(str, row)) + ",D2" for row in ROWS]
    path.write_text("\n".join(lines) + "\n")
    return path


async def read_unit(client, unit_id):
    registers = (await client.read_holding_registers(20, count=24, device_id=unit_id)).registers
    words = {name: registers[address - 20 : address - 18] for name, address in ADDRESSES.items()}
    return {name: struct.unpack(">f", struct.pack(">HH", high, low))[0] for name, (low, high) in words.items()}


async def test_batches_play_the_picked_rows_each_on_its_own_unit(start_sim, dga_csv):
    sim = await start_sim(
        "replay-dga", "--csv", str(dga_csv), "--rows", "5", "--seed", "3", "--units", "3", "--cycle-s", "0.05"
    )
    picked = sorted(random.Random(3).sample(range(12), 5))
    first = await sim.line()
    assert (first["event"], first["index"], first["last"]) == ("batch", 0, False)
    assert (first["cycle_s"], first["time_factor"]) == (0.05, 72_000)
    assert first["rows"] == [{"row": r, "unit_id": u, "asset": f"row-{r:05d}"} for u, r in enumerate(picked[:3], 1)]
    client = AsyncModbusTcpClient(first["host"], port=first["port"], timeout=10, retries=0, reconnect_delay=0)
    assert await client.connect()
    for unit_id, row in enumerate(picked[:3], 1):
        shown = await read_unit(client, unit_id)
        assert [shown[name] for name in NAMES] == ROWS[row]
        assert shown["tdcg"] == sum(ROWS[row]) + 300
        assert (shown["co"], shown["co2"]) == (300, 3000)
    chambers = {(await read_unit(client, 1))["chamber"]}
    while len(chambers) < 4:  # bounded by the test's time limit: each device cycle brings a new one
        chambers.add((await read_unit(client, 1))["chamber"])
    values = sorted(chambers)
    assert values[-1] - values[0] >= 0.1
    assert "known: next, stop" in (await sim.ask("again"))["message"]
    sim.send("next")
    second = await sim.line()
    assert (second["event"], second["index"], second["last"], second["port"]) == ("batch", 1, True, first["port"])
    assert [r["row"] for r in second["rows"]] == picked[3:]
    assert [(await read_unit(client, 2))[name] for name in NAMES] == ROWS[picked[4]]
    assert (await read_unit(client, 3))["h2"] != (await read_unit(client, 3))["h2"]  # NaN: no row, no gas
    client.close()
    sim.send("next")
    assert (await sim.line())["event"] == "end"
    assert await sim.exit_code() == 0


@pytest.mark.parametrize("bad", ["", "abc", "-1", "nan", "inf"])
def test_a_row_with_a_bad_number_is_refused_with_file_and_line(dga_csv, bad):
    dga_csv.write_text(dga_csv.read_text().replace("\n20,21,", f"\n20,{bad},"))
    table = read_table(dga_csv, DGA_COLUMNS, low=0.0)
    assert [(r.row, r.line) for r in table.refused] == [(2, 4)]
    assert "CH4 = " in table.refused[0].reason
    assert 2 not in pick_rows(table, 11, seed=1)
    with pytest.raises(SimError, match="12 rows are wanted, 11 good ones"):
        pick_rows(table, 12, seed=1)


async def test_refused_rows_are_told_before_the_first_batch(start_sim, dga_csv):
    dga_csv.write_text(dga_csv.read_text().replace("\n20,21,", "\n20,?,"))
    sim = await start_sim("replay-dga", "--csv", str(dga_csv), "--rows", "11", "--seed", "1")
    refused = await sim.line()
    assert (refused["event"], refused["file"], refused["line"], refused["row"]) == ("refused", str(dga_csv), 4, 2)
    assert (await sim.line())["event"] == "batch"
    assert (await sim.ask("stop"))["event"] == "ok"
    assert await sim.exit_code() == 0


def test_a_missing_column_or_file_is_named(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("H2,CH4\n1,2\n")
    with pytest.raises(SimError, match=r"x\.csv:1: no column C2H6, C2H4, C2H2"):
        read_table(path, DGA_COLUMNS)
    with pytest.raises(SimError, match="cannot be read"):
        read_table(tmp_path / "absent.csv", DGA_COLUMNS)


def test_real_rows_are_all_usable():
    assert DEV_CSV.is_file() or pytest.skip("the development data are not beside the repository")
    table = read_table(DEV_CSV, DGA_COLUMNS, low=0.0)
    assert len(table.rows) == 1237
    assert table.refused == ()


def test_load_is_the_share_of_the_greatest_magnitude():
    assert ett_hours([(30.0, 5.0), (31.0, -10.0), (32.0, 0.0)]) == [(30.0, 0.5), (31.0, 1.0), (32.0, 0.0)]


async def test_hours_of_a_series_play_through_opc_ua(start_sim, tmp_path):
    path = tmp_path / "ett.csv"
    path.write_text("date,HUFL,OT\n" + "".join(f"2016-07-01 0{h}:00:00,{h},{30 + h}\n" for h in range(5)))
    sim = await start_sim(
        "replay-ett", "--csv", str(path), "--hours", "3", "--start", "1", "--cycle-s", "0.05", "--wait"
    )
    ready = await sim.line()
    assert (ready["event"], ready["hours"], ready["time_factor"]) == ("ready", 3, 72_000)
    async with Client(ready["opcua"]["url"], timeout=10) as client:
        index = await client.get_namespace_index(ready["opcua"]["namespace_uri"])
        oil = client.get_node(f"ns={index};s=T1/SIML.Tmp")
        load = client.get_node(f"ns={index};s=T1/MMXU.LodPu")
        assert (await oil.read_value(), await load.read_value()) == (31.0, 0.25)
    assert (await sim.ask("next"))["event"] == "ok"
    hours = [await sim.line() for _ in range(3)]
    assert [(h["event"], h["index"], h["row"]) for h in hours] == [("hour", 0, 1), ("hour", 1, 2), ("hour", 2, 3)]
    assert (await sim.line())["event"] == "end"
    assert await sim.exit_code() == 0
