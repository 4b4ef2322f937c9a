"""Shared by the drivers' tests: the real clock, and a TCP proxy that can be cut or frozen."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

import pytest

from drivers.clock import SystemClock


@pytest.fixture
def clock() -> SystemClock:
    return SystemClock()


class Proxy:
    """Passes bytes on to `target`; remembers what the client sent."""

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self.connections = 0
        self.from_client = bytearray()
        self._target_port = target_port
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Refuse new connections and cut those that are open."""
        if self._server is not None:
            self._server.close()
        self.thaw()
        self.cut()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def freeze(self) -> None:
        """Keep connections open and pass nothing on."""
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        await asyncio.gather(self._pump(reader, far_writer, self.from_client), self._pump(far_reader, writer, None))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, log: bytearray | None) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._flowing.wait()
                if log is not None:
                    log += data
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


@pytest.fixture
def proxy_to() -> Iterator[Callable[[int], Awaitable[Proxy]]]:
    """Not async itself, so that it serves tests on any event loop."""
    proxies: list[Proxy] = []

    async def make(target_port: int) -> Proxy:
        proxy = Proxy(target_port)
        await proxy.start()
        proxies.append(proxy)
        return proxy

    yield make
    for proxy in proxies:
        proxy.stop()
