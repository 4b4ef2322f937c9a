"""The log gives back whole entries in order, whatever is left of older rounds and wherever the last write tore."""

import errno
import os
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

import journal.commit_log
from drivers.errors import Fatal
from journal.commit_log import GROW_BYTES, MAX_LOG_BYTES, CommitLog, frame_of

LINK = b"l" * 32


def frame(seq: int, after_seq: int, size: int = 10, epoch: int = 1) -> bytes:
    row = msgpack.packb((seq, epoch, 0, "boot", "note", "r", "k", "n", "", b"p" * size, None))
    return frame_of(after_seq, [(row, LINK)], {})


def numbers(path: Path) -> list[int]:
    log = CommitLog(path)
    groups = log.read()
    log.close()
    return [row[0] for group in groups for row in group.rows]


def written(path: Path, *sizes: int, first: int = 1, epoch: int = 1) -> int:
    """Entries of these sizes after a rewind; the last number."""
    log = CommitLog(path)
    for seq, size in enumerate(sizes, first):
        log.append(frame(seq, seq - 1, size, epoch))
    log.close()
    return first + len(sizes) - 1


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    log = CommitLog(tmp_path / "l")
    row = (7, 2, 1_700_000_000_000_000, "boot", "note", "", "k", "\N{GREEK SMALL LETTER OMEGA}", "", b"\0", "hash")
    log.append(frame_of(6, [(msgpack.packb(row), LINK)], {"hash": b"payload"}))
    groups = log.read()
    assert [(group.rows, group.blobs, group.after_seq) for group in groups] == [
        (((*row, LINK),), {"hash": b"payload"}, 6)
    ]
    assert (tmp_path / "l").stat().st_size == GROW_BYTES
    log.close()


@given(
    rounds=st.lists(st.lists(st.integers(0, 3000), min_size=1, max_size=6), min_size=1, max_size=4),
    torn_at=st.integers(0, 200),
)
def test_the_newest_round_comes_back_up_to_a_torn_write(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[list[int]], torn_at: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "l"
    last = begin = 0
    for sizes in rounds:
        begin, last = last + 1, written(path, *sizes, first=last + 1)
    assert numbers(path) == list(range(begin, last + 1))
    log = CommitLog(path)
    log.read()
    half = frame(last + 1, last, 300)[: 24 + torn_at]
    os.pwrite(log._fd, half, log._end)
    log.close()
    assert numbers(path) == list(range(begin, last + 1))


def test_what_is_left_of_a_lost_epoch_is_no_part_of_the_log(tmp_path: Path) -> None:
    """The mark was lost, numbers were given again, and the entries behind have the very numbers that come next."""
    path = tmp_path / "l"
    written(path, 10, 10, 10)
    log = CommitLog(path)
    log.append(frame(1, 0, epoch=2))
    log.close()
    assert numbers(path) == [1]


def test_a_refused_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "l"
    log = CommitLog(path)
    log.append(frame(1, 0))
    whole = journal.commit_log._write_all

    def refused(fd: int, data: bytes, offset: int) -> None:
        whole(fd, data, offset)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(journal.commit_log, "_write_all", refused)
    for size in (10, GROW_BYTES):
        with pytest.raises(OSError, match="No space"):
            log.append(frame(2, 1, size))
        assert numbers(path) == [1]
        assert path.stat().st_size == GROW_BYTES
    monkeypatch.undo()
    log.append(frame(3, 1))
    log.close()
    assert numbers(path) == [1, 3]


def test_a_failed_flush_is_fatal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = CommitLog(tmp_path / "l")

    def fails(_fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fails)
    with pytest.raises(Fatal, match="failed in a flush"):
        log.append(frame(1, 0))
    log.close()


def test_the_log_is_bounded(tmp_path: Path) -> None:
    log = CommitLog(tmp_path / "l")
    assert log.fits(frame(1, 0, MAX_LOG_BYTES - 1000))
    assert not log.fits(frame(1, 0, MAX_LOG_BYTES))
    log.append(frame(1, 0, 2000))
    assert not log.fits(frame(2, 1, MAX_LOG_BYTES - 1000))
    log.rewind()
    assert log.fits(frame(2, 1, MAX_LOG_BYTES - 1000))
    log.close()


@given(content=st.binary(max_size=2000))
def test_any_bytes_can_be_read(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("log") / "l"
    path.write_bytes(content)
    assert numbers(path) == []
