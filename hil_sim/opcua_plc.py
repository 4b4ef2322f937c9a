"""The plant's own OPC UA server: transformer temperatures, load and tap position as read-only variables.

In: values by node name at each physics tick.  Out: variables `ns=<urn:blackstart:hil-sim>;s=<asset>/<LN.DO>` on a
loopback socket, stamped with the wall time of the tick.  Called by `hil_sim.control` and `hil_sim.replay`.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from asyncua import ua
from asyncua.common.node import Node
from asyncua.server.server import Server

__all__ = ("NAMESPACE_URI", "OpcuaPlc", "PlantPoint")

HOST = "127.0.0.1"
NAMESPACE_URI = "urn:blackstart:hil-sim"

for _name in ("asyncua", "asyncua.server"):
    logging.getLogger(_name).setLevel(logging.ERROR)  # clients that vanish are part of the play


@dataclass(frozen=True, slots=True)
class PlantPoint:
    """One variable: node identifier `<asset>/<LN.DO>` and its unit."""

    node: str
    unit: str

    def as_json(self) -> dict[str, str]:
        """The point as the ready line names it."""
        asset, _, indicator = self.node.partition("/")
        return {"node": self.node, "asset": asset, "indicator": indicator, "unit": self.unit}


class OpcuaPlc:
    """One OPC UA server without security (loopback); it can die and come back at the same port."""

    def __init__(
        self, points: Mapping[str, str], now: Callable[[], datetime], *, host: str = HOST, port: int = 0
    ) -> None:
        """Units by node identifier, and where the wall time comes from; port 0 takes any that is free."""
        self.points = tuple(PlantPoint(node, unit) for node, unit in points.items())
        self._now = now
        self._host, self._port = host, port
        self._server = Server()
        self._node_ids: dict[str, ua.NodeId] = {}
        self.running = False

    @property
    def url(self) -> str:
        """Where clients find the server, once started."""
        port = self._server.bserver.port if self._server.bserver else 0
        return f"opc.tcp://{self._host}:{port}/blackstart/"

    async def start(self) -> None:
        """Build the address space and listen at a free port."""
        server = self._server
        await server.init()
        server.set_endpoint(f"opc.tcp://{self._host}:{self._port}/blackstart/")
        server.set_server_name("Blackstart simulated substation")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        namespace = ua.Int16(await server.register_namespace(NAMESPACE_URI))
        assets: dict[str, Node] = {}
        for point in self.points:
            asset, _, indicator = point.node.partition("/")
            if asset not in assets:
                assets[asset] = await server.nodes.objects.add_object(ua.NodeId(ua.String(asset), namespace), asset)
            self._node_ids[point.node] = ua.NodeId(ua.String(point.node), namespace)
            await assets[asset].add_variable(self._node_ids[point.node], indicator, 0.0)
        await server.start()
        self.running = True

    async def stop(self) -> None:
        """Close for good; nothing to do where `start` did not come to its end."""
        self.running = False
        if self._server.bserver is not None:
            await self._server.stop()

    async def pause(self) -> None:
        """Cut every connection and stop listening."""
        if self.running and self._server.bserver is not None:
            self.running = False
            await self._server.bserver.stop()

    async def resume(self) -> None:
        """Listen again at the same port."""
        if not self.running and self._server.bserver is not None:
            await self._server.bserver.start()
            self.running = True

    async def show(self, values: Mapping[str, float]) -> None:
        """Set variables, all with the same source time."""
        now = ua.DateTime.fromtimestamp(self._now().timestamp(), UTC)
        for node, value in values.items():
            stamped = ua.DataValue(
                ua.Variant(float(value), ua.VariantType.Double), SourceTimestamp=now, ServerTimestamp=now
            )
            await self._server.write_attribute_value(self._node_ids[node], stamped)
