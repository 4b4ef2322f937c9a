"""Blackstart reads: whatever happens, what it says to devices are questions.  Recorded on the wire."""

import struct
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from asyncua import ua

MODBUS_READS = {1, 2, 3, 4}
OPCUA_REQUESTS = {  # all that reading by subscription, with its session, can need
    "GetEndpointsRequest",
    "CreateSessionRequest",
    "ActivateSessionRequest",
    "CloseSessionRequest",
    "ReadRequest",
    "HistoryReadRequest",  # what was missed while a link was down
    "BrowseRequest",
    "CreateSubscriptionRequest",
    "ModifySubscriptionRequest",
    "DeleteSubscriptionsRequest",
    "CreateMonitoredItemsRequest",
    "DeleteMonitoredItemsRequest",
    "PublishRequest",
    "RepublishRequest",
}
SUFFIX = "_Encoding_DefaultBinary"
MESSAGES = {value: name.removesuffix(SUFFIX) for name, value in vars(ua.ObjectIds).items() if name.endswith(SUFFIX)}


def modbus_function_codes(said: bytes) -> Iterator[int]:
    """Of each request in one connection's stream: MBAP header (transaction, protocol 0, length, unit), then the PDU."""
    while len(said) >= 8:
        _, protocol, length = struct.unpack_from(">HHH", said)
        assert protocol == 0
        yield said[7]
        said = said[6 + length :]


def opcua_requests(said: bytes) -> Iterator[str]:
    """Names of the services that one connection asked for (security none; first chunk of each message)."""
    continued: set[int] = set()
    while len(said) >= 8:
        kind, final, size = said[:3], said[3:4], struct.unpack_from("<I", said, 4)[0]
        if kind == b"MSG":
            request = struct.unpack_from("<I", said, 20)[0]
            if request not in continued:
                encoding, namespace, identifier = struct.unpack_from("<BBH", said, 24)
                assert (encoding, namespace) == (1, 0)  # a four-byte node id of the standard's own namespace
                yield MESSAGES[identifier]
            continued = continued | {request} if final == b"C" else continued - {request}
        said = said[size:]


@pytest.mark.timeout(120)
async def test_nothing_is_ever_written_to_a_device(
    start_site: Any, scenario: Any, quick: Any, door: Callable[[str, int], Awaitable[Any]]
) -> None:
    modbus, opcua = [], []

    async def change(ready: dict[str, Any]) -> dict[str, Any]:
        for device in ready["devices"]:
            modbus.append(await door(device["host"], device["port"]))
            device |= {"host": modbus[-1].host, "port": modbus[-1].port}
        host, _, port = ready["opcua"]["url"].removeprefix("opc.tcp://").partition("/")[0].partition(":")
        opcua.append(await door(host, int(port)))
        ready["opcua"]["url"] = f"opc.tcp://{opcua[0].host}:{opcua[0].port}/blackstart/"
        return ready

    async with start_site(scenario("demo"), change=change, configure=quick) as site:
        await site.daemon.start()
        await site.all_good()
        await site.sim.command("trigger", id="arcing-t1")
        await site.heard(lambda alarm: alarm["asset_id"] == "T1" and alarm["diagnosis"])
        await opcua[0].shut()  # what is said to come back is part of it
        await site.status_when(lambda status: status["points_by_quality"].get("STALE"))
        opcua[0].open()
        await site.all_good()
        assert await site.daemon.stop() == 0

    codes = [code for one in modbus for said in one.said for code in modbus_function_codes(bytes(said))]
    assert len(codes) > 30  # some seconds of three devices
    assert set(codes) <= MODBUS_READS
    assert len(opcua[0].said) == 2
    for said in opcua[0].said:
        asked = set(opcua_requests(bytes(said)))
        assert {"ReadRequest", "CreateMonitoredItemsRequest", "PublishRequest"} <= asked
        assert asked <= OPCUA_REQUESTS


def test_the_parsers_see_what_must_not_be() -> None:
    write_register = bytes.fromhex("000100000006010600100001")
    read_registers = bytes.fromhex("000200000006010300100001")
    assert list(modbus_function_codes(read_registers + write_register)) == [3, 6]
    header = struct.pack("<IIII", 1, 1, 1, 1)
    write = struct.pack("<BBH", 1, 0, ua.ObjectIds.WriteRequest_Encoding_DefaultBinary)
    hello = b"HELF" + struct.pack("<I", 8)
    chunk = b"MSGF" + struct.pack("<I", 8 + len(header) + len(write)) + header + write
    assert list(opcua_requests(hello + chunk)) == ["WriteRequest"]
