"""One device behind a Modbus link: its read plan, its checks at connect and its circuit breaker.

The plan follows the device: a request that it refuses for an illegal address is split until only that address is
left out, and is whole again at the next connect.  Called by `drivers.modbus`.
"""

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from drivers.base import Clock, Point, Quality, Sample
from drivers.modbus_client import DeviceError
from drivers.modbus_decode import Reading, decode_check, decode_group
from drivers.modbus_link import ModbusDevice
from drivers.modbus_plan import Item, Request, items, requests, split
from drivers.templates import Group, Template

__all__ = ("FAILURES_TO_SKIP", "Ask", "Unit")

FAILURES_TO_SKIP = 2  # consecutive failed polls after which a device is only probed
ILLEGAL_ADDRESS = 2
NOT_THERE = frozenset({1, ILLEGAL_ADDRESS})  # exceptions by which a device says that it has no such register

_log = logging.getLogger(__name__)

Ask = Callable[[int, int, int, int], Awaitable[Sequence[int]]]
"""Unit id, function code, address, count → registers or bits.  Raises DeviceError or Transient."""


@dataclass(slots=True)
class _GroupReads:
    """One group, the requests that bring it, and what they brought last time."""

    group: Group
    items: tuple[Item, ...]
    requests: tuple[Request, ...]
    point_ids: dict[str, str]
    raw: list[Sequence[int]] = field(default_factory=list)
    readings: dict[str, Reading] = field(default_factory=dict)


class Unit:
    """A device with its read plan and its circuit breaker."""

    def __init__(self, device: ModbusDevice) -> None:
        self.device = device
        self.template: Template = device.own_template()
        self.failures = 0  # polls in a row that failed
        self._checked = False
        self._mismatches: dict[str, str] = {}  # indicator -> why a check at connect forbids it
        self._reads: list[_GroupReads] = []
        self.reset()

    @property
    def broken(self) -> bool:
        """Whether the device is only probed."""
        return self.failures >= FAILURES_TO_SKIP

    def reset(self) -> None:
        """A new connection: the plan is whole, the settings are unknown, the device has not failed."""
        self.failures = 0
        self._checked = False
        self._mismatches = {}
        self._reads = [
            _GroupReads(
                group,
                items(self.template, group),
                requests(self.template, group),
                {register.indicator: f"{self.device.asset}/{register.indicator}" for register in group.point},
            )
            for group in self.template.group
        ]

    def points(self, interval_scale: float) -> list[Point]:
        """The device's points; `interval_scale` multiplies their update interval."""
        frozen = self.device.frozen_after_cycles
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
                deadband=register.deadband,
                max_rate_per_s=register.max_rate_per_s and register.max_rate_per_s / interval_scale,
                frozen_after_cycles=group.frozen_after_cycles if frozen is None else frozen,
                agrees_with=register.agrees_with,
                agreement=register.agreement,
            )
            for group in self.template.group
            for register in group.point
        ]

    async def read(self, ask: Ask, clock: Clock) -> list[Sample]:
        """Samples of every point.  Raises DeviceError when the device fails as a whole, Transient for the link."""
        if self.failures or self._mismatches:
            self._checked = False  # it may have been exchanged, restarted or set anew meanwhile
        if not self._checked:
            self._mismatches = await self._check(ask)
            self._checked = True
        samples: list[Sample] = []
        for reads in self._reads:
            await self._refresh(reads, ask)
            samples += self._samples(reads, clock)
        return samples

    def succeeded(self, link: str) -> None:
        """The device has answered a poll."""
        if self.broken:
            _log.warning("%s: device %s answers again", link, self.device.name)
        self.failures = 0

    def failed(self, link: str, err: DeviceError) -> None:
        """The device has failed a poll."""
        self.failures += 1
        if self.failures == FAILURES_TO_SKIP:  # one line when it is lost, one when it is back
            _log.warning("%s: device %s is left out, probed now and then: %s", link, self.device.name, err)

    async def _check(self, ask: Ask) -> dict[str, str]:
        """Compare settings, test values and flags; what is found goes to the points that depend on it."""
        template, mismatches = self.template, dict[str, str]()
        for check in template.check:
            try:
                words = await ask(self.device.unit_id, template.code(check), template.address(check), check.width)
                reason = decode_check(check, words, template.word_order)
            except DeviceError as err:
                if err.exception not in NOT_THERE:
                    raise
                reason = f"{check.text}: register {check.register_} does not answer"
            if reason:
                concerned = check.points or [register.indicator for register in template.registers()]
                mismatches |= dict.fromkeys(concerned, reason)
        if mismatches and mismatches != self._mismatches:
            _log.warning("device %s: %s", self.device.name, "; ".join(sorted(set(mismatches.values()))))
        return mismatches

    async def _refresh(self, reads: _GroupReads, ask: Ask) -> None:
        """Read one group; a request that the device refuses for an address in it is split, for this connection."""
        waiting, answered, raw = deque(reads.requests), list[Request](), list[Sequence[int]]()
        refusal: DeviceError | None = None
        while waiting:
            request = waiting.popleft()
            span = request.span
            try:
                raw.append(await ask(self.device.unit_id, request.function_code, span.address, span.count))
                answered.append(request)
            except DeviceError as err:
                if err.exception != ILLEGAL_ADDRESS:
                    raise
                refusal = err
                parts = split(span, [(item.address, item.width) for item in reads.items])
                waiting.extendleft(Request(request.function_code, part) for part in reversed(parts))
        if refusal is not None:
            if not answered:
                raise refusal  # no register at all: it is the device that says no
            _log.warning("device %s: a request was split: %s", self.device.name, refusal)
            reads.requests = tuple(answered)
        if raw != reads.raw or not reads.readings:
            reads.readings = decode_group(reads.group, _words(reads, raw), self.template.word_order)
            reads.raw = raw

    def _samples(self, reads: _GroupReads, clock: Clock) -> list[Sample]:
        received, monotonic_ns, trusted = clock.now(), clock.monotonic_ns(), clock.trusted()
        readings = reads.readings
        if self._mismatches:
            readings = {
                indicator: Reading(None, Quality.BAD, self._mismatches[indicator])
                if indicator in self._mismatches
                else reading
                for indicator, reading in readings.items()
            }
        return [
            Sample(
                point_id=reads.point_ids[indicator],
                value=reading.value,
                quality=reading.quality,
                reason=reading.reason,
                received_time=received,
                monotonic_ns=monotonic_ns,
                clock_trusted=trusted,
            )
            for indicator, reading in readings.items()
        ]


def _words(reads: _GroupReads, raw: Sequence[Sequence[int]]) -> dict[str, Sequence[int]]:
    words: dict[str, Sequence[int]] = {}
    for request, registers in zip(reads.requests, raw, strict=True):
        for index in request.span.members:
            item = reads.items[index]
            start = item.address - request.span.address
            words[item.key] = registers[start : start + item.width]
    return words
