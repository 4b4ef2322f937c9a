"""The bench against the real daemon: a sound gateway is clean; one whose wires are crossed must show the loss."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"
SCENARIO = """\
seed = 3
time_factor = 3600
tick_s = 360
[bench]
poll_period_s = 0.2
allow_s = 4
settle_s = 28800
[ambient]
mean = 15.0
[[transformers]]
id = "T1"
healthy = { h2 = 20, ch4 = 10, c2h6 = 10, c2h4 = 5, c2h2 = 0 }
[[transformers]]
id = "T2"
healthy = { h2 = 18, ch4 = 9, c2h6 = 11, c2h4 = 4, c2h2 = 0 }
[[devices]]
name = "m1"
asset = "T1"
template = "vaisala-opt100"
cycle_s = 1080
[[devices]]
name = "m2"
asset = "T2"
template = "vaisala-opt100"
cycle_s = 1080
[[events]]
id = "arcing"
at_s = 14400
asset = "T1"
kind = "gases"
fault = "D2"
target = { h2 = 210, ch4 = 43, c2h6 = 12, c2h4 = 102, c2h2 = 187 }
"""
CUT = (
    '[[events]]\nid = "off"\nat_s = 25200\nkind = "power_off"\n[[events]]\nid = "on"\nat_s = 27000\nkind = "power_on"\n'
)
POWER = '''\
"""`on` edits the gateway's configuration and starts it, `off` kills it: what a switched socket does to a Pi."""
import os, pathlib, signal, subprocess, sys
folder = pathlib.Path(__file__).parent
pid, config = folder / "pid", folder / "blackstart.toml"
if sys.argv[1] == "on":
    if CROSSED:
        text = config.read_text().replace('asset = "T1"\\nunit_id', 'asset = "?"\\nunit_id')
        text = text.replace('asset = "T2"\\nunit_id', 'asset = "T1"\\nunit_id')
        config.write_text(text.replace('asset = "?"\\nunit_id', 'asset = "T2"\\nunit_id'))
    with (folder / "daemon.log").open("ab") as log:
        command = [*PREFIX, sys.executable, "-P", "-m", "gateway", "run", "--config", str(config)]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"PYTHONPATH": ROOT})
    pid.write_text(str(process.pid))
elif pid.exists():
    os.kill(int(pid.read_text()), signal.SIGKILL)
    pid.unlink()
'''

PLANT_ADDRESS, GATEWAY_ADDRESS = "192.0.2.1", "192.0.2.2"  # RFC 5737: nobody has them

Play = Callable[..., Any]


def _first_of_free_ports(count: int) -> int:
    """Several ports in a row that nobody has now."""
    for first in range(23_000, 29_000, count):
        with ExitStack() as held, suppress(OSError):
            for port in range(first, first + count):
                held.enter_context(socket.create_server((HOST, port)))
            return first
    pytest.fail("no free ports in a row")


@pytest.fixture
def play(tmp_path: Path) -> Play:
    async def run(
        scenario: str,
        *,
        crossed: bool = False,
        bind: str = HOST,
        plant: Sequence[str] = (),
        gateway: Sequence[str] = (),
    ) -> tuple[int, dict[str, Any], str]:
        (tmp_path / "bench.toml").write_text(scenario)
        script = tmp_path / "power.py"
        told = {"CROSSED": crossed, "ROOT": str(ROOT), "PREFIX": list(gateway)}
        text = POWER
        for name, value in told.items():
            text = text.replace(name, repr(value))
        script.write_text(text)
        process = await asyncio.create_subprocess_exec(
            *(*plant, sys.executable),
            *("-m", "hil_sim", "bench", str(tmp_path / "bench.toml"), "--bind", bind, "--out", str(tmp_path)),
            *("--first-port", str(_first_of_free_ports(4)), "--state-dir", str(tmp_path / "state")),
            *("--power-cmd", f"{sys.executable} {script}", "--online-within-s", "30"),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            said, _ = await asyncio.wait_for(process.communicate(), 100)
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()
        return process.returncode or 0, json.loads((tmp_path / "score.json").read_text()), said.decode()

    return run


@pytest.fixture
def two_hosts() -> Iterator[tuple[str, str]]:
    """Two network namespaces with a cable between them and nothing else, not even a loopback in the gateway's."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    if shutil.which("ip") is None:
        pytest.skip("network namespaces need the program ip (Debian: iproute2)")
    plant, gateway = f"bsp{os.getpid()}", f"bsg{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", plant], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"this machine gives no network namespaces: {made.stderr.strip()}")
    try:
        for command in (
            f"netns add {gateway}",
            f"-n {plant} link add cable type veth peer name cable netns {gateway}",
            f"-n {plant} address add {PLANT_ADDRESS}/30 dev cable",
            f"-n {gateway} address add {GATEWAY_ADDRESS}/30 dev cable",
            f"-n {plant} link set lo up",
            f"-n {plant} link set cable up",
            f"-n {gateway} link set cable up",
        ):
            subprocess.run(["ip", *command.split()], check=True)
        yield plant, gateway
    finally:
        for name in (plant, gateway):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_a_gateway_on_another_host_is_scored_over_the_cable(play: Play, two_hosts: tuple[str, str]) -> None:
    plant, gateway = (("ip", "netns", "exec", name) for name in two_hosts)
    code, score, said = await play(SCENARIO + CUT, bind=PLANT_ADDRESS, plant=plant, gateway=gateway)
    assert (code, score["clean"]) == (0, True), said
    assert (score["alarms"], score["diagnoses_right"]) == (1, 1)


@pytest.mark.timeout(120)
async def test_a_sound_gateway_is_clean_even_when_its_power_goes(play: Play) -> None:
    code, score, said = await play(SCENARIO + CUT)
    assert (code, score["clean"]) == (0, True), said
    assert (score["alarms"], score["diagnoses_right"]) == (1, 1)
    assert score["values_judged"] >= 10
    assert score["offline_noticed_s"], "the broker must say that a gateway without power is offline"


@pytest.mark.timeout(120)
async def test_a_gateway_whose_wires_are_crossed_shows_the_loss(play: Play) -> None:
    code, score, said = await play(SCENARIO, crossed=True)
    assert (code, score["clean"]) == (1, False), said
    assert (score["lost"], score["false_alarms"]) == (1, 1)
    assert score["wrong_values_as_good"] > 0
