"""Which registers to ask for in one request: addresses and widths in, spans out.

Pure; called by `drivers.modbus` and by `blackstart plan`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from drivers.modbus_decode import status_key
from drivers.templates import BIT_CODES, Group, Location, Template

__all__ = ("MAX_REGISTERS", "Item", "Request", "Span", "items", "plan", "requests", "split")

MAX_REGISTERS = 125  # a Modbus reply holds 250 bytes of register data


@dataclass(frozen=True, slots=True)
class Span:
    """One read request.  `members` are the indices of the values that lie wholly inside it."""

    address: int
    count: int
    members: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """One value of a group, or the register of one of its status rules; `key` as `decode_group` wants it."""

    key: str
    function_code: int
    address: int
    width: int


@dataclass(frozen=True, slots=True)
class Request:
    """One read request of a group; the members of the span are indices into the group's items."""

    function_code: int
    span: Span


def items(template: Template, group: Group) -> tuple[Item, ...]:
    """Everything that must be read together to judge one group."""
    named: list[tuple[str, Location]] = [(register.indicator, register) for register in group.point]
    named += [(status_key(rule), rule) for rule in group.status]
    return tuple(Item(key, template.code(at), template.address(at), at.width) for key, at in named)


def requests(template: Template, group: Group) -> tuple[Request, ...]:
    """The requests that bring all items of a group, by function code and address.

    The ranges that the template calls readable are those of its own function code.
    """
    base = template.address_base
    readable = [(first - base, last - base) for first, last in group.readable]
    wanted = items(template, group)
    planned: list[Request] = []
    for code in sorted({item.function_code for item in wanted}):
        indices = [index for index, item in enumerate(wanted) if item.function_code == code]
        most = template.max_bits if code in BIT_CODES else template.max_registers
        spans = plan(
            [(wanted[index].address, wanted[index].width) for index in indices],
            readable if code == template.function_code else (),
            most,
        )
        planned += [
            Request(code, Span(span.address, span.count, tuple(indices[i] for i in span.members))) for span in spans
        ]
    return tuple(planned)


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


def split(span: Span, values: Sequence[tuple[int, int]]) -> tuple[Span, ...]:
    """Smaller spans for the same members, after the device has refused this one; none where nothing is left to split.

    First the gaps go that were read over, then the members are halved.
    """
    members = sorted(span.members, key=lambda index: values[index])
    without_gaps = _replanned(members, values)
    if len(without_gaps) > 1:
        return without_gaps
    if len({values[index] for index in members}) == 1:
        return ()  # one value, or several that are the same registers
    half = len(members) // 2
    while values[members[half]] == values[members[half - 1]] and half < len(members) - 1:
        half += 1  # bits of one register stay together
    return _replanned(members[:half], values) + _replanned(members[half:], values)


def _replanned(members: Sequence[int], values: Sequence[tuple[int, int]]) -> tuple[Span, ...]:
    spans = plan([values[index] for index in members])
    return tuple(Span(span.address, span.count, tuple(members[i] for i in span.members)) for span in spans)
