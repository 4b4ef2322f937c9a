"""A full disk: callers are told, nothing acknowledged is lost, alarms still commit out of the ballast."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.errors import Transient
from journal.engine.ports import Entry
from journal.opening import suspect
from journal.store import DuckStore
from journal.writer import Limits

MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> None:
    with (folder / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def note(size_bytes: int) -> Entry:
    return Entry(kind="note", run_id="r", payload=os.urandom(size_bytes))


async def append_often(store: DuckStore, kept: list[int]) -> None:
    for _ in range(400):  # more than the log has room for without growing
        kept += await store.append([note(900)])


async def test_alarms_commit_on_a_full_disk(small_disk: Path, open_store) -> None:
    limits = Limits(ballast_bytes=2 * MIB, checkpoint_entries=5)
    store = await open_store(small_disk, limits)
    assert (small_disk / "ballast").stat().st_size == 2 * MIB
    kept = await store.append([note(900)])
    fill(small_disk)
    with pytest.raises(Transient, match="could not commit"):
        await append_often(store, kept)
    assert not store.counters.ballast_releases
    alarm = [Entry(kind="alarm", run_id="r", key="a1", payload=bytes(500)), Entry(kind="outbox.queued", key="m1")]
    alarmed, *others = await asyncio.gather(
        store.append(alarm), *(store.append([note(900)]) for _ in range(3)), return_exceptions=True
    )
    assert len(alarmed) == 2
    assert store.counters.ballast_releases == 1
    kept += [alarmed[0]]
    assert all(isinstance(other, Transient) for other in others)  # those that shared the failed group
    assert [record.seq for record in await store.history("r")] == kept
    (small_disk / "filler").unlink()
    kept += await store.append([note(900)])
    await store.checkpoint()
    assert (small_disk / "ballast").exists()  # held again once there is room
    await store.close()
    store = await open_store(small_disk, limits)
    assert (store.epoch, [record.seq for record in await store.history("r")]) == (1, kept)
    await store.close()


async def test_a_full_disk_is_not_taken_for_damage(small_disk: Path, open_store) -> None:
    limits = Limits(ballast_bytes=0)
    store = await open_store(small_disk, limits)
    await store.append([note(900) for _ in range(100)])
    await store.close()
    await asyncio.to_thread(suspect, small_disk)
    fill(small_disk)
    store = await open_store(small_disk, limits)
    assert (store.epoch, len(await store.history("r"))) == (1, 100)
    await store.close()


CHILD = """
import asyncio, os, resource, sys
from pathlib import Path
from drivers.clock import SystemClock
from drivers.errors import Transient
from journal.engine.ports import Entry
from journal.rescue import boot
from journal.store import DuckStore
from journal.writer import Limits, Writer

async def main(folder):
    limits = Limits(checkpoint_entries=10**6, checkpoint_bytes=1 << 40, ballast_bytes=0)
    store = DuckStore(Writer(boot(folder), key=b"k" * 32, boot_id="b", limits=limits), SystemClock())
    kept, refused = [], 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
    for number in range(400):
        try:
            kept += await store.append([Entry(kind="note", run_id="r", payload=os.urandom(8000))])
        except Transient:
            refused += 1
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert refused == 1, refused
    assert [record.seq for record in await store.history("r")] == kept
    os._exit(0)  # a cut: the log stays as the failed write left it

async def again(folder):
    booted = boot(folder)
    store = DuckStore(Writer(booted, key=b"k" * 32, boot_id="b"), SystemClock())
    history = await store.history("r")
    assert (len(history), booted.notes) == (399, ()), (len(history), booted.notes)
    assert (await store.verify()).broken_seq is None
    await store.close()

asyncio.run((main if sys.argv[2] == "write" else again)(Path(sys.argv[1])))
"""


@pytest.mark.parametrize("cut", ["write"])
def test_a_write_that_fails_midway_costs_only_itself(tmp_path: Path, cut: str) -> None:
    for part in (cut, "read"):
        subprocess.run([sys.executable, "-c", CHILD, str(tmp_path), part], check=True, cwd=Path(__file__).parents[2])
