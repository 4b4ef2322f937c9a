"""Modbus: registers of several devices behind one line into samples.  Called by `gateway.poller`.

Requests follow one after another.  A device that is silent or answers with an exception is left out of that read
and does not stop the others; after two failures it is asked only now and then, never two such devices in one poll.
The caller owns reconnecting: a lost link raises Transient, and each `open` makes a new client.

RTU frames carry no transaction number: a late reply looks like the next one.  After any reply that is missing or
does not fit, the line is listened to until it has been silent for longer than a late reply may take, and then a
new client begins.  `drivers.modbus_client` can only read.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from functools import partial

from drivers.base import Clock, Point, Sample
from drivers.errors import Transient
from drivers.modbus_client import DeviceError, ReadOnlyClient
from drivers.modbus_link import ModbusDevice, ModbusLinkConfig
from drivers.modbus_unit import Unit

__all__ = ("ModbusDevice", "ModbusLinkConfig", "ModbusSource")

PROBE_EVERY = 10  # polls between two probes; each takes the turn of one of the devices that are left out
PROBE_SHARE = 0.4  # of a poll period: a dead device must not make the samples of the others late
SILENT_POLLS = 2  # polls in which no device answered anything, after which the link counts as lost
LATE_TIMEOUTS = 2.0  # RTU: a reply may come this many time-outs after its own
DRAIN_ROUNDS = 5  # RTU: silences to wait for at most; a line that never falls silent has a second master
DIALS_PER_MINUTE_MAX = 6  # over TCP, whoever asks for them

_log = logging.getLogger(__name__)


class ModbusSource:
    """A `drivers.base.Source` over one Modbus line.

    `interval_scale` multiplies the points' update interval: a simulator that runs 3600 times faster has 1/3600.
    """

    def __init__(self, config: ModbusLinkConfig, clock: Clock, *, interval_scale: float = 1.0) -> None:
        self._config = config
        self._clock = clock
        self._units = [Unit(device) for device in config.devices]
        self._points = tuple(point for unit in self._units for point in unit.points(interval_scale))
        self._client: ReadOnlyClient | None = None
        self._line = asyncio.Lock()  # one question at a time
        self._dials_ns: deque[int] = deque(maxlen=DIALS_PER_MINUTE_MAX)
        self._silent_polls = 0
        self._polls_since_probe = 0
        self._unanswered = 0  # RTU: discarded clients in a row
        self._warned = False
        self._requests = self._request_errors = self._dials = 0
        self._request_last_s = 0.0
        self.resync_count = 0  # RTU: how often the line had to fall silent

    @property
    def name(self) -> str:
        """The link's name in the configuration."""
        return self._config.name

    @property
    def points(self) -> Sequence[Point]:
        """Every point of every device, in the order of the configuration."""
        return self._points

    def metrics(self) -> dict[str, float]:
        """Counters and figures of this link."""
        return {
            "requests_total": float(self._requests),
            "request_errors_total": float(self._request_errors),
            "request_last_s": self._request_last_s,
            "resyncs_total": float(self.resync_count),
            "dials_total": float(self._dials),
            "units": float(len(self._units)),
            "units_left_out": float(sum(unit.broken for unit in self._units)),
        }

    async def open(self) -> None:
        """Connect.  Raises Transient where nobody listens; devices are judged by the reads that follow."""
        await self.close()
        self._warn_once()
        await self._dial()
        self._silent_polls = self._polls_since_probe = self._unanswered = 0
        for unit in self._units:
            unit.reset()

    async def read(self) -> list[Sample]:
        """Samples of all devices that answered in full.

        Raises Transient when the connection is gone, or no device has answered anything in two polls.
        """
        samples: list[Sample] = []
        asked = answered = False
        async with self._line:
            for unit, timeout_s in self._turns():
                asked = True
                try:
                    samples += await unit.read(partial(self._request, timeout_s), self._clock)
                    answered = True
                    unit.succeeded(self.name)
                except DeviceError as err:
                    answered = answered or err.answered
                    unit.failed(self.name, err)
        if asked:
            self._silent_polls = 0 if answered else self._silent_polls + 1
        if self._silent_polls >= SILENT_POLLS:
            raise Transient(f"{self.name}: no device has answered in {self._silent_polls} polls")
        return samples

    async def close(self) -> None:
        """Hang up; nothing is raised for a peer that is gone."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _warn_once(self) -> None:
        unverified = sorted({unit.template.name for unit in self._units if unit.template.maturity == "unverified"})
        if unverified and not self._warned:
            _log.warning("%s: register maps not verified on a device: %s", self.name, ", ".join(unverified))
        self._warned = True

    def _turns(self) -> list[tuple[Unit, float]]:
        """Whom to ask in this poll and for how long: the sound ones first, and at most one that is left out."""
        config = self._config
        turns = [(unit, config.timeout_s) for unit in self._units if unit.failures == 0]
        turns += [(unit, config.timeout_s) for unit in self._units if unit.failures and not unit.broken]
        broken = [unit for unit in self._units if unit.broken]
        if broken:
            self._polls_since_probe += 1
            if self._polls_since_probe >= PROBE_EVERY:
                self._polls_since_probe = 0
                probed = min(broken, key=lambda unit: unit.failures)  # each probe that fails counts one more
                turns.append((probed, min(config.timeout_s, PROBE_SHARE * config.poll_period_s)))
        return turns

    async def _request(
        self, timeout_s: float, unit_id: int, function_code: int, address: int, count: int
    ) -> Sequence[int]:
        client = self._client
        if client is not None and client.desynchronised:
            client = await self._begin_anew(client)
        if client is None or not client.connected:
            raise Transient(f"{self.name}: the connection is gone")
        started_ns = self._clock.monotonic_ns()
        self._requests += 1
        self._request_errors += 1  # until it has succeeded
        values = await client.ask(unit_id, function_code, address, count, timeout_s)
        self._request_errors -= 1
        self._request_last_s = (self._clock.monotonic_ns() - started_ns) / 1e9
        self._unanswered = 0
        return values

    async def _begin_anew(self, client: ReadOnlyClient) -> ReadOnlyClient:
        """RTU: hear the late replies out, then throw the client away that knows of them."""
        self.resync_count += 1
        silence_s = LATE_TIMEOUTS * self._config.timeout_s * 2 ** min(self._unanswered, 2)
        self._unanswered += 1
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + DRAIN_ROUNDS * silence_s
        while (missing_s := silence_s - client.quiet_s) > 0:
            if loop.time() > give_up_s:
                raise Transient(f"{self.name}: the line does not fall silent; is there a second master?")
            await asyncio.sleep(missing_s)
        client.close()
        self._client = None
        return await self._dial()

    async def _dial(self) -> ReadOnlyClient:
        config = self._config
        now_ns = self._clock.monotonic_ns()
        if config.serial is None:
            if len(self._dials_ns) == DIALS_PER_MINUTE_MAX and now_ns - self._dials_ns[0] < 60e9:  # noqa: PLR2004 - a minute
                raise Transient(f"{self.name}: connected {DIALS_PER_MINUTE_MAX} times within a minute")
            self._dials_ns.append(now_ns)
        self._dials += 1
        client = self._client = ReadOnlyClient(config)  # before the await, so that close() finds it after a cancel
        dialled = False
        try:
            await client.dial()
            dialled = True
        finally:
            if not dialled:
                await self.close()
        return client
