"""A block device that remembers every write, so that a power cut can be made at each of them.

The journal writes to ext4 on a loop device, whose file `qemu-storage-daemon` exports over FUSE and whose writes and
flushes it logs in the format of dm-log-writes.  No virtual machine and no kernel module; root, because it mounts.
A cut image holds what was written up to the last flush, and of the later writes what the cut's model lets through.
"""

import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DEVICE_BYTES = 48 << 20
SECTOR_BYTES = 512
FLUSH, DISCARD = 1, 4  # flags of dm-log-writes
MAGIC = 0x6A736677736872
EXPORT_TIMEOUT_S = 10.0
NEEDED = ("qemu-storage-daemon", "losetup", "mkfs.ext4", "mount", "umount")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = missing()
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.powercut)
            item.add_marker(pytest.mark.timeout(900))
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


def missing() -> str:
    """Why the rig cannot run here; empty where it can."""
    if os.geteuid() != 0:
        return "power cuts on a block device need root: they mount"
    lacking = [name for name in NEEDED if shutil.which(name) is None]
    if lacking:
        return f"no {', '.join(lacking)} here: apt install qemu-system-common e2fsprogs mount"
    lacking = [path for path in ("/dev/fuse", "/dev/loop-control") if not Path(path).exists()]
    return f"no {', '.join(lacking)} here" if lacking else ""


def run(*command: object) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout.strip()


@dataclass(frozen=True, slots=True)
class Write:
    """One entry of the log."""

    offset: int
    content: bytes
    flush: bool
    end: int  # where the entry ends in the log file


@dataclass(frozen=True, slots=True)
class Ack:
    """The journal said that the row is durable when the log was that long."""

    seq: int
    log_bytes: int


@dataclass(frozen=True, slots=True)
class Recording:
    """What a writer did to its disk."""

    writes: Sequence[Write]
    acks: Sequence[Ack]
    first: int  # write after the file system was made

    def flushes(self) -> int:
        return sum(write.flush for write in self.writes[self.first :])

    def acknowledged(self, cut: int) -> int:
        """The last row acknowledged before the cut."""
        end = self.writes[cut - 1].end
        return max((ack.seq for ack in self.acks if ack.log_bytes <= end), default=0)

    def image(self, cut: int, model: str, chance: random.Random) -> bytearray:
        """The device after a cut before write number `cut`.

        `in_order`: all unflushed writes arrived; `subset`: any of them; `torn`: of some only the first sectors.
        """
        device = bytearray(DEVICE_BYTES)
        safe = max((number for number in range(cut) if self.writes[number].flush), default=0)
        for number, write in enumerate(self.writes[:cut]):
            content = write.content if number < safe else self._arrived(write.content, model, chance)
            device[write.offset : write.offset + len(content)] = content
        return device

    @staticmethod
    def _arrived(content: bytes, model: str, chance: random.Random) -> bytes:
        if model == "subset" and chance.random() < 0.5:
            return b""
        if model == "torn" and chance.random() < 0.3:
            return content[: chance.randrange(len(content) // SECTOR_BYTES + 1) * SECTOR_BYTES]
        return content


class Rig:
    """Loop devices and mounts, all undone at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def record(self, writer: Path, *arguments: str) -> Recording:
        """Run the writer program on a logged device; it gets the mounted folder and the log file."""
        disk, exported, log, mounted = (self._folder / name for name in ("disk", "exported", "log", "mounted"))
        for path, size in ((disk, DEVICE_BYTES), (exported, DEVICE_BYTES), (log, 0)):
            path.write_bytes(b"")
            os.truncate(path, size)
        mounted.mkdir(exist_ok=True)
        daemon = subprocess.Popen(_daemon(disk, exported, log))
        loop = ""
        try:
            _wait_for_export(exported, daemon)
            loop = run("losetup", "-f", "--show", exported)
            run("mkfs.ext4", "-q", "-b", "4096", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", loop)
            run("mount", "-o", "nodiscard", loop, mounted)
            os.sync()
            base = log.stat().st_size
            out = run(sys.executable, writer, mounted / "state", log, *arguments)
            acks = [Ack(*map(int, line.split())) for line in out.splitlines()]
            run("umount", mounted)
        finally:
            subprocess.run(["umount", "-q", mounted], check=False)
            if loop:
                run("losetup", "-d", loop)
            daemon.terminate()
            daemon.wait(EXPORT_TIMEOUT_S)
        writes = _read_log(log.read_bytes())
        first = next(number for number, write in enumerate(writes) if write.end > base)
        return Recording(writes, acks, first)

    def open(self, image: bytes, look: Callable[[Path], str]) -> str:
        """Mount the image as the next boot would, and look at the state folder."""
        disk, mounted = self._folder / "cut", self._folder / "mounted"
        disk.write_bytes(image)
        loop = run("losetup", "-f", "--show", disk)
        try:
            run("mount", "-o", "nodiscard", loop, mounted)
            try:
                return look(mounted / "state")
            finally:
                run("umount", mounted)
        finally:
            run("losetup", "-d", loop)


def _daemon(disk: Path, exported: Path, log: Path) -> list[str]:
    return [
        "qemu-storage-daemon",
        *("--blockdev", f"driver=file,node-name=disk,filename={disk}"),
        *("--blockdev", f"driver=file,node-name=log,filename={log}"),
        *("--blockdev", "driver=blklogwrites,node-name=logged,file=disk,log=log,log-sector-size=512"),
        *("--export", f"type=fuse,id=export,node-name=logged,mountpoint={exported},writable=on"),
    ]


def _wait_for_export(exported: Path, daemon: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + EXPORT_TIMEOUT_S
    while not any(line.split()[1] == str(exported) for line in Path("/proc/mounts").read_text().splitlines()):
        if daemon.poll() is not None or time.monotonic() > deadline:
            pytest.skip("qemu-storage-daemon cannot export over FUSE here")
        time.sleep(0.02)


def _read_log(content: bytes) -> list[Write]:
    magic, _version, count, sector_bytes = struct.unpack_from("<QQQI", content)
    assert magic == MAGIC
    offset, writes = sector_bytes, []
    for _ in range(count):
        sector, sectors, flags, _length = struct.unpack_from("<QQQQ", content, offset)
        begin = offset + sector_bytes
        offset = begin + (0 if flags & DISCARD else sectors * SECTOR_BYTES)
        writes.append(Write(sector * SECTOR_BYTES, content[begin:offset], bool(flags & FLUSH), offset))
    return writes


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Rig(Path(folder))
