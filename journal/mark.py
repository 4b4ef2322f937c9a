"""`journal.mark`: how far the journal had come, kept outside the database so that a loss is noticed.

Two slots of 56 bytes, 4 KiB apart, are written in turn; each holds epoch, last acknowledged sequence number and
the head of the row chain under a CRC32.  The writer thread rewrites one before every acknowledgement without a
flush of its own (the kernel writes it back) and flushes at CHECKPOINT.  A torn write hurts one slot; the other,
one acknowledgement older, still stands.  Read at boot by `rescue`.
"""

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

__all__ = ("Mark", "MarkValue", "read_mark")

_SLOT = struct.Struct("<4sIQ32sI")  # magic, epoch, sequence number, chain head, CRC32 of the 48 bytes before it
_MAGIC = b"BSM1"
_SPACING_BYTES = 4096  # a page each, so that one torn page leaves the other slot whole
_FILE_BYTES = 2 * _SPACING_BYTES
_CHAIN_BYTES = 32


@dataclass(frozen=True, slots=True, order=True)
class MarkValue:
    """A point that the journal had reached; a greater one is later."""

    epoch: int
    seq: int
    chain: bytes


class Mark:
    """The open mark file.  Used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open or create the file and read both slots.  Raises OSError."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        content = os.pread(self._fd, _FILE_BYTES, 0)
        if len(content) < _FILE_BYTES:  # whole from the start: a rewrite in place needs no space on a full disk
            os.pwrite(self._fd, bytes(_FILE_BYTES - len(content)), len(content))
            os.fsync(self._fd)
        slots = _slots(content)
        newest = max((value for value in slots if value is not None), default=None)
        self.value = newest
        self._next_slot = 1 if newest is not None and slots[0] == newest else 0

    def write(self, value: MarkValue) -> None:
        """Overwrite the older slot; no flush.  Raises OSError."""
        assert len(value.chain) == _CHAIN_BYTES
        head = _SLOT.pack(_MAGIC, value.epoch, value.seq, value.chain, 0)[:-4]
        os.pwrite(self._fd, head + struct.pack("<I", zlib.crc32(head)), self._next_slot * _SPACING_BYTES)
        self._next_slot = 1 - self._next_slot
        self.value = value

    def rewrite(self) -> bool:
        """Write the newest value once more; False where the disk takes no write any more."""
        try:
            if self.value is not None:
                self.write(self.value)
        except OSError:
            return False
        return True

    def flush(self) -> None:
        """Bring the slots to the disk.  Raises OSError."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)


def read_mark(path: Path) -> MarkValue | None:
    """What a mark file says, without touching it; None where it is missing or damaged.  Raises OSError."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    return max((value for value in _slots(content) if value is not None), default=None)


def _slots(content: bytes) -> list[MarkValue | None]:
    return [_decode(content[offset : offset + _SLOT.size]) for offset in (0, _SPACING_BYTES)]


def _decode(slot: bytes) -> MarkValue | None:
    """One slot, or None where it was never written or is damaged."""
    if len(slot) != _SLOT.size:
        return None
    magic, epoch, seq, chain, crc = _SLOT.unpack(slot)
    if magic != _MAGIC or crc != zlib.crc32(slot[:-4]):
        return None
    return MarkValue(epoch, seq, chain)
