"""Shared by the drivers' tests: the real clock, a TCP proxy to cut or freeze, and a Modbus device of our own."""

import asyncio
import datetime as dt
import os
import random
import shutil
import struct
import tty
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

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


def _signed(folder: Path, name: str, issuer: tuple[object, object] | None) -> tuple[object, object]:
    """A key and a certificate as PEM files; signed by `issuer` or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer_key, issuer_name = (key, subject) if issuer is None else (issuer[0], issuer[1].subject)
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    )
    certificate = builder.sign(issuer_key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(pem))
    plain = serialization.NoEncryption()
    (folder / f"{name}.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return key, certificate


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    plant = _signed(folder, "plant-ca", None)
    stranger = _signed(folder, "stranger-ca", None)
    _signed(folder, "device", plant)
    _signed(folder, "gateway", plant)
    _signed(folder, "intruder", stranger)
    return folder


@pytest.fixture
async def pty_pair_maker(tmp_path: Path) -> AsyncIterator[Callable[[], Awaitable[list[Path]]]]:
    """Two serial ports that are joined, as paths; skips where they cannot be made."""
    processes: list[asyncio.subprocess.Process] = []

    async def make() -> list[Path]:
        pytest.importorskip("serial", reason="pyserial is not installed; the package's dependencies bring it")
        if shutil.which("socat") is None:
            pytest.skip("socat is not installed: tools/peers.sh installs it")
        ends = [tmp_path / "gateway", tmp_path / "device"]
        processes.append(await asyncio.create_subprocess_exec("socat", *(f"pty,raw,echo=0,link={end}" for end in ends)))
        async with asyncio.timeout(10):
            while not all(end.exists() for end in ends):  # noqa: ASYNC110 - another process makes them
                await asyncio.sleep(0.01)
        return ends

    yield make
    for process in processes:
        process.terminate()
        await process.wait()


@pytest.fixture
async def pty_pair(pty_pair_maker: Callable[[], Awaitable[list[Path]]]) -> list[Path]:
    return await pty_pair_maker()


MODES = ("pass", "delay", "split", "corrupt", "freeze", "half-open", "cut", "accept-then-close")


class Chaos:
    """A proxy that does to the bytes of a link what networks and devices do; `mode` may be changed at any time."""

    def __init__(self, target_port: int, seed: int) -> None:
        self.port = 0
        self.connections = 0
        self.mode = "pass"
        self.delay_s = 0.0
        self.corrupt_at = range(7)  # bytes of a reply that "corrupt" may change: a header, which is all there is to see
        self.mutate: Callable[[bytes], bytes] | None = None  # instead of "corrupt": the whole reply may change
        self.to_client: list[bytes] = []
        self.random = random.Random(seed)
        self._target_port = target_port
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        far_writer = None
        try:
            if self.mode == "accept-then-close":
                return
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
            with suppress(OSError, ExceptionGroup):
                async with asyncio.TaskGroup() as pumps:
                    pumps.create_task(self._pump(reader, far_writer, back=False))
                    pumps.create_task(self._pump(far_reader, writer, back=True))
        finally:
            self._tasks.discard(task)
            for each in (writer, far_writer):
                if each is not None:
                    each.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, back: bool) -> None:
        while data := await reader.read(65536):
            while self.mode == "freeze" or (self.mode == "half-open" and back):  # noqa: ASYNC110 - a proxy may poll
                await asyncio.sleep(0.01)
            if self.mode == "cut":
                break
            for part in self._parts(data) if back else [data]:
                if back and self.mode == "delay":
                    await asyncio.sleep(self.delay_s)
                if back:
                    self.to_client.append(part)
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
        raise ConnectionResetError

    def _parts(self, data: bytes) -> list[bytes]:
        if self.mutate is not None:
            data = self.mutate(data)
        elif self.mode == "corrupt":
            spoilt = bytearray(data)
            at = self.random.choice([n for n in self.corrupt_at if n < len(data)])
            spoilt[at] ^= self.random.randrange(1, 256)
            data = bytes(spoilt)
        if self.mode != "split" or len(data) < 2:
            return [data]
        cut = self.random.randrange(1, len(data))
        return [data[:cut], data[cut:]]


@pytest.fixture
def chaos() -> Iterator[Callable[..., Awaitable[Chaos]]]:
    """Not async itself, so that it serves tests on any event loop; the test stops what it has started."""

    async def make(target_port: int, seed: int = 7) -> Chaos:
        proxy = Chaos(target_port, seed)
        await proxy.start()
        return proxy

    return make


def mutated(data: bytes, rng: random.Random) -> bytes:
    """What a broken or a hostile peer may send instead of `data`."""
    spoilt = bytearray(data)
    match rng.randrange(7):
        case 0:
            for _ in range(rng.randrange(1, 5)):
                spoilt[rng.randrange(len(spoilt))] = rng.randrange(256)
        case 1:
            del spoilt[rng.randrange(len(spoilt)) :]
        case 2:
            spoilt[rng.randrange(len(spoilt)) : 0] = rng.randbytes(rng.randrange(1, 20))
        case 3:
            spoilt += spoilt
        case 4:
            spoilt = bytearray(rng.randbytes(rng.randrange(1, 300)))
        case 5:
            at = rng.randrange(len(spoilt))
            spoilt[at : at + 4] = b"\xff\xff\xff\x7f"
        case _:
            pass
    return bytes(spoilt)


@pytest.fixture
def mutate() -> Callable[[bytes, random.Random], bytes]:
    return mutated
