"""Modbus at the wire: a real server, a scripted one for what real servers do not do, and a proxy that can be cut."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from pydantic import ValidationError
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from drivers.base import Quality, Sample
from drivers.clock import SystemClock
from drivers.errors import Refused, Transient
from drivers.modbus import PROBE_EVERY, ModbusDevice, ModbusLinkConfig, ModbusSource

# Address on the wire -> number, for one gas analysis.  33 + 44 + 11 + 22 + 5 + 110 = 225, the combustible total.
_OPT100 = {20: 44.0, 22: 5.0, 24: 22.0, 26: 11.0, 28: 110.0, 30: 1500.0, 32: 225.0, 34: 33.0, 36: 9.5, 38: 41.3}
_DPT145 = {4: 21.4, 20: 33.0, 44: 6.61, 46: 41.2, 48: 6.58}
_NAN = [0x0000, 0x7FC0]


def _words(value: float) -> list[int]:
    high, low = struct.unpack(">HH", struct.pack(">f", value))
    return [low, high]


class Plant:
    """A real Modbus TCP server with a gas monitor as unit 1 and a density sensor as unit 2."""

    def __init__(self) -> None:
        self.refuse: set[int] = set()
        self.asked: list[tuple[int, int, int]] = []  # function code, address, count
        self.server = ModbusTcpServer([self._device(1, _OPT100), self._device(2, _DPT145)], address=("127.0.0.1", 0))

    def _device(self, unit_id: int, table: dict[int, float]) -> SimDevice:
        async def action(function, _start, address, count, _registers, _values):
            self.asked.append((function, address, count))
            return ExcCodes.DEVICE_BUSY if unit_id in self.refuse else None

        data = [SimData(address, values=_words(v), datatype=DataType.REGISTERS) for address, v in table.items()]
        data += [SimData(512, values=[1], datatype=DataType.REGISTERS)]  # no faults
        return SimDevice(unit_id, simdata=data, action=action)

    async def start(self) -> None:
        await self.server.serve_forever(background=True)

    @property
    def port(self) -> int:
        return self.server.transport.sockets[0].getsockname()[1]

    async def set(self, unit_id: int, address: int, words: list[int]) -> None:
        await self.server.async_setValues(unit_id, 16, address, words)
        self.asked.clear()


@pytest.fixture
async def plant() -> AsyncIterator[Plant]:
    plant = Plant()
    await plant.start()
    yield plant
    await plant.server.shutdown()


_GAS = ModbusDevice(name="dga-1", asset="T1", unit_id=1, template="vaisala-opt100")
_SF6 = ModbusDevice(name="sf6-1", asset="Q1", unit_id=2, template="vaisala-dpt145")


def _source(port: int, *devices: ModbusDevice, timeout_s: float = 1.0) -> ModbusSource:
    config = ModbusLinkConfig(name="bay", host="127.0.0.1", port=port, timeout_s=timeout_s, devices=devices)
    return ModbusSource(config, SystemClock())


@pytest.fixture
async def opened() -> AsyncIterator[Callable[[ModbusSource], Awaitable[ModbusSource]]]:
    sources: list[ModbusSource] = []

    async def open_(source: ModbusSource) -> ModbusSource:
        sources.append(source)
        await source.open()
        return source

    yield open_
    for source in sources:
        await source.close()


def _by_id(samples: list[Sample]) -> dict[str, Sample]:
    return {sample.point_id: sample for sample in samples}


async def test_values_of_two_devices(plant: Plant, opened) -> None:
    source = await opened(_source(plant.port, _GAS, _SF6))
    samples = _by_id(await source.read())
    assert set(samples) == {point.id for point in source.points}
    assert {sample.quality for sample in samples.values()} == {Quality.GOOD}
    assert samples["T1/SIML.H2ppm"].value == 33.0
    assert samples["T1/SIML.C2H2ppm"].value == 5.0
    assert samples["T1/SIML.ChmTmp"].value == 41.3
    assert samples["Q1/SIMG.Pres20"].value == 6.58
    assert samples["Q1/SIMG.Tmp"].value == 21.4
    assert samples["T1/SIML.H2ppm"].received_time.utcoffset() is not None


async def test_one_request_per_group_where_it_fits(plant: Plant, opened) -> None:
    source = await opened(_source(plant.port, _GAS, _SF6))
    await source.read()
    assert plant.asked == [(3, 20, 20), (3, 4, 2), (3, 20, 2), (3, 44, 6), (3, 512, 1)]


async def test_a_swapped_word_order_gives_no_good_value(plant: Plant, opened) -> None:
    source = await opened(_source(plant.port, _GAS.model_copy(update={"word_order": "big"})))
    samples = await source.read()
    assert {(sample.quality, sample.value) for sample in samples} == {(Quality.BAD, None)}
    assert all("check word_order" in sample.reason for sample in samples)


async def test_a_fault_register_forbids_what_stands_beside_it(plant: Plant, opened) -> None:
    await plant.set(2, 512, [0])
    source = await opened(_source(plant.port, _SF6))
    samples = await source.read()
    assert {(sample.quality, sample.value) for sample in samples} == {(Quality.BAD, None)}
    assert samples[0].reason == "the transmitter reports a fault (status register 513 = 0x0)"


async def test_an_unavailable_value_is_bad_alone(plant: Plant, opened) -> None:
    await plant.set(1, 38, _NAN)
    source = await opened(_source(plant.port, _GAS))
    samples = _by_id(await source.read())
    chamber = samples.pop("T1/SIML.ChmTmp")
    assert (chamber.quality, chamber.reason, chamber.value) == (Quality.BAD, "unavailable", None)
    assert {sample.quality for sample in samples.values()} == {Quality.GOOD}


async def test_a_device_that_answers_with_an_exception_does_not_stop_the_others(plant: Plant, opened) -> None:
    plant.refuse.add(1)
    source = await opened(_source(plant.port, _GAS, _SF6))
    for _ in range(5):
        assert {sample.point_id.partition("/")[0] for sample in await source.read()} == {"Q1"}


async def test_a_failing_device_is_probed_now_and_then_and_comes_back(plant: Plant, opened, caplog) -> None:
    plant.refuse.add(1)
    source = await opened(_source(plant.port, _GAS, _SF6))
    for _ in range(2 + PROBE_EVERY - 1):
        await source.read()
    assert plant.asked.count((3, 20, 20)) == 2
    plant.refuse.clear()
    assert "T1/SIML.H2ppm" in _by_id(await source.read())
    assert "T1/SIML.H2ppm" in _by_id(await source.read())
    said = [record.message for record in caplog.records if record.name == "drivers.modbus_unit"]
    assert said == [
        "bay: device dga-1 is left out, probed now and then: exception code 6, busy",
        "bay: device dga-1 answers again",
    ]


async def test_nobody_listening_is_transient(plant: Plant) -> None:
    port = plant.port
    await plant.server.shutdown()
    source = _source(port, _GAS)
    with pytest.raises(Transient, match=str(port)):
        await source.open()
    with pytest.raises(Transient):
        await source.read()
    await source.close()


async def test_a_cut_link_is_transient_and_opens_again(plant: Plant, opened, proxy_to) -> None:
    proxy = await proxy_to(plant.port)
    source = await opened(_source(proxy.port, _GAS))
    assert await source.read()
    proxy.cut()
    with pytest.raises(Transient):
        await source.read()
    await source.close()
    await source.open()
    assert {sample.quality for sample in await source.read()} == {Quality.GOOD}
    assert proxy.connections == 2  # nobody but the caller reconnects


async def test_a_frozen_link_is_lost_after_two_silent_polls(plant: Plant, opened, proxy_to) -> None:
    proxy = await proxy_to(plant.port)
    source = await opened(_source(proxy.port, _GAS, timeout_s=0.2))
    assert await source.read()
    proxy.freeze()
    assert await source.read() == []
    with pytest.raises(Transient, match="no device has answered"):
        await source.read()


async def test_a_write_does_not_reach_the_wire(plant: Plant, opened, proxy_to) -> None:
    proxy = await proxy_to(plant.port)
    source = await opened(_source(proxy.port, _GAS))
    await source.read()
    sent = len(proxy.from_client)
    plant.asked.clear()
    client = source._client
    attempts = [
        lambda: client.write_register(20, 1),
        lambda: client.write_registers(20, [1, 2]),
        lambda: client.write_coil(0, True),
        lambda: client.write_coils(0, [True]),
        lambda: client.mask_write_register(address=20),
        lambda: client.readwrite_registers(read_address=20, read_count=1, write_address=20, values=[1]),
        lambda: client.write_file_record([]),
        lambda: client.diag_restart_communication(True),
    ]
    for attempt in attempts:
        with pytest.raises(Refused):
            await attempt()
    read = b"\x00\x01\x00\x00\x00\x06\x01\x03\x00\x14\x00\x14"
    write = read[:7] + b"\x06" + read[8:]
    for frame in (write, read + write, read[:7] + b"\x83" + read[8:], b""):
        with pytest.raises(Refused):
            client.ctx.send(frame)
    await source.read()
    assert bytes(proxy.from_client[sent + 6 :]) == read[6:]
    assert len(proxy.from_client) == sent + 12
    assert plant.asked == [(3, 20, 20)]


class Scripted:
    """Answers each request by `reply(header, pdu)`, which may be a wrong answer or none."""

    def __init__(self) -> None:
        self.reply: Callable[[bytes, bytes], bytes] = good_reply
        self.port = 0
        self.writer: asyncio.StreamWriter | None = None
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        while request := await reader.read(12):
            writer.write(self.reply(request[:7], request[7:]))
        writer.close()


def frame(header: bytes, pdu: bytes) -> bytes:
    return header[:4] + struct.pack(">H", len(pdu) + 1) + header[6:7] + pdu


def good_reply(header: bytes, pdu: bytes, shift: float = 0.0) -> bytes:
    """Every value of the gas monitor raised by `shift`; its total six times as much."""
    numbers = {address: value + shift for address, value in _OPT100.items()} | {32: 225.0 + 6 * shift}
    words = [word for value in numbers.values() for word in _words(value)]
    return frame(header, pdu[:1] + bytes([40]) + struct.pack(">20H", *words))


@pytest.fixture
async def scripted() -> AsyncIterator[Scripted]:
    server = Scripted()
    await server.start()
    yield server
    await server.stop()


async def test_a_late_reply_is_never_taken_for_the_next_one(scripted: Scripted, opened) -> None:
    source = await opened(_source(scripted.port, _GAS, timeout_s=0.2))
    held: list[bytes] = []

    def one_behind(header: bytes, pdu: bytes) -> bytes:
        """Sends the reply to the previous request, then, from the third on, the right one too."""
        held.append(good_reply(header, pdu, shift=float(len(held))))
        return held[-2] + (held[-1] if len(held) > 2 else b"") if len(held) > 1 else b""

    scripted.reply = one_behind
    assert await source.read() == []
    with pytest.raises(Transient):
        await source.read()
    await source.close()
    await source.open()
    assert _by_id(await source.read())["T1/SIML.H2ppm"].value == 33.0 + 2


async def test_a_late_reply_that_comes_between_two_polls_is_ignored(scripted: Scripted, opened) -> None:
    source = await opened(_source(scripted.port, _GAS, timeout_s=0.2))
    held: list[bytes] = []
    scripted.reply = lambda header, pdu: held.append(good_reply(header, pdu, 500.0)) or b""
    assert await source.read() == []
    scripted.writer.write(held[0])
    scripted.reply = good_reply
    assert _by_id(await source.read())["T1/SIML.H2ppm"].value == 33.0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda reply: frame(reply[:7], reply[7:8] + bytes([38]) + reply[9:-2]),  # a register short
        lambda reply: frame(reply[:7], b"\x04" + reply[8:]),  # another function code
        lambda reply: b"\x00\x00" + reply[2:],  # nobody's transaction
        lambda reply: reply[:6] + b"\x09" + reply[7:],  # another unit
        lambda reply: frame(reply[:7], b"\x83\x02"),  # exception: no such address
        lambda reply: reply[:20],  # cut short
    ],
)
async def test_a_wrong_reply_gives_no_sample(scripted: Scripted, opened, spoil) -> None:
    scripted.reply = lambda header, pdu: spoil(good_reply(header, pdu))
    source = await opened(_source(scripted.port, _GAS, timeout_s=0.2))
    assert await source.read() == []
    scripted.reply = good_reply
    assert _by_id(await source.read())["T1/SIML.H2ppm"].value == 33.0


async def test_input_registers_where_the_template_says_so(scripted: Scripted, opened) -> None:
    source = _source(scripted.port, _GAS)
    unit = source._units[0]
    unit.template = unit.template.model_copy(update={"function_code": 4})
    await opened(source)
    asked: list[int] = []
    scripted.reply = lambda header, pdu: asked.append(pdu[0]) or good_reply(header, pdu)
    assert _by_id(await source.read())["T1/SIML.H2ppm"].value == 33.0
    assert asked == [4]


async def test_a_cancelled_read_leaves_the_link_usable(scripted: Scripted, opened) -> None:
    source = await opened(_source(scripted.port, _GAS))
    asked = asyncio.Event()
    scripted.reply = lambda _header, _pdu: asked.set() or b""
    task = asyncio.create_task(source.read())
    await asyncio.wait_for(asked.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    scripted.reply = good_reply
    assert {sample.quality for sample in await source.read()} == {Quality.GOOD}


def test_points_carry_their_device_cycle(clock: SystemClock) -> None:
    config = ModbusLinkConfig(name="bay", host="127.0.0.1", devices=(_GAS, _SF6))
    points = {point.id: point for point in ModbusSource(config, clock, interval_scale=1 / 3600).points}
    assert points["T1/SIML.H2ppm"].update_interval_s == pytest.approx(1.0)
    assert points["T1/SIML.H2ppm"].group == points["T1/SIML.ChmTmp"].group != points["Q1/SIMG.Tmp"].group
    assert (points["Q1/SIMG.Den"].unit, points["T1/SIML.H2O"].unit) == ("kg/m3", "uL/L")


@pytest.mark.parametrize(
    ("devices", "said"),
    [
        ([{"name": "a", "asset": "T1", "template": "acme-9000"}], "vaisala-opt100"),
        ([{"name": "a", "asset": "T1", "template": "vaisala-opt100", "unit_id": 0}], "unit_id"),
        ([{"name": "a", "asset": a, "template": "vaisala-opt100"} for a in ("T1", "T2")], "device name given twice"),
        ([{"name": n, "asset": "T1", "template": "vaisala-opt100"} for n in ("a", "b")], "point given twice"),
        ([], "devices"),
    ],
)
def test_a_wrong_configuration_is_refused(devices: list[dict[str, object]], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ModbusLinkConfig.model_validate({"name": "bay", "host": "h", "devices": devices})
