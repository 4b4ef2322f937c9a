from datetime import UTC, datetime, timedelta

import pytest
from asyncua import Client, ua

from hil_sim.opcua_plc import NAMESPACE_URI, OpcuaPlc

BEGIN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class TickingClock:
    def __init__(self):
        self.now = BEGIN

    def __call__(self):
        self.now += timedelta(seconds=1)
        return self.now


async def test_variables_by_name_with_source_time_and_read_only_then_down_and_up():
    plc = OpcuaPlc({"T1/SIML.Tmp": "degC", "T2/MMXU.LodPu": "pu"}, TickingClock())
    await plc.start()
    try:
        await plc.show({"T1/SIML.Tmp": 61.9, "T2/MMXU.LodPu": 0.6})
        url = plc.url
        async with Client(url, timeout=10) as client:
            index = await client.get_namespace_index(NAMESPACE_URI)
            oil = client.get_node(f"ns={index};s=T1/SIML.Tmp")
            load = client.get_node(f"ns={index};s=T2/MMXU.LodPu")
            first = await oil.read_data_value()
            assert first.Value.Value == 61.9
            assert first.SourceTimestamp == BEGIN + timedelta(seconds=1)
            assert await load.read_value() == 0.6
            await plc.show({"T1/SIML.Tmp": 62.0, "T2/MMXU.LodPu": 0.6})
            assert (await load.read_data_value()).SourceTimestamp == BEGIN + timedelta(seconds=2)
            with pytest.raises(ua.UaStatusCodeError):
                await oil.write_value(0.0)
            assert await oil.read_value() == 62.0
        await plc.pause()
        with pytest.raises(OSError, match="onnect"):
            await Client(url, timeout=5).connect()
        await plc.resume()
        assert plc.url == url
        async with Client(url, timeout=10) as client:
            assert await client.get_node(f"ns={index};s=T1/SIML.Tmp").read_value() == 62.0
    finally:
        await plc.stop()


def test_points_name_their_asset_and_indicator():
    plc = OpcuaPlc({"T1/SIML.Tmp": "degC"}, TickingClock())
    assert [point.as_json() for point in plc.points] == [
        {"node": "T1/SIML.Tmp", "asset": "T1", "indicator": "SIML.Tmp", "unit": "degC"}
    ]
