"""The configuration of the gateway under test: what the bench's devices look like from its side, as TOML.

In: a scenario and where its devices listen.  Out: the text of a `blackstart.toml`.  Called by `hil_sim.bench`.
"""

from collections.abc import Mapping
from typing import Any

from hil_sim.scenario import Scenario
from hil_sim.truth import GAS_ALARM_SHARE, GAS_LOCKOUT_SHARE, INDICATORS

__all__ = ("GATEWAY_ID", "gateway_config")

GATEWAY_ID = "gw-bench"
HEAD = """\
# Written by `python -m hil_sim bench` for the gateway under test.  On the bench's own network only: nothing here is
# encrypted.  Copy it to the gateway and start `blackstart run --config THIS`.
[gateway]
id = "{gateway_id}"
site = "Bench"
state_dir = "{state_dir}"
time_factor = {time_factor}

[mqtt]
host = "{mqtt_host}"
port = {mqtt_port}
client_id = "{gateway_id}"
keepalive_s = 5

[core]
enabled = false

[alarm]
clear_after_cycles = {clear_after_cycles}
measurement_lost_delay_s = {lost_delay_s}
"""
TRANSFORMER = """
[[asset]]
id = "{id}"
kind = "PowerTransformer"
criticality = 5
[asset.nameplate]
rated_mva = 40
age_years = 22
cooling = "{cooling}"
paper = "kraft"
breathing = "sealed"
tap_changer_communicates = false
"""
BREAKER = """
[[asset]]
id = "{id}"
kind = "Breaker"
[asset.nameplate]
sf6_alarm_bara = {alarm_bara:.4f}
sf6_lockout_bara = {lockout_bara:.4f}
"""
MODBUS = """
[[link]]
protocol = "modbus_tcp"
name = "{name}"
host = "{host}"
port = {port}
poll_period_s = {poll_period_s}
timeout_s = {timeout_s}
[[link.devices]]
name = "{name}"
asset = "{asset}"
unit_id = {unit_id}
template = "{template}"
"""
OPCUA = """
[[link]]
protocol = "opcua"
name = "plant"
url = "{url}"
namespace_uri = "{namespace_uri}"
security = "none"
poll_period_s = {poll_period_s}
verify_period_s = 5.0
"""
OPCUA_POINT = """
[[link.points]]
node = "s={node}"
asset = "{asset}"
indicator = "{indicator}"
unit = "{unit}"
update_interval_s = {tick_s}
expected_constant = {constant}
"""


def gateway_config(scenario: Scenario, ready: Mapping[str, Any], mqtt: tuple[str, int], state_dir: str) -> str:
    """The whole file; `ready` is what the simulator says when it listens, `mqtt` the broker's host and port."""
    bench = scenario.bench
    text = HEAD.format(
        gateway_id=GATEWAY_ID,
        state_dir=state_dir,
        time_factor=scenario.time_factor,
        mqtt_host=mqtt[0],
        mqtt_port=mqtt[1],
        clear_after_cycles=bench.clear_after_cycles,
        lost_delay_s=bench.lost_delay_s,
    )
    for transformer in scenario.transformers:
        text += TRANSFORMER.format(id=transformer.id, cooling=transformer.cooling)
    for breaker in scenario.breakers:
        alarm_bara, lockout_bara = GAS_ALARM_SHARE * breaker.fill_bara, GAS_LOCKOUT_SHARE * breaker.fill_bara
        text += BREAKER.format(id=breaker.id, alarm_bara=alarm_bara, lockout_bara=lockout_bara)
    frozen = {
        d.name: f"frozen_after_cycles = {d.frozen_after_cycles}\n"
        for d in scenario.devices
        if d.frozen_after_cycles is not None
    }
    for device in ready["devices"]:
        text += MODBUS.format(poll_period_s=bench.poll_period_s, timeout_s=bench.timeout_s, **device)
        text += frozen.get(device["name"], "")
    by_devices = {f"{d.asset}/{i}" for d in scenario.devices for i in INDICATORS[d.template].values()}
    points = [p for p in ready["opcua"]["points"] if f"{p['asset']}/{p['indicator']}" not in by_devices]
    if points:
        text += OPCUA.format(poll_period_s=bench.poll_period_s, **ready["opcua"])
    for point in points:
        constant = str(point["indicator"] == "YLTC.TapPos").lower()
        text += OPCUA_POINT.format(tick_s=scenario.tick_s, constant=constant, **point)
    return text
