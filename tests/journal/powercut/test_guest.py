"""A whole machine that loses its power: a QEMU guest, killed while it appends, booted again on the same disk.

What dies with it is the guest's page cache, as in a power cut; what its kernel had sent to the disk stays.  Emulated
(TCG), so that it runs where there is no KVM.  The guest is Debian with this interpreter's packages; made once under
`.powercut/`, with mmdebstrap and the network.
"""

import os
import random
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
CACHE = ROOT / ".powercut"
DEBIAN, DEBIAN_PYTHON = "bookworm", (3, 11)
GUEST_PACKAGES = "linux-image-cloud-amd64,initramfs-tools,zstd,kmod,python3-minimal,libpython3-stdlib"
PACKAGES = (
    "*duckdb*",
    "pydantic*",
    "msgpack",
    "numpy*",
    "zstandard",
    "annotated_types",
    "typing_extensions.py",
    "typing_inspection",
)
NEEDED = ("qemu-system-x86_64", "mmdebstrap", "mke2fs")
INIT = """#!/bin/sh
mount -t proc proc /proc
mount -t tmpfs tmp /tmp
mount -t ext4 /dev/vdb /mnt || echo "REFUSED mount"
cd /opt/app && exec python3 guest.py
"""
CYCLES = int(os.environ.get("BLACKSTART_GUEST_CYCLES", "6"))
ACKS_MAX = 120  # in one life
BOOT_TIMEOUT_S = 180.0  # emulated, on a loaded machine


def build(root: Path) -> Path:
    """The guest's disk, with our code as it is now."""
    app = root / "opt" / "app"
    shutil.rmtree(app, ignore_errors=True)
    app.mkdir(parents=True)
    for folder in ("drivers", "journal"):
        shutil.copytree(ROOT / folder, app / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HERE / "guest.py", app)
    site = Path(duckdb.__file__).parents[1]
    for path in (found for pattern in PACKAGES for found in site.glob(pattern)):
        (shutil.copytree if path.is_dir() else shutil.copy)(path, app / path.name)
    init = root / "sbin" / "powercut"
    init.write_text(INIT)
    init.chmod(0o755)
    image = CACHE / "root.img"
    image.unlink(missing_ok=True)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", root, image, "800M"], check=True, capture_output=True)
    return image


@pytest.fixture(scope="module")
def guest() -> Path:
    """The folder with the guest's kernel and the image of its disk."""
    lacking = [name for name in NEEDED if shutil.which(name) is None]
    if lacking:
        pytest.skip(f"no {', '.join(lacking)} here: apt install qemu-system-x86 mmdebstrap e2fsprogs")
    if sys.version_info[:2] != DEBIAN_PYTHON:
        pytest.skip(f"the guest has Python {DEBIAN_PYTHON}, whose packages this environment does not hold")
    root = CACHE / "root"
    if not root.exists():
        draft = CACHE / "draft"
        shutil.rmtree(draft, ignore_errors=True)
        CACHE.mkdir(exist_ok=True)
        command = ["mmdebstrap", "--variant=minbase", f"--include={GUEST_PACKAGES}", DEBIAN, str(draft)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"the guest cannot be made: {done.stderr.strip().splitlines()[-1]}")
        draft.rename(root)
    build(root)
    return CACHE


class Machine:
    """One life of the guest."""

    def __init__(self, guest: Path, data: Path) -> None:
        (kernel,) = (guest / "root" / "boot").glob("vmlinuz-*")
        (initrd,) = (guest / "root" / "boot").glob("initrd.img-*")
        options = "console=ttyS0 quiet panic=-1 mitigations=off nokaslr tsc=reliable random.trust_cpu=on"
        self._process = subprocess.Popen(
            [
                *("qemu-system-x86_64", "-M", "pc", "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "768"),
                *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio"),
                *("-kernel", kernel, "-initrd", initrd),
                *("-append", f"{options} root=/dev/vda ro init=/sbin/powercut"),
                *("-drive", f"file={guest / 'root.img'},format=raw,if=virtio,readonly=on"),
                *("-drive", f"file={data},format=raw,if=virtio"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def lines(self) -> Iterator[str]:
        """What the guest prints, until it is silent for too long or ends."""
        assert self._process.stdout is not None
        fd, buffer, deadline = self._process.stdout.fileno(), b"", time.monotonic() + BOOT_TIMEOUT_S
        while time.monotonic() < deadline and select.select([fd], [], [], deadline - time.monotonic())[0]:
            content = os.read(fd, 65_536)
            if not content:
                return
            *whole, buffer = (buffer + content).split(b"\n")
            yield from (line.decode(errors="replace").strip() for line in whole)

    def cut(self) -> None:
        """The power goes."""
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


def live(guest: Path, data: Path, acks: int) -> tuple[tuple[int, int, str], int]:
    """Boot, and cut the power after so many acknowledgements: what the journal held at boot, and the last one."""
    machine = Machine(guest, data)
    found, last, seen, said = None, 0, 0, []
    try:
        for line in machine.lines():
            said.append(line)
            if opened := re.search(r"OPEN (\d+) (\d+) (\w+)", line):
                found = (int(opened[1]), int(opened[2]), opened[3])
            elif acked := re.search(r"ACK (\d+)$", line):
                last, seen = int(acked[1]), seen + 1
                if seen >= acks:
                    break
    finally:
        machine.cut()
    assert found is not None, said[-20:]
    assert seen >= acks, said[-20:]
    return found, last


def test_a_machine_that_loses_its_power_loses_nothing_acknowledged(guest: Path, tmp_path: Path, seed: int) -> None:
    data = tmp_path / "data.img"
    data.touch()
    os.truncate(data, 64 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", data], check=True)
    chance = random.Random(seed)
    acknowledged = 0
    for cycle in range(CYCLES):
        began = time.monotonic()
        (last_seq, rows, broken), last = live(guest, data, chance.randrange(1, ACKS_MAX))
        sys.stdout.write(
            f"cycle {cycle + 1}: {rows} rows at boot, {acknowledged} acknowledged before, "
            f"{time.monotonic() - began:.0f} s\n"
        )
        assert last_seq >= acknowledged
        assert rows == last_seq
        assert broken == "None"
        acknowledged = last
