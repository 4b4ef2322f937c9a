"""An MQTT 5 broker, by default on a free loopback port: rumqttd from the package iotcore, in a child process.

The child ends when this process ends, however that happens: it watches a pipe that only we hold open.
Called by `hil_sim.control` and by tests.
"""

import asyncio
import socket
import tempfile
from pathlib import Path

from iotcore import Broker

from hil_sim.errors import SimError

__all__ = ("LoopbackBroker",)

HOST = "127.0.0.1"
START_TIMEOUT_S = 20.0
CONFIG = """\
id = 0

[router]
id = 0
max_connections = 100
max_outgoing_packet_count = 1000
max_segment_size = 10485760
max_segment_count = 10

[v5.1]
name = "v5-1"
listen = "{host}:{port}"
next_connection_delay_ms = 1

[v5.1.connections]
connection_timeout_ms = 5000
max_payload_size = 262144
max_inflight_count = 200
dynamic_filters = true
"""


class LoopbackBroker:
    """One broker; retained messages live in its memory, so that they die with it."""

    def __init__(self, *, host: str = HOST, port: int = 0) -> None:
        """Write the configuration into a folder of its own; port 0 takes one that is free."""
        self._folder = tempfile.TemporaryDirectory(prefix="blackstart-broker-")
        self.host = host
        self.port = port or _free_port(host)
        config = Path(self._folder.name) / "rumqttd.toml"
        config.write_text(CONFIG.format(host=host, port=self.port), encoding="ascii")
        self._broker = Broker(config_path=str(config))

    @property
    def running(self) -> bool:
        """Whether the child lives."""
        return bool(self._broker.is_running)

    async def start(self) -> None:
        """Return when the broker accepts connections.  Raises SimError when it does not come up."""
        try:
            await asyncio.to_thread(self._broker.start, START_TIMEOUT_S)
        except (OSError, RuntimeError) as err:
            raise SimError(f"the MQTT broker does not start on {self.host}:{self.port}: {err}") from err

    async def stop(self) -> None:
        """End the child at once; clients see their connections cut."""
        await asyncio.to_thread(self._broker.stop)

    async def close(self) -> None:
        """Stop and remove the configuration."""
        await self.stop()
        self._folder.cleanup()


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
