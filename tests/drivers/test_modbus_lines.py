"""The lines under Modbus: TLS, RTU through a socket, RTU over a pair of pseudo-terminals; late replies on each."""

import asyncio
import os
import ssl
from pathlib import Path

import pytest

from drivers.base import Quality
from drivers.clock import SystemClock
from drivers.errors import Misconfigured, Refused, Transient
from drivers.modbus import DIALS_PER_MINUTE_MAX, ModbusLinkConfig, ModbusSource

_TIMEOUT_S = 0.15


@pytest.fixture
async def opened():
    sources = []

    async def open_(**config: object) -> ModbusSource:
        usual = {"name": "bay", "timeout_s": _TIMEOUT_S, "poll_period_s": 0.5}
        source = ModbusSource(ModbusLinkConfig.model_validate(usual | config), SystemClock())
        sources.append(source)
        await source.open()
        return source

    yield open_
    for source in sources:
        await source.close()


def _devices(template, *registers: int, **more: object) -> list[dict[str, object]]:
    """One device a register, so that each is a request of its own, and all of the same length."""
    return [{"name": f"d{n}", "asset": f"T{n}", "template": template([{"register": n}])} | more for n in registers]


def _good(samples) -> dict[int, object]:
    """Register that was asked for → value that came, of what is called GOOD."""
    return {int(s.point_id[1:].partition("/")[0]): s.value for s in samples if s.quality is Quality.GOOD}


_WANTED = (100, 200, 300, 400, 500)


async def test_a_late_reply_over_rtu_is_never_anothers_value(raw_device, opened, template) -> None:
    """The finding: asked for 100, 200, 300, 400, 500, a stock client takes 100, 100, 200, 300, 400 for good."""
    device = await raw_device("rtu")
    source = await opened(
        protocol="modbus_rtu_tcp",
        host="127.0.0.1",
        port=device.port,
        sole_master=True,
        devices=_devices(template, *_WANTED),
    )
    assert _good(await source.read()) == dict.fromkeys(_WANTED) | {n: n for n in _WANTED}
    late = len(device.asked)
    device.delay_s = lambda number: 1.7 * _TIMEOUT_S if number == late else 0.0
    first = _good(await source.read())
    assert all(value == register for register, value in first.items())
    assert set(first) == {200, 300, 400, 500}
    assert _good(await source.read()) == {n: n for n in _WANTED}
    assert source.resync_count == 1


async def test_a_device_that_is_always_a_little_late_over_rtu_never_gives_a_wrong_value(
    raw_device, opened, template
) -> None:
    device = await raw_device("rtu")
    device.delay_s = lambda _number: 1.2 * _TIMEOUT_S
    source = await opened(
        protocol="modbus_rtu_tcp",
        host="127.0.0.1",
        port=device.port,
        sole_master=True,
        devices=_devices(template, 100, 200),
    )
    assert await source.read() == []
    with pytest.raises(Transient, match="no device has answered"):
        await source.read()


async def test_a_cancelled_request_over_rtu_leaves_nothing_behind(raw_device, opened, template) -> None:
    device = await raw_device("rtu")
    source = await opened(
        protocol="modbus_rtu_tcp",
        host="127.0.0.1",
        port=device.port,
        sole_master=True,
        devices=_devices(template, 100, 200),
    )
    device.delay_s = lambda number: 0.1 if number == 0 else 0.0
    task = asyncio.create_task(source.read())
    await asyncio.wait_for(device.was_asked.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    source._units.reverse()  # what is asked next is another register, of the same length
    assert _good(await source.read()) == {100: 100, 200: 200}


@pytest.mark.parametrize(
    "mangle",
    [
        lambda reply: reply[:1] + b"\x04" + reply[2:],  # another function code, wrong check
        lambda reply: b"\x07" + reply[1:],
        lambda reply: reply[:-1] + bytes([reply[-1] ^ 1]),
        lambda reply: reply + reply,
        lambda reply: reply[:-3],
        lambda reply: b"\x01" + reply,
    ],
)
async def test_a_frame_that_is_not_the_answer_gives_no_value(raw_device, opened, template, mangle) -> None:
    device = await raw_device("rtu")
    source = await opened(
        protocol="modbus_rtu_tcp", host="127.0.0.1", port=device.port, sole_master=True, devices=_devices(template, 100)
    )
    device.mangle = mangle
    assert await source.read() == []
    device.mangle = lambda reply: reply
    assert _good(await source.read()) == {100: 100}


async def test_replies_to_another_function_code_or_of_another_length_are_refused_in_spite_of_their_check(
    raw_device, opened, template, modbus_crc
) -> None:
    device = await raw_device("rtu")
    source = await opened(
        protocol="modbus_rtu_tcp", host="127.0.0.1", port=device.port, sole_master=True, devices=_devices(template, 100)
    )
    for body in (b"\x01\x04\x02\x00\x07", b"\x01\x03\x04\x00\x07\x00\x08", b"\x02\x03\x02\x00\x07"):
        device.mangle = lambda _reply, body=body: body + modbus_crc(body)
        assert await source.read() == []
        device.mangle = lambda reply: reply
        assert _good(await source.read()) == {100: 100}


async def test_a_dead_unit_on_a_shared_line_does_not_make_the_others_wrong_or_many_connections(
    raw_device, opened, template
) -> None:
    device = await raw_device("rtu")
    devices = _devices(template, 100) + _devices(template, 200, unit_id=2)
    device.silent_units = {2}
    source = await opened(
        protocol="modbus_rtu_tcp", host="127.0.0.1", port=device.port, sole_master=True, devices=devices, timeout_s=0.05
    )

    async def poll_often() -> None:
        for _ in range(80):  # eighty polls take a second here; at one a second the probes stay below the bound
            assert _good(await source.read()) == {100: 100}

    with pytest.raises(Transient, match="times within a minute"):
        await poll_often()
    assert device.connections <= DIALS_PER_MINUTE_MAX


def _server_side(folder: Path, name: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=folder / "plant-ca.pem")
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def _tls(folder: Path, name: str = "gateway") -> dict[str, object]:
    return {
        "ca_file": folder / "plant-ca.pem",
        "cert_file": folder / f"{name}.pem",
        "key_file": folder / f"{name}.key",
        "server_name": "device",
    }


async def test_tls_with_both_sides_known(authority, raw_device, opened, template) -> None:
    device = await raw_device("mbap", ssl=_server_side(authority, "device"))
    source = await opened(
        protocol="modbus_tls", host="127.0.0.1", port=device.port, tls=_tls(authority), timeout_s=0.5,
        devices=_devices(template, 7, 9),
    )  # fmt: skip
    assert _good(await source.read()) == {7: 7, 9: 9}
    device.delay_s = lambda number: 0.6 if number == 2 else 0.0
    assert _good(await source.read()) == {9: 9}  # MBAP: the late one is told by its number


async def test_a_device_with_a_strangers_certificate_is_refused(authority, raw_device, opened, template) -> None:
    device = await raw_device("mbap", ssl=_server_side(authority, "intruder"))
    with pytest.raises(Refused, match="certificate verify failed"):
        await opened(
            protocol="modbus_tls",
            host="127.0.0.1",
            port=device.port,
            tls=_tls(authority),
            devices=_devices(template, 7),
        )


async def test_a_device_of_another_name_is_refused(authority, raw_device, opened, template) -> None:
    device = await raw_device("mbap", ssl=_server_side(authority, "device"))
    with pytest.raises(Refused, match="IP address mismatch"):
        await opened(
            protocol="modbus_tls", host="127.0.0.1", port=device.port, devices=_devices(template, 7),
            tls=_tls(authority) | {"server_name": ""},
        )  # fmt: skip


async def test_a_device_that_does_not_know_us_gives_nothing(authority, raw_device, opened, template) -> None:
    device = await raw_device("mbap", ssl=_server_side(authority, "device"))
    config = {"protocol": "modbus_tls", "host": "127.0.0.1", "port": device.port, "tls": _tls(authority, "intruder")}

    async def open_and_read() -> None:
        source = await opened(**config, devices=_devices(template, 7))
        await source.read()

    with pytest.raises(Transient):
        await open_and_read()
    assert device.asked == []


async def test_plain_text_is_no_tls(authority, raw_device, opened, template) -> None:
    device = await raw_device("mbap")
    with pytest.raises(Transient):
        await opened(
            protocol="modbus_tls",
            host="127.0.0.1",
            port=device.port,
            tls=_tls(authority),
            devices=_devices(template, 7),
        )


async def test_missing_tls_files_are_a_wrong_configuration(opened, template, tmp_path) -> None:
    with pytest.raises(Misconfigured, match="TLS files"):
        await opened(protocol="modbus_tls", host="127.0.0.1", tls=_tls(tmp_path), devices=_devices(template, 7))


def test_the_port_of_modbus_tls_is_802(authority, template) -> None:
    config = {"protocol": "modbus_tls", "name": "bay", "host": "h", "tls": _tls(authority)}
    assert ModbusLinkConfig.model_validate(config | {"devices": _devices(template, 7)}).port == 802


@pytest.mark.parametrize("baudrate", [9600, 115_200])
async def test_rtu_over_a_pair_of_ports(pty_pair, raw_pty_device, opened, template, baudrate: int) -> None:
    """A pseudo-terminal has no bit rate of its own: the device waits as long as the characters would take."""
    gateway, far = pty_pair
    fd = os.open(far, os.O_RDWR | os.O_NOCTTY)
    device = raw_pty_device
    device.delay_s = lambda _number: 25 * 11 / baudrate
    serving = asyncio.create_task(device.serve_fd(fd))
    try:
        source = await opened(
            protocol="modbus_rtu", serial={"port": gateway, "baudrate": baudrate, "parity": "N"}, sole_master=True,
            devices=_devices(template, *_WANTED),
        )  # fmt: skip
        assert _good(await source.read()) == {n: n for n in _WANTED}
        late = len(device.asked)
        device.delay_s = lambda number: 1.7 * _TIMEOUT_S if number == late else 0.0
        assert _good(await source.read()) == {n: n for n in _WANTED[1:]}
        assert _good(await source.read()) == {n: n for n in _WANTED}
        assert source.resync_count == 1
        await source.close()
    finally:
        serving.cancel()
        await asyncio.wait({serving})
        os.close(fd)


async def test_settings_that_a_port_does_not_take_are_a_wrong_configuration(pty_pair, opened, template) -> None:
    with pytest.raises(Misconfigured, match="serial settings"):  # a pseudo-terminal has no parity
        await opened(
            protocol="modbus_rtu", serial={"port": pty_pair[0]}, sole_master=True, devices=_devices(template, 7)
        )


async def test_a_port_that_is_not_there_is_transient(opened, template, tmp_path) -> None:
    pytest.importorskip("serial", reason="pyserial is not installed")
    serial = {"port": tmp_path / "nowhere"}
    with pytest.raises(Transient, match="nowhere"):
        await opened(protocol="modbus_rtu", serial=serial, sole_master=True, devices=_devices(template, 7))
