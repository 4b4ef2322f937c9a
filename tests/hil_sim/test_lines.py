import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil_sim.lines import MAX_EVENTS_WAITING, Lines


@pytest.fixture
def pipes():
    ends = [*os.pipe(), *os.pipe()]
    yield ends
    for end in ends:
        os.close(end)


def feed(fd, data):
    os.write(fd, data)


async def test_an_output_that_nobody_reads_costs_lines_and_never_time(pipes):
    input_end, _, output_end, write_end = pipes
    lines = Lines(input_fd=input_end, output_fd=write_end)
    lines.open()
    for number in range(2 * MAX_EVENTS_WAITING):
        lines.emit("cycle", number=number)
    assert lines.dropped_count > 0
    os.set_blocking(write_end, False)  # lets the writing thread give up, so that the test can end
    assert json.loads(os.read(output_end, 65_536).splitlines()[0]) == {"event": "cycle", "number": 0}
    await lines.close()


async def test_numbers_that_json_does_not_know_are_a_bug_of_the_caller(pipes):
    input_end, _, _, write_end = pipes
    with pytest.raises(ValueError, match="not JSON compliant"):
        Lines(input_fd=input_end, output_fd=write_end).emit("cycle", value=float("nan"))


@given(garbage=st.lists(st.binary(max_size=40).filter(lambda raw: b"\n" not in raw), max_size=5))
async def test_commands_survive_whatever_stands_between_them(garbage):
    input_end, feed_end = os.pipe()
    output_end, write_end = os.pipe()
    feed(feed_end, b"\n".join([b'{"cmd":"a"}', *garbage, b'{"cmd":"b"}', b'{"cmd":"unended"}']))
    os.close(feed_end)
    lines = Lines(input_fd=input_end, output_fd=write_end)
    commands = [command["cmd"] async for command in lines.commands() if "cmd" in command]
    for end in (input_end, output_end, write_end):
        os.close(end)
    assert commands == ["a", "b"]
