"""The ledger outside the journal."""

import os
from pathlib import Path

from gateway.ledger import Ledger


def test_one_line_per_event_and_a_second_life_appends(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    Ledger(path).step_started("r1", "a#1")
    again = Ledger(path)
    again.step_started("r1", "a#1")
    again.step_committed("r1", "a#1")
    assert path.read_text().splitlines() == [
        f"start\tr1\ta#1\t{os.getpid()}",
        f"start\tr1\ta#1\t{os.getpid()}",
        f"done\tr1\ta#1\t{os.getpid()}",
    ]
    assert path.stat().st_mode & 0o777 == 0o600
