"""What the demo stands on: a configuration for the simulated substation and a daemon that can be killed."""

import asyncio
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from drivers.errors import BlackstartError

__all__ = ("Daemon", "config_text", "ledger_lines")

VERDICT_TIMEOUT_DAYS = 14

NAMEPLATE = """
[asset.nameplate]
model = "TR-40-132"
rated_mva = 40
age_years = 22
cooling = "ONAF"
paper = "kraft"
breathing = "sealed"
tap_changer_communicates = false
"""


def config_text(ready: Mapping[str, Any], state_dir: Path, model_file: Path | None, *, core: bool) -> str:
    """A gateway configuration for the devices that the simulator reported."""
    parts = [
        f'[gateway]\nid = "gw-demo"\nsite = "Demo"\nstate_dir = "{state_dir}"\ntime_factor = {ready["time_factor"]}\n',
        f'[mqtt]\nhost = "{ready["mqtt"]["host"]}"\nport = {ready["mqtt"]["port"]}\nclient_id = "gw-demo"\n',
        f'[scada]\ncommands = "broker_acl"\n[core]\nenabled = {str(core).lower()}\n',
        f"[investigation]\nverdict_timeout_days = {VERDICT_TIMEOUT_DAYS}\n",
    ]
    for asset in ("T1", "T2"):
        parts.append(f'[[asset]]\nid = "{asset}"\nkind = "PowerTransformer"\nbay = "B{asset[1]}"\ncriticality = 5')
        parts.append(NAMEPLATE)
    parts.append('[[asset]]\nid = "Q1"\nkind = "Breaker"\nbay = "B1"\n[asset.nameplate]\nsf6_alarm_bara = 5.4')
    parts.append("sf6_lockout_bara = 5.0")
    parts.append('[[edge]]\nfrom_asset = "T1"\nto_asset = "T2"\nkind = "fire_exposure"\nattenuation = 0.4')
    parts.append('[[edge]]\nfrom_asset = "T1"\nto_asset = "Q1"\nkind = "same_bay"\nattenuation = 0.7')
    if model_file is not None:
        parts.append(f'[[anomaly_model]]\nasset = "T1"\nfile = "{model_file}"')
    for device in ready["devices"]:
        parts.append(
            f'[[link]]\nprotocol = "modbus_tcp"\nname = "{device["name"]}"\nhost = "{device["host"]}"\n'
            f"port = {device['port']}\npoll_period_s = 0.5\ntimeout_s = 0.2\n[[link.devices]]\n"
            f'name = "{device["name"]}"\nasset = "{device["asset"]}"\nunit_id = {device["unit_id"]}\n'
            f'template = "{device["template"]}"'
        )
    parts.append(_opcua_text(ready["opcua"]))
    return "\n".join(parts) + "\n"


def _opcua_text(opcua: Mapping[str, Any]) -> str:
    lines = [
        f'[[link]]\nprotocol = "opcua"\nname = "bay-server"\nurl = "{opcua["url"]}"\n'
        f'namespace_uri = "{opcua["namespace_uri"]}"\nsecurity = "none"\npoll_period_s = 0.5\nverify_period_s = 5.0'
    ]
    for point in opcua["points"]:
        lines.append(
            f'[[link.points]]\nnode = "s={point["node"]}"\nasset = "{point["asset"]}"\n'
            f'indicator = "{point["indicator"]}"\nunit = "{point["unit"]}"\nupdate_interval_s = 60'
        )
        if point["indicator"] == "YLTC.TapPos":
            lines.append("expected_constant = true")
    return "\n".join(lines)


class Daemon:
    """`blackstart run` as a child process."""

    def __init__(self, config: Path, ledger: Path, log: Path) -> None:
        self._config = config
        self._ledger = ledger
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it; it says on its control socket when it is ready."""
        command = (sys.executable, "-P", "-m", "gateway", "run", "--config", str(self._config))
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command, "--ledger", str(self._ledger), stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL
            )

    def kill(self) -> None:
        """SIGKILL: what a power cut is to a process."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)

    async def stop(self) -> int:
        """SIGTERM and wait; returns the exit code."""
        if self._process is None:
            return 0
        if self._process.returncode is None:
            self._process.terminate()
        return await self._process.wait()

    async def wait(self) -> None:
        """Wait for its end."""
        assert self._process is not None
        await self._process.wait()

    def check(self) -> None:
        """Raise with the end of its log where it has ended by itself."""
        if self._process is not None and self._process.returncode is not None:
            tail = self._log.read_text(errors="replace")[-2000:] if self._log.exists() else ""
            raise BlackstartError(f"the daemon ended with exit code {self._process.returncode}:\n{tail}")


def ledger_lines(path: Path) -> list[tuple[str, str, str]]:
    """(event, run, step key) of each complete line, oldest first."""
    if not path.exists():
        return []
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    return [(parts[0], parts[1], parts[2]) for parts in (line.split("\t") for line in whole.splitlines())]
