"""What is known of DuckDB's bytes on disk: the frames of its write-ahead log and the two header pages.

Storage of DuckDB 2.0.  Everything here looks at bytes or mends them in place, without opening the database; the
boot ladder (`rescue`, `opening`) calls it.  Offsets and sizes in bytes.  Formulas: DuckDB `checksum.cpp`.
"""

import os
import struct
from dataclasses import dataclass
from pathlib import Path

__all__ = (
    "HEADERS_BYTES",
    "Mend",
    "checksum",
    "damaged_header",
    "good_headers",
    "leftover_bytes",
    "mended_length",
    "overwrite",
)

HEADERS_BYTES = 3 * 4096  # the main header and two database headers, written in turn
MAX_FRAME_BYTES = 64 << 20  # a frame of the log that claims more is damaged

_PAGE_BYTES = 4096
_HEADER_PAGES = (4096, 8192)
_VERSION_RECORD_BYTES = range(8, 160)  # where the log's unframed first record may end
_FRAME = struct.Struct("<QQ")  # size, checksum of the payload that follows
_OBJECT_END = b"\xff\xff"  # the serialiser's last field
_WORD = (1 << 64) - 1
_FACTOR = 0xBF58476D1CE4E5B9


@dataclass(frozen=True, slots=True)
class Mend:
    """Bytes to write over damaged ones."""

    offset: int
    data: bytes


def checksum(data: bytes) -> int:
    """DuckDB's checksum: the words of eight bytes, each multiplied, combined by XOR; the rest by MurmurHash64A.

    Equal words cancel each other out in pairs, so it is blind to a zeroed run of them; the row chain is not.
    """
    import numpy as np  # noqa: PLC0415 - 13 MB for what only damage needs

    words = np.frombuffer(data, "<u8", len(data) // 8)
    result = 5381 ^ int(np.bitwise_xor.reduce(words * np.uint64(_FACTOR), initial=np.uint64(0)))
    rest = data[8 * len(words) :]
    return result ^ _murmur(rest) if rest else result


def leftover_bytes(content: bytes) -> int:
    """Bytes of a write-ahead log behind its last sound frame `[u64 size][u64 checksum][payload]`; 0 is clean."""
    return len(content) - _walk(content)


def mended_length(content: bytes) -> Mend | None:
    """The right size of the first frame that is not sound, where one flipped bit of it explains that.

    DuckDB takes such a log for one that ends there and drops every commit behind it without a word.  The frame's
    own checksum proves the repair.
    """
    at = _walk(content)
    if at + _FRAME.size > len(content):
        return None
    size, expected = _FRAME.unpack_from(content, at)
    start = at + _FRAME.size
    for bit in range(64):
        candidate = size ^ 1 << bit
        end = start + candidate
        if 0 < candidate <= MAX_FRAME_BYTES and end <= len(content) and checksum(content[start:end]) == expected:
            return Mend(at, struct.pack("<Q", candidate))
    return None


def good_headers(content: bytes) -> dict[int, bytes]:
    """The header pages that have their checksum, by offset."""
    pages = {offset: content[offset : offset + _PAGE_BYTES] for offset in _HEADER_PAGES}
    return {
        offset: page
        for offset, page in pages.items()
        if len(page) == _PAGE_BYTES and checksum(page[8:]) == _FRAME.unpack_from(page)[0]
    }


def damaged_header(content: bytes, kept: bytes) -> Mend | None:
    """What to write over the one bad header page of a database; None where none or both are bad.

    `kept` are the header pages as they were right after the last checkpoint: the page in it, where it is the
    successor of the good one, loses nothing.  Else the good page itself, that of the checkpoint before.
    """
    good = good_headers(content)
    if len(good) != 1:
        return None
    (good_at,) = good
    (bad_at,) = set(_HEADER_PAGES) - {good_at}
    successor = good_headers(kept).get(bad_at)
    if successor is not None and _iteration(successor) == _iteration(good[good_at]) + 1:
        return Mend(bad_at, successor)
    return Mend(bad_at, good[good_at])


def overwrite(path: Path, mend: Mend) -> None:
    """Write the mend and bring it to the disk.  Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.pwrite(fd, mend.data, mend.offset)
        os.fsync(fd)
    finally:
        os.close(fd)


def _iteration(page: bytes) -> int:
    """Counts the checkpoints; the higher one of the two pages is the current one."""
    return int(_FRAME.unpack_from(page)[1])


def _walk(content: bytes) -> int:
    """Where the last frame ends that is whole and has its checksum.

    The first record has no frame: its end is the first place behind which a frame can be read.
    """
    for start in _VERSION_RECORD_BYTES:
        offset = start
        while content[start - 2 : start] == _OBJECT_END and offset + _FRAME.size <= len(content):
            size, expected = _FRAME.unpack_from(content, offset)
            payload = content[offset + _FRAME.size : offset + _FRAME.size + size]
            if not 0 < size <= MAX_FRAME_BYTES or len(payload) < size or checksum(payload) != expected:
                break
            offset += _FRAME.size + size
        if offset > start:
            return offset
    return 0


def _murmur(rest: bytes) -> int:
    """MurmurHash64A of fewer than eight bytes."""
    factor, shift = 0xC6A4A7935BD1E995, 47
    result = 0xE17A1465 ^ (len(rest) * factor & _WORD)
    result = (result ^ int.from_bytes(rest, "little")) * factor & _WORD
    result = (result ^ result >> shift) * factor & _WORD
    return result ^ result >> shift
