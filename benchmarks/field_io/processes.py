"""The processes of the field benchmark: devices, broker, daemon and peer; started, measured from /proc, ended."""

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def python(module: str, *arguments: object) -> list[str]:
    """A command that runs one of the tree's own modules, whatever the current folder holds besides."""
    return [sys.executable, "-m", module, *map(str, arguments)]


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """End the process in any case."""
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def devices(*arguments: object) -> Iterator[tuple[dict[str, Any], subprocess.Popen[str]]]:
    """Simulated devices and their ready line."""
    command = python("benchmarks.field_io.devices", *arguments)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with ended(process):
        assert process.stdout is not None
        yield json.loads(process.stdout.readline()), process


def client(**job: object) -> dict[str, Any]:
    """Run one client to its end; its result."""
    done = subprocess.run(
        python("benchmarks.field_io.clients"),
        input=json.dumps(job) + "\n",
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=600,
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def find_mosquitto() -> str | None:
    """The broker's program, also where only root has its folder on the path."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


@contextmanager
def mosquitto(folder: Path) -> Iterator[int]:
    """A broker for every MQTT version on loopback; its port."""
    port = free_port()
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} {HOST}\nallow_anonymous true\nset_tcp_nodelay true\nmax_queued_messages 0\n")
    program = find_mosquitto()
    assert program is not None, "look first"
    process = subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL, text=True)
    with ended(process):
        wait_listening(port)
        yield port


def wait_listening(port: int) -> None:
    """Return when somebody accepts connections."""
    until = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            socket.create_connection((HOST, port), 1).close()
        except OSError:
            assert time.monotonic() < until, f"nobody listens at {port}"
            time.sleep(0.05)
        else:
            return


def cpu_s(pid: int) -> float:
    """CPU that a process and all its descendants have used."""
    total = 0.0
    for each in [pid, *_descendants(pid)]:
        with suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / TICKS_PER_S
    return total


def rss_mb(pid: int) -> float:
    """Resident memory of a process and all its descendants."""
    pages = 0
    for each in [pid, *_descendants(pid)]:
        with suppress(OSError):
            pages += int(Path(f"/proc/{each}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _descendants(pid: int) -> Iterator[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in map(int, children):
        yield child
        yield from _descendants(child)


DAEMON_HEAD = """\
[gateway]
id = "gw-bench"
state_dir = "{state_dir}"
[mqtt]
host = "127.0.0.1"
port = {mqtt_port}
client_id = "gw-bench"
[core]
enabled = false
"""
GAS_ASSET = '[[asset]]\nid = "{asset}"\nkind = "PowerTransformer"\n[asset.nameplate]\nrated_mva = 40\nage_years = 20\n'
SF6_ASSET = (
    '[[asset]]\nid = "{asset}"\nkind = "Breaker"\n[asset.nameplate]\nsf6_alarm_bara = 5.4\nsf6_lockout_bara = 5.0\n'
)
LINK = '[[link]]\nprotocol = "modbus_tcp"\nname = "m{port}"\nhost = "127.0.0.1"\nport = {port}\npoll_period_s = 1.0\n'
DEVICE = '[[link.devices]]\nname = "d{port}-{unit}"\nasset = "{asset}"\nunit_id = {unit}\ntemplate = "{template}"\n'


def daemon_config(folder: Path, ports: Sequence[int], units: int, mqtt_port: int, *, kind: str) -> Path:
    """A configuration of the daemon for simulated devices: one asset per device, polled each second."""
    asset_text, template = (GAS_ASSET, "vaisala-opt100") if kind == "gas" else (SF6_ASSET, "vaisala-dpt145")
    text = DAEMON_HEAD.format(state_dir=folder / "state", mqtt_port=mqtt_port)
    links = ""
    for server, port in enumerate(ports):
        links += LINK.format(port=port)
        for unit in range(1, units + 1):
            asset = f"A{server * units + unit - 1}"
            text += asset_text.format(asset=asset)
            links += DEVICE.format(port=port, unit=unit, asset=asset, template=template)
    path = folder / "blackstart.toml"
    path.write_text(text + links)
    return path


@contextmanager
def daemon(config: Path) -> Iterator[subprocess.Popen[str]]:
    """`blackstart run`; its log lies beside the configuration."""
    with config.with_suffix(".log").open("w") as log:
        command = python("gateway", "run", "--config", config)
        with ended(subprocess.Popen(command, stdout=log, stderr=log, text=True)) as process:
            yield process
