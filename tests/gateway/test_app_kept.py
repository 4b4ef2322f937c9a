"""What rules remember comes back from the journal: the newest of each, and nothing that cannot be read."""

from pathlib import Path
from typing import Any

from gateway.app import _kept
from gateway.reflex import KEPT
from journal import Journal
from journal.engine import Entry, encode
from models.trend import Keepsake


async def test_the_newest_is_taken_and_rubbish_is_left(tmp_path: Path, clock: Any, caplog: Any) -> None:
    first, second = (Keepsake(columns=("a",), rows=((float(n), 2.0),)) for n in (1, 2))
    journal = await Journal.open(tmp_path, clock)
    try:
        payloads = [("Q1/GasLeak", first), ("Q1/GasLeak", second), ("T1/X", {"of": "another version"})]
        await journal.store.append([Entry(kind=KEPT, key=key, payload=encode(what)) for key, what in payloads])
        assert await _kept(journal) == {"Q1/GasLeak": second}
    finally:
        await journal.close()
    assert "T1/X: what was remembered cannot be read" in caplog.text
