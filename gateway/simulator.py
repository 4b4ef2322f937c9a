"""Runs `python -m hil_sim` as a child and speaks its JSON lines; used by the demo and by `replay`.

The simulator is another process on purpose: the daemon's folders never import it.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from drivers.errors import BlackstartError

__all__ = ("Simulator", "SimulatorFailed", "simulator")

ANSWER_TIMEOUT_S = 60.0  # its OPC UA server loads an address space for seconds, more on a busy box
LINE_BYTES_MAX = 1 << 20


class SimulatorFailed(BlackstartError):
    """The simulator did not do what it was asked to; its own words are in the message."""


class Simulator:
    """One running simulator."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def event(self, *wanted: str, timeout_s: float = ANSWER_TIMEOUT_S) -> dict[str, Any]:
        """The next event of one of these names; others are passed over.  Raises SimulatorFailed."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(timeout_s):
                while line := await self._process.stdout.readline():
                    event: dict[str, Any] = json.loads(line)
                    if event.get("event") == "error":
                        raise SimulatorFailed(f"simulator: {event}")
                    if event.get("event") in wanted:
                        return event
        except TimeoutError as err:
            raise SimulatorFailed(f"simulator: no {' or '.join(wanted)} within {timeout_s:.0f} s") from err
        raise SimulatorFailed(f"simulator ended while {' or '.join(wanted)} was awaited")

    async def command(self, cmd: str, **arguments: object) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        await self.send(cmd, **arguments)
        return await self.event("ok")

    async def send(self, cmd: str, **arguments: object) -> None:
        """Send a command whose answer is another event."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"cmd": cmd, **arguments}).encode() + b"\n")
        await self._process.stdin.drain()


@asynccontextmanager
async def simulator(*arguments: str) -> AsyncIterator[Simulator]:
    """Start `python -m hil_sim ARGUMENTS`, and end it whatever happens."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "hil_sim",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_BYTES_MAX,
    )
    try:
        yield Simulator(process)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
