"""What networks and broken or hostile peers do: values are right or marked, never wrong and GOOD; and it stays cheap.

Plain Modbus TCP has no check over its payload, and neither has OPC UA without security: there a changed payload cannot
be told from a measured one.  So "corrupt" changes headers, and for mutated replies GOOD must have been on the wire.
"""

import asyncio
import gc
import random
import resource
import socket
import struct
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from asyncua import Server, ua

from drivers.base import Quality
from drivers.clock import SystemClock
from drivers.errors import BlackstartError
from drivers.modbus import ModbusLinkConfig, ModbusSource
from drivers.opcua import OpcuaLinkConfig, OpcuaSource

pytestmark = pytest.mark.asyncio(loop_scope="module")

_REGISTERS = (100, 200, 300)
_TIMEOUT_S = 0.05
_MODES = ("pass", "delay", "split", "corrupt", "freeze", "half-open", "cut", "accept-then-close")
_MEMORY_MB = 60


class _Hasty(SystemClock):
    """A minute passes in a fraction of a second, for the bound on connections."""

    def monotonic_ns(self) -> int:
        return super().monotonic_ns() * 1000


def _modbus(port: int, framing: str, template) -> ModbusSource:
    devices = [{"name": f"d{n}", "asset": f"T{n}", "template": template([{"register": n}])} for n in _REGISTERS]
    config = {"name": "bay", "host": "127.0.0.1", "port": port, "timeout_s": _TIMEOUT_S, "devices": devices}
    if framing == "rtu":
        config |= {"protocol": "modbus_rtu_tcp", "sole_master": True}
    return ModbusSource(ModbusLinkConfig.model_validate(config), _Hasty())


async def _try(source) -> list:
    """One turn of a poller: read, or mend the link.  Only our own errors may come out."""
    try:
        return await source.read()
    except BlackstartError:
        await source.close()
    try:
        await source.open()
    except BlackstartError:
        return []
    return []


async def _until_whole(source: ModbusSource) -> None:
    for _ in range(1000):
        if len(await _try(source)) == len(_REGISTERS):
            return
    pytest.fail("the link did not come back")


@pytest.mark.parametrize("framing", ["mbap", "rtu"])
async def test_modbus_in_chaos_is_right_or_silent(raw_device, chaos, template, framing: str) -> None:
    device = await raw_device(framing)
    seed = 1
    proxy = await chaos(device.port, seed)
    source = _modbus(proxy.port, framing, template)
    rng, good = random.Random(seed), 0
    try:
        for _ in range(15 if framing == "rtu" else 30):
            proxy.mode = rng.choice(_MODES)
            proxy.delay_s = rng.uniform(0.2, 2.0) * _TIMEOUT_S
            for _ in range(2):
                for sample in await _try(source):
                    assert sample.quality is Quality.GOOD
                    assert sample.value == int(sample.point_id[1:4])
                    good += 1
        proxy.mode = "pass"
        await asyncio.wait_for(_until_whole(source), 10)
    finally:
        await source.close()
        await proxy.stop()
    assert good > 10


@pytest.mark.parametrize("framing", ["mbap", "rtu"])
async def test_mutated_modbus_replies_cost_little_and_give_nothing_that_was_not_sent(
    raw_device, template, mutate, framing: str
) -> None:
    device = await raw_device(framing)
    source = _modbus(device.port, framing, template)
    rng, sent = random.Random(11), bytearray()
    exact = framing == "rtu"  # its check covers the value

    def spoil(reply: bytes) -> bytes:
        spoilt = mutate(reply, rng)
        sent.extend(spoilt)
        return spoilt

    device.mangle = spoil
    tasks, memory = len(asyncio.all_tasks()), _memory_mb()
    try:
        for _ in range(40 if exact else 150):
            del sent[:-4096]
            for sample in await _try(source):
                assert sample.quality is Quality.GOOD
                value = int(sample.point_id[1:4]) if exact else sample.value
                assert sample.value == value
                assert struct.pack(">H", value) in sent
        device.mangle = lambda reply: reply
        await asyncio.wait_for(_until_whole(source), 10)
    finally:
        await source.close()
    await asyncio.sleep(0.05)
    assert len(asyncio.all_tasks()) <= tasks + 1
    assert _memory_mb() - memory < _MEMORY_MB


def _memory_mb() -> float:
    gc.collect()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


_URI = "urn:hostile"
_VALUES = (101.25, 202.5, 303.75)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server_port() -> AsyncIterator[int]:
    server = Server()
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace(_URI)
    for n, value in enumerate(_VALUES):
        await server.nodes.objects.add_variable(ua.NodeId(f"P{n}", index), f"P{n}", value)
    await server.start()
    yield port
    await server.stop()


def _opcua(port: int) -> OpcuaSource:
    points = [{"node": f"s=P{n}", "asset": f"T{n}", "indicator": "MMXU.A", "unit": "-"} for n in range(len(_VALUES))]
    config = {"name": "bay", "url": f"opc.tcp://127.0.0.1:{port}/", "namespace_uri": _URI, "security": "none"}
    config |= {"timeout_s": 0.15, "poll_period_s": 0.1, "verify_period_s": 0.05, "points": points}
    return OpcuaSource(OpcuaLinkConfig.model_validate(config), SystemClock())


async def _opcua_turn(source: OpcuaSource) -> list:
    try:
        async with asyncio.timeout(5):
            return await _try(source)
    except TimeoutError:
        pytest.fail("a turn took more than five seconds")


async def test_opcua_in_chaos_is_right_or_marked(server_port: int, chaos) -> None:
    proxy = await chaos(server_port, 3)
    proxy.corrupt_at = range(24)  # message, channel and sequence header
    source = _opcua(proxy.port)
    rng, good = random.Random(3), 0
    try:
        for _ in range(15):
            proxy.mode = rng.choice(_MODES)
            proxy.delay_s = rng.uniform(0.0, 0.05)
            for _ in range(3):
                for sample in await _opcua_turn(source):
                    marked = sample.quality is not Quality.GOOD
                    assert marked or sample.value == _VALUES[int(sample.point_id[1])]
                    good += not marked
                await asyncio.sleep(0.02)
    finally:
        await source.close()
        await proxy.stop()
    assert good > 10


async def test_mutated_opcua_replies_cost_little_and_give_nothing_that_was_not_sent(
    server_port: int, chaos, mutate
) -> None:
    proxy = await chaos(server_port, 5)
    rng, known = random.Random(5), set(_VALUES)
    source = _opcua(proxy.port)
    memory = _memory_mb()
    try:
        for n in range(40):
            proxy.mutate = None if n % 3 == 0 else lambda data: mutate(data, rng) if rng.random() < 0.4 else data
            for sample in await _opcua_turn(source):
                if sample.quality is Quality.GOOD and sample.value not in known:
                    on_the_wire = b"".join(proxy.to_client)
                    assert _as_sent(sample.value, on_the_wire), sample
            del proxy.to_client[:-400]
        proxy.mutate = None
        for _ in range(200):
            if {sample.value for sample in await _opcua_turn(source) if sample.quality is Quality.GOOD} >= known:
                break
            await asyncio.sleep(0.02)
        else:
            pytest.fail("the link did not come back")
    finally:
        await source.close()
        await proxy.stop()
    assert _memory_mb() - memory < _MEMORY_MB


def _as_sent(value: object, wire: bytes) -> bool:
    """Whether the value stands in the bytes, in whichever type a changed type byte has made of it."""
    if isinstance(value, bool):
        return True
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")[:32] in wire
    kinds = ("<d", "<f") if isinstance(value, float) else ("<q", "<i", "<h", "<b", "<Q", "<I", "<H", "<B")
    for kind in kinds:
        try:
            if struct.pack(kind, value) in wire:
                return True
        except (struct.error, OverflowError):
            continue
    return False
