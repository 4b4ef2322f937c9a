"""The peer: thingsboard-gateway in a virtual environment of its own, reading the same devices into the same broker.

Its settings are its own defaults but for what the comparison needs: the slaves, a poll each second, a time-out of
1 s instead of 35 s, no rate limits (they would hold back its messages), no remote configuration and no statistics.
"""

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.field_io.processes import HOST, ended

TELEMETRY_TOPIC = "v1/gateway/telemetry"
TAGS = ("CH4", "C2H2", "C2H4", "C2H6", "CO", "CO2", "TDCG", "H2", "H2O", "ChmTmp")
FIRST_ADDRESS = 20
UNLIMITED = "0:0,"


def find(root: Path) -> Path | None:
    """Its program in the folder that `make bench-io` makes."""
    program = root / ".venv-thingsboard" / "bin" / "thingsboard-gateway"
    return program if program.is_file() else None


def version(program: Path) -> str:
    """As its own environment says."""
    command = "from importlib.metadata import version as v; print(v('thingsboard-gateway'), 'pymodbus', v('pymodbus'))"
    return subprocess.check_output([program.with_name("python"), "-c", command], text=True).strip()


def _slave(port: int, unit: int) -> dict[str, Any]:
    return {
        "host": HOST,
        "port": port,
        "type": "tcp",
        "method": "socket",
        "unitId": unit,
        "deviceName": f"A{port}-{unit}",
        "deviceType": "default",
        "timeout": 1,
        "byteOrder": "BIG",
        "wordOrder": "LITTLE",
        "retries": 0,
        "retryOnEmpty": False,
        "retryOnInvalid": False,
        "pollPeriod": 1000,
        "connectAttemptTimeMs": 5000,
        "connectAttemptCount": 5,
        "waitAfterFailedAttemptsMs": 300000,
        "attributes": [],
        "timeseries": [
            {
                "tag": tag,
                "type": "32float",
                "functionCode": 3,
                "objectsCount": 2,
                "address": FIRST_ADDRESS + 2 * index,
            }
            for index, tag in enumerate(TAGS)
        ],
        "attributeUpdates": [],
        "rpc": [],
    }


def _settings(mqtt_port: int) -> dict[str, Any]:
    limits = dict.fromkeys(
        ("rateLimits", "dpRateLimits", "messagesRateLimits", "deviceMessagesRateLimits"), UNLIMITED
    ) | dict.fromkeys(("deviceRateLimits", "deviceDpRateLimits"), UNLIMITED)
    return {
        "thingsboard": {
            "host": HOST,
            "port": mqtt_port,
            "remoteShell": False,
            "remoteConfiguration": False,
            "latencyDebugMode": False,
            "statistics": {"enable": False, "statsSendPeriodInSeconds": 3600},
            "deviceFiltering": {"enable": False, "filterFile": "list.json"},
            "maxPayloadSizeBytes": 8196,
            "minPackSendDelayMS": 50,
            "minPackSizeToSend": 500,
            "checkConnectorsConfigurationInSeconds": 3600,
            "handleDeviceRenaming": False,
            "security": {"type": "accessToken", "accessToken": "BENCH"},
            "qos": 1,
            "reportStrategy": {"type": "ON_RECEIVED"},
            "checkingDeviceActivity": {"checkDeviceInactivity": False},
            **limits,
        },
        "storage": {"type": "memory", "read_records_count": 100, "max_records_count": 100000},
        "grpc": {"enabled": False},
        "connectors": [{"type": "modbus", "name": "Modbus", "configuration": "modbus.json"}],
    }


def _logging(folder: Path) -> dict[str, Any]:
    handler = {"class": "logging.FileHandler", "filename": str(folder / "thingsboard.log"), "formatter": "F"}
    names = ("service", "connector", "converter", "tb_connection", "storage", "extension", "statistics", "database")
    quiet = {"handlers": ["file"], "level": "ERROR", "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"F": {"format": "%(asctime)s %(levelname)s %(filename)s %(lineno)d %(message)s"}},
        "handlers": {"file": handler},
        "loggers": dict.fromkeys(names, quiet),
        "root": {"level": "ERROR", "handlers": ["file"]},
        "ts": 0,
    }


@contextmanager
def gateway(
    program: Path, folder: Path, ports: Sequence[int], units: int, mqtt_port: int
) -> Iterator[subprocess.Popen[str]]:
    """Run it; its configuration and logs lie in `folder`."""
    (folder / "config").mkdir()
    slaves = [_slave(port, unit) for port in ports for unit in range(1, units + 1)]
    files = {
        "tb_gateway.json": _settings(mqtt_port),
        "modbus.json": {"master": {"slaves": slaves}, "logLevel": "ERROR", "name": "Modbus"},
        "logs.json": _logging(folder),
    }
    for name, content in files.items():
        (folder / "config" / name).write_text(json.dumps(content))
    environment = os.environ | {"TB_GW_CONFIG_DIR": str(folder / "config")}
    with (folder / "stdout.log").open("w") as log:
        process = subprocess.Popen(
            [program.with_name("python"), program], cwd=folder, env=environment, stdout=log, stderr=log, text=True
        )
        with ended(process):
            yield process
