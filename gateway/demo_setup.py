"""What the demo stands on: a configuration for the simulated substation and a daemon that can be killed."""

import asyncio
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from drivers.errors import BlackstartError

__all__ = ("Daemon", "config_text", "ledger_lines")

TEMPLATE = Path(__file__).with_name("demo.toml")


def config_text(ready: Mapping[str, Any], state_dir: Path, anomaly_model: Path, *, core: bool) -> str:
    """The demo's configuration with the addresses that the simulator reported."""
    values = {
        "state_dir": state_dir,
        "anomaly_model": anomaly_model,
        "core": str(core).lower(),
        "time_factor": ready["time_factor"],
        "mqtt_host": ready["mqtt"]["host"],
        "mqtt_port": ready["mqtt"]["port"],
        "opcua_url": ready["opcua"]["url"],
        "opcua_namespace_uri": ready["opcua"]["namespace_uri"],
    }
    for device in ready["devices"]:
        prefix = device["name"].replace("-", "_")
        values |= {f"{prefix}_{key}": device[key] for key in ("host", "port", "unit_id")}
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(values)


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
