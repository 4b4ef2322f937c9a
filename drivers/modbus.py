"""Modbus TCP: registers of several devices behind one connection into samples.  Called by `gateway.poller`.

Requests follow one after another.  A device that is silent or answers with an exception is left out of that read
and does not stop the others; after two failures it is asked only now and then.  The caller owns reconnecting: a
lost link raises Transient, and each `open` makes a new client.

This module can only read.  It has no writing call, and `_ReadOnlyTransactions`, through which every frame of the
client passes on its way to the socket, lets through nothing but function codes 1 to 4.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusException
from pymodbus.framer import FramerSocket
from pymodbus.pdu import DecodePDU, ModbusPDU
from pymodbus.transaction import TransactionManager

from drivers.base import Clock, Frozen, Name, Point, Sample
from drivers.errors import Misconfigured, Refused, Transient
from drivers.modbus_decode import decode_group
from drivers.modbus_plan import Span, plan
from drivers.templates import Group, Template, WordOrder, load_template

__all__ = ("ModbusDevice", "ModbusLinkConfig", "ModbusSource")

MAX_DEVICES = 247  # unit ids that a line can hold
FAILURES_TO_SKIP = 2  # consecutive failed polls after which a device is only probed
PROBE_EVERY = 10  # polls between two probes of a device that is skipped
SILENT_POLLS = 2  # polls in which no device answered anything, after which the link counts as lost
NEVER = 1_000_000_000  # time-outs until pymodbus hangs up by itself: whether the link is lost is decided here
READ_FRAME_BYTES = 12  # MBAP header (7), function code (1), address (2), count (2): no read request is longer
READ_CODES = frozenset({1, 2, 3, 4})

_log = logging.getLogger(__name__)


def _known_template(name: str) -> str:
    try:
        load_template(name)
    except Misconfigured as err:
        raise ValueError(str(err)) from err  # pydantic collects ValueErrors into its one report
    return name


class ModbusDevice(Frozen):
    """One device behind the link; `word_order` overrides the template's, to mend a wrongly set device."""

    name: Name
    asset: Name
    unit_id: int = Field(default=1, ge=1, le=255)
    template: Annotated[str, AfterValidator(_known_template)]
    word_order: WordOrder | None = None


class ModbusLinkConfig(Frozen):
    """One TCP connection and the devices behind it."""

    protocol: Literal["modbus_tcp"] = "modbus_tcp"
    name: Name
    host: str = Field(min_length=1)
    port: int = Field(default=502, ge=1, le=65535)
    poll_period_s: float = Field(default=1.0, gt=0)
    timeout_s: float = Field(default=1.0, gt=0, le=60)
    devices: tuple[ModbusDevice, ...] = Field(min_length=1, max_length=MAX_DEVICES)

    @model_validator(mode="after")
    def _unique(self) -> "ModbusLinkConfig":
        names = [device.name for device in self.devices]
        ids = [point_id for device in self.devices for point_id in _point_ids(device)]
        for what, given in (("device name", names), ("point", ids)):
            if doubles := sorted({item for item in given if given.count(item) > 1}):
                raise ValueError(f"{what} given twice: {', '.join(doubles)}")
        return self


class ModbusSource:
    """A `drivers.base.Source` over one Modbus TCP connection.

    `interval_scale` multiplies the points' update interval: a simulator that runs 3600 times faster has 1/3600.
    """

    def __init__(self, config: ModbusLinkConfig, clock: Clock, *, interval_scale: float = 1.0) -> None:
        self._config = config
        self._clock = clock
        self._units = [_Unit(device, load_template(device.template)) for device in config.devices]
        self._points = tuple(point for unit in self._units for point in unit.points(interval_scale))
        self._client: _ReadOnlyClient | None = None
        self._silent_polls = 0

    @property
    def name(self) -> str:
        """The link's name in the configuration."""
        return self._config.name

    @property
    def points(self) -> Sequence[Point]:
        """Every point of every device, in the order of the configuration."""
        return self._points

    async def open(self) -> None:
        """Connect.  Raises Transient where nobody listens; devices are judged by the reads that follow."""
        await self.close()
        config = self._config
        client = _ReadOnlyClient(
            config.host, port=config.port, timeout=config.timeout_s, retries=0, reconnect_delay=0, name=config.name
        )
        self._client = client  # before the await, so that close() finds it when this is cancelled
        if not await client.connect():
            await self.close()
            raise Transient(f"{config.name}: no connection to {config.host}:{config.port}")
        self._silent_polls = 0
        for unit in self._units:
            unit.failures = unit.skipped = 0

    async def read(self) -> list[Sample]:
        """Samples of all devices that answered in full.

        Raises Transient when the connection is gone, or no device has answered anything in two polls.
        """
        samples: list[Sample] = []
        asked = answered = False
        for unit in self._units:
            if not unit.due():
                continue
            asked = True
            try:
                samples += await self._read_unit(unit)
                answered = True
                self._note_success(unit)
            except _DeviceError as err:
                answered = answered or err.answered
                self._note_failure(unit, err)
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

    async def _read_unit(self, unit: "_Unit") -> list[Sample]:
        samples: list[Sample] = []
        for group, spans in unit.plans:
            words: dict[str, Sequence[int]] = {}
            for span in spans:
                registers = await self._request(unit, span)
                for index in span.members:
                    register = group.point[index]
                    start = unit.template.address(register) - span.address
                    words[register.indicator] = registers[start : start + register.width]
            samples += self._samples(unit, group, words)
        return samples

    def _note_success(self, unit: "_Unit") -> None:
        if unit.failures >= FAILURES_TO_SKIP:
            _log.warning("%s: device %s answers again", self.name, unit.device.name)
        unit.failures = 0

    def _note_failure(self, unit: "_Unit", err: "_DeviceError") -> None:
        unit.failures += 1
        if unit.failures == FAILURES_TO_SKIP:  # one line when it is lost, one when it is back
            _log.warning("%s: device %s is left out, probed now and then: %s", self.name, unit.device.name, err)

    def _samples(self, unit: "_Unit", group: Group, words: dict[str, Sequence[int]]) -> list[Sample]:
        received, monotonic_ns, trusted = self._clock.now(), self._clock.monotonic_ns(), self._clock.trusted()
        return [
            Sample(
                point_id=f"{unit.device.asset}/{indicator}",
                value=reading.value,
                quality=reading.quality,
                reason=reading.reason,
                received_time=received,
                monotonic_ns=monotonic_ns,
                clock_trusted=trusted,
            )
            for indicator, reading in decode_group(group, words, unit.word_order).items()
        ]

    async def _request(self, unit: "_Unit", span: Span) -> Sequence[int]:
        """One request and its checked reply.  Raises _DeviceError for this device, Transient for the link."""
        client = self._client
        if client is None or not client.connected:
            raise Transient(f"{self.name}: the connection is gone")
        reads = {3: client.read_holding_registers, 4: client.read_input_registers}
        try:
            reply = await reads[unit.template.function_code](
                span.address, count=span.count, device_id=unit.device.unit_id
            )
        except ConnectionException as err:
            raise Transient(f"{self.name}: the connection is gone") from err
        except ModbusException as err:
            if not client.connected:
                raise Transient(f"{self.name}: the connection is gone") from err
            raise _DeviceError(f"no usable reply in {self._config.timeout_s:g} s", answered=False) from err
        if fault := client.fault(reply, unit.template.function_code, span.count):
            raise _DeviceError(fault, answered=True)
        return reply.registers


class _DeviceError(Exception):
    """A device gave no usable reply; `answered` tells a wrong reply from none.  Never leaves this module."""

    def __init__(self, why: str, *, answered: bool) -> None:
        super().__init__(why)
        self.answered = answered


@dataclass(slots=True)
class _Unit:
    """A device with its read plan and its circuit breaker."""

    device: ModbusDevice
    template: Template
    failures: int = 0  # polls in a row that failed
    skipped: int = 0  # polls since the last probe
    plans: tuple[tuple[Group, tuple[Span, ...]], ...] = ()

    def __post_init__(self) -> None:
        self.plans = tuple((group, _spans(self.template, group)) for group in self.template.group)

    @property
    def word_order(self) -> WordOrder:
        return self.device.word_order or self.template.word_order

    def points(self, interval_scale: float) -> list[Point]:
        return [
            Point(
                id=f"{self.device.asset}/{register.indicator}",
                unit=register.unit,
                group=f"{self.device.asset}/{group.name}",
                update_interval_s=group.update_interval_s * interval_scale,
                expected_constant=register.expected_constant,
                low=register.low,
                high=register.high,
                smallest=register.smallest,
            )
            for group in self.template.group
            for register in group.point
        ]

    def due(self) -> bool:
        """Whether to ask in this poll; a device that keeps failing is asked in one poll of PROBE_EVERY."""
        if self.failures < FAILURES_TO_SKIP:
            return True
        self.skipped = (self.skipped + 1) % PROBE_EVERY
        return self.skipped == 0


class _ReadOnlyTransactions(TransactionManager):
    """pymodbus's way to the socket, narrowed to read requests."""

    def send(self, data: bytes, addr: tuple[str, int] | None = None) -> None:
        """Every frame passes here.  Raises Refused, before a byte leaves, for anything but one read request."""
        if len(data) != READ_FRAME_BYTES or data[7] not in READ_CODES:
            raise Refused("Blackstart only reads: a Modbus frame that is no read request was stopped")
        super().send(data, addr)


class _ReadOnlyClient(AsyncModbusTcpClient):
    """pymodbus's client on top of `_ReadOnlyTransactions`."""

    def __init__(
        self, host: str, *, port: int, timeout: float, retries: int, reconnect_delay: float, name: str
    ) -> None:
        super().__init__(host, port=port, timeout=timeout, retries=retries, reconnect_delay=reconnect_delay, name=name)
        self.ctx = _ReadOnlyTransactions(
            self.comm_params, FramerSocket(DecodePDU(False)), retries, False, None, None, None
        )
        self.set_max_no_responses(NEVER)

    def fault(self, reply: ModbusPDU, function_code: int, count: int) -> str:
        """Why `reply` is no full answer to the request sent last; empty where it is."""
        if reply.isError():
            return f"exception code {reply.exception_code}"
        fits = reply.function_code == function_code and len(reply.registers) == count
        if not fits or reply.transaction_id != self.ctx.next_tid:
            return "a reply that does not fit the request"
        return ""


def _spans(template: Template, group: Group) -> tuple[Span, ...]:
    values = [(template.address(register), register.width) for register in group.point]
    readable = [(first - template.address_base, last - template.address_base) for first, last in group.readable]
    return plan(values, readable)


def _point_ids(device: ModbusDevice) -> list[str]:
    return [f"{device.asset}/{register.indicator}" for register in load_template(device.template).registers()]
