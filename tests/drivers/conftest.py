"""Shared by the drivers' tests: the real clock, a TCP proxy to cut or freeze, and a Modbus device of our own."""

import asyncio
import os
import struct
import tty
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress

import pytest

from drivers.clock import SystemClock
from drivers.templates import Template, load_template


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


def crc16(data: bytes) -> bytes:
    """Modbus CRC, low byte first, by the definition: polynomial 0xA001, start 0xFFFF."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0xA001 if crc & 1 else 0)
    return crc.to_bytes(2, "little")


class RawDevice:
    """Answers Modbus requests byte by byte, by no library; over TCP (MBAP or RTU frames) or any stream.

    A register holds its address unless `registers` says otherwise, so that an answer tells what was asked.
    """

    def __init__(self, framing: str) -> None:
        self.framing = framing
        self.registers: dict[int, int] = {}
        self.bits: set[int] = set()
        self.illegal: set[int] = set()
        self.silent_units: set[int] = set()
        self.asked: list[tuple[int, int, int, int]] = []  # unit, function code, address, count
        self.delay_s: Callable[[int], float] = lambda _number: 0.0  # by number of the request, from 0
        self.mangle: Callable[[bytes], bytes] = lambda reply: reply
        self.was_asked = asyncio.Event()
        self.connections = 0
        self.open_connections = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, ssl: object = None) -> None:
        self._server = await asyncio.start_server(self.serve, "127.0.0.1", self.port, ssl=ssl)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._server is not None:
            self._server.close()

    async def serve_fd(self, fd: int) -> None:
        """Serve a pseudo-terminal."""
        tty.setraw(fd)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb", buffering=0, closefd=False)
        )
        try:
            while True:
                reply = await self._one(reader)
                os.write(fd, reply)
        finally:
            transport.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open_connections += 1
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                while True:
                    writer.write(await self._one(reader))
                    await writer.drain()
        finally:
            self.open_connections -= 1
            self._tasks.discard(task)
            writer.transport.abort()

    async def _one(self, reader: asyncio.StreamReader) -> bytes:
        if self.framing == "rtu":
            request = await reader.readexactly(8)
            assert crc16(request[:-2]) == request[-2:]
            unit, pdu, head = request[0], request[1:6], b""
        else:
            head = await reader.readexactly(7)
            pdu = await reader.readexactly(int.from_bytes(head[4:6]) - 1)
            unit = head[6]
        code, address, count = struct.unpack(">BHH", pdu)
        number = len(self.asked)
        self.asked.append((unit, code, address, count))
        self.was_asked.set()
        await asyncio.sleep(self.delay_s(number))
        if unit in self.silent_units:
            return b""
        answer = self._answer(code, address, count)
        if self.framing == "rtu":
            frame = bytes([unit]) + answer
            return self.mangle(frame + crc16(frame))
        return self.mangle(head[:4] + struct.pack(">HB", len(answer) + 1, unit) + answer)

    def _answer(self, code: int, address: int, count: int) -> bytes:
        wanted = range(address, address + count)
        if self.illegal & set(wanted):
            return bytes([code | 0x80, 2])
        if code in (1, 2):
            packed = bytearray((count + 7) // 8)
            for n, at in enumerate(wanted):
                packed[n // 8] |= (at in self.bits) << n % 8
            return bytes([code, len(packed)]) + packed
        return bytes([code, 2 * count]) + struct.pack(f">{count}H", *(self.registers.get(at, at) for at in wanted))


@pytest.fixture
async def raw_device() -> AsyncIterator[Callable[[str], Awaitable[RawDevice]]]:
    devices: list[RawDevice] = []

    async def make(framing: str, ssl: object = None) -> RawDevice:
        device = RawDevice(framing)
        await device.start(ssl)
        devices.append(device)
        return device

    yield make
    for device in devices:
        await device.stop()


@pytest.fixture
def raw_pty_device() -> RawDevice:
    return RawDevice("rtu")


@pytest.fixture
def template(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Adds a template under a name of its own and returns the name."""
    added: dict[str, Template] = {}

    def known(name: str) -> Template:
        return added.get(name) or load_template(name)

    monkeypatch.setattr("drivers.modbus_link.load_template", known)

    def add(points: list[dict[str, object]], *, group: dict[str, object] | None = None, **more: object) -> str:
        name = f"own-{len(added)}"
        usual = {"indicator": "MMXU.A", "datatype": "uint16", "unit": "-"}
        body = {"name": "g", "update_interval_s": 1.0, "point": [usual | point for point in points]} | (group or {})
        whole = {"name": name, "maturity": "manual", "document": "", "function_code": 3, "address_base": 0}
        added[name] = Template.model_validate(whole | {"word_order": "big", "group": [body]} | more)
        return name

    return add


@pytest.fixture
def modbus_crc() -> Callable[[bytes], bytes]:
    return crc16
