"""OPC UA data values into values with a quality, and the small types between them.  Pure; called by `drivers.opcua`."""

import math
from datetime import UTC, datetime
from typing import NamedTuple

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes

from drivers.base import Point, Quality, Sample, Value
from drivers.opcua_config import OpcuaPoint

__all__ = ("NO_FILTER", "Now", "judge", "monitored", "older", "point_of", "utc")

MAX_TEXT = 256  # characters of a text value
NO_FILTER = frozenset(  # by which a server says that it does not take a deadband for this node
    {
        StatusCodes.BadFilterNotAllowed,
        StatusCodes.BadMonitoredItemFilterInvalid,
        StatusCodes.BadMonitoredItemFilterUnsupported,
        StatusCodes.BadDeadbandFilterInvalid,
    }
)
QUEUE_SIZE = 10  # samples per node that the server holds between two publishes


class Now(NamedTuple):
    """One look at the clock, for all samples of a batch."""

    wall: datetime
    monotonic_ns: int
    trusted: bool


def judge(data: ua.DataValue, point: Point) -> tuple[Value, Quality, str]:
    """Value, quality and the reason for less than GOOD, by status code, type and bounds."""
    status = data.StatusCode
    if status is not None and status.is_bad():
        return None, Quality.BAD, status.name
    value = data.Value.Value if data.Value is not None else None
    if not isinstance(value, (bool, int, float, str)):
        return None, Quality.BAD, "no value" if value is None else f"a {type(value).__name__} is no measured value"
    if isinstance(value, str):
        value = value[:MAX_TEXT]
    elif not isinstance(value, bool):
        if not math.isfinite(value):
            return None, Quality.BAD, "unavailable"
        if (point.low is not None and value < point.low) or (point.high is not None and value > point.high):
            return None, Quality.BAD, f"implausible: {value:g} {point.unit}"
    if status is not None and not status.is_good():
        return value, Quality.UNCERTAIN, status.name
    return value, Quality.GOOD, ""


def point_of(point: OpcuaPoint, interval_scale: float) -> Point:
    """The configured node as a point."""
    point_id = f"{point.asset}/{point.indicator}"
    return Point(
        id=point_id,
        unit=point.unit,
        group=point_id,  # each node is renewed by itself
        update_interval_s=point.update_interval_s * interval_scale,
        expected_constant=point.expected_constant,
        low=point.low,
        high=point.high,
        deadband=point.deadband,
        max_rate_per_s=point.max_rate_per_s and point.max_rate_per_s / interval_scale,
        frozen_after_cycles=point.frozen_after_cycles,
        agrees_with=point.agrees_with,
        agreement=point.agreement,
    )


def monitored(node: ua.NodeId, handle: int, interval_ms: float, deadband: float = 0.0) -> ua.MonitoredItemCreateRequest:
    """A request to be told of changes of one node beyond `deadband`; `handle` comes back with each of them."""
    changes = ua.DataChangeFilter(
        Trigger=ua.DataChangeTrigger.StatusValue,
        DeadbandType=ua.UInt32(ua.DeadbandType.Absolute),
        DeadbandValue=ua.Double(deadband),
    )
    return ua.MonitoredItemCreateRequest(
        ItemToMonitor=ua.ReadValueId(NodeId=node, AttributeId=AttributeIds.Value),
        MonitoringMode=ua.MonitoringMode.Reporting,
        RequestedParameters=ua.MonitoringParameters(
            ClientHandle=handle,
            SamplingInterval=interval_ms,
            QueueSize=QUEUE_SIZE,
            DiscardOldest=True,
            **({"Filter": changes} if deadband > 0 else {}),
        ),
    )


def utc(stamp: datetime | None) -> datetime | None:
    """The stamp as an aware time."""
    return stamp.replace(tzinfo=UTC) if stamp is not None and stamp.tzinfo is None else stamp


def older(sample: Sample, known: Sample) -> bool:
    """Whether `sample` was measured before `known`; False where a device does not stamp."""
    if sample.source_time is None or known.source_time is None:
        return False
    return sample.source_time < known.source_time
