import asyncio
import json
import os
import signal
import socket
import struct
from pathlib import Path

import pytest
from asyncua import Client
from pymodbus.client import AsyncModbusTcpClient

FAST = """
seed = 1
time_factor = 36000
tick_s = 3600
ambient = { mean = 15 }
[[transformers]]
id = "T1"
healthy = { h2 = 20, ch4 = 10, c2h6 = 10, c2h4 = 5, c2h2 = 0 }
[[devices]]
name = "opt100-t1"
asset = "T1"
template = "vaisala-opt100"
[[events]]
id = "arcing-t1"
asset = "T1"
kind = "gases"
trigger = "command"
target = { h2 = 210, ch4 = 43, c2h6 = 12, c2h4 = 102, c2h2 = 187 }
source = "IEC TC10 database, inspected cases"
[[events]]
id = "dies"
asset = "T1"
kind = "device_down"
trigger = "command"
"""


@pytest.fixture
def fast(tmp_path):
    path = tmp_path / "fast.toml"
    path.write_text(FAST)
    return str(path)


async def read_h2(device):
    client = AsyncModbusTcpClient(device["host"], port=device["port"], timeout=10, retries=0, reconnect_delay=0)
    assert await client.connect()
    low, high = (await client.read_holding_registers(34, count=2, device_id=device["unit_id"])).registers
    client.close()
    return struct.unpack(">f", struct.pack(">HH", high, low))[0]


def listens(host, port):
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex((host, port)) == 0


def children(pid):
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


async def end_of(pid_fd):
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(pid_fd, ended.set)
    await asyncio.wait_for(ended.wait(), 20)
    asyncio.get_running_loop().remove_reader(pid_fd)
    os.close(pid_fd)


async def test_the_demo_from_ready_to_stop(start_sim, tmp_path):
    ready_file = tmp_path / "ready.json"
    sim = await start_sim("run", "--scenario", "demo", "--broker", "--ready-file", str(ready_file))
    ready = await sim.line()
    assert ready["event"] == "ready"
    assert ready == json.loads(ready_file.read_text())
    assert ready["time_factor"] == 3600
    assert [(d["name"], d["asset"], d["template"]) for d in ready["devices"]] == [
        ("opt100-t1", "T1", "vaisala-opt100"),
        ("opt100-t2", "T2", "vaisala-opt100"),
        ("dpt145-q1", "Q1", "vaisala-dpt145"),
    ]
    assert len(ready["opcua"]["points"]) == 10
    assert listens(**ready["mqtt"])
    assert await read_h2(ready["devices"][0]) == 20.0
    async with Client(ready["opcua"]["url"], timeout=10) as client:
        index = await client.get_namespace_index(ready["opcua"]["namespace_uri"])
        assert -20 < await client.get_node(f"ns={index};s=T1/STMP.EnvTmp").read_value() < 45
    assert (await sim.ask("trigger", id="arcing-t1"))["event"] == "ok"
    started = await sim.until("started", id="arcing-t1")
    assert started["source"].startswith("IEC TC10 database")
    cycle = await sim.until("cycle", asset="T1")
    assert cycle["gases_ul_l"]["c2h2"] == 187
    assert await read_h2(ready["devices"][0]) == 210.0
    assert (await sim.ask("broker_down"))["event"] == "ok"
    assert not listens(**ready["mqtt"])
    assert (await sim.ask("broker_up"))["event"] == "ok"
    assert listens(**ready["mqtt"])
    assert (await sim.ask("stop"))["event"] == "ok"
    assert await sim.exit_code() == 0
    assert not listens(**ready["mqtt"])


async def test_devices_die_and_return_by_command_and_by_script(start_sim, fast):
    sim = await start_sim("run", "--scenario", fast)
    ready = await sim.line()
    assert ready["mqtt"] is None
    (device,) = ready["devices"]
    place = {"host": device["host"], "port": device["port"]}
    assert (await sim.ask("device_down", device="opt100-t1"))["event"] == "ok"
    assert not listens(**place)
    status = await sim.ask("status")
    assert status["devices"] == {"opt100-t1": "down", "opcua": "up"}
    assert status["broker"] is None
    assert (await sim.ask("device_up", device="opt100-t1"))["event"] == "ok"
    assert await read_h2(device) == 20.0
    assert (await sim.ask("trigger", id="dies"))["event"] == "ok"
    await sim.until("device_down", device="opt100-t1")
    assert not listens(**place)
    assert (await sim.ask("device_down", device="opcua"))["event"] == "ok"
    assert (await sim.ask("device_up", device="opcua"))["event"] == "ok"
    async with Client(ready["opcua"]["url"], timeout=10) as client:
        assert await client.get_namespace_index(ready["opcua"]["namespace_uri"]) > 0


async def test_what_is_no_command_is_refused_by_name_and_harms_nothing(start_sim, fast):
    sim = await start_sim("run", "--scenario", fast)
    await sim.line()
    assert "'explode'" in (await sim.ask("explode"))["message"]
    assert "'broker_up', 'status', 'stop'" in (await sim.ask("explode"))["message"]
    assert (await sim.ask("trigger"))["message"] == "trigger.id: Field required"
    assert "arcing-t1, dies" in (await sim.ask("trigger", id="nope"))["message"]
    assert "opt100-t1, opcua" in (await sim.ask("device_down", device="nope"))["message"]
    assert "--broker" in (await sim.ask("broker_down"))["message"]
    sim.send_raw("\x00garbage\n[1]\n\n")
    assert "one JSON object per line" in (await sim.until("error"))["message"]
    assert "one JSON object per line" in (await sim.until("error"))["message"]
    assert (await sim.ask("status"))["event"] == "ok"


async def test_it_ends_with_its_input(start_sim, fast):
    sim = await start_sim("run", "--scenario", fast)
    await sim.line()
    sim.close_input()
    assert await sim.exit_code() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_it_leaves_no_broker_behind(start_sim, fast, number):
    sim = await start_sim("run", "--scenario", fast, "--broker")
    ready = await sim.line()
    (broker,) = [os.pidfd_open(child) for child in children(sim.process.pid)]
    assert listens(**ready["mqtt"])
    os.kill(sim.process.pid, number)
    assert await sim.exit_code() in {0, -number}
    await end_of(broker)
    assert not listens(**ready["mqtt"])


async def test_a_wrong_scenario_ends_with_78_and_the_reason(start_sim, tmp_path):
    path = tmp_path / "wrong.toml"
    path.write_text(FAST.replace("seed = 1", "sead = 1"))
    sim = await start_sim("run", "--scenario", str(path))
    out, err = await asyncio.wait_for(sim.process.communicate(), 30)
    assert sim.process.returncode == 78
    assert out == b""
    assert b"sead: Extra inputs are not permitted" in err
    assert b"seed: Field required" in err
    assert b"Traceback" not in err
