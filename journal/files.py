"""What the journal asks of the file system besides DuckDB: folder flushes, free space and the ballast file.

Sizes in bytes.  Called from the writer thread and at boot, never from the event loop.
"""

import contextlib
import os
from pathlib import Path

__all__ = ("BALLAST_BYTES", "Ballast", "copy_file", "free_bytes", "fsync_folder", "size_bytes")

BALLAST_BYTES = 16 << 20
"""Set free on a full disk: room for thousands of alarm rows and one checkpoint."""

COPY_CHUNK_BYTES = 1 << 20


def fsync_folder(folder: Path) -> None:
    """Make the folder's own entries durable: names created, renamed or removed in it.  Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def copy_file(source: Path, target: Path, size_bytes: int | None = None) -> None:
    """Copy a file, or its beginning, and bring the copy to the disk; its name needs `fsync_folder`.  Raises OSError."""
    with source.open("rb") as file, target.open("wb") as copy:
        left_bytes = os.fstat(file.fileno()).st_size if size_bytes is None else size_bytes
        while left_bytes > 0 and (chunk := file.read(min(left_bytes, COPY_CHUNK_BYTES))):
            copy.write(chunk)
            left_bytes -= len(chunk)
        copy.flush()
        os.fsync(copy.fileno())


def free_bytes(folder: Path) -> int:
    """Bytes that this process may still write in the folder's file system.  Raises OSError."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def size_bytes(path: Path) -> int:
    """Of a file; 0 where it is missing or the disk does not tell."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


class Ballast:
    """A file that only holds space, so that there is some to give back when the disk is full."""

    def __init__(self, folder: Path, size_bytes: int = BALLAST_BYTES) -> None:
        self._path = folder / "ballast"
        self._size_bytes = size_bytes

    @property
    def held(self) -> bool:
        """True while there is space to give back."""
        return self._path.exists()

    def hold(self) -> bool:
        """Take the space if the disk has four times as much left; True if it is held afterwards."""
        if self.held or self._size_bytes == 0:
            return self.held
        if free_bytes(self._path.parent) < 4 * self._size_bytes:
            return False
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, self._size_bytes)
        except OSError:  # no room or no such call on this file system: go without, and leave no half file
            self._path.unlink()
            return False
        finally:
            os.close(fd)
        return True

    def release(self) -> bool:
        """Give the space back; True if there was any."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
            return True
        return False
