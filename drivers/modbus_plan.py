"""Which registers to ask for in one request: addresses and widths in, spans out.  Pure; called by `drivers.modbus`."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ("MAX_REGISTERS", "Span", "plan")

MAX_REGISTERS = 125  # a Modbus reply holds 250 bytes of register data


@dataclass(frozen=True, slots=True)
class Span:
    """One read request.  `members` are the indices of the values that lie wholly inside it."""

    address: int
    count: int
    members: tuple[int, ...]


def plan(
    values: Sequence[tuple[int, int]], readable: Sequence[tuple[int, int]] = (), max_count: int = MAX_REGISTERS
) -> tuple[Span, ...]:
    """Cover `values` (address, width in registers) with as few spans as the order of addresses allows.

    A value is never split between spans.  A gap between two values is read over only where it lies inside one
    range of `readable` (first and last address): some devices answer a request that touches an undefined
    register with an exception for the whole request.
    """
    spans: list[Span] = []
    for index in sorted(range(len(values)), key=lambda i: values[i]):
        address, width = values[index]
        if width > max_count:
            raise ValueError(f"a value of {width} registers does not fit in a request of {max_count}")
        last = spans[-1] if spans else None
        if last is not None and _joins(last, address, width, readable, max_count):
            count = max(last.count, address + width - last.address)
            spans[-1] = Span(last.address, count, (*last.members, index))
        else:
            spans.append(Span(address, width, (index,)))
    return tuple(spans)


def _joins(span: Span, address: int, width: int, readable: Sequence[tuple[int, int]], max_count: int) -> bool:
    end = span.address + span.count
    if address + width - span.address > max_count:
        return False
    return address <= end or any(first <= end and address - 1 <= last for first, last in readable)
