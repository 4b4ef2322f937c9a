import asyncio
from contextlib import AsyncExitStack

import aiomqtt
import pytest

from hil_sim.broker import LoopbackBroker


def connect(broker, identifier):
    return aiomqtt.Client(
        broker.host, broker.port, identifier=identifier, protocol=aiomqtt.ProtocolVersion.V5, timeout=10
    )


async def test_mqtt5_retained_and_cut_and_back_at_the_same_port():
    broker = LoopbackBroker()
    try:
        await broker.start()
        port = broker.port
        async with connect(broker, "publisher") as client:
            await client.publish("a/b", b"kept", qos=1, retain=True)
        async with AsyncExitStack() as lost:
            client = await lost.enter_async_context(connect(broker, "subscriber"))
            await client.subscribe("a/#", qos=1)
            assert (await asyncio.wait_for(anext(client.messages), 10)).payload == b"kept"
            await broker.stop()
            assert not broker.running
            with pytest.raises(aiomqtt.MqttError):
                await asyncio.wait_for(anext(client.messages), 10)
        with pytest.raises(OSError, match="Connect"):
            await asyncio.open_connection(broker.host, port)
        await broker.start()
        assert broker.port == port
        async with connect(broker, "publisher") as client:
            await client.publish("a/b", b"again", qos=1)
    finally:
        await broker.close()
    assert not broker.running
