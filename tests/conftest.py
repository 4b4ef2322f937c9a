"""What all tests share: the shared data, a seed that a failure prints, and an event loop that must not block."""

import inspect
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx

ROOT = Path(__file__).parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"
# Folders whose loop carries polling and the journal: a blocking call there delays everything at once.
NEVER_BLOCKING = (ROOT / "tests" / "gateway", ROOT / "tests" / "journal")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "may_block: this async test itself calls what blocks the event loop")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of measured data that lies beside a checkout, never in it."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no measured data here: {SHARED_DATA} is absent")
    return SHARED_DATA


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """A number of the test's own, the same in every run; pytest shows the line when the test fails."""
    number = int(os.environ.get("BLACKSTART_TEST_SEED") or zlib.crc32(request.node.nodeid.encode()))
    sys.stdout.write(f"seed: BLACKSTART_TEST_SEED={number}\n")
    return number


class FailingDisk:
    """An ext4 file system on a file, which turns read-only under its writers as after a disk error."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "disk"
        self._image = folder / "disk.img"
        self.folder.mkdir()
        with self._image.open("wb") as file:
            file.truncate(64 << 20)
        self._run("mkfs.ext4", "-q", str(self._image))
        self._run("mount", "-o", "loop", str(self._image), str(self.folder))

    def turn_read_only(self) -> None:
        """From now on every write is refused, to files that are open too."""
        self._run("mount", "-o", "remount,abort", str(self.folder))

    def mend(self) -> None:
        """What a person does: unmount, check, mount."""
        self._run("umount", str(self.folder))
        subprocess.run(["e2fsck", "-fy", str(self._image)], check=False, capture_output=True)  # 1: it has mended
        self._run("mount", "-o", "loop", str(self._image), str(self.folder))

    def remove(self) -> None:
        subprocess.run(["umount", str(self.folder)], check=False, capture_output=True)

    def _run(self, *command: str) -> None:
        subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def failing_disk(tmp_path: Path) -> Iterator[FailingDisk]:
    try:
        disk = FailingDisk(tmp_path)
    except (OSError, subprocess.CalledProcessError) as err:
        pytest.skip(f"a file system of its own needs root, mkfs.ext4 and a loop device: {err}")
    yield disk
    disk.remove()


@pytest.fixture(autouse=True)
def event_loop_is_never_blocked(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails an async test of the gateway or the journal when our code blocks the loop (files, sleep, sockets).

    Only calls that come from our own code count: what a library or the test does is its own affair.
    """
    watched = (
        inspect.iscoroutinefunction(getattr(request, "function", None))
        and any(request.path.is_relative_to(folder) for folder in NEVER_BLOCKING)
        and request.node.get_closest_marker("may_block") is None
    )
    if not watched:
        yield
        return
    with blockbuster_ctx(scanned_modules=["drivers", "journal", "models", "gateway"]) as guard:
        guard.functions["os.stat"].can_block_in("drivers/clock.py", "trusted")  # one look at /run, which is memory
        yield
