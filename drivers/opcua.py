"""OPC UA: a subscription and a slow verification poll into samples.  Called by `gateway.poller`.

A server sends only what changed.  While its keep-alives arrive, `read` therefore gives the last known sample of
each point again, with a new received_time and the device's own source_time: a value that stands for days stays
fresh, and one behind a dead subscription does not.  Every `verify_period_s` all nodes are read as well; what the
subscription has missed comes in by that way and is counted.

The caller owns reconnecting: each `open` makes a new client and looks up the namespace anew.  Nothing can be
written: see `drivers.opcua_client`.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from pydantic import Field, model_validator

from drivers.base import Clock, Frozen, Name, Point, Quality, Sample, Value
from drivers.errors import Refused, Transient
from drivers.opcua_client import PEER_FAILURES, ReadOnlyClient, translated

__all__ = ("OpcuaLinkConfig", "OpcuaPoint", "OpcuaSource")

MAX_POINTS = 5000  # asyncua decodes about 15,000 values a second on a Pi
MAX_EVENTS = 20_000  # notifications between two reads; the oldest is dropped and counted
MAX_TEXT = 256  # characters of a text value
NODES_PER_REQUEST = 500  # servers limit it (OperationLimits); none is known to allow less
KEEP_ALIVE_COUNT = 4  # publishing intervals without news until the server says that it is still there
SHORTEST_SILENCE_S = 1.0  # keep-alives may promise less: a busy server or a lost packet is not yet a lost link
LIFETIME_COUNT = 60  # publishing intervals without a request until the server forgets the subscription
QUEUE_SIZE = 10  # samples per node that the server holds between two publishes


class OpcuaPoint(Frozen):
    """One node of the server and the point that it feeds.  Out of `low`…`high` is BAD."""

    node: str = Field(pattern=r"^[sigb]=.+", max_length=512, description="identifier within the link's namespace")
    asset: Name
    indicator: str = Field(pattern=r"^[A-Z]{4}\.[A-Za-z][A-Za-z0-9]{0,31}$")
    unit: str
    update_interval_s: float = Field(default=60.0, gt=0)
    expected_constant: bool = False
    low: float | None = None
    high: float | None = None


class OpcuaLinkConfig(Frozen):
    """One OPC UA server.  The certificates are PEM or DER files; the server's is pinned."""

    protocol: Literal["opcua"] = "opcua"
    name: Name
    url: str = Field(pattern=r"^opc\.tcp://(\[[0-9A-Fa-f:]+\]|[^/:@]+):\d{1,5}(/.*)?$")
    namespace_uri: str = Field(min_length=1)
    security: Literal["none", "sign_and_encrypt"] = "sign_and_encrypt"
    application_uri: str = Field(default="urn:blackstart", description="as in the client's certificate")
    client_cert_file: Path | None = None
    client_key_file: Path | None = None
    server_cert_file: Path | None = None
    poll_period_s: float = Field(default=1.0, gt=0)
    timeout_s: float = Field(default=4.0, gt=0, le=60)
    verify_period_s: float = Field(default=30.0, gt=0)
    points: tuple[OpcuaPoint, ...] = Field(min_length=1, max_length=MAX_POINTS)

    @model_validator(mode="after")
    def _complete(self) -> "OpcuaLinkConfig":
        if self.security == "sign_and_encrypt":
            needed = ("client_cert_file", "client_key_file", "server_cert_file")
            if missing := [name for name in needed if getattr(self, name) is None]:
                raise ValueError(f'security "sign_and_encrypt" needs {", ".join(missing)}; or allow "none" explicitly')
        for what, given in (
            ("node", [point.node for point in self.points]),
            ("point", [f"{point.asset}/{point.indicator}" for point in self.points]),
        ):
            if len(set(given)) < len(given):
                doubles = sorted({item for item in given if given.count(item) > 1})
                raise ValueError(f"{what} given twice: {', '.join(doubles)}")
        return self


class OpcuaSource:
    """A `drivers.base.Source` over one OPC UA session.

    `interval_scale` multiplies the points' update interval, as a simulator's time factor asks for.
    `dropped_count` counts notifications that came faster than they were read; `missed_count` counts changes that
    a verification poll found and the subscription had not brought by the next one.
    """

    def __init__(self, config: OpcuaLinkConfig, clock: Clock, *, interval_scale: float = 1.0) -> None:
        self._config = config
        self._clock = clock
        self._points = tuple(_point(point, interval_scale) for point in config.points)
        self._client: ReadOnlyClient | None = None
        self._nodes: list[ua.NodeId] = []
        self._refused: dict[int, str] = {}  # index of a point -> why the server does not monitor it
        self._last: dict[int, Sample] = {}  # index of a point -> its last known sample
        self._unconfirmed: set[int] = set()  # changes that the verification poll saw and no notification has brought
        self._events: deque[tuple[int, Sample]] = deque()
        self._silence_limit_s = math.inf
        self._heard_ns = 0
        self._verified_ns: int | None = None
        self._lost = ""  # why the subscription is over
        self.dropped_count = 0
        self.missed_count = 0

    @property
    def name(self) -> str:
        """The link's name in the configuration."""
        return self._config.name

    @property
    def points(self) -> Sequence[Point]:
        """Every point, in the order of the configuration."""
        return self._points

    async def open(self) -> None:
        """Connect, look up the namespace, subscribe.

        A node that the server does not know makes its own point BAD and nothing else.  Raises Transient where
        the server is away, Refused where it says no or does not have the namespace, Misconfigured for bad
        certificate files.
        """
        await self.close()
        config = self._config
        client = self._client = ReadOnlyClient(config.url, config.timeout_s)
        self._events.clear()
        self._last.clear()
        self._unconfirmed.clear()
        self._verified_ns, self._lost = None, ""
        opened = False
        try:
            if config.security == "sign_and_encrypt":
                assert config.client_cert_file is not None
                assert config.client_key_file is not None
                assert config.server_cert_file is not None
                await client.sign_and_encrypt(
                    config.application_uri, config.client_cert_file, config.client_key_file, config.server_cert_file
                )
            await client.connect()
            namespaces = await client.get_namespace_array()
            if config.namespace_uri not in namespaces:
                raise Refused(f"{self.name}: no namespace {config.namespace_uri}; there are: {', '.join(namespaces)}")
            index = namespaces.index(config.namespace_uri)
            self._nodes = [ua.NodeId.from_string(f"ns={index};{point.node}") for point in config.points]
            await self._subscribe(client)
            opened = True
        except PEER_FAILURES as err:
            raise translated(f"{self.name}: {config.url}", err) from err
        finally:
            if not opened:
                await self.close()

    async def read(self) -> list[Sample]:
        """Everything that was notified since the last call, then the last known sample of every other point.

        Raises Transient when the connection is gone, or nothing has been heard for two keep-alive intervals.
        """
        client, silent_s = self._client, (self._clock.monotonic_ns() - self._heard_ns) / 1e9
        if client is None or not client.alive:
            raise Transient(f"{self.name}: the connection is gone")
        if self._lost:
            raise Transient(f"{self.name}: {self._lost}")
        if silent_s > self._silence_limit_s:
            raise Transient(f"{self.name}: nothing heard for {silent_s:.1f} s, keep-alives are overdue")
        if self._verify_is_due():
            try:
                await self._verify(client)
            except PEER_FAILURES as err:
                raise translated(f"{self.name}: verification", err) from err
        samples = [sample for _, sample in self._events]
        told = {index for index, _ in self._events}
        self._events.clear()
        now = self._now()
        return samples + [self._again(index, now) for index in range(len(self._points)) if index not in told]

    async def close(self) -> None:
        """Hang up within two time-outs; nothing is raised for a peer that is gone."""
        client, self._client = self._client, None
        if client is not None:
            await client.hang_up()

    async def _subscribe(self, client: ReadOnlyClient) -> None:
        interval_ms = self._config.poll_period_s * 500  # twice per poll, so that a poll never finds old news
        wanted = ua.CreateSubscriptionParameters(
            RequestedPublishingInterval=interval_ms,
            RequestedLifetimeCount=LIFETIME_COUNT,
            RequestedMaxKeepAliveCount=KEEP_ALIVE_COUNT,
            MaxNotificationsPerPublish=0,
            PublishingEnabled=True,
            Priority=0,
        )
        given = await client.uaclient.create_subscription(wanted, self._on_publish)
        self._heard_ns = self._clock.monotonic_ns()
        keep_alive_s = given.RevisedMaxKeepAliveCount * given.RevisedPublishingInterval / 1000
        self._silence_limit_s = max(2 * keep_alive_s, SHORTEST_SILENCE_S)
        self._refused = {}
        for start in range(0, len(self._nodes), NODES_PER_REQUEST):
            chunk = range(start, min(start + NODES_PER_REQUEST, len(self._nodes)))
            items = [_monitored(self._nodes[index], index, interval_ms) for index in chunk]
            results = await client.uaclient.create_monitored_items(
                ua.CreateMonitoredItemsParameters(
                    SubscriptionId=given.SubscriptionId,
                    TimestampsToReturn=ua.TimestampsToReturn.Both,
                    ItemsToCreate=items,
                )
            )
            if len(results) != len(chunk):
                raise Transient(f"{self.name}: {len(results)} answers for {len(chunk)} monitored items")
            for index, result in zip(chunk, results, strict=True):
                if not result.StatusCode.is_good():
                    node = self._config.points[index].node
                    self._refused[index] = f"node {node} is not monitored: {result.StatusCode.name}"

    def _on_publish(self, result: ua.PublishResult) -> None:
        """Called by asyncua for every publish, keep-alives included."""
        now = self._now()
        self._heard_ns = now.monotonic_ns
        for notification in result.NotificationMessage.NotificationData or ():
            if isinstance(notification, ua.StatusChangeNotification):
                self._lost = f"the server ended the subscription: {notification.Status.name}"
            elif isinstance(notification, ua.DataChangeNotification):
                for item in notification.MonitoredItems:
                    if 0 <= item.ClientHandle < len(self._points):
                        self._unconfirmed.discard(item.ClientHandle)
                        self._keep(item.ClientHandle, self._sample(item.ClientHandle, item.Value, now))

    def _keep(self, index: int, sample: Sample) -> None:
        if len(self._events) >= MAX_EVENTS:
            self._events.popleft()
            self.dropped_count += 1
        self._events.append((index, sample))
        self._last[index] = sample

    def _verify_is_due(self) -> bool:
        now_ns = self._clock.monotonic_ns()
        if self._verified_ns is not None and now_ns - self._verified_ns < self._config.verify_period_s * 1e9:
            return False
        self._verified_ns = now_ns
        return True

    async def _verify(self, client: ReadOnlyClient) -> None:
        """Read all nodes; take over what the subscription does not know."""
        self.missed_count += len(self._unconfirmed)
        self._unconfirmed.clear()
        for start in range(0, len(self._nodes), NODES_PER_REQUEST):
            nodes = self._nodes[start : start + NODES_PER_REQUEST]
            wanted = [ua.ReadValueId(NodeId=node, AttributeId=AttributeIds.Value) for node in nodes]
            values = await client.uaclient.read(
                ua.ReadParameters(MaxAge=0, TimestampsToReturn=ua.TimestampsToReturn.Both, NodesToRead=wanted)
            )
            if len(values) != len(nodes):
                raise Transient(f"{self.name}: {len(values)} answers for {len(nodes)} nodes")
            now = self._now()
            for index, value in enumerate(values, start):
                self._compare(index, self._sample(index, value, now))

    def _compare(self, index: int, polled: Sample) -> None:
        known = self._last.get(index)
        if known is None:
            if index not in self._refused or polled.quality is not Quality.BAD:
                self._keep(index, polled)
        elif (known.value, known.quality) != (polled.value, polled.quality) and not _older(polled, known):
            # Its notification may be on the way, and then the value simply comes twice; if none has come by the
            # next verification, the subscription has missed it.
            self._unconfirmed.add(index)
            self._keep(index, polled)

    def _again(self, index: int, now: "_Now") -> Sample:
        """The last known sample, vouched for by the live link at this moment."""
        known = self._last.get(index)
        if known is None:
            return self._stamped(index, None, Quality.BAD, self._refused.get(index, "no value yet"), now)
        return replace(known, received_time=now.wall, monotonic_ns=now.monotonic_ns, clock_trusted=now.trusted)

    def _sample(self, index: int, data: ua.DataValue, now: "_Now") -> Sample:
        value, quality, reason = _judge(data, self._points[index])
        sample = self._stamped(index, value, quality, reason, now)
        return replace(sample, source_time=_utc(data.SourceTimestamp), server_time=_utc(data.ServerTimestamp))

    def _stamped(self, index: int, value: Value, quality: Quality, reason: str, now: "_Now") -> Sample:
        return Sample(
            point_id=self._points[index].id,
            value=value,
            quality=quality,
            reason=reason,
            received_time=now.wall,
            monotonic_ns=now.monotonic_ns,
            clock_trusted=now.trusted,
        )

    def _now(self) -> "_Now":
        return _Now(self._clock.now(), self._clock.monotonic_ns(), self._clock.trusted())


class _Now(NamedTuple):
    """One look at the clock, for all samples of a batch."""

    wall: datetime
    monotonic_ns: int
    trusted: bool


def _judge(data: ua.DataValue, point: Point) -> tuple[Value, Quality, str]:
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


def _point(point: OpcuaPoint, interval_scale: float) -> Point:
    point_id = f"{point.asset}/{point.indicator}"
    return Point(
        id=point_id,
        unit=point.unit,
        group=point_id,  # each node is renewed by itself
        update_interval_s=point.update_interval_s * interval_scale,
        expected_constant=point.expected_constant,
        low=point.low,
        high=point.high,
    )


def _monitored(node: ua.NodeId, handle: int, interval_ms: float) -> ua.MonitoredItemCreateRequest:
    return ua.MonitoredItemCreateRequest(
        ItemToMonitor=ua.ReadValueId(NodeId=node, AttributeId=AttributeIds.Value),
        MonitoringMode=ua.MonitoringMode.Reporting,
        RequestedParameters=ua.MonitoringParameters(
            ClientHandle=handle, SamplingInterval=interval_ms, QueueSize=QUEUE_SIZE, DiscardOldest=True
        ),
    )


def _utc(stamp: datetime | None) -> datetime | None:
    return stamp.replace(tzinfo=UTC) if stamp is not None and stamp.tzinfo is None else stamp


def _older(sample: Sample, known: Sample) -> bool:
    if sample.source_time is None or known.source_time is None:
        return False
    return sample.source_time < known.source_time
