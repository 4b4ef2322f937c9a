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
from datetime import datetime

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds

from drivers.base import Clock, Point, Quality, Sample, Value
from drivers.errors import Refused, Transient
from drivers.opcua_browse import Found, find, resolve
from drivers.opcua_client import PEER_FAILURES, ReadOnlyClient, translated
from drivers.opcua_config import OpcuaLinkConfig, OpcuaPoint
from drivers.opcua_health import ServerHealth
from drivers.opcua_history import Gaps
from drivers.opcua_login import Login
from drivers.opcua_values import NO_FILTER, Now, judge, monitored, older, point_of, utc

__all__ = ("OpcuaLinkConfig", "OpcuaPoint", "OpcuaSource")

MAX_EVENTS = 20_000  # notifications between two reads; the oldest is dropped and counted
FROZEN_INTERVALS = 10  # update intervals in which the source time of a point that moves has not advanced
VERIFIES_TO_DOUBT = 2  # verification polls that must have seen it
KEEP_ALIVE_COUNT = 4  # publishing intervals without news until the server says that it is still there
SHORTEST_SILENCE_S = 1.0  # keep-alives may promise less: a busy server or a lost packet is not yet a lost link
LIFETIME_COUNT = 60  # publishing intervals without a request until the server forgets the subscription


class OpcuaSource:
    """A `drivers.base.Source` over one OPC UA session.

    `interval_scale` multiplies the points' update interval, as a simulator's time factor asks for.
    `dropped_count` counts notifications that came faster than they were read; `missed_count` counts changes that
    a verification poll found and the subscription had not brought by the next one.
    """

    def __init__(self, config: OpcuaLinkConfig, clock: Clock, *, interval_scale: float = 1.0) -> None:
        self._config = config
        self._clock = clock
        self._points = tuple(point_of(point, interval_scale) for point in config.points)
        self._interval_ms = config.poll_period_s * 500  # twice per poll, so that a poll never finds old news
        self._client: ReadOnlyClient | None = None
        self._nodes: list[ua.NodeId] = []
        self._refused: dict[int, str] = {}  # index of a point -> why the server does not monitor it
        self._last: dict[int, Sample] = {}  # index of a point -> its last known sample
        self._unconfirmed: set[int] = set()  # changes that the verification poll saw and no notification has brought
        self._behind: set[int] = set()  # points that a verification poll found older than they were known
        self._events: deque[tuple[int, Sample]] = deque()
        self._silence_limit_s = math.inf
        self._heard_ns = 0
        self._verified_ns: int | None = None
        self._lost = ""  # why the subscription is over
        self._limits: dict[int, int] = {}  # operation limit -> nodes in one request
        self._gaps = Gaps(config.name)
        self._moved: dict[int, tuple[datetime | None, int]] = {}  # source time, and when it was first seen
        self._health = ServerHealth()
        self._login = Login(config, clock)
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

    def metrics(self) -> dict[str, float]:
        """Counters and figures of this link."""
        found = {
            "notifications_dropped_total": float(self.dropped_count),
            "notifications_missed_total": float(self.missed_count),
            "history_values_total": float(self._gaps.filled_count),
            "nodes_refused": float(len(self._refused)),
        }
        if self._health.clock_skew_s is not None:
            found["clock_skew_s"] = self._health.clock_skew_s
        if self._login.certificate_expires is not None:
            expires_s = (self._login.certificate_expires - self._clock.now()).total_seconds()
            found["certificate_expires_s"] = expires_s
        return found

    async def open(self) -> None:
        """Connect, look up the namespace, subscribe.

        A node that the server does not know makes its own point BAD and nothing else.  Raises Transient where
        the server is away, Refused where it says no or does not have the namespace, Misconfigured for bad
        certificate files.
        """
        await self.close()
        config = self._config
        if config.history:
            self._gaps.note({index: s.source_time for index, s in self._last.items() if s.source_time is not None})
        self._begin_anew()
        opened = False
        try:
            client = await self._connect()
            namespaces = await client.get_namespace_array()
            if config.namespace_uri not in namespaces:
                raise Refused(f"{self.name}: no namespace {config.namespace_uri}; there are: {', '.join(namespaces)}")
            index = namespaces.index(config.namespace_uri)
            self._nodes, unresolved = await resolve(client, config.points, index)
            self._limits = {node: await client.limit(node) for node in (_PER_READ, _PER_SUBSCRIBE)}
            await self._subscribe(client)
            self._refused |= unresolved
            self._login.succeeded()
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
            if self._login.renewal_is_due:
                raise Transient(f"{self.name}: the own certificate is to be renewed, which happens at a connect")
            try:
                await self._verify(client)
            except PEER_FAILURES as err:
                raise translated(f"{self.name}: verification", err) from err
        samples = await self._missed(client) if self._gaps else []
        samples += [self._health.doubted(sample) for _, sample in self._events]
        told = {index for index, _ in self._events}
        self._events.clear()
        now = self._now()
        return samples + [self._again(index, now) for index in range(len(self._points)) if index not in told]

    async def browse(self, patterns: Sequence[str]) -> list[list[Found] | str]:
        """For each glob what the server has there, or why nothing; connects for it, and closes.  Raises as `open`."""
        await self.close()
        try:
            client = await self._connect()
            return await find(client, patterns)
        except PEER_FAILURES as err:
            raise translated(f"{self.name}: {self._config.url}", err) from err
        finally:
            await self.close()

    async def close(self) -> None:
        """Hang up within two time-outs; nothing is raised for a peer that is gone."""
        client, self._client = self._client, None
        if client is not None:
            await client.hang_up()

    def _begin_anew(self) -> None:
        self._events.clear()
        self._last.clear()
        self._moved.clear()
        self._unconfirmed.clear()
        self._behind.clear()
        self._verified_ns = None
        self._lost = ""
        self._health = ServerHealth()

    async def _connect(self) -> ReadOnlyClient:
        client = self._client = ReadOnlyClient(self._config.url, self._config.timeout_s)  # `close` finds it
        await self._login.prepare(client)
        await client.connect()
        return client

    async def _missed(self, client: ReadOnlyClient) -> list[Sample]:
        """Values of an outage, out of the server's history, in the order of their source times."""
        live = {index: s.source_time for index, s in self._last.items() if s.source_time is not None}
        try:
            values = await self._gaps.next(client, self._nodes, live)
        except PEER_FAILURES as err:
            raise translated(f"{self.name}: history", err) from err
        now = self._now()
        samples = [replace(self._sample(index, value, now), historical=True) for index, value in values]
        return sorted(samples, key=lambda sample: sample.source_time or now.wall)

    async def _subscribe(self, client: ReadOnlyClient) -> None:
        config = self._config
        wanted = ua.CreateSubscriptionParameters(
            RequestedPublishingInterval=self._interval_ms,
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
        await self._monitor(client, given.SubscriptionId, range(len(self._nodes)), filtered=config.server_deadband)

    async def _monitor(
        self, client: ReadOnlyClient, subscription: int, indices: Sequence[int], *, filtered: bool
    ) -> None:
        """Ask to be told of these points; whose deadband the server does not take is asked for without."""
        most, again = self._limits[_PER_SUBSCRIBE], list[int]()
        for start in range(0, len(indices), most):
            chunk = indices[start : start + most]
            wanted = [
                monitored(self._nodes[i], i, self._interval_ms, self._points[i].deadband if filtered else 0.0)
                for i in chunk
            ]
            results = await client.uaclient.create_monitored_items(
                ua.CreateMonitoredItemsParameters(
                    SubscriptionId=subscription,
                    TimestampsToReturn=ua.TimestampsToReturn.Both,
                    ItemsToCreate=wanted,
                )
            )
            if len(results) != len(chunk):
                raise Transient(f"{self.name}: {len(results)} answers for {len(chunk)} monitored items")
            for index, result in zip(chunk, results, strict=True):
                if filtered and result.StatusCode.value in NO_FILTER:
                    again.append(index)
                elif not result.StatusCode.is_good():
                    what = self._config.points[index].node
                    self._refused[index] = f"node {what} is not monitored: {result.StatusCode.name}"
        if again:
            await self._monitor(client, subscription, again, filtered=False)

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
        await self._health.examine(client, self._clock)
        most = self._limits[_PER_READ]
        for start in range(0, len(self._nodes), most):
            nodes = self._nodes[start : start + most]
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
        elif older(polled, known) and index not in self._behind:
            self._behind.add(index)  # overtaken by a notification; or else a clock has been set back, and it stays so
            return
        elif self._differs(index, known, polled):
            # Its notification may be on the way, and then the value simply comes twice; if none has come by the
            # next verification, the subscription has missed it.
            self._unconfirmed.add(index)
            self._keep(index, polled)
        elif (known.value, known.quality) != (polled.value, polled.quality):
            self._keep(index, polled)  # within the deadband, so that the server owed no word of it
        else:
            self._last[index] = polled  # the same value, perhaps measured anew
        self._behind.discard(index)

    def _differs(self, index: int, known: Sample, polled: Sample) -> bool:
        """Whether a subscription should have told of the step from one to the other."""
        one, other = known.value, polled.value
        if self._config.server_deadband and known.quality is polled.quality:
            deadband = self._points[index].deadband
            if isinstance(one, int | float) and isinstance(other, int | float):
                return abs(one - other) > deadband
        return (one, known.quality) != (other, polled.quality)

    def _again(self, index: int, now: Now) -> Sample:
        """The last known sample, vouched for by the live link at this moment."""
        known = self._last.get(index)
        if known is None:
            return self._stamped(index, None, Quality.BAD, self._refused.get(index, "no value yet"), now)
        fresh = self._stamped(
            index, known.value, known.quality, known.reason, now, known.source_time, known.server_time
        )
        return self._frozen(index, self._health.doubted(fresh), now)

    def _frozen(self, index: int, sample: Sample, now: Now) -> Sample:
        """Doubt a point that should move and whose source time does not."""
        point = self._points[index]
        stamp, since_ns = self._moved.get(index, (None, 0))
        if stamp != sample.source_time or index not in self._moved:
            self._moved[index] = (sample.source_time, now.monotonic_ns)
            return sample
        limit_s = max(FROZEN_INTERVALS * point.update_interval_s, VERIFIES_TO_DOUBT * self._config.verify_period_s)
        stood_s = (now.monotonic_ns - since_ns) / 1e9
        if stamp is None or point.expected_constant or sample.quality is not Quality.GOOD or stood_s <= limit_s:
            return sample
        return replace(sample, quality=Quality.UNCERTAIN, reason=f"its source time has stood still for {stood_s:.0f} s")

    def _sample(self, index: int, data: ua.DataValue, now: Now) -> Sample:
        value, quality, reason = judge(data, self._points[index])
        return self._stamped(index, value, quality, reason, now, utc(data.SourceTimestamp), utc(data.ServerTimestamp))

    def _stamped(
        self,
        index: int,
        value: Value,
        quality: Quality,
        reason: str,
        now: Now,
        source_time: datetime | None = None,
        server_time: datetime | None = None,
    ) -> Sample:
        return Sample(
            point_id=self._points[index].id,
            value=value,
            quality=quality,
            received_time=now.wall,
            monotonic_ns=now.monotonic_ns,
            clock_trusted=now.trusted,
            reason=reason,
            source_time=source_time,
            server_time=server_time,
        )

    def _now(self) -> Now:
        return Now(self._clock.now(), self._clock.monotonic_ns(), self._clock.trusted())


_PER_READ = ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead
_PER_SUBSCRIBE = ObjectIds.Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall
