"""A simulator in a process of its own, spoken to as any program would: JSON lines."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LINE_TIMEOUT_S = 30.0


class SimProcess:
    """`python -m hil_sim …` with its standard streams."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        raw = await asyncio.wait_for(self.process.stdout.readline(), LINE_TIMEOUT_S)
        assert raw, "the simulator ended"
        return json.loads(raw)

    async def until(self, event: str, **fields: Any) -> dict[str, Any]:
        async with asyncio.timeout(LINE_TIMEOUT_S):
            while True:
                line = await self.line()
                if line["event"] == event and fields.items() <= line.items():
                    return line

    def send_raw(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())

    def send(self, cmd: str, **fields: Any) -> None:
        self.send_raw(json.dumps({"cmd": cmd, **fields}) + "\n")

    async def ask(self, cmd: str, **fields: Any) -> dict[str, Any]:
        self.send(cmd, **fields)
        async with asyncio.timeout(LINE_TIMEOUT_S):
            while True:
                line = await self.line()
                if line["event"] in {"ok", "error"}:
                    return line

    def close_input(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    async def exit_code(self) -> int:
        return await asyncio.wait_for(self.process.wait(), LINE_TIMEOUT_S)

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
        await self.process.communicate()


@pytest.fixture
async def start_sim() -> AsyncIterator[Callable[..., Awaitable[SimProcess]]]:
    async with AsyncExitStack() as stack:

        async def start(*arguments: str) -> SimProcess:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "hil_sim",
                *arguments,
                cwd=ROOT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            sim = SimProcess(process)
            stack.push_async_callback(sim.kill)
            return sim

        yield start
