"""What was journalled to be remembered comes back: the newest of each key, and nothing that cannot be read."""

from pathlib import Path
from typing import Any

import pytest

from gateway.app import _remembered
from gateway.reflex import COOLING_FIT, KEPT
from journal import Journal
from journal.engine import Entry, encode
from models.thermal.cooling import CoolingFit
from models.trend import Keepsake

FITS = tuple(CoolingFit(basis=(1.0, 2.0), learnt_h=hours) for hours in (24.0, 48.0))
KEEPSAKES = tuple(Keepsake(columns=("a",), rows=((float(number), 2.0),)) for number in (1, 2))


@pytest.mark.parametrize(("kind", "both"), [(COOLING_FIT, FITS), (KEPT, KEEPSAKES)])
async def test_the_newest_is_taken_and_rubbish_is_left(
    tmp_path: Path, clock: Any, caplog: Any, kind: str, both: tuple[Any, Any]
) -> None:
    journal = await Journal.open(tmp_path, clock)
    try:
        payloads = [("T1", both[0]), ("T1", both[1]), ("T2", {"of": "another version"})]
        await journal.store.append([Entry(kind=kind, key=key, payload=encode(what)) for key, what in payloads])
        assert await _remembered(journal, kind, type(both[0])) == {"T1": both[1]}
    finally:
        await journal.close()
    assert f"T2: its {kind} cannot be read and is learnt anew" in caplog.text
