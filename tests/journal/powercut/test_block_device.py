"""Power cuts on a real file system: at any write of the device, with any of the unflushed writes gone or torn."""

import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from drivers.errors import BlackstartError
from journal.mark import MarkValue
from journal.rescue import boot
from journal.writer import Limits, Writer

WRITER = Path(__file__).with_name("writer.py")
ROWS = 240
CUTS = 100  # of each model
CONTROL_CUTS = 25


def look(state: Path, acknowledged: int) -> str:
    """What the next start finds: `ok`, or what is wrong."""
    if not state.exists():
        return "ok" if not acknowledged else "LOST: no folder"
    try:
        booted = boot(state)
    except BlackstartError as err:
        return f"REFUSED {err}"
    try:
        seqs = [row[0] for row in booted.connection.execute("SELECT seq FROM event ORDER BY seq").fetchall()]
        seqs += [row[0] for group in booted.waiting for row in group.rows]
        if seqs != list(range(1, len(seqs) + 1)):
            return "HOLES"
        if len(seqs) < acknowledged:
            return "LOST"
        if any(note.lost_from is not None for note in booted.notes):
            return "a loss was reported, and nothing is lost"
        return "ok" if not booted.notes else "ok, rescued: " + ", ".join(note.rung for note in booted.notes)
    finally:
        booted.close()


def cut(rig: Any, recording: Any, model: str, cuts: int, seed: int) -> Counter[str]:
    chance = random.Random(seed)
    numbers = range(recording.first + 1, len(recording.writes) + 1)
    found: Counter[str] = Counter()
    for number in sorted(chance.sample(numbers, min(cuts, len(numbers)))):
        acknowledged = recording.acknowledged(number)
        image = recording.image(number, model, chance)
        found[rig.open(image, lambda state, acknowledged=acknowledged: look(state, acknowledged))] += 1
    sys.stdout.write(f"{model}: {sum(found.values())} cuts among {len(numbers)} writes: {dict(found)}\n")
    return found


@pytest.fixture(scope="module")
def recording(rig: Any) -> Any:
    recorded = rig.record(WRITER, str(ROWS))
    assert len(recorded.acks) == ROWS
    return recorded


@pytest.mark.parametrize("model", ["in_order", "subset", "torn"])
def test_nothing_acknowledged_is_lost_and_it_always_opens(rig: Any, recording: Any, model: str, seed: int) -> None:
    found = cut(rig, recording, model, CUTS, seed)
    assert not [verdict for verdict in found if not verdict.startswith("ok")]


def test_the_whole_chain_holds_after_the_last_write(rig: Any, recording: Any) -> None:
    def verify(state: Path) -> str:
        writer = Writer(
            boot(state), key=(state / "journal.key").read_bytes(), boot_id="b", limits=Limits(ballast_bytes=0)
        )
        try:
            after: MarkValue | None = None
            found, _ = writer.verify(after, 10_000)
            return f"{found.rows} {found.broken_seq}"
        finally:
            writer.close()

    rows, broken = rig.open(recording.image(len(recording.writes), "in_order", random.Random(0)), verify).split()
    assert int(rows) >= ROWS
    assert broken == "None"


def test_without_flushes_the_rig_finds_losses(rig: Any, seed: int) -> None:
    recorded = rig.record(WRITER, str(ROWS), "--no-flush")
    found = cut(rig, recorded, "subset", CONTROL_CUTS, seed)
    assert [verdict for verdict in found if not verdict.startswith("ok")]
