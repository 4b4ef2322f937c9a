"""`blackstart plan`: what each Modbus device will be asked for, before anything is asked.

Configuration in, one row per request out: function code, address on the wire (counted from 0), count, points.
"""

from typing import Any

import typer

from drivers.modbus_link import ModbusDevice, ModbusLinkConfig
from drivers.modbus_plan import items, requests
from gateway.cli_print import DEFAULT_CONFIG, ConfigOption, JsonOption, print_json, print_table
from gateway.config import Config, load

__all__ = ("plan_rows", "register_plan")

COLUMNS = ("link", "device", "unit_id", "purpose", "function_code", "address", "count", "wire_ms", "points")


def register_plan(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("plan")(_plan)


def _plan(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show the requests that each Modbus device will get; asks nobody."""
    rows = plan_rows(load(config))
    if as_json:
        print_json(rows)
        return
    print_table("read requests", [row | {"points": " ".join(row["points"])} for row in rows], list(COLUMNS))


def plan_rows(config: Config) -> list[dict[str, Any]]:
    """One row per request; `purpose` is `connect` for what is checked once, else the group's name."""
    rows = []
    for link in config.link:
        if isinstance(link, ModbusLinkConfig):
            for device in link.devices:
                rows += [{"link": link.name, "device": device.name} | row for row in _device_rows(link, device)]
    return rows


def _device_rows(link: ModbusLinkConfig, device: ModbusDevice) -> list[dict[str, Any]]:
    template = device.own_template()
    asked: list[tuple[str, int, int, int, list[str]]] = [
        ("connect", template.code(check), template.address(check), check.width, [check.name])
        for check in template.check
    ]
    for group in template.group:
        wanted = items(template, group)
        asked += [
            (group.name, request.function_code, request.span.address, request.span.count, names)
            for request in requests(template, group)
            for names in [[wanted[index].key for index in request.span.members]]
        ]
    return [
        {
            "template": template.name,
            "maturity": template.maturity,
            "unit_id": device.unit_id,
            "purpose": purpose,
            "function_code": code,
            "address": address,
            "count": count,
            "wire_ms": round(link.wire_time_s(count) * 1000, 1),
            "points": names,
        }
        for purpose, code, address, count, names in asked
    ]
