"""Peers that nobody here wrote, as processes; a test whose peer is not installed is skipped and says so."""

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = ROOT / ".peers" / "node_modules"
READY_S = 45.0  # node-opcua takes ten seconds on an idle machine
Start = Callable[..., Awaitable[asyncio.subprocess.Process]]


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def program() -> Callable[[str], str]:
    """The path of a program, or a skipped test."""

    def find(name: str) -> str:
        return shutil.which(name) or pytest.skip(f"no {name} here; `make peers` installs it")

    return find


@pytest.fixture
def npm(program: Callable[[str], str]) -> Callable[[str], str]:
    """The path of node, where that package of npm's is installed."""

    def find(package: str) -> str:
        if not (MODULES / package).is_dir():
            pytest.skip(f"no npm package {package} in {MODULES.parent.name}/; `make peers` installs it")
        return program("node")

    return find


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts a server and returns when it says READY; ends it with the test."""
    async with AsyncExitStack() as stack:

        async def run(*command: str | Path) -> asyncio.subprocess.Process:
            process = await _process(*command)
            stack.push_async_callback(_end, process)
            assert process.stdout is not None
            async with asyncio.timeout(READY_S):
                while line := await process.stdout.readline():
                    if line.strip() == b"READY":
                        return process
            pytest.fail(f"{command} ended with exit code {await process.wait()}")

        yield run


@pytest.fixture
def ask() -> Callable[..., Awaitable[tuple[int, str]]]:
    """Runs a client to its end: exit code and what it printed."""

    async def run(*command: str | Path) -> tuple[int, str]:
        process = await _process(*command)
        try:
            printed, _ = await asyncio.wait_for(process.communicate(), READY_S)
        finally:
            await _end(process)
        assert process.returncode is not None
        return process.returncode, printed.decode()

    return run


async def _process(*command: str | Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *map(str, command),
        env=os.environ | {"NODE_PATH": str(MODULES)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()
