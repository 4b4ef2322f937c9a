"""What commissioning has learnt comes back from the journal: the newest of each transformer, and no rubbish."""

from pathlib import Path
from typing import Any

from gateway.app import _cooling_fits
from gateway.reflex import COOLING_FIT
from journal import Journal
from journal.engine import Entry, encode
from models.thermal.cooling import CoolingFit


async def test_the_newest_fit_is_taken_and_rubbish_is_left(tmp_path: Path, clock: Any, caplog: Any) -> None:
    first, second = (CoolingFit(basis=(1.0, 2.0), learnt_h=hours) for hours in (24.0, 48.0))
    journal = await Journal.open(tmp_path, clock)
    try:
        kept = [("T1", first), ("T1", second), ("T2", {"of": "another version"})]
        await journal.store.append([Entry(kind=COOLING_FIT, key=key, payload=encode(what)) for key, what in kept])
        assert await _cooling_fits(journal) == {"T1": second}
    finally:
        await journal.close()
    assert "T2: what commissioning learnt of its cooling cannot be read" in caplog.text
