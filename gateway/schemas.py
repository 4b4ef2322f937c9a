"""JSON Schemas of every MQTT payload, made from the models that write and read them.

`blackstart schemas docs/schema` writes the files; a test compares them with what is published.
"""

import json
from pathlib import Path
from typing import Any

from gateway.alarms import Alarm
from gateway.publisher import Status
from gateway.verdicts import VerdictCommand

__all__ = ("schemas", "write_schemas")

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, dict[str, Any]]:
    """File name → schema."""
    alarm = Alarm.model_json_schema(by_alias=True, mode="serialization")
    alarm["properties"]["publish_time"] = {
        "type": "string",
        "format": "date-time",
        "description": "this attempt to publish; the same message sent again differs here alone",
    }
    alarm["required"].append("publish_time")
    status = Status.model_json_schema(by_alias=True, mode="serialization")
    verdict = VerdictCommand.model_json_schema()
    return {
        "blackstart.alarm-1.json": _titled(alarm, "blackstart/<gateway>/alarm/<alarm_id>, retained, QoS 1"),
        "blackstart.status-1.json": _titled(status, "blackstart/<gateway>/status, retained; offline is the last will"),
        "blackstart.verdict-1.json": _titled(verdict, "blackstart/<gateway>/command/verdict, towards the gateway"),
    }


def _titled(schema: dict[str, Any], topic: str) -> dict[str, Any]:
    return {"$schema": DIALECT, "$comment": f"topic: {topic}"} | schema


def write_schemas(folder: Path) -> None:
    """Write every schema as a file of its own."""
    for name, schema in schemas().items():
        (folder / name).write_text(json.dumps(schema, indent=2, sort_keys=True) + "\n")
