"""The mark survives what a torn write can do to it."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from journal.mark import Mark, MarkValue

CHAIN = b"c" * 32


def test_a_new_mark_says_nothing_and_keeps_what_is_written(tmp_path: Path) -> None:
    mark = Mark(tmp_path / "m")
    assert mark.value is None
    for seq in range(1, 6):
        mark.write(MarkValue(1, seq, CHAIN))
    mark.flush()
    mark.close()
    again = Mark(tmp_path / "m")
    assert again.value == MarkValue(1, 5, CHAIN)
    again.close()


def test_a_torn_slot_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "m"
    mark = Mark(path)
    mark.write(MarkValue(1, 41, CHAIN))
    mark.write(MarkValue(2, 42, CHAIN))
    mark.close()
    content = bytearray(path.read_bytes())
    content[4096 + 20] ^= 1  # the second write went to the second slot
    path.write_bytes(content)
    again = Mark(path)
    assert again.value == MarkValue(1, 41, CHAIN)
    again.write(MarkValue(2, 43, CHAIN))  # goes over the damaged slot, not over the good one
    again.close()
    assert path.read_bytes()[:56] == bytes(content[:56])


@given(content=st.binary(max_size=9000))
def test_garbage_is_no_mark(tmp_path_factory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("mark") / "m"
    path.write_bytes(content)
    mark = Mark(path)
    assert mark.value is None
    mark.write(MarkValue(3, 7, CHAIN))
    mark.close()
    again = Mark(path)
    assert again.value == MarkValue(3, 7, CHAIN)
    again.close()
