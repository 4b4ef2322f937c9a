"""`journal.pages`: a second copy of the few pages of the database file that DuckDB writes in place.

Those are the header pages and the metadata blocks; everything else goes to free space first.  A checkpoint torn in
a metadata block would make the whole database unreadable while its log is still there, so the writer keeps the
pages as they are after each checkpoint, and the boot ladder writes a damaged one back, as long as the database
still stands at that checkpoint.  Layout: msgpack `[1, {offset: bytes}]` behind its CRC32.  Sizes in bytes.
"""

import contextlib
import os
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import msgpack

from journal.damage import HEADERS_BYTES, Mend, good_headers

__all__ = ("MAX_BLOCKS", "PAGES_NAME", "block_mend", "keep_pages", "kept_pages")

PAGES_NAME = "journal.pages"
BLOCK_BYTES = 16_384  # as `opening.CONFIG` asks for
MAX_BLOCKS = 256  # 4 MiB; there are five at a million rows

_LAYOUT = 1
_CRC = struct.Struct("<I")


def keep_pages(folder: Path, database_fd: int, blocks: Iterable[int]) -> None:
    """Write the headers and these blocks anew, atomically; the folder is to be flushed after.

    Where the disk has no room the older copy stays: it is not used once the database has gone on.
    """
    places = {0: HEADERS_BYTES} | {HEADERS_BYTES + block * BLOCK_BYTES: BLOCK_BYTES for block in blocks}
    pages = {offset: os.pread(database_fd, size, offset) for offset, size in places.items()}
    packed: bytes = msgpack.packb([_LAYOUT, pages])
    draft = folder / f"{PAGES_NAME}.new"
    try:
        with draft.open("wb") as file:
            file.write(_CRC.pack(zlib.crc32(packed)) + packed)
            file.flush()
            os.fdatasync(file.fileno())
        draft.rename(folder / PAGES_NAME)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def kept_pages(folder: Path) -> dict[int, bytes]:
    """The pages by their offset; none where the file is missing or damaged."""
    try:
        content = (folder / PAGES_NAME).read_bytes()
    except OSError:
        return {}
    packed = content[_CRC.size :]
    if not packed or content[: _CRC.size] != _CRC.pack(zlib.crc32(packed)):
        return {}
    layout, pages = msgpack.unpackb(packed, strict_map_key=False)
    return pages if layout == _LAYOUT else {}


def block_mend(headers: bytes, pages: dict[int, bytes], offset: int) -> Mend | None:
    """The block as it was after the checkpoint at which the database stands; None where none is kept of it."""
    same = good_headers(headers) == good_headers(pages.get(0, b""))
    return Mend(offset, pages[offset]) if same and offset and offset in pages else None
