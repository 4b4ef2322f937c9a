"""The contract of a source, for every protocol that a configuration can name, each against its simulator.

A new protocol is one file: it is found here by its configuration, and fails until it has a simulator below.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import get_args

import pytest
from asyncua import Server, ua

from drivers.base import Measured, Quality
from drivers.clock import SystemClock
from drivers.errors import Refused, Transient
from drivers.modbus import ModbusLinkConfig, ModbusSource
from drivers.opcua import OpcuaLinkConfig, OpcuaSource
from gateway.config import Config, Link

_SOURCES = {ModbusLinkConfig: ModbusSource, OpcuaLinkConfig: OpcuaSource}
_PROTOCOLS = {
    protocol: kind
    for kind in get_args(get_args(Link)[0])
    for protocol in get_args(kind.model_fields["protocol"].annotation)
}


@asynccontextmanager
async def _modbus(protocol: str, raw_device, template, authority, pty) -> AsyncIterator[tuple[dict, Callable]]:
    devices = [{"name": f"d{n}", "asset": f"T{n}", "template": template([{"register": n}])} for n in (100, 200)]
    config = {"devices": devices, "timeout_s": 0.3, "sole_master": True}
    if protocol == "modbus_rtu":
        device, gateway, far = pty
        fd = os.open(far, os.O_RDWR | os.O_NOCTTY)
        serving = asyncio.create_task(device.serve_fd(fd))
        yield config | {"serial": {"port": gateway, "parity": "N"}}, lambda: device.silent_units.add(1)
        serving.cancel()
        await asyncio.wait({serving})
        os.close(fd)
        return
    context = None
    if protocol == "modbus_tls":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority / "plant-ca.pem")
        context.load_cert_chain(authority / "device.pem", authority / "device.key")
        files = {"ca_file": "plant-ca.pem", "cert_file": "gateway.pem", "key_file": "gateway.key"}
        config["tls"] = {key: authority / name for key, name in files.items()} | {"server_name": "device"}
    device = await raw_device("rtu" if protocol == "modbus_rtu_tcp" else "mbap", ssl=context)

    async def vanish() -> None:
        await device.stop()

    yield config | {"host": "127.0.0.1", "port": device.port}, vanish


@asynccontextmanager
async def _opcua() -> AsyncIterator[tuple[dict, Callable]]:
    server = Server()
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace("urn:contract")
    for n in (100, 200):
        await server.nodes.objects.add_variable(ua.NodeId(f"P{n}", index), f"P{n}", float(n))
    await server.start()
    points = [{"node": f"s=P{n}", "asset": f"T{n}", "indicator": "MMXU.A", "unit": "-"} for n in (100, 200)]
    config = {"url": f"opc.tcp://127.0.0.1:{port}/", "namespace_uri": "urn:contract", "security": "none"}
    stopped = False

    async def vanish() -> None:
        nonlocal stopped
        stopped = True
        await server.stop()

    yield config | {"points": points, "timeout_s": 0.5}, vanish
    if not stopped:
        await server.stop()


@pytest.fixture(params=sorted(_PROTOCOLS))
async def case(
    request, raw_device, raw_pty_device, pty_pair_maker, template, authority
) -> AsyncIterator[tuple[object, Callable]]:
    """A source of each protocol, and how its peer dies."""
    protocol = request.param
    if protocol == "opcua":
        simulator = _opcua()
    else:
        pty = None
        if protocol == "modbus_rtu":
            pty = (raw_pty_device, *await pty_pair_maker())
        simulator = _modbus(protocol, raw_device, template, authority, pty)
    async with simulator as (config, vanish):
        kind = _PROTOCOLS[protocol]
        link = kind.model_validate(config | {"name": "link", "protocol": protocol, "poll_period_s": 0.3})
        source = _SOURCES[kind](link, SystemClock())
        yield source, vanish
        await source.close()


def test_every_protocol_is_a_configuration_of_its_own() -> None:
    assert len(_PROTOCOLS) >= 5
    assert set(_PROTOCOLS.values()) == set(_SOURCES)
    for kind in _SOURCES:
        assert kind.model_config["frozen"]
        assert kind.model_config["extra"] == "forbid"
    assert "link" in Config.model_fields


async def test_the_contract_of_a_source(case) -> None:
    source, vanish = case
    assert source.name == "link"
    assert isinstance(source, Measured)
    assert [point.id for point in source.points] == ["T100/MMXU.A", "T200/MMXU.A"]
    with pytest.raises(Transient):
        await source.read()  # nobody has opened it
    await source.close()
    tasks = asyncio.all_tasks()
    for _ in range(2):  # once it is open, and once more after closing
        await source.open()
        latest = {sample.point_id: sample for sample in await source.read()}
        assert {point_id: sample.value for point_id, sample in latest.items()} == {
            "T100/MMXU.A": 100,
            "T200/MMXU.A": 200,
        }
        for sample in latest.values():
            assert (sample.quality, sample.reason) == (Quality.GOOD, "")
            assert sample.received_time.utcoffset() is not None
            assert sample.monotonic_ns <= SystemClock().monotonic_ns()
        assert all(isinstance(number, float) for number in source.metrics().values())
        await source.close()
        await source.close()
    await asyncio.sleep(0.1)
    assert len(asyncio.all_tasks() - tasks) <= 2 + len(tasks)  # the simulator's own, not the driver's
    await source.open()
    await source.read()
    if asyncio.iscoroutinefunction(vanish):
        await vanish()
    else:
        vanish()
    await _until_lost(source)
    await source.close()


async def _until_lost(source) -> None:
    async def keep_reading() -> None:
        while True:
            samples = await source.read()
            assert all(sample.value in (100, 200) for sample in samples if sample.quality is Quality.GOOD)
            await asyncio.sleep(0.05)

    with pytest.raises((Transient, Refused)):
        await asyncio.wait_for(keep_reading(), 15)
