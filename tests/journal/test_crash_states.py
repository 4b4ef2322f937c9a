"""Every legal disk state after a power cut, rebuilt from the system calls of a writer and opened by the boot ladder.

The writer commits, brings rows into the database, checkpoints, takes a snapshot and drops old rows under strace.  A
model of the file system says which of its writes and folder changes may be on the disk after a cut behind each
call: all, none, one missing, one torn.  Two models: ext4 (the flush of any file also commits earlier folder changes;
a file never shows bytes that were not written) and strict POSIX (names are durable only after a flush of their
folder; a torn write may read as zeros).
After Pillai et al., "All File Systems Are Not Created Equal" (OSDI 2014).
"""

import functools
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from journal.rescue import boot
from journal.writer import Limits, Unit, Writer

KEY = b"k" * 32
SAMPLE = 50  # states of each model in the normal run
ROOT = Path(__file__).parents[2]

WRITER = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from journal.engine.ports import Entry
from journal.rescue import boot
from journal.retention import RetentionPolicy, copy
from journal.upkeep import _write_snapshot
from journal.writer import Limits, Unit, Writer

folder = Path(sys.argv[1])
writer = Writer(boot(folder, lambda: b"k" * 32), key=b"k" * 32, boot_id="b", limits=Limits(ballast_bytes=0))
if sys.argv[2] == "unflushed":
    import journal.database, journal.writer
    journal.database.fsync_folder = journal.writer.fsync_folder = lambda folder: None
    os.fdatasync = lambda descriptor: None
    writer._database.connection.execute("SET fsync_mode = 'NONE'")
wall = datetime(2026, 3, 1, tzinfo=UTC)


def step(number):
    entry = Entry(kind="step.done", run_id="r", key=f"s#{number}", payload=bytes([number]) * (number * 977 % 1500))
    writer.commit([Unit(entries=(entry,), wall=wall, size_bytes=0)])
    os.write(1, b"ACK %d\\n" % number)


writer.commit([Unit(entries=(Entry(kind="note", payload=b"n" * 900),) * 40, wall=wall, size_bytes=0)])
for number in range(1, 16):
    step(number)
    if number % 4 == 0:
        writer.reader  # what waits goes into the database, without a checkpoint
    if number % 6 == 0:
        writer.checkpoint()
last_seq, session, fd = writer.hold()
_write_snapshot(folder, fd)
step(16)
draft = copy(session, folder, last_seq, RetentionPolicy(max_rows=1), None, None)
step(17)
assert draft.rows_dropped == 40
writer.swap(draft, wall)
writer.release()
step(18)
step(19)
os._exit(0)
"""

TRACED = "openat,close,write,pwrite64,fsync,fdatasync,ftruncate,unlink,unlinkat,rename,renameat,renameat2"
_HEX = r'"((?:\\x[0-9a-f]{2})*)"'
_OPEN = re.compile(rf"openat\([^,]*, {_HEX}, ([A-Z_|]+).* = (\d+)")
_WRITE = re.compile(rf"(pwrite64|write)\((\d+)<[^>]*>, {_HEX}, \d+(?:, (\d+))?\) += (\d+)")
_SYNC = re.compile(r"f(?:data)?sync\((\d+).* = 0")
_TRUNCATE = re.compile(r"ftruncate\((\d+)<[^>]*>, (\d+)\) += 0")
_UNLINK = re.compile(rf"unlink(?:at)?\((?:AT_FDCWD[^,]*, )?{_HEX}.* = 0")
_RENAME = re.compile(rf"rename(?:at2?)?\((?:AT_FDCWD[^,]*, )?{_HEX}, (?:AT_FDCWD[^,]*, )?{_HEX}.* = 0")


@dataclass(frozen=True)
class Write:
    inode: int
    offset: int
    data: bytes  # of a truncation: empty, and the file ends at `offset`
    truncates: bool = False


@dataclass(frozen=True)
class Flush:
    inode: int | None  # None: the folder


@dataclass(frozen=True)
class Name:
    """A folder change: a name made, taken away (inode None) or given another file."""

    name: str
    inode: int | None
    gone: str = ""  # of a rename


@dataclass(frozen=True)
class Acknowledged:
    step: int


Call = Write | Flush | Name | Acknowledged


def joined(log: str) -> Iterator[str]:
    """Calls that strace shows in two parts, because another thread came between, stand where they ended."""
    begun: dict[str, str] = {}
    for line in log.splitlines():
        process, _, text = line.partition(" ")
        text = text.strip()
        if text.endswith("<unfinished ...>"):
            begun[process] = text.removesuffix("<unfinished ...>")
        elif resumed := re.match(r"<\.\.\. \w+ resumed>", text):
            yield begun.pop(process) + text[resumed.end() :]
        else:
            yield text


def plain(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


@dataclass
class Recording:
    """Turns lines of strace into calls on the files of one folder."""

    folder: str
    calls: list[Call] = field(default_factory=list)
    inodes: dict[str, int] = field(default_factory=dict)  # by name
    opened: dict[int, int | None] = field(default_factory=dict)  # by descriptor; None: the folder
    ends: dict[int, int] = field(default_factory=dict)  # by inode
    count: int = 0

    def name(self, path: str) -> str | None:
        text = plain(path).decode()
        return text.removeprefix(self.folder + "/") if text.startswith(self.folder + "/") else None

    def line(self, text: str) -> None:
        for pattern, take in (
            (_OPEN, self.open),
            (_WRITE, self.write),
            (_SYNC, self.sync),
            (_TRUNCATE, self.truncate),
            (_UNLINK, self.unlink),
            (_RENAME, self.rename),
        ):
            if match := pattern.match(text):
                take(*match.groups())

    def open(self, path: str, flags: str, descriptor: str) -> None:
        name = self.name(path)
        self.opened.pop(int(descriptor), None)
        if plain(path).decode() == self.folder:
            self.opened[int(descriptor)] = None
        elif name is not None:
            if name not in self.inodes:
                self.count += 1
                self.inodes[name] = self.count
                self.calls.append(Name(name, self.count))
            self.opened[int(descriptor)] = inode = self.inodes[name]
            if "O_TRUNC" in flags and self.ends.get(inode):
                self.truncate(descriptor, "0")

    def write(self, _call: str, descriptor: str, content: str, offset: str | None, count: str) -> None:
        data = plain(content)[: int(count)]
        if descriptor == "1" and data.startswith(b"ACK"):
            self.calls.append(Acknowledged(int(data.split()[1])))
        inode = self.opened.get(int(descriptor))
        if inode is not None:
            at = self.ends.get(inode, 0) if offset is None else int(offset)
            self.calls.append(Write(inode, at, data))
            self.ends[inode] = max(self.ends.get(inode, 0), at + len(data))

    def sync(self, descriptor: str) -> None:
        if int(descriptor) in self.opened:
            self.calls.append(Flush(self.opened[int(descriptor)]))

    def truncate(self, descriptor: str, size: str) -> None:
        inode = self.opened.get(int(descriptor))
        if inode is not None:
            self.calls.append(Write(inode, int(size), b"", truncates=True))
            self.ends[inode] = int(size)

    def unlink(self, path: str) -> None:
        if (name := self.name(path)) is not None:
            self.inodes.pop(name, None)
            self.calls.append(Name(name, None))

    def rename(self, source: str, target: str) -> None:
        if (name := self.name(source)) is not None:
            new = self.name(target)
            self.inodes[new] = self.inodes.pop(name)
            self.calls.append(Name(new, self.inodes[new], gone=name))


@functools.cache
def record(folder: Path, flushes: str) -> list[Call]:
    live, log = folder / flushes, folder / f"{flushes}.log"
    strace = ["strace", "-f", "-xx", "-y", "-s", "4000000", "-o", str(log), "-e", f"trace={TRACED}"]
    command = [*strace, sys.executable, "-c", WRITER, str(live), flushes]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    recording = Recording(str(live))
    for line in joined(log.read_text()):
        recording.line(line)
    return recording.calls


def content(writes: list[Write]) -> bytes:
    file = bytearray()
    for write in writes:
        if write.truncates:
            del file[write.offset :]
        file.extend(bytes(max(0, write.offset - len(file))))
        file[write.offset : write.offset + len(write.data)] = write.data
    return bytes(file)


def torn(write: Write, model: str) -> Iterator[tuple[str, Write]]:
    """A write of which the disk took only a part, in sectors, in pages, or by half."""
    size = len(write.data)
    for keep in sorted({size // 2, -write.offset % 512, -write.offset % 4096} - {0}):
        if keep < size:
            yield f"torn at {keep}", Write(write.inode, write.offset, write.data[:keep])
            if model == "posix":
                zeros = write.data[:keep] + bytes(size - keep)
                yield f"zeros from {keep}", Write(write.inode, write.offset, zeros)
                yield f"from {keep} on", Write(write.inode, write.offset + keep, write.data[keep:])


def choices(pending: list[Write], model: str) -> Iterator[tuple[str, list[Write]]]:
    yield "none", []
    if pending:
        yield "all", pending
    for at, write in enumerate(pending):
        before, behind = pending[:at], pending[at + 1 :]
        if len(pending) > 1:
            yield f"without {at}", before + behind
        for name, part in torn(write, model):
            yield f"{at} {name}", [*before, part]


@dataclass
class State:
    label: str
    folder: dict[str, int]
    writes: tuple[list[Write], list[Write]]  # durable, and what else happened to arrive
    acknowledged: int

    def files(self) -> Iterator[tuple[str, bytes]]:
        for name, inode in self.folder.items():
            yield name, content([write for part in self.writes for write in part if write.inode == inode])


@dataclass
class Disk:
    """What is surely on the disk after some calls, and what may be."""

    model: str
    durable: list[Write] = field(default_factory=list)
    pending: list[Write] = field(default_factory=list)
    names: list[Name] = field(default_factory=list)
    names_durable: int = 0
    acknowledged: int = 0

    def take(self, call: Call) -> None:
        match call:
            case Write():
                self.pending.append(call)
            case Name():
                self.names.append(call)
            case Flush(inode):
                self.durable = [*self.durable, *(write for write in self.pending if write.inode == inode)]
                self.pending = [write for write in self.pending if write.inode != inode]
                if inode is None or self.model == "ext4":
                    self.names_durable = len(self.names)
            case Acknowledged(step):
                self.acknowledged = step

    def states(self, label: str) -> Iterator[State]:
        for kept, folder in folders(self.names, self.names_durable, self.model):
            seen = [write for write in self.pending if write.inode in folder.values()]
            for choice, chosen in choices(seen, self.model):
                yield State(f"{label}, {kept}, {choice}", folder, (self.durable, chosen), self.acknowledged)


def states(calls: list[Call], model: str) -> Iterator[State]:
    """All that the model allows after a cut behind each call, from the first acknowledgement on."""
    disk = Disk(model)
    for number, call in enumerate(calls):
        disk.take(call)
        if disk.acknowledged:
            yield from disk.states(f"{number} {call.__class__.__name__}")


def folders(names: list[Name], durable: int, model: str) -> Iterator[tuple[str, dict[str, int]]]:
    """The durable changes with each number of later ones; strict POSIX may also leave out one in between."""
    for kept in range(durable, len(names) + 1):
        yield f"{kept} names", resolve(names[:kept])
    if model == "posix":
        for missing in range(durable, len(names) - 1):
            yield f"names without {missing}", resolve(names[:missing] + names[missing + 1 :])


def resolve(names: list[Name]) -> dict[str, int]:
    folder: dict[str, int] = {}
    for change in names:
        folder.pop(change.gone, None)
        folder.pop(change.name, None)
        if change.inode is not None:
            folder[change.name] = change.inode
    return folder


def trouble(state: State, folder: Path) -> str:
    """Boot from the state and write on; empty if nothing acknowledged is lost or given twice."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, data in state.files():
        (folder / name).write_bytes(data)
    booted = boot(folder, lambda: KEY)
    writer = Writer(booted, key=KEY, boot_id="b", limits=Limits(ballast_bytes=0))
    try:
        history = writer.reader.history("r", 0, 1000)
        rows = {row.key: row.payload for row in history}
        wanted = {f"s#{n}": bytes([n]) * (n * 977 % 1500) for n in range(1, state.acknowledged + 1)}
        if not wanted.items() <= rows.items():
            return f"acknowledged {state.acknowledged}, there are {sorted(rows)}"
        unit = Unit(entries=(history[0],), wall=history[0].wall, size_bytes=0)
        writer.commit([unit])
        if unit.first_seq <= history[-1].seq:
            return f"number {unit.first_seq} given twice"
        return writer.verify(None, 1000)[0].reason
    finally:
        writer.close()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: make peers")
    return tmp_path_factory.mktemp("recorded")


@pytest.mark.parametrize("model", ["ext4", "posix"])
def test_a_sample_of_crash_states(recorded: Path, tmp_path: Path, seed: int, model: str) -> None:
    found = list(states(record(recorded, "flushed"), model))
    for state in random.Random(seed).sample(found, SAMPLE):
        assert trouble(state, tmp_path / "state") == "", state.label


@pytest.mark.crash_all
@pytest.mark.parametrize("model", ["ext4", "posix"])
def test_all_crash_states(recorded: Path, tmp_path: Path, model: str) -> None:
    for state in states(record(recorded, "flushed"), model):
        assert trouble(state, tmp_path / "state") == "", state.label


@pytest.mark.parametrize("model", ["ext4", "posix"])
def test_without_flushes_the_explorer_finds_losses(recorded: Path, tmp_path: Path, seed: int, model: str) -> None:
    """The negative control: an explorer that finds nothing here would prove nothing above."""
    found = list(states(record(recorded, "unflushed"), model))
    chosen = random.Random(seed).sample(found, 12)
    assert any(trouble(state, tmp_path / "state") for state in chosen)
