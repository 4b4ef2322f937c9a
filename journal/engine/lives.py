"""The lives of the process as rows: for how long it was awake, which of its ends were deaths, and what the clock did.

One row of kind `engine.life` at the first use, one an hour and one at a clean close.  From them come the awake time,
which counts on over restarts and never runs ahead of real time, and the deaths that quarantine a run.
"""

import asyncio
import logging
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from journal.engine.codec import decode, encode
from journal.engine.identity import spawn
from journal.engine.ports import Clock, Entry, Kind, Store
from journal.engine.timers import STEP_S_MAX, Timers

__all__ = ("Lives",)

LIVES_READ = 32  # newest lives that are looked at; only those behind a run's last row count
NOTE_EVERY_S = 3600.0  # what a reboot without a trusted clock adds to a deadline at most
CLOSE_S_MAX = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Life:
    first_seq: int
    boot: str
    died: bool  # the life before it ended without a word, within the same boot


class Lives:
    """See the module.  `boot_id` names the boot of the machine; without one nothing is kept."""

    def __init__(self, store: Store, clock: Clock, timers: Timers, boot_id: str) -> None:
        self._store = store
        self._clock = clock
        self._timers = timers
        self._boot_id = boot_id
        self._key = str(uuid.uuid4())
        self._lock = asyncio.Lock()
        self._lives: list[_Life] = []
        self._begun = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin(self) -> None:
        """Take over from the life before; once."""
        async with self._lock:
            if self._begun or not self._boot_id:
                return
            rows = await self._store.latest(Kind.ENGINE_LIFE, limit=LIVES_READ)
            told = [(row.seq, decode(row.payload)) for row in rows]
            self._lives = [_Life(plain["first_seq"] or seq, plain["boot"], plain["died"]) for seq, plain in told]
            died = self._take_over(told[-1][1]) if told else False
            self._timers.counts_on = True
            (seq,) = await self._store.append([self._row("begun", 0, died)])
            self._lives.append(_Life(seq, self._boot_id, died))
            self._begun = True
        self._timers.on_step = self._note
        self._later()

    def deaths_since(self, seq: int) -> int:
        """How often the process died within this boot since that row."""
        return sum(life.died for life in self._lives if life.first_seq > seq and life.boot == self._boot_id)

    def note(self) -> None:
        """Keep what is known of the clock."""
        if self._begun:
            self._note()

    async def close(self) -> None:
        """Say that the process ends on purpose, if the store still takes it."""
        if self._begun:
            self._note("closed")
            await asyncio.wait(self._tasks, timeout=CLOSE_S_MAX)

    def _take_over(self, before: dict[str, Any]) -> bool:
        elapsed_s = before["awake_s"]
        same_boot: bool = before["boot"] == self._boot_id
        slept_s = (self._clock.monotonic_ns() - before["monotonic_ns"]) / 1e9
        wall: datetime | None = before["wall"]
        if same_boot and slept_s >= 0:
            elapsed_s += slept_s
            if wall is not None and self._clock.trusted():
                expected = wall + timedelta(seconds=slept_s)
                before["distrusted"] |= abs((self._clock.now() - expected).total_seconds()) > STEP_S_MAX
        self._timers.take_over(elapsed_s, wall, distrusted=before["distrusted"])
        return same_boot and str(before["state"]) != "closed"

    def _row(self, state: str, first_seq: int, died: bool) -> Entry:
        plain = {
            "state": state,
            "boot": self._boot_id,
            "died": died,
            "first_seq": first_seq,
            "awake_s": self._timers.awake_s(),
            "monotonic_ns": self._clock.monotonic_ns(),
            "wall": self._timers.trusted_wall(),
            "distrusted": self._timers.distrusted,
            "at": self._clock.now(),
        }
        return Entry(kind=Kind.ENGINE_LIFE, key=self._key, name=state, payload=encode(plain))

    def _later(self) -> None:
        self._timers.after(NOTE_EVERY_S, self._hourly)

    def _hourly(self) -> None:
        self._note()
        self._later()

    def _note(self, state: str = "awake") -> None:
        life = self._lives[-1]
        row = self._row(state, life.first_seq, life.died)
        task = spawn(self._append(row), None, f"engine.life.{state}")
        self._tasks.add(task)
        task.add_done_callback(self._noted)

    async def _append(self, row: Entry) -> None:
        await self._store.append([row])

    def _noted(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("the journal did not take a note of the engine's life: %s", error)
