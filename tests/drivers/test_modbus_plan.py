"""The read plan: every value once and whole, nothing asked for that may not be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus_plan import Span, plan


def test_neighbours_share_one_request() -> None:
    assert plan([(44, 2), (46, 2), (48, 2)]) == (Span(44, 6, (0, 1, 2)),)


def test_a_gap_is_read_over_only_where_it_is_readable() -> None:
    values = [(0, 2), (6, 2)]
    assert plan(values) == (Span(0, 2, (0,)), Span(6, 2, (1,)))
    assert plan(values, [(0, 7)]) == (Span(0, 8, (0, 1)),)
    assert len(plan(values, [(0, 4)])) == 2
    assert len(plan(values, [(3, 7)])) == 2


def test_a_value_is_not_split_at_the_limit() -> None:
    values = [(address, 2) for address in range(0, 126, 2)]
    assert [span.count for span in plan(values)] == [124, 2]


def test_a_value_wider_than_a_request_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        plan([(0, 3)], max_count=2)


_VALUES = st.lists(st.tuples(st.integers(0, 400), st.integers(1, 4)), max_size=40)
_RANGES = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 60)).map(lambda r: (r[0], r[0] + r[1])), max_size=5)


@given(_VALUES, _RANGES, st.integers(4, 125))
def test_every_value_lies_whole_in_one_span(values, readable, max_count) -> None:
    spans = plan(values, readable, max_count)
    assert sorted(index for span in spans for index in span.members) == list(range(len(values)))
    wanted = {a for address, width in values for a in range(address, address + width)}
    allowed = wanted | {a for first, last in readable for a in range(first, last + 1)}
    for span in spans:
        assert span.count <= max_count
        assert set(range(span.address, span.address + span.count)) <= allowed
        for index in span.members:
            address, width = values[index]
            assert span.address <= address
            assert address + width <= span.address + span.count
