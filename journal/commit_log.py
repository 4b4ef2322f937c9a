"""`journal.log`: where a group of rows becomes durable, before it reaches the database.

One frame a group, written in place and flushed once; the rows go into DuckDB later, many at a time, and after a
CHECKPOINT the log begins anew at its first byte, so that the file is written over and over without growing.  What
is left of an older round behind the newest frame has lower numbers and is no part of the log.  Whatever happens
to DuckDB's own write-ahead log, each row behind the last CHECKPOINT is here too.

A frame: magic, bytes of the content, CRC32 over all else, count of rows, number of the row that it follows; then as
MessagePack each row without its link, its link, and last the payloads that stand in `blob`.  Sizes in bytes.
Written by `writer` on its thread, read at boot by `recovery`.
"""

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgpack

from drivers.errors import Fatal
from journal.reader import Row

__all__ = ("LOG_NAME", "CommitLog", "Group", "frame_of", "read_log")

LOG_NAME = "journal.log"
MAX_LOG_BYTES = 8 << 20  # twice what makes the writer checkpoint; a group larger than this goes into the database
GROW_BYTES = 4 << 10  # a page: what is written in larger pieces the kernel may also write back in them

_HEADER = struct.Struct("<4sIIIQ")
_MAGIC = b"BSL1"


@dataclass(frozen=True, slots=True)
class Group:
    """The rows of one frame, as in table `event` but the wall time in microseconds, and payloads by their hash."""

    rows: tuple[Row, ...]
    blobs: dict[str, bytes]
    after_seq: int  # number of the row that was the newest one before
    begin: int  # offset of the frame
    end: int


def frame_of(after_seq: int, packed_rows: Sequence[tuple[bytes, bytes]], blobs: dict[str, bytes]) -> bytes:
    """The frame of these rows: each as MessagePack without its link, and its link."""
    parts = [part for row, link in packed_rows for part in (row, msgpack.packb(link))]
    content = b"".join((*parts, msgpack.packb(blobs)))
    crc = _checksum(content, len(packed_rows), after_seq)
    return _header(crc, content, len(packed_rows), after_seq) + content


class CommitLog:
    """The open file.  One thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open or create it.  Raises OSError."""
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size_bytes = os.fstat(self._fd).st_size
        self._end = 0  # where the next frame goes

    def read(self) -> list[Group]:
        """Every whole frame from the first on; the next one goes behind the last of them.  Raises OSError."""
        groups = read_log(self.path)
        self._end = groups[-1].end if groups else 0
        return groups

    def cut(self, offset: int) -> None:
        """Have the next frame begin here, and what stands here be none.  Raises OSError."""
        self._end = offset
        os.pwrite(self._fd, bytes(min(_HEADER.size, self._size_bytes - offset)), offset)
        os.fdatasync(self._fd)

    def fits(self, frame: bytes) -> bool:
        """True while there is room for it below the bound."""
        return self._end + len(frame) <= MAX_LOG_BYTES

    def append(self, frame: bytes) -> None:
        """Write the frame and flush it once.

        Raises OSError when it could not be written, and nothing of it is kept; Fatal when nobody can know.
        """
        end = self._end + len(frame)
        grown = max(self._size_bytes, -(-end // GROW_BYTES) * GROW_BYTES) if end > self._size_bytes else 0
        try:
            _write_all(self._fd, frame + bytes(max(0, grown - end)), self._end)
        except OSError:
            if os.pread(self._fd, _HEADER.size, self._end) == frame[: _HEADER.size]:
                self._take_back()
            raise
        try:
            os.fdatasync(self._fd)
        except OSError as err:  # the kernel may have dropped the pages: a second flush would prove nothing
            raise Fatal(f"{self.path}: the disk failed in a flush: {err}") from err
        self._size_bytes = max(self._size_bytes, grown)
        self._end = end

    def rewind(self) -> None:
        """Begin anew: every frame is in the database, durably."""
        self._end = 0

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)

    def _take_back(self) -> None:
        """A frame was begun, perhaps all of it stands there: it was refused, so no boot may find it."""
        try:
            os.ftruncate(self._fd, self._size_bytes)
            self.cut(self._end)
        except OSError as err:
            raise Fatal(f"{self.path}: the disk failed in the middle of a commit: {err}") from err


def read_log(path: Path) -> list[Group]:
    """Every whole frame of a log from the first on; none where there is no log.  Raises OSError."""
    try:
        with path.open("rb") as file:
            return list(_groups(file.read(MAX_LOG_BYTES + GROW_BYTES)))
    except FileNotFoundError:
        return []


def _groups(content: bytes) -> Iterator[Group]:
    """Frames that follow one another; what does not is left over from an older round."""
    at, newest = 0, None
    while (group := _group(content, at)) is not None:
        epoch = group.rows[0][1]
        if newest is not None and (epoch < newest[1] or group.after_seq != newest[0]):
            return
        yield group
        at, newest = group.end, group.rows[-1]


def _group(content: bytes, at: int) -> Group | None:
    """The frame that begins here, if it is whole."""
    begin = at + _HEADER.size
    if len(content) < begin:
        return None
    magic, size, crc, count, after_seq = _HEADER.unpack_from(content, at)
    body = content[begin : begin + size]
    if magic != _MAGIC or not count or len(body) < size or _checksum(body, count, after_seq) != crc:
        return None
    unpacker = msgpack.Unpacker(max_buffer_size=MAX_LOG_BYTES)
    unpacker.feed(body)
    try:
        rows = tuple((*unpacker.unpack(), unpacker.unpack()) for _ in range(count))
        return Group(rows=rows, blobs=unpacker.unpack(), after_seq=after_seq, begin=at, end=begin + size)
    except (ValueError, msgpack.UnpackException):  # damage that the checksum did not see
        return None


def _checksum(content: bytes, count: int, after_seq: int) -> int:
    return zlib.crc32(content, zlib.crc32(_header(0, content, count, after_seq)))


def _header(crc: int, content: bytes, count: int, after_seq: int) -> bytes:
    return _HEADER.pack(_MAGIC, len(content), crc, count, after_seq)


def _write_all(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(fd, view, offset)
        view, offset = view[count:], offset + count
